"""Audits: a recorded session is held to its decoder file, and every difference is found by name."""

import json

import numpy as np
import pytest

from rtdecode.audit import Verdict, audit, read_evidence
from rtdecode.engine import read_model
from rtdecode.marker import marker_of
from tests.builders import build_model
from tests.scripted import STREAM, Script
from tests.xdf import write_xdf


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


class Recorded:
    """What a recorder has of a scripted run: streams as `write_xdf` takes them, to be changed before `audit`."""

    def __init__(self, model, script, name="ours", **settings):
        self.model, outputs = model, model.contract.outputs
        record = script.run(model, name=name, **settings)
        signal = [part for inlet in script.world.inlets for part in inlet.received]
        self.eeg = _stream(STREAM.name, "EEG", [t for _, ts in signal for t in ts], [x for xs, _ in signal for x in xs],
                           n_channels=4, sfreq=128, format="float32")  # fmt: skip
        marker_format = settings.get("marker_format", "label")
        rows, markers = [], []
        for _, stamp, p in record.rows:
            marker = marker_of(p, stamp, outputs, marker_format)
            if marker is not None:
                markers.append((stamp, marker))
            rows.append((stamp, [*([np.nan] * 2 if p.outputs is None else p.outputs), p.label]))
        self.proba = _stream(f"{name}-proba", "Predictions", *zip(*rows, strict=True), n_channels=3, format="float32")
        self.markers = _stream(name, "Markers", *zip(*markers, strict=True), format="string")
        told = [(t, json.dumps(d)) for t, d in record.told]
        self.status = _stream(f"{name}-status", "Markers", *zip(*told, strict=True), format="string")

    def audit(self, path, model=None):
        write_xdf(path, self.eeg, self.proba, self.markers, self.status)
        return audit(read_evidence(path), model or self.model)


def _stream(name, kind, stamps, values, n_channels=1, sfreq=0, format="float32"):
    return {"name": name, "kind": kind, "n_channels": n_channels, "sfreq": sfreq, "format": format,
            "stamps": list(stamps), "values": list(values)}  # fmt: skip


def scripts():
    return {
        "plain": Script().play(8.0),
        "stalls": Script().play(5.0).stall(3.0).play(2.0).freeze(2.0).play(2.0),
        "gaps": Script().play(5.0).pause(0.5).play(3.0).pause(0.008).play(3.0),
        "returns": Script().play(5.0).lost(3.0).back().play(5.0).lost(2.0).back("other order").play(4.0),
        "replayed": Script(16, 4.0).play(6.0),
    }


@pytest.mark.parametrize("name", scripts())
def test_an_honest_session_is_identical(model, tmp_path, name):
    script = scripts()[name]
    found = Recorded(model, script).audit(tmp_path / "s.xdf")
    assert len(found) == len(script.world.inlets)
    for one in found:
        assert [str(item) for item in one.wrong] == [] and not one.problem
        counts = one.count("predictions")
        assert set(counts) <= {Verdict.IDENTICAL, Verdict.SKIPPED, Verdict.PAUSE} and counts[Verdict.IDENTICAL] > 20
        assert set(one.count("markers")) == {Verdict.IDENTICAL}
