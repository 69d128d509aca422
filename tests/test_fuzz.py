"""Files changed at random, seeded: every one is refused with a clear error, or gives what its content says.

A few of each kind by default, hundreds with `-m slow`.
"""

import contextlib
import json
import sys
import time
import warnings
from collections import Counter

import mne
import numpy as np
import onnx
import pytest

from rtdecode.decoder import load
from rtdecode.errors import RtdecodeError
from rtdecode.recording import read_recording, read_session
from rtdecode.schedule import Schedule
from tests.builders import assert_same, build_model, build_recording
from tests.test_hygiene import build_raw
from tests.test_recording import EEG, markers
from tests.xdf import write_xdf

LONGEST_S, MOST_GROWTH_MIB = 20.0, 512
# Each runs as many mutations as it says.
FEW = pytest.param(14, id="few")
MANY = pytest.param(500, id="many", marks=pytest.mark.slow)
HUGE = (0, -1, 1 << 31, 1 << 40, 1 << 62)
ODD = (None, -1, 0, 1e308, 1 << 70, float("inf"), float("nan"), "", "x", [], {}, [[]], True)


def truncated(content, rng):
    return content[: rng.integers(0, len(content))]


def flipped(content, rng):
    changed = bytearray(content)
    for at in rng.integers(0, len(content), rng.integers(1, 9)):
        changed[at] ^= 1 << rng.integers(0, 8)
    return bytes(changed)


def overwritten(content, rng):
    at, n = rng.integers(0, len(content)), rng.integers(1, 64)
    return content[:at] + rng.bytes(n) + content[at + n :]


def doubled(content, rng):
    begin, end = sorted(rng.integers(0, len(content), 2))
    return content[:end] + content[begin:end] + content[end:]


def left_out(content, rng):
    begin, end = sorted(rng.integers(0, len(content), 2))
    return content[:begin] + content[end:]


BYTES = (truncated, flipped, overwritten, doubled, left_out)


def odd_document(content, rng):
    """One value of the description becomes another one, often of another type."""
    proto = onnx.load_from_string(content)
    entry = next(e for e in proto.metadata_props if e.key == "rtdecode")
    document = json.loads(entry.value)
    at = document
    while True:
        key = list(at)[rng.integers(len(at))] if isinstance(at, dict) else int(rng.integers(len(at)))
        if not isinstance(at[key], (dict, list)) or not at[key] or rng.random() < 0.2:
            break
        at = at[key]
    at[key] = ODD[rng.integers(len(ODD))]
    entry.value = json.dumps(document)
    return proto.SerializeToString()


def huge_dimension(content, rng):
    proto = onnx.load_from_string(content)
    shapes = [v.type.tensor_type.shape for v in [*proto.graph.input, *proto.graph.output]]
    size = HUGE[rng.integers(len(HUGE))]
    if rng.random() < 0.5:
        proto.graph.initializer[0].dims[rng.integers(2)] = size
    else:
        dims = shapes[rng.integers(len(shapes))].dim
        dims[rng.integers(len(dims))].dim_value = size
    return proto.SerializeToString()


def odd_graph(content, rng):
    proto = onnx.load_from_string(content)
    node = proto.graph.node[rng.integers(len(proto.graph.node))]
    change = rng.integers(4)
    if change == 0:
        node.op_type = ("Loop", "Identity", "MatMul", "Tile", "Squeeze", "Shape")[rng.integers(6)]
    elif change == 1:
        node.input[0] = "x" if rng.random() < 0.5 else "nothing"
    elif change == 2:
        del proto.graph.node[rng.integers(len(proto.graph.node))]
    else:
        proto.opset_import[0].version = int(rng.integers(-5, 60))
    return proto.SerializeToString()


def peak_mib():
    resource = pytest.importorskip("resource", reason="memory is measured where it can be")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def bounded():
    before, began = peak_mib(), time.perf_counter()
    yield
    assert time.perf_counter() - began < LONGEST_S
    assert peak_mib() - before < MOST_GROWTH_MIB


def outcomes(path, content, mutations, n, attempt):
    """Try n mutations in turn; count what came of them, by mutation."""
    counts = Counter()
    for seed in range(n):
        rng = np.random.default_rng(seed)
        mutate = mutations[seed % len(mutations)]
        path.write_bytes(mutate(content, rng))
        with bounded(), warnings.catch_warnings():
            # As a user has it: warnings are not raised.
            warnings.simplefilter("ignore")
            try:
                counts[attempt(path, mutate)] += 1
            except RtdecodeError as error:
                assert str(error) and str(error).isprintable(), (seed, mutate.__name__)
                counts["refused"] += 1
            except Exception as error:
                pytest.fail(f"seed {seed}, {mutate.__name__}: {error!r}")
    print(dict(counts))
    return counts


