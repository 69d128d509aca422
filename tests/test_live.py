"""Real LSL on loopback: player, decoder and listener in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pylsl
import pytest

from rtdecode.contract import Exponential, Policy
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.lsl import OutputReader
from rtdecode.model_file import read_model
from rtdecode.recording import read_recording
from rtdecode.replay import decode_recording
from tests.builders import VALUES, build_contract, build_model, build_recording, build_signal
from tests.processes import rtdecode, run_rtdecode


class Session:
    """Everything a decoder published while it decoded a played recording: all hops, also on a busy machine."""

    def __init__(self, recording_path, model_path, names, *, play=(), run=(), outputs="proba"):
        source, ours = names
        run = ("--stream", source, "--name", ours, "--once", "--lag-policy", "every", *run)
        with rtdecode("run", "--model", model_path, *run) as decoder:
            readers = {n: OutputReader(n) for n in (ours, f"{ours}-{outputs}", f"{ours}-status")}
            self.decision_names = readers[ours].decision_names
            clock = pylsl.local_clock
            self.started = clock()
            with rtdecode("play", recording_path, "--name", source, *play) as player:
                self.received = {name: [] for name in readers}
                deadline = clock() + 60
                while not decoder.ended and clock() < deadline:
                    self._pull(readers)
                self.player_code, self.decoder_code = player.wait(), decoder.wait()
                self._pull(readers)
            for reader in readers.values():
                reader.close()
            self.player_output, self.decoder_output = player.output, decoder.output
        self.ended = clock()
        self.markers, self.proba, status = self.received.values()
        self.status = [(stamp, json.loads(row[0])) for stamp, row in status]

    def _pull(self, readers):
        for name, reader in readers.items():
            values, stamps, _ = reader.pull(0.01)
            self.received[name] += list(zip(map(float, stamps), values, strict=True))

    def published(self, recording, predictions, speed=1):
        """Return the rows of these predictions. Beside them there are abstentions only: of a source that fell silent.

        It does so at its end, and where another process kept it from playing for a moment.
        """
        due = [self.first_timestamp + (recording.timestamps[p.sample] - recording.timestamps[0]) / speed
               for p in predictions]  # fmt: skip
        rows = []
        for stamp, row in self.proba:
            if len(rows) < len(due) and abs(stamp - due[len(rows)]) <= 1e-6:
                rows.append(row)
            else:
                assert np.isnan(row[0])
        assert len(rows) == len(due)
        return rows

    @property
    def first_timestamp(self):
        """The stamp of sample 0, as the player tells it."""
        line = next(line for line in self.player_output.splitlines() if "sample 0 at" in line)
        return float(line.partition("sample 0 at ")[2].partition(";")[0])


@pytest.mark.parametrize(
    "chunk",
    [
        7,
        pytest.param(0, marks=pytest.mark.slow),
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(32, marks=pytest.mark.slow),
    ],
)
def test_live_is_replay_to_the_last_bit_for_any_pushed_chunks(tmp_path, names, chunk):
    model_path = build_model(tmp_path / "m.onnx")
    build_recording(600).save(tmp_path / "r.npz")
    session = Session(tmp_path / "r.npz", model_path, names, play=("--chunk", chunk))
    recording = read_recording(tmp_path / "r.npz")
    replayed = decode_recording(recording, Decoder(read_model(model_path), recording.signal)).predictions
    assert session.player_code == 0 and session.decoder_code == 0
    for row, p in zip(session.published(recording, replayed), replayed, strict=True):
        expected = [np.nan, np.nan] if p.proba is None else p.proba
        assert np.array_equal(np.array(row[:-1], np.float32), expected, equal_nan=True)
        assert row[-1] == p.label
    decoded = [p for p in replayed if p.proba is not None]
    assert len(decoded) > 20
    assert [row[0] for _, row in session.markers] == [("left", "right")[p.label] for p in decoded]


@pytest.mark.slow
def test_a_replay_at_another_speed_is_decoded_as_at_its_own(tmp_path, names):
    model_path = build_model(tmp_path / "m.onnx")
    build_recording(1200).save(tmp_path / "r.npz")
    run = ("--save", tmp_path / "saved.npz")
    session = Session(tmp_path / "r.npz", model_path, names, play=("--speed", 4), run=run)
    recording = read_recording(tmp_path / "r.npz")
    replayed = decode_recording(recording, Decoder(read_model(model_path), recording.signal)).predictions
    start = next(d for _, d in session.status if d["event"] == "start")
    assert start["speed"] == 4 and start["signal"]["sfreq"] == 128 and "4 times its speed" in session.decoder_output
    saved = read_recording(tmp_path / "saved.npz")
    again = decode_recording(saved, Decoder(read_model(model_path), saved.signal)).predictions
    assert len(session.published(recording, replayed, speed=4)) == len(replayed)
    with np.load(tmp_path / "saved.npz") as arrays:
        kept = arrays["prediction_proba"]
    for found in (replayed, again):
        expected = np.array([[np.nan, np.nan] if p.proba is None else p.proba for p in found], np.float32)
        assert kept[: len(found)].tobytes() == expected.tobytes()
    assert sum(p.proba is not None for p in replayed) > 100
    assert saved.timestamps - saved.timestamps[0] == pytest.approx(recording.timestamps - recording.timestamps[0])


def test_the_status_stream_tells_the_run_from_start_to_end(tmp_path, names):
    model_path = build_model(tmp_path / "m.onnx")
    build_recording(500).save(tmp_path / "r.npz")
    session = Session(tmp_path / "r.npz", model_path, names, run=("--marker-format", "json"))
    events = [document["event"] for _, document in session.status]
    start = next(d for _, d in session.status if d["event"] == "start")
    end = session.status[-1][1]
    assert {"state", "abstain", "end"} <= set(events) and events[-1] == "end"
    assert start["sha256"] == read_model(model_path).sha256
    assert start["first_timestamp"] == pytest.approx(session.first_timestamp, abs=1e-6)
    assert start["settings"]["marker_format"] == "json" and start["correction_s"] == 0.0
    assert end["samples"] == 500 and end["predictions"] == len(session.markers) > 20
    marker = json.loads(session.markers[0][1][0])
    assert set(marker) == {"label", "index", "proba", "sample"}
    assert session.markers[0][0] == pytest.approx(session.first_timestamp + marker["sample"] / 128, abs=1e-6)


@pytest.mark.slow
def test_with_a_policy_the_marker_stream_carries_its_decisions_only(tmp_path, names):
    policy = Policy(evidence=Exponential(tau_s=0.2), threshold=0.7, refractory_s=0.25)
    (tmp_path / "run.yaml").write_text(f"policy: {policy.told()}", encoding="utf-8")
    build_recording(600).save(tmp_path / "r.npz")
    model_path = build_model(tmp_path / "m.onnx")
    run = ("--marker-format", "json", "--config", tmp_path / "run.yaml", "--save", tmp_path / "saved.npz")
    session = Session(tmp_path / "r.npz", model_path, names, run=run)
    recording = read_recording(tmp_path / "r.npz")
    decoder = Decoder(read_model(model_path), recording.signal, policy=policy)
    replayed = decode_recording(recording, decoder).predictions
    expected = [(p.sample, p.decision, p.evidence, p.used_s) for p in replayed if p.decision is not None]
    markers = [json.loads(row[0]) for _, row in session.markers]
    assert [(m["sample"], m["index"], m["evidence"], m["used_s"]) for m in markers] == expected and len(expected) > 2
    assert [row[-1] for row in session.published(recording, replayed)] == [p.label for p in replayed]
    with np.load(tmp_path / "saved.npz") as arrays:
        kept = zip(arrays["prediction_samples"], arrays["prediction_decisions"], strict=True)
        assert [pair for pair in kept if pair[1] >= 0] == [row[:2] for row in expected]
    start = next(d for _, d in session.status if d["event"] == "start")
    assert start["settings"]["policy"] == policy.model_dump(mode="json")


@pytest.mark.slow
def test_int32_markers_carry_the_label_index(tmp_path, names):
    build_recording(500).save(tmp_path / "r.npz")
    model_path = build_model(tmp_path / "m.onnx")
    session = Session(tmp_path / "r.npz", model_path, names, run=("--marker-format", "int32"))
    labels = [int(row[-1]) for _, row in session.proba if row[-1] >= 0]
    assert [row[0] for _, row in session.markers] == labels


@pytest.mark.slow
def test_a_regression_publishes_its_values(tmp_path, names):
    build_recording(500).save(tmp_path / "r.npz")
    model_path = build_model(tmp_path / "m.onnx", build_contract(truth=VALUES))
    session = Session(tmp_path / "r.npz", model_path, names, run=("--save", tmp_path / "saved.npz"), outputs="values")
    recording = read_recording(tmp_path / "r.npz")
    replayed = decode_recording(recording, Decoder(read_model(model_path), recording.signal)).predictions
    expected = [[np.nan, np.nan] if p.values is None else p.values for p in replayed]
    published = np.array(session.published(recording, replayed), np.float32)
    assert np.array_equal(published, np.array(expected, np.float32), equal_nan=True)
    decoded = [p for p in replayed if p.reason is None]
    assert len(decoded) > 20
    assert [row[0] for _, row in session.markers] == [f"{p.values[0]:.6g} {p.values[1]:.6g}" for p in decoded]
    with np.load(tmp_path / "saved.npz") as arrays:
        assert np.array_equal(arrays["prediction_values"][: len(replayed)], published, equal_nan=True)


def test_a_regression_has_no_class_index_to_publish(tmp_path, names):
    model_path = build_model(tmp_path / "m.onnx", build_contract(truth=VALUES))
    code, output = run_rtdecode("run", "--model", model_path, "--name", names[1], "--marker-format", "int32")
    assert code == 2 and "A regression has no class to publish as int32" in output


def test_what_is_saved_replays_to_what_was_published(tmp_path, names):
    build_recording(500).save(tmp_path / "r.npz")
    model_path = build_model(tmp_path / "m.onnx")
    session = Session(tmp_path / "r.npz", model_path, names, run=("--save", tmp_path / "saved.npz"))
    saved = read_recording(tmp_path / "saved.npz")
    assert saved.samples.tobytes() == read_recording(tmp_path / "r.npz").samples.tobytes()
    replayed = decode_recording(saved, Decoder(read_model(model_path), saved.signal)).predictions
    with np.load(tmp_path / "saved.npz") as arrays:
        kept, reasons = arrays["prediction_proba"], arrays["prediction_reasons"]
    published = np.array([row[:-1] for row in session.published(saved, replayed)], np.float32)
    assert kept[:-1].tobytes() == published.tobytes() and np.isnan(kept[-1]).all()
    assert len(replayed) + 1 == len(kept) and reasons[-1] == "stream-lost"
    assert all(p.proba is None or p.proba.tobytes() == row.tobytes() for p, row in zip(replayed, kept, strict=False))
    assert not (tmp_path / "saved.npz.partial").exists()


def test_a_constant_per_channel_arrives_in_the_right_input(tmp_path, names):
    """306 channels, two types with units of their own, in another order at the source."""
    n = 306
    types = tuple(("grad", "grad", "mag")[i % 3] for i in range(n))
    units = tuple({"grad": "fT/cm", "mag": "fT"}[t] for t in types)
    channels = tuple(f"MEG{i:04d}" for i in range(n))
    wanted = build_signal().model_copy(update={"ch_names": channels, "ch_types": types, "units": units})
    model_path = build_model(tmp_path / "m.onnx", build_contract(wanted, steps=[], n_times=8, hop=8))
    order = np.random.default_rng(0).permutation(n)
    source = wanted.pick(tuple(channels[i] for i in order))
    si = tuple({"grad": "T/m", "mag": "fT"}[t] for t in source.ch_types)
    source = source.with_channels(source.ch_names, source.ch_types, si)
    values = np.arange(1.0, n + 1) / n
    scale = np.where(np.array(source.ch_types) == "grad", 1e-13, 1.0)
    recording = build_recording(200, source)
    recording.samples[:] = (values[order] * scale).astype(np.float32)
    recording.save(tmp_path / "r.npz")
    # Constant channels are flat: here none of them may be taken for broken.
    (tmp_path / "run.yaml").write_text("guard: {max_bad_channels: 1.0}\n")
    session = Session(tmp_path / "r.npz", model_path, names, run=("--config", tmp_path / "run.yaml"))
    swapped = values.copy()
    swapped[[4, 200]] = swapped[[200, 4]]
    engine = Engine(read_model(model_path))
    expected, other = (engine.run(np.tile(v.astype(np.float32)[:, None], 8)) for v in (values, swapped))
    received = [row[:-1] for _, row in session.proba if row[-1] >= 0][-1]
    assert np.allclose(received, expected, atol=1e-4) and not np.allclose(other, expected, atol=1e-3)


def test_a_stream_that_ends_and_comes_back_is_decoded_again(tmp_path, names, eventually):
    source, ours = names
    model_path = build_model(tmp_path / "m.onnx")
    build_recording(400).save(tmp_path / "r.npz")
    run = ("run", "--model", model_path, "--stream", source, "--name", ours, "--save", tmp_path / "s.npz")
    with rtdecode(*run) as decoder:
        for times in (1, 2):
            with rtdecode("play", tmp_path / "r.npz", "--name", source) as player:
                assert player.wait() == 0
            eventually(lambda: sum("LOST" in line for line in decoder.lines) == times, what="the loss")  # noqa: B023
        decoder.interrupt()
        assert decoder.wait() == 0
    assert sum("RUNNING" in line for line in decoder.lines) == 2
    for path in (tmp_path / "s.npz", tmp_path / "s-2.npz"):
        assert read_recording(path).samples.tobytes() == build_recording(400).samples.tobytes()
    assert decoder.saw("800 samples") and decoder.saw("'stream-lost': 2")


HANGUP = pytest.param("SIGHUP", marks=pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has none"))


@pytest.mark.parametrize("number", ["SIGTERM", HANGUP])
def test_ctrl_c_and_its_like_end_with_a_summary(tmp_path, names, eventually, number):
    source, ours = names
    build_recording(4000).save(tmp_path / "r.npz")
    model_path = build_model(tmp_path / "m.onnx")
    run = ("run", "--model", model_path, "--stream", source, "--name", ours)
    with rtdecode(*run) as decoder, rtdecode("play", tmp_path / "r.npz", "--name", source):
        eventually(lambda: decoder.saw("RUNNING"), what="the first prediction")
        decoder.interrupt(getattr(signal, number))
        assert decoder.wait() == 0
    assert decoder.saw("predictions, abstained") and decoder.saw("age of the newest sample")


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="no pipe can be filled there")
def test_a_console_that_takes_nothing_holds_up_nobody(tmp_path, names):
    source, ours = names
    build_recording(400).save(tmp_path / "r.npz")
    unread, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while os.write(full, bytes(1 << 16)):
            pass
    os.set_blocking(full, True)
    run = ("run", "--model", build_model(tmp_path / "m.onnx"), "--stream", source, "--name", ours, "--once")
    command = [sys.executable, "-m", "rtdecode", *map(str, (*run, "--log", tmp_path / "run.jsonl"))]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=full) as decoder,
        rtdecode("play", tmp_path / "r.npz", "--name", source) as player,
    ):
        try:
            assert player.wait() == 0 and decoder.wait(60) == 0
        finally:
            decoder.kill()
    os.close(full)
    os.close(unread)
    *_, end = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert end["event"] == "end" and end["samples"] == 400


def test_an_impatient_ctrl_c_shows_no_traceback(tmp_path, names, eventually):
    source, ours = names
    build_recording(4000).save(tmp_path / "r.npz")
    run = ("run", "--model", build_model(tmp_path / "m.onnx"), "--stream", source, "--name", ours)
    with rtdecode(*run) as decoder, rtdecode("play", tmp_path / "r.npz", "--name", source):
        eventually(lambda: decoder.saw("RUNNING"), what="the first prediction")

        def interrupted_to_the_end():
            decoder.interrupt()
            return decoder.ended

        eventually(interrupted_to_the_end, what="the end")
        assert decoder.wait() == 0
    assert not decoder.saw("Traceback") and decoder.saw("predictions, abstained")


def test_nobody_listens_to_the_player(recording_path, names):
    with rtdecode("play", recording_path, "--name", names[0], "--wait", "0.5") as player:
        assert player.wait() == 6
    assert player.saw("Nobody listened")


def test_streams_lists_what_can_be_reached(recording_path, names, eventually):
    with rtdecode("play", recording_path, "--name", names[0], "--wait", "30") as player:
        eventually(lambda: player.saw("waiting for a consumer"), what="the outlet")
        with rtdecode("streams", "--wait", "1") as listing:
            assert listing.wait() == 0
    assert names[0][:10] in listing.output
