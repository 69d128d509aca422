"""Windows at events in the live loop, under a script and over LSL."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pylsl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contract import Event, EventWindow, Policy
from rtdecode.decoder import Decoder
from rtdecode.errors import StreamError
from rtdecode.lsl import LslNetwork, StreamChoice
from rtdecode.model_file import read_model
from rtdecode.recording import read_recording
from rtdecode.replay import decode_recording
from tests.builders import SFREQ, build_contract, build_model, build_recording
from tests.processes import run_rtdecode
from tests.scripted import START, Script
from tests.test_live import Session
from tests.test_runner import FOLLOWS, check_states

AT_EVENTS = EventWindow(first=0, max_event_lag_s=1.0)
WINDOW_S = 0.5
# The first event after a break may be the first to tell of it.
AT_EVENTS_FOLLOWS = {**FOLLOWS, "RUNNING": {"HOLD", "WARMING", "LOST", "STOPPING"}}
EVENTS = {"events": StreamChoice(name="markers")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    contract = build_contract(events=AT_EVENTS, hop=1)
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx", contract))


def rows_of(record):
    """What each event gave; other rows are about the stream."""
    rows = {p.event: p for _, _, p in record.rows if p.event}
    assert len(rows) == sum(p.event is not None for _, _, p in record.rows)
    return rows


def played(script, markers):
    """Put events (stamp, delay, label) into a script."""
    for timestamp, delay, label in markers:
        script.event(timestamp, label, max(timestamp + delay, START))
    return script


# How much later than its stamp an event comes. ONNX Runtime has this thread take what is subnormal for zero.
delays = st.floats(-5, 1.4, allow_subnormal=False)
markers = st.lists(
    st.tuples(st.floats(START - 1, START + 16), delays, st.sampled_from(["left", "right"])), max_size=15
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.floats(0.5, 4.0)),
        st.tuples(st.just("stall"), st.floats(0.1, 2.0), st.sampled_from([0.0, 0.05])),
        st.tuples(st.just("freeze"), st.floats(0.1, 2.0)),
        st.tuples(st.just("pause"), st.floats(0.25, 2.0)),
        st.tuples(st.just("lost"), st.floats(0.1, 3.0)),
    ),
    max_size=4,
)


@settings(max_examples=30)
@given(chunk=st.sampled_from([1, 8, 32]), steps=steps, markers=markers)
def test_whatever_happens_every_event_gets_one_prediction_or_one_reason(model, chunk, steps, markers):
    script = Script(chunk).play(4.0)
    for name, *arguments in steps:
        getattr(script, name)(*arguments)
        if name == "lost":
            script.back().play(1.0)
    script.play(1.0)
    markers = [m for m in markers if max(m[0] + m[1], START) < script.time - 2]
    record = played(script, markers).run(model, **EVENTS)
    rows = rows_of(record)
    check_states(record, AT_EVENTS_FOLLOWS)
    told = Counter(d["reason"] for d in record.of("abstain") if "label" in d)
    assert told == Counter(p.reason for p in rows.values() if p.reason)
    n_twice = record.of("end")[0]["incidents"].get("duplicate-event", 0)
    assert len(rows) + n_twice == len(markers)


@settings(max_examples=15)
@given(chunk=st.sampled_from([1, 8, 32]), delays=st.lists(delays, min_size=10, max_size=10))
def test_late_and_early_events_give_what_the_replay_gives(model, chunk, delays):
    script = Script(chunk).play(10.0)
    stamps = START + 4 + 0.3 * np.arange(10)
    played(script, zip(stamps, delays, ["left", "right"] * 5, strict=True))
    rows = rows_of(script.run(model, **EVENTS))
    (inlet,) = script.world.inlets
    samples, timestamps = (np.concatenate(part) for part in zip(*inlet.received, strict=True))
    replayed = Decoder(model, inlet.signal).push(samples, timestamps, list(rows))
    assert len(rows) == 10 and {p.event: p._bits() for p in replayed} == {e: p._bits() for e, p in rows.items()}
    assert all(p.reason is None for p in replayed)


def test_a_result_is_there_when_its_window_is(model):
    record = played(script := Script(1).play(8.0), [(START + 5.0, 0.0, "left")]).run(model, **EVENTS)
    ((at, stamp, p),) = [row for row in record.rows if row[2].event]
    assert p.reason is None and script.world.markers_closed
    assert stamp == p.timestamp == pytest.approx(START + 5.0 + WINDOW_S, abs=2 / SFREQ)
    assert at - stamp <= 2 / SFREQ


def test_of_a_backlog_every_event_is_decoded(model):
    script = Script(8).play(6.0).stall(3.0).play(2.0)
    record = played(script, [(START + 6.1 + 0.2 * i, 0.0, "left") for i in range(10)]).run(model, **EVENTS)
    assert [p.reason for p in rows_of(record).values()] == [None] * 10


def test_events_of_another_clock_meet_the_samples_in_ours(model):
    script = Script(8)
    script.world.corrections = [(-20.0, 1e-5)]
    script.event(START + 5.0 - 300.0, "left", START + 5.0, correction_s=280.0).play(8.0)
    (event,) = rows_of(script.run(model, **EVENTS))
    assert event.timestamp == pytest.approx(START + 5.0, abs=1e-9)


def test_the_loss_of_the_events_stops_nothing(model):
    script = Script(8).play(8.0).event(START + 5.0, "left", START + 5.0)
    script.world.at(START + 5.1, lambda: script.world.events.tell("events-lost"))
    script.world.at(START + 6.5, lambda: script.world.events.tell("events-found"))
    record = script.event(START + 7.0, "left", START + 7.0).run(model, **EVENTS)
    assert [p.reason for p in rows_of(record).values()] == [None, None]
    assert record.of("events-lost") and record.of("events-found")
    assert [line for _, line, _ in record.lines if line.startswith("EVENTS")] == ["EVENTS LOST", "EVENTS FOUND"]


def test_events_stamped_in_a_clock_of_their_own_are_told(model):
    script = Script(8).play(8.0).event(START + 1e9, "left", START + 5.0).event(START + 2e9, "left", START + 5.1)
    record = script.run(model, **EVENTS)
    assert len(record.of("event-ahead")) == 1
    assert [p.reason for p in rows_of(record).values()] == ["end", "end"]


def test_without_a_stream_of_events_nothing_begins(model):
    script = Script(8).play(8.0)
    script.world.events_there = False
    with pytest.raises(StreamError, match="No stream of events found in 2 s; wanted: a stream with name 'markers'"):
        script.run(model, wait_s=2.0, **EVENTS)


def test_events_go_with_windows_at_events(model, model_path):
    without = run_rtdecode("run", "--model", model.path)
    useless = run_rtdecode("run", "--model", model_path, "--events", "markers")
    assert [code for code, _ in (without, useless)] == [2, 2]
    assert "--events NAME" in without[1] and "Leave --events out" in useless[1]


class TestLsl:
    @pytest.mark.parametrize("chunk", [7, pytest.param(32, marks=pytest.mark.slow)])
    def test_live_is_replay_to_the_last_bit(self, tmp_path, names, model, chunk):
        recording = build_recording(1000)
        recording.timestamps[620:] += 0.5
        events = [Event(float(recording.timestamps[at]) + 1e-3, "left") for at in (20, 400, 600, 900)]
        replace(recording, events=tuple(events)).save(tmp_path / "r.npz")
        play, run = ("--chunk", chunk), ("--events", f"{names[0]}-events", "--marker-format", "json")
        run += ("--save", tmp_path / "saved.npz")
        session = Session(tmp_path / "r.npz", model.path, names, play=play, run=run)
        recording = read_recording(tmp_path / "r.npz")
        replayed = decode_recording(recording, Decoder(model, recording.signal)).predictions
        decoded = {p.event.timestamp: p for p in replayed if p.reason is None}
        assert [p.reason for p in replayed] == ["warming-up", None, "gap", None]
        assert len(session.markers) == len(decoded) == 2
        for (stamp, (marker,)), p in zip(session.markers, decoded.values(), strict=True):
            told = json.loads(marker)
            assert told["sample"] == p.sample and list(told["proba"].values()) == [float(v) for v in p.proba]
            since_start = session.first_timestamp - recording.timestamps[0]
            assert stamp == pytest.approx(p.timestamp + since_start, abs=1e-6)
            assert told["event"]["timestamp"] == pytest.approx(p.event.timestamp + since_start, abs=1e-6)
        with np.load(tmp_path / "saved.npz") as arrays:
            assert list(arrays["prediction_reasons"][:4]) == [p.reason or "" for p in replayed]

    @pytest.mark.slow
    def test_the_item_that_repeated_events_decide_is_told(self, tmp_path, names):
        items = ("row-1", "row-2", "row-3")
        contract = build_contract(events=EventWindow(first=0, labels=("row-*",)), hop=1)
        policy = {"evidence": {"kind": "repeated", "target": "left", "choices": {"row": items}, "n_repetitions": 2}}
        model = read_model(build_model(tmp_path / "m.onnx", contract))
        (tmp_path / "run.yaml").write_text(json.dumps({"policy": policy}), encoding="utf-8")
        recording = build_recording(1200)
        events = [Event(float(recording.timestamps[400 + 40 * i]), items[i % 3]) for i in range(6)]
        replace(recording, events=tuple(events)).save(tmp_path / "r.npz")
        run = ("--events", f"{names[0]}-events", "--config", tmp_path / "run.yaml", "--marker-format", "int32")
        session = Session(tmp_path / "r.npz", model.path, names, run=run)
        recording = read_recording(tmp_path / "r.npz")
        decoder = Decoder(model, recording.signal, policy=Policy.model_validate(policy))
        decided = [p.decision for p in decode_recording(recording, decoder).predictions if p.decision is not None]
        assert [row for _, row in session.markers] == [decided] and len(session.proba) >= 6
        assert session.decision_names == items

    def test_a_stream_of_integers_is_read_lost_and_found_again(self, names, eventually):
        def outlet():
            info = pylsl.StreamInfo(names[0], "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_int32, names[0])
            return pylsl.StreamOutlet(info)

        reader = LslNetwork().markers(StreamChoice(name=names[0]), ())
        try:
            for stamp in (5.0, 7.0):
                source = outlet()
                assert eventually(reader.news)[0][0] == "events-found"
                source.push_sample([17], stamp)
                assert eventually(reader.pull) == [(stamp, "17", 0.0, 0.0)]
                del source
                assert eventually(reader.news)[0][0] == "events-lost"
        finally:
            reader.close()

    def test_a_label_may_be_any_text(self, names, eventually):
        labels = ["Stimulus/S  1", "Bild \u00e4\u4e2d\U0001f9e0", ' "q" \n,;\t']
        info = pylsl.StreamInfo(names[0], "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, names[0])
        reader, source = LslNetwork().markers(StreamChoice(name=names[0]), ()), pylsl.StreamOutlet(info)
        try:
            eventually(reader.news)
            for at, label in enumerate(labels):
                source.push_sample([label], 5.0 + at)
                assert [marker.label for marker in eventually(reader.pull)] == [label]
        finally:
            reader.close()

    def test_of_two_streams_none_is_guessed(self, names, eventually):
        info = pylsl.StreamInfo(names[0], "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, names[0])
        outlets = [pylsl.StreamOutlet(info) for _ in range(2)]
        reader = LslNetwork().markers(StreamChoice(name=names[0]), ())
        try:
            eventually(lambda: reader.problem.startswith("2 streams of markers could be meant"))
            assert not reader.wait(0) and len(outlets) == 2
        finally:
            reader.close()