def computed(path):
    """All of a model file that says what is computed."""
    proto = onnx.load(str(path))
    del proto.metadata_props[:]
    proto.producer_name = proto.producer_version = proto.doc_string = proto.domain = ""
    contract = load(path).contract
    # To the last bit: a coefficient that is off by 1e-9 is another decoder.
    with np.printoptions(floatmode="unique", threshold=sys.maxsize):
        steps = repr(contract.preprocessing)
    told = contract.model_dump_json(include={"signal", "window", "outputs", "states", "policy", "form"})
    return proto.SerializeToString(deterministic=True), told, steps


@pytest.mark.parametrize("n", [pytest.param(40, id="few"), pytest.param(2000, id="many", marks=pytest.mark.slow)])
def test_a_changed_model_is_refused_or_gives_what_it_says(tmp_path, n):
    path = build_model(tmp_path / "m.onnx")
    recording = build_recording(300)

    def predictions():
        return load(path).push(recording.samples, recording.timestamps)

    content, same, expected = path.read_bytes(), computed(path), predictions()

    def attempt(path, mutate):
        decoder = load(path)
        assert decoder.contract.signal.n_channels == 4
        got = decoder.push(recording.samples, recording.timestamps)
        assert all(np.isfinite(p.proba).all() for p in got if p.proba is not None)
        if computed(path) != same:
            return "another decoder"
        assert_same(got, expected)
        return "the same decoder"

    mutations = (*BYTES, odd_document, huge_dimension, odd_graph)
    counts = outcomes(path, content, mutations, n, attempt)
    assert counts["refused"] > n // 3


def npz(folder):
    path = folder / "r.npz"
    build_recording(200).save(path)
    return path


def fif(folder):
    path = folder / "r_raw.fif"
    build_raw(2000).save(path, buffer_size_sec=1.0, verbose="ERROR")
    return path


def edf(folder):
    path = folder / "r.edf"
    mne.export.export_raw(path, build_raw(600).pick(["Cz", "Pz"]), verbose="ERROR")
    return path


def bdf(folder):
    path = folder / "r.bdf"
    mne.export.export_raw(path, build_raw(600).pick(["Cz", "Pz"]), verbose="ERROR")
    return path


def brainvision(folder):
    mne.export.export_raw(folder / "r.vhdr", build_raw(600).pick(["Cz", "Pz"]), verbose="ERROR")
    return folder / "r.vhdr"


def xdf(folder):
    offsets = [(50.0 + t, 1e-3 * t) for t in range(5)]
    eeg = {**EEG, "stamps": EEG["stamps"][:80], "values": EEG["values"][:80], "offsets": offsets}
    return write_xdf(folder / "r.xdf", eeg, markers(["left", "right"], [50.1, 50.2]))


@pytest.mark.parametrize("n", [FEW, MANY])
@pytest.mark.parametrize("make", [npz, fif, edf, bdf, brainvision, xdf])
def test_a_changed_recording_is_refused_or_read_as_far_as_it_is_there(tmp_path, make, n):
    path = make(tmp_path)
    content, whole = path.read_bytes(), read_recording(path)

    def attempt(path, mutate):
        got = read_recording(path)
        assert got.samples.shape == (len(got.timestamps), got.signal.n_channels) and got.signal.sfreq > 0
        if make is npz or mutate is truncated:
            # An archive knows the sum of its bytes; what is only cut off is a beginning.
            assert got.samples.tobytes() == whole.samples[: len(got.samples)].tobytes()
        return "read"

    counts = outcomes(path, content, BYTES, n, attempt)
    assert counts["refused"] > n // 5


@pytest.mark.parametrize("n", [FEW, MANY])
def test_a_changed_session_is_refused_or_played_as_far_as_it_is_there(tmp_path, n):
    path = xdf(tmp_path)

    def attempt(path, mutate):
        session = read_session(path)
        pushed = [push.timestamps for push in Schedule(session).actions()]
        assert sum(map(len, pushed)) == sum(len(s.timestamps) for s in session.streams)
        return "read"

    counts = outcomes(path, path.read_bytes(), BYTES, n, attempt)
    assert counts["refused"] > n // 5
