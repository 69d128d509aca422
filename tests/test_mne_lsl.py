"""MNE-LSL on either side: its player feeds us, its inlet reads us, its stream drives a decoder."""

import uuid

import mne
import numpy as np
import pytest

from rtdecode.decoder import Decoder
from rtdecode.mne_lsl import DecoderCallback, signal_of
from rtdecode.model_file import read_model
from tests.builders import build_contract, build_model, build_signal, build_steps
from tests.processes import Program, rtdecode

pytest.importorskip("mne_lsl", reason="the extra mne-lsl is not installed")
from mne_lsl.lsl import StreamInlet, resolve_streams
from mne_lsl.stream import StreamLSL

PLAYER = """
import sys, time
from mne_lsl.player import PlayerLSL
player = PlayerLSL(sys.argv[1], chunk_size=10, name=sys.argv[2], source_id=sys.argv[2], n_repeat=1)
player.start()
print("playing", flush=True)
time.sleep(60)
"""


@pytest.fixture
def name():
    return f"mne-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def fif(tmp_path):
    info = mne.create_info(["E0", "E1", "E2", "E3"], 128.0, "eeg")
    data = np.random.default_rng(0).standard_normal((4, 128 * 30)) * 1e-5
    mne.io.RawArray(data, info, verbose="ERROR").save(tmp_path / "r_raw.fif", fmt="double", verbose="ERROR")
    return tmp_path / "r_raw.fif"


@pytest.fixture
def player(fif, name, eventually):
    with Program("-W", "ignore", "-c", PLAYER, str(fif), name) as player:
        eventually(lambda: player.saw("playing"), 30, "the player")
        yield player


@pytest.fixture
def model_path(tmp_path):
    return build_model(tmp_path / "m.onnx", build_contract(steps=build_steps(build_signal(), decimate=1)))


@pytest.mark.slow
def test_its_player_feeds_run_and_its_inlet_reads_us(model_path, name, player, eventually):
    ours = f"out-{name}"
    with rtdecode("run", "--model", model_path, "--stream", name, "--name", ours, "--duration", "6") as decoder:
        (info,) = eventually(lambda: resolve_streams(timeout=1, name=f"{ours}-proba"), what="our stream")
        inlet = StreamInlet(info)
        inlet.open_stream()
        rows = []
        while not decoder.ended:
            data, _ = inlet.pull_chunk(timeout=0.1)
            rows += list(np.atleast_2d(data)) if len(data) else []
        assert decoder.wait() == 0, decoder.output
        del inlet
    rows = np.array(rows)
    decoded = rows[rows[:, -1] >= 0]
    assert len(decoded) > 20
    assert np.allclose(decoded[:, :2].sum(axis=1), 1, atol=1e-5)
    # Its stamps are regular: no gap may be seen in them.
    assert not decoder.saw("gap at sample")


def test_its_stream_drives_a_decoder_through_the_adapter(model_path, name, player, eventually):
    stream = StreamLSL(2, name=name).connect(acquisition_delay=0.01)
    try:
        signal, predictions, seen = signal_of(stream.info), [], []
        assert signal.units == ("V",) * 4
        decoder = Decoder(read_model(model_path), signal)

        def keep(data, timestamps, info):
            seen.append((data.copy(), timestamps.copy()))
            return data, timestamps

        stream.add_callback(keep)
        stream.add_callback(DecoderCallback(decoder, predictions.append))
        eventually(lambda: sum(p.proba is not None for p in predictions) > 20, what="predictions")
    finally:
        stream.disconnect()
    again = Decoder(read_model(model_path), signal)
    expected = [p for data, stamps in seen for p in again.push(data, stamps)]
    assert len(predictions) > 20
    assert all(a.same_as(b) for a, b in zip(predictions, expected, strict=False))


def test_units_of_an_info_are_read_as_mne_lsl_writes_them():
    info = mne.create_info(["a", "b", "c", "d"], 100.0, ["eeg", "mag", "grad", "stim"])
    for ch, power in zip(info["chs"], (-6, -15, 0, 0), strict=True):
        ch["unit_mul"] = power
    assert signal_of(info).units == ("uV", "fT", "T/m", "none")


def test_the_adapter_leaves_the_streams_data_alone(model_path):
    decoder = Decoder(read_model(model_path))
    data, stamps = np.random.default_rng(0).standard_normal((50, 4)), np.arange(50) / 128
    before = data.copy()
    out, out_stamps = DecoderCallback(decoder, lambda p: None)(data, stamps, None)
    assert out is data and out_stamps is stamps and np.array_equal(data, before)
