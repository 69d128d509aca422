"""306 MEG channels at 600.615 Hz, two types in units of their own: trained, played, decoded, replayed."""

import uuid
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import read_configuration
from offline.export import export
from offline.workflow import train
from rtdecode.decoder import Decoder
from rtdecode.recording import read_recording
from rtdecode.replay import decode_recording
from tests.conftest import SHARED
from tests.processes import rtdecode
from tests.test_live import Session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data are not beside the project"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meg") / "run"
    quiet = Console(file=StringIO())
    return train(read_configuration("meg-sample-lfcnn"), SHARED / "data", folder, [], ["all"], 1, quiet)


@pytest.fixture(scope="module")
def model(run):
    return export(read_checkpoint(run.finals["all"]), run.folder / "meg.onnx")


@pytest.fixture(scope="module")
def recording():
    return read_recording(SHARED / "data/meg_mne_sample/sample_audvis_24s_raw.fif.gz")


@pytest.fixture
def names():
    unique = uuid.uuid4().hex[:8]
    return f"meg-{unique}", f"decoder-{unique}"


def changed(recording, order=slice(None), units=None, scale=1.0):
    """Return the recording with other channels, in other units."""
    signal = recording.signal.pick(tuple(np.array(recording.signal.ch_names)[order]))
    if units:
        signal = signal.with_channels(signal.ch_names, signal.ch_types, units(signal))
    samples = np.ascontiguousarray(recording.samples[:, order] * scale, np.float32)
    return replace(recording, signal=signal, samples=samples)


def test_sounds_and_checkerboards_are_told_apart(run):
    score = run.comparisons["all"].network[0]
    assert score.n == 29 and score.low > score.chance


def test_live_is_replay_on_the_whole_recording(model, recording, names):
    path = SHARED / "data/meg_mne_sample/sample_audvis_24s_raw.fif.gz"
    session = Session(path, model.path, names, play=("--chunk", 20))
    replayed = decode_recording(recording, Decoder(model, recording.signal)).predictions
    assert len(replayed) > 400
    for row, p in zip(session.published(recording, replayed), replayed, strict=True):
        expected = [np.nan, np.nan] if p.proba is None else p.proba
        assert np.array_equal(np.array(row[:-1], np.float32), expected, equal_nan=True)


def test_swapped_channels_are_put_right_by_name(model, recording):
    order = np.random.default_rng(0).permutation(recording.signal.n_channels)
    swapped = changed(recording, order)
    ours = decode_recording(swapped, Decoder(model, swapped.signal)).predictions
    expected = decode_recording(recording, Decoder(model, recording.signal)).predictions
    assert all(a.same_as(b) for a, b in zip(ours, expected, strict=True))


def test_tesla_for_femtotesla_is_put_right_by_the_declared_unit(model, recording):
    def si(signal):
        return tuple({"fT": "T", "fT/cm": "T/m"}.get(u, u) for u in signal.units)

    scale = np.array([{"fT": 1e-15, "fT/cm": 1e-13}.get(u, 1.0) for u in recording.signal.units])
    tesla = changed(recording, units=si, scale=scale)
    ours = decode_recording(tesla, Decoder(model, tesla.signal)).predictions
    expected = decode_recording(recording, Decoder(model, recording.signal)).predictions
    for a, b in zip(ours, expected, strict=True):
        assert a.proba is b.proba or np.allclose(a.proba, b.proba, atol=1e-4)


@pytest.mark.parametrize(
    ("order", "units", "told"),
    [
        (slice(1, None), None, "lacks 1 of the 306"),
        (
            slice(None),
            lambda signal: tuple({"fT/cm": "T"}.get(u, u) for u in signal.units),
            "another unit than model 'meg.onnx' needs in 204 channels",
        ),
    ],
    ids=["dropped", "another dimension"],
)
def test_what_cannot_be_put_right_is_refused_live(model, recording, names, tmp_path, order, units, told):
    changed(recording, order, units).crop(0, 2000).save(tmp_path / "r.npz")
    with (
        rtdecode("play", tmp_path / "r.npz", "--name", names[0]),
        rtdecode("run", "--model", model.path, "--stream", names[0], "--name", names[1]) as decoder,
    ):
        assert decoder.wait() == 5
    assert told in decoder.output and "Traceback" not in decoder.output
