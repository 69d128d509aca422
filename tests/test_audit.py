"""Audits: a recorded session is held to its decoder file, and every difference is found by name."""

import csv
import json
import pickle
import uuid
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.audit import WRONG, Verdict, audit, read_evidence
from rtdecode.contract import Classification, EventWindow, Exponential, Policy, Repeated
from rtdecode.errors import RecordingError
from rtdecode.libraries import libraries
from rtdecode.marker import marker_of
from rtdecode.model_file import read_model
from tests.builders import VALUES, build_contract, build_model, build_recording, linear_graph
from tests.processes import Program, rtdecode, run_rtdecode
from tests.scripted import START, STREAM, Script
from tests.test_live_events import played
from tests.test_runner import acted, chunks, lag_policies, steps
from tests.xdf import write_xdf


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


class Recorded:
    """What a recorder has of a scripted run: streams as `write_xdf` takes them, to be changed before `audit`."""

    def __init__(self, model, script, name="ours", **settings):
        self.model, outputs = model, model.contract.outputs
        record = script.run(model, name=name, **settings)
        decided = model.contract.decision_names(settings.get("policy"))
        signal = [part for inlet in script.world.inlets for part in inlet.received]
        samples = [pair for xs, ts in signal for pair in zip(ts, xs, strict=True)]
        self.eeg = _stream(STREAM.name, "EEG", samples, n_channels=4, sfreq=128)
        marker_format = settings.get("marker_format", "label")
        rows, markers = [], []
        for _, stamp, p in record.rows:
            marker = marker_of(p, stamp, outputs, decided, marker_format)
            if marker is not None:
                markers.append((stamp, marker))
            label = [p.label] if outputs.kind == "classification" else []
            rows.append((stamp, [*([np.nan] * 2 if p.outputs is None else p.outputs), *label]))
        self.proba = _stream(f"{name}-{outputs.column}", "Predictions", rows, n_channels=len(rows[0][1]))
        number = "int32" if marker_format == "int32" else "string"
        self.markers = _stream(name, "Markers", markers, format=number)
        self.events = []
        told = [(t, json.dumps(d)) for t, d in record.told]
        self.status = _stream(f"{name}-status", "Markers", told, format="string")

    def audit(self, path, model=None):
        write_xdf(path, self.eeg, self.proba, self.markers, self.status, *self.events)
        column = self.model.contract.outputs.column
        return audit(read_evidence(path, column=column), model or self.model)


def _stream(name, kind, rows, n_channels=1, sfreq=0, format="float32"):
    return {"name": name, "kind": kind, "n_channels": n_channels, "sfreq": sfreq, "format": format,
            "stamps": [t for t, _ in rows], "values": [value for _, value in rows]}  # fmt: skip


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


@settings(max_examples=30)
@given(chunk=chunks, steps=steps, lag_policy=lag_policies)
def test_whatever_happens_an_honest_session_is_identical(model, tmp_path_factory, chunk, steps, lag_policy):
    script = acted(Script(chunk).play(4.0), steps).play(1.0)
    found = Recorded(model, script, lag_policy=lag_policy).audit(tmp_path_factory.mktemp("x") / "s.xdf")
    assert [str(item) for one in found for item in one.wrong] == []
    assert lag_policy == "newest" or not any(one.count("predictions")[Verdict.SKIPPED] for one in found)
    assert sum(one.count("predictions")[Verdict.IDENTICAL] for one in found) > 20


POLICY = Policy(evidence=Exponential(tau_s=0.2), threshold=0.7, refractory_s=0.25)


@pytest.mark.parametrize(
    "settings",
    [{"policy": POLICY}, {"marker_format": "json", "policy": POLICY}, {"marker_format": "json"},
     {"marker_format": "int32"}, {"max_age_s": 0.1}, {"guard": {"max_gap": 0}}],
)  # fmt: skip
def test_a_session_with_other_settings_is_identical(model, tmp_path, settings):
    (one,) = Recorded(model, Script(32).play(5.0).pause(1 / 128).play(5.0), **settings).audit(tmp_path / "s.xdf")
    assert [str(item) for item in one.wrong] == []
    assert one.count("predictions")[Verdict.IDENTICAL] > 60 and one.count("markers")[Verdict.IDENTICAL] > 2


@pytest.mark.parametrize("marker_format", ["label", "json"])
def test_a_session_of_a_regression_is_identical(tmp_path, marker_format):
    model = read_model(build_model(tmp_path / "m.onnx", build_contract(truth=VALUES)))
    session = Recorded(model, Script().play(8.0), marker_format=marker_format)
    (one,) = session.audit(tmp_path / "s.xdf")
    assert not one.wrong and one.count("markers")[Verdict.IDENTICAL] > 60
    session.proba["values"][70][1] += np.float32(1e-3)
    (item,) = named(session.audit(tmp_path / "t.xdf"))
    assert "y is off by" in item.message


class TestEvents:
    """Windows at events of a stream that was recorded too."""

    LATE_S = (-0.2, 0.0, 0.3, 1.3, 0.0, 0.0, 0.2, 1.6)

    @pytest.fixture
    def session(self, tmp_path):
        contract = build_contract(events=EventWindow(first=0, max_event_lag_s=0.5), hop=1)
        model = read_model(build_model(tmp_path / "events.onnx", contract))
        script = Script(8).play(6.0).pause(0.3).play(3.0).lost(2.0).back().play(6.0)
        script.world.events.stream = replace(STREAM, name="cues")
        stamps = [START + t for t in (0.5, 3.0, 4.0, 4.5, 6.1, 7.5, 14.5, 15.0)]
        played(script, [(t, late, "left") for t, late in zip(stamps, self.LATE_S, strict=True)])
        session = Recorded(model, script, events={"name": "cues"}, marker_format="json")
        session.events = [_stream("cues", "Markers", [(t, "left") for t in stamps], format="string")]
        return session

    def test_an_honest_session_is_identical(self, session, tmp_path):
        found = session.audit(tmp_path / "s.xdf")
        assert [str(item) for one in found for item in one.wrong] == []
        decided = sum(one.count("markers")[Verdict.IDENTICAL] for one in found)
        assert len(found) == 2 and decided == len(session.markers["values"]) >= 4

    def test_an_event_at_another_sample(self, session, tmp_path):
        session.events[0]["stamps"][2] += 2 / 128
        found = [item for one in session.audit(tmp_path / "s.xdf") for item in one.wrong]
        assert {item.stream for item in found} == {"predictions", "markers"}

    def test_an_event_that_was_not_decoded(self, session, tmp_path):
        session.events[0]["stamps"].append(START + 5.0)
        session.events[0]["values"].append("right")
        found = [item for one in session.audit(tmp_path / "s.xdf") for item in one.wrong]
        assert [(item.stream, item.verdict) for item in found] == [
            (s, Verdict.MISSING) for s in ("predictions", "markers")
        ]

    @pytest.mark.parametrize("marker_format", ["label", "int32"])
    def test_items_that_repeated_events_decide(self, tmp_path, marker_format):
        contract = build_contract(events=EventWindow(first=0, labels=("row-*",)), hop=1)
        model = read_model(build_model(tmp_path / "events.onnx", contract))
        items = ("row-1", "row-2", "row-3")
        policy = Policy(evidence=Repeated(target="left", choices={"row": items}, n_repetitions=2))
        script = Script(8).play(14.0)
        script.world.events.stream = replace(STREAM, name="cues")
        shown = [(START + t + 0.3 * i, items[i % 3]) for t in (4.0, 9.0) for i in range(6)]
        played(script, [(t, 0.01, item) for t, item in shown])
        session = Recorded(model, script, events={"name": "cues"}, marker_format=marker_format, policy=policy)
        session.events = [_stream("cues", "Markers", shown, format="string")]
        (one,) = session.audit(tmp_path / "s.xdf")
        assert one.count("markers") == {Verdict.IDENTICAL: 2} and not one.wrong
        (was, _) = session.markers["values"]
        session.markers["values"][0] = (was + 1) % 3 if marker_format == "int32" else items[items.index(was) - 1]
        (item,) = named(session.audit(tmp_path / "t.xdf"))
        assert (item.stream, item.verdict, item.message) == ("markers", Verdict.DIFFERING, "says something else")

    def test_events_that_were_not_recorded(self, session, tmp_path):
        session.events = []
        assert {one.problem for one in session.audit(tmp_path / "s.xdf")} == {"the stream of events was not recorded"}


class TestSaved:
    """What `run --save` wrote."""

    def test_an_honest_session_is_identical_and_a_changed_one_is_not(self, model, tmp_path):
        path = tmp_path / "s.npz"
        Script().play(5.0).stall(2.0).play(2.0).pause(0.5).play(4.0).lost(1.0).run(model, save=path)
        (one,) = audit(read_evidence(path), model)
        counts = one.count("predictions")
        assert not one.wrong and counts[Verdict.IDENTICAL] > 150 and set(counts) == {Verdict.IDENTICAL, Verdict.PAUSE}
        assert one.count("markers")[Verdict.IDENTICAL] > 100
        with np.load(path) as arrays:
            kept = dict(arrays)
        kept["prediction_proba"][60] = kept["prediction_proba"][60, ::-1]
        kept["prediction_reasons"][2] = "gap"
        kept["prediction_decisions"][70] = 1 - kept["prediction_decisions"][70]
        np.savez(path, **kept)
        (one,) = audit(read_evidence(path), model)
        wrong = [("predictions", 2), ("predictions", 60), ("markers", 70)]
        assert [(item.stream, item.sample) for item in one.wrong] == [(s, 8 * row + 6) for s, row in wrong]


def named(found, *streams):
    """The differences of the only connection, of these streams."""
    (one,) = found
    return [item for item in one.wrong if item.stream in streams or not streams]


@pytest.fixture
def session(model):
    return Recorded(model, Script().play(8.0))


def decided_row(session, number=60):
    """The index of a row with a decision, and of its marker."""
    decided = [i for i, row in enumerate(session.proba["values"]) if row[-1] >= 0]
    return decided[number], number


class TestManipulations:
    """What was changed is found and named: what, where, how much; nothing else is."""

    def test_another_model(self, session, tmp_path):
        contract = session.model.contract
        proto = linear_graph(contract.signal.n_channels, contract.window.n_times, seed=1)
        other = read_model(build_model(tmp_path / "other.onnx", contract, proto))
        found = session.audit(tmp_path / "s.xdf", other)
        (sha,) = named(found, "model")
        assert sha.due == other.sha256 and sha.found == session.model.sha256 and "SHA-256" in sha.message
        differing = named(found, "predictions")
        n_decided = sum(row[-1] >= 0 for row in session.proba["values"])
        assert len(differing) == n_decided and all("is off by" in item.message for item in differing)

    def test_a_dropped_marker(self, session, tmp_path):
        row, marker = decided_row(session)
        for key in ("stamps", "values"):
            del session.markers[key][marker]
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert (item.stream, item.verdict) == ("markers", Verdict.MISSING)
        assert item.timestamp == session.proba["stamps"][row] and item.sample == 8 * row + 6

    def test_a_marker_too_many(self, session, tmp_path):
        session.markers["stamps"].insert(40, session.markers["stamps"][40] - 0.01)
        session.markers["values"].insert(40, "left")
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert (item.stream, item.verdict, item.found) == ("markers", Verdict.EXTRA, "left")

    def test_another_marker(self, session, tmp_path):
        was = session.markers["values"][40]
        session.markers["values"][40] = {"left": "right", "right": "left"}[was]
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert (item.stream, item.verdict, item.due) == ("markers", Verdict.DIFFERING, was)

    def test_one_bit_of_one_probability(self, session, tmp_path):
        row, _ = decided_row(session)
        was = np.float32(session.proba["values"][row][0])
        session.proba["values"][row][0] = np.nextafter(was, np.float32(2))
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert (item.stream, item.verdict) == ("predictions", Verdict.DIFFERING) and "left is off by" in item.message

    def test_flipped_probabilities(self, session, tmp_path):
        row, _ = decided_row(session)
        left, right, label = session.proba["values"][row]
        session.proba["values"][row] = [right, left, label]
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert item.message == f"left is off by {abs(float(left) - float(right)):.3g}"
        assert item.timestamp == session.proba["stamps"][row]

    def test_a_decision_that_was_withheld(self, session, tmp_path):
        row, _ = decided_row(session)
        session.proba["values"][row] = [np.nan, np.nan, -1]
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert item.message == "abstained, and no skip is told"

    def test_a_decision_while_the_window_filled(self, session, tmp_path):
        session.proba["values"][3] = [0.25, 0.75, 1]
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert item.message == "must abstain: warming-up"

    def test_a_missing_row_and_one_too_many(self, session, tmp_path):
        row, _ = decided_row(session)
        stamp = session.proba["stamps"].pop(row)
        values = session.proba["values"].pop(row)
        session.proba["stamps"].insert(10, session.proba["stamps"][10] - 0.01)
        session.proba["values"].insert(10, values)
        extra, missing = named(session.audit(tmp_path / "s.xdf"))
        assert extra.verdict == Verdict.EXTRA and missing.verdict == Verdict.MISSING and missing.timestamp == stamp

    def test_one_stamp(self, session, tmp_path):
        row, _ = decided_row(session)
        session.proba["stamps"][row] += 0.003
        found = named(session.audit(tmp_path / "s.xdf"), "predictions")
        assert [item.message for item in found] == ["its stamp is +3 ms off"]

    def test_all_stamps(self, session, tmp_path):
        for stream in (session.proba, session.markers):
            stream["stamps"] = [stamp + 0.003 for stamp in stream["stamps"]]
        found = named(session.audit(tmp_path / "s.xdf"))
        assert len(found) == len(session.proba["stamps"])
        assert {item.message for item in found} == {"its stamp is +3 ms off"}

    @pytest.mark.parametrize("n", [1, 2, 3, 200])
    def test_samples_that_are_missing_in_the_recording(self, session, tmp_path, n):
        for key in ("stamps", "values"):
            del session.eeg[key][500 : 500 + n]
        found = session.audit(tmp_path / "s.xdf")
        (item,) = named(found)
        assert item.stream == "signal" and item.sample == 500 and item.timestamp == session.eeg["stamps"][500]
        assert f"{n} are missing in the recording that reached the decoder" in item.message
        counts = found[0].count("predictions")
        assert counts[Verdict.IDENTICAL] == (500 - 7) // 8 + 1 and counts[Verdict.UNKNOWN] > 20

    @pytest.mark.parametrize("seconds", [1 / 128, 2 / 128, 0.5])
    def test_samples_that_did_not_reach_the_decoder(self, model, tmp_path, seconds):
        session = Recorded(model, Script().play(6.0).pause(seconds).play(6.0))
        at = int(np.flatnonzero(np.diff(session.eeg["stamps"]) > 1.5 / 128)[0]) + 1
        before, after = session.eeg["stamps"][at - 1 : at + 1]
        n = round((after - before) * 128) - 1
        session.eeg["stamps"][at:at] = [before + (k + 1) / 128 for k in range(n)]
        session.eeg["values"][at:at] = [np.zeros(4)] * n
        found = session.audit(tmp_path / "s.xdf")
        (item,) = named(found)
        assert item.stream == "signal" and item.sample == at and item.timestamp == before + 1 / 128
        assert item.message == f"{n} recorded samples did not reach the decoder"
        counts = found[0].count("predictions")
        assert set(counts) <= {Verdict.IDENTICAL, Verdict.PAUSE} and counts[Verdict.IDENTICAL] > 150

    def test_a_sample_of_another_value(self, session, tmp_path):
        session.eeg["values"][500] = session.eeg["values"][500] + 1
        found = named(session.audit(tmp_path / "s.xdf"))
        assert found and min(item.sample for item in found) >= 500

    def test_more_skips_than_were_told(self, model, tmp_path):
        session = Recorded(model, Script().play(6.0).stall(3.0).play(2.0))
        told = [json.loads(text) for text in session.status["values"]]
        at = next(i for i, d in enumerate(told) if d["event"] == "skipped")
        session.status["values"][at] = json.dumps(told[at] | {"count": told[at]["count"] - 1})
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert item.stream == "skips" and item.sample == told[at]["sample"]
        assert item.message.startswith(f"{told[at]['count']} results were not published; {told[at]['count'] - 1}")

    def test_guard_settings_that_were_not_those_told(self, model, tmp_path):
        session = Recorded(model, Script().play(6.0).pause(1 / 128).play(6.0))
        texts = session.status["values"]
        for i, d in enumerate(map(json.loads, texts)):
            if d["event"] == "start":
                d["settings"]["guard"]["max_gap"] = 0
                texts[i] = json.dumps(d)
        found = named(session.audit(tmp_path / "s.xdf"))
        assert found[0].stream == "signal" and "imputed" in found[0].message


changes = st.sampled_from(["drop", "double", "flip", "bit", "label", "stamp", "abstain"])


@given(change=changes, where=st.integers(0, 999), on_markers=st.booleans())
def test_any_single_change_of_any_row_is_found(model, tmp_path_factory, change, where, on_markers):
    session = Recorded(model, Script().play(4.0).stall(1.5).play(1.5).pause(0.3).play(3.0))
    stream = session.markers if on_markers and change in ("drop", "double", "flip", "stamp") else session.proba
    # A row of a stall is repeated every second: one more or less of them tells nothing.
    hops = [i for i, t in enumerate(stream["stamps"]) if stream["stamps"].count(t) == 1]
    if change in ("double", "flip", "bit", "label", "abstain") and stream is session.proba:
        hops = [i for i in hops if stream["values"][i][-1] >= 0]
    at = hops[where * len(hops) // 1000]
    stamp, value = stream["stamps"][at], stream["values"][at]
    if change == "drop":
        del stream["stamps"][at], stream["values"][at]
    elif change == "double":
        stream["stamps"].insert(at, stamp)
        stream["values"].insert(at, value)
    elif change == "stamp":
        stream["stamps"][at] = np.nextafter(stamp, np.inf)
    elif stream is session.markers:
        stream["values"][at] = {"left": "right", "right": "left"}[value]
    else:
        bit = np.nextafter(np.float32(value[0]), np.float32(-1))
        stream["values"][at] = {
            "flip": [value[1], value[0], value[2]], "bit": [bit, value[1], value[2]],
            "label": [value[0], value[1], 1 - value[2]], "abstain": [np.nan, np.nan, -1],
        }[change]  # fmt: skip
    (one,) = session.audit(tmp_path_factory.mktemp("x") / "s.xdf")
    assert one.wrong and all(item.verdict in WRONG for item in one.wrong)
    first = one.wrong[0]
    if first.stream == "skips":
        # One more among results that were skipped: which of them, nobody can know.
        assert change == "abstain" and first.timestamp <= stamp
    else:
        assert len(one.wrong) <= 3 and abs(first.timestamp - stamp) < 1e-6


class TestStamps:
    """Sources whose stamps are wrong."""

    def test_stamps_that_were_not_to_be_believed(self, model, tmp_path):
        script = Script().play(5.0)
        for _ in range(20):
            script.stamp(float("nan")).play(1 / 16).stamp(0.0).play(1 / 16)
        assert named(Recorded(model, script.play(14.0)).audit(tmp_path / "s.xdf")) == []

    def test_stamps_that_go_back(self, model, tmp_path):
        session = Recorded(model, Script().play(5.0).stamp(-0.25).play(6.0))
        assert named(session.audit(tmp_path / "s.xdf")) == []

    def test_a_first_sample_without_a_stamp_is_found_nowhere(self, model, tmp_path):
        session = Recorded(model, Script().stamp(float("nan")).play(2.0).stamp(0.0).play(6.0))
        (one,) = session.audit(tmp_path / "s.xdf")
        assert "had no stamp" in one.problem and set(one.count("predictions")) == {Verdict.UNKNOWN}


class TestWhatIsRecorded:
    """Recorders that come late or leave early, other hosts, other libraries."""

    def test_a_recorder_that_came_first_and_left_last(self, session, tmp_path):
        eeg = session.eeg
        for k in range(1, 300):
            eeg["stamps"].insert(0, eeg["stamps"][0] - 1 / 128)
            eeg["values"].insert(0, np.full(4, k, np.float32))
            eeg["stamps"].append(eeg["stamps"][-1] + 1 / 128)
            eeg["values"].append(np.full(4, k, np.float32))
        assert named(session.audit(tmp_path / "s.xdf")) == []

    def test_a_recorder_that_came_late(self, session, tmp_path):
        for key in ("stamps", "values"):
            del session.eeg[key][:100]
        (one,) = session.audit(tmp_path / "s.xdf")
        assert "begins 0.781 s after the decoder did" in one.problem and not one.wrong
        assert set(one.count("predictions")) == {Verdict.UNKNOWN}

    def test_a_first_sample_that_is_missing_is_a_difference(self, session, tmp_path):
        session.eeg["stamps"].insert(0, session.eeg["stamps"][0] - 1 / 128)
        session.eeg["values"].insert(0, np.zeros(4))
        del session.eeg["stamps"][1], session.eeg["values"][1]
        (item,) = named(session.audit(tmp_path / "s.xdf"))
        assert item.message == "the decoder's first sample is missing in the recording"

    def test_a_recorder_that_left_early(self, session, tmp_path):
        n_abstained = sum(row[-1] < 0 for row in session.proba["values"])
        for key in ("stamps", "values"):
            del session.eeg[key][700:]
            del session.proba[key][84:]
            del session.markers[key][84 - n_abstained :]
            del session.status[key][-3:]
        (one,) = session.audit(tmp_path / "s.xdf")
        assert not one.wrong and one.count("predictions")[Verdict.IDENTICAL] == 84

    def test_a_signal_that_ends_before_the_rows(self, session, tmp_path):
        for key in ("stamps", "values"):
            del session.eeg[key][700:]
        (one,) = session.audit(tmp_path / "s.xdf")
        counts = one.count("predictions")
        assert not one.wrong and counts[Verdict.UNKNOWN] == len(session.proba["stamps"]) - counts[Verdict.IDENTICAL]

    def test_samples_lost_where_stamps_cannot_tell(self, model, tmp_path):
        """The source gives every chunk one stamp."""
        script = Script(16)
        script.play(8.0)
        session = Recorded(model, script, guard={"gap_tolerance_ms": 100})
        for key in ("stamps", "values"):
            del session.eeg[key][501]
        found = named(session.audit(tmp_path / "s.xdf"))
        assert found[0].stream == "signal" and "the recording holds 1 fewer" in found[0].message

    def test_another_host(self, model, tmp_path):
        """Its clock runs away by 0.5 ms a second; what was told of it bounds every stamp."""
        script = Script()
        script.world.corrections = [(0.5 + 5e-4 * k, 1e-5) for k in range(60)]
        session = Recorded(model, script.play(12.0))
        told = [d for d in map(json.loads, session.status["values"]) if d["event"] == "correction"]
        assert len(told) >= 3 and {
            t - s for t, s in zip(session.proba["stamps"], session.eeg["stamps"], strict=False)
        }
        assert named(session.audit(tmp_path / "s.xdf")) == []
        session.proba["stamps"][60] += 0.004
        found = named(session.audit(tmp_path / "t.xdf"), "predictions")
        assert len(found) == 1 and "ms off" in found[0].message

    @pytest.mark.parametrize("ahead_s", [1e5, -0.25])
    def test_a_clock_that_was_set(self, model, tmp_path, ahead_s):
        session = Recorded(model, Script().play(5.0).set_clock(ahead_s).play(8.0))
        assert [str(item) for item in named(session.audit(tmp_path / "s.xdf"))] == []

    def test_other_libraries_allow_small_differences_and_tell(self, session, tmp_path):
        row, _ = decided_row(session)
        texts = session.status["values"]
        for i, d in enumerate(map(json.loads, texts)):
            if d["event"] == "start":
                assert libraries().items() <= d["versions"].items()
                d["versions"]["numpy"] = "1.0"
                texts[i] = json.dumps(d)
        session.proba["values"][row][0] += np.float32(2e-6)
        (one,) = session.audit(tmp_path / "s.xdf")
        assert one.versions == {"numpy": ("1.0", np.__version__)} and not one.wrong
        assert one.count("predictions")[Verdict.CLOSE] == 1
        session.proba["values"][row][0] += np.float32(2e-5)
        assert len(named(session.audit(tmp_path / "t.xdf"))) == 1


@pytest.fixture(scope="module")
def recorded_live(tmp_path_factory, model):
    """What a recorder in another process has of a source and of a decoder that waited for it."""
    folder, prefix = tmp_path_factory.mktemp("live"), uuid.uuid4().hex[:8]
    source, ours, heard = f"{prefix}-source", f"{prefix}-ours", folder / "heard.pickle"
    build_recording(2400).save(folder / "r.npz")
    run = ("run", "--model", model.path, "--stream", source, "--name", ours, "--once", "--wait-listener")
    with (
        rtdecode("play", folder / "r.npz", "--name", source, "--speed", 4) as player,
        rtdecode(*run) as decoder,
        Program("-m", "tests.recorder", prefix, "5", str(heard)) as recorder,
    ):
        assert [p.wait(90) for p in (player, decoder, recorder)] == [0, 0, 0], decoder.output
    streams = []
    for info, values, stamps in pickle.loads(heard.read_bytes()):
        channel_format = ElementTree.fromstring(info).findtext("channel_format")
        streams.append({"info": info, "format": channel_format, "stamps": stamps, "values": values})
    return streams


class TestLive:
    """Real LSL: player, decoder and recorder in processes of their own; `rtdecode audit` in a fourth."""

    def test_what_was_recorded_is_identical(self, recorded_live, model, tmp_path):
        path = write_xdf(tmp_path / "s.xdf", *recorded_live)
        code, output = run_rtdecode("audit", path, "--model", model.path, "--csv", tmp_path / "s.csv")
        assert code == 0 and "are what the decoder file makes of the recorded signal" in output
        with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as text:
            verdicts = Counter((row["stream"], row["verdict"]) for row in csv.DictReader(text))
        assert verdicts["predictions", "identical"] > 50 and verdicts["markers", "identical"] > 20
        wrong = {key for key in verdicts if key[1] in WRONG}
        assert not wrong

    def test_a_row_that_was_changed_ends_with_the_exit_code_of_recordings(self, recorded_live, model, tmp_path):
        changed = [dict(stream) for stream in recorded_live]
        proba = next(s for s in changed if "-proba</name>" in s["info"])
        proba["values"] = proba["values"].copy()
        at = int(np.flatnonzero(proba["values"][:, -1] >= 0)[5])
        proba["values"][at, :2] = proba["values"][at, 1::-1]
        code, output = run_rtdecode("audit", write_xdf(tmp_path / "s.xdf", *changed), "--model", model.path)
        assert code == 4 and f"differing at LSL time {proba['stamps'][at]:.6f}" in output
        assert "1 differences" in output


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("status", "the status stream of exactly one decoder is needed; recorded: none"),
        ("proba", "holds 0 streams 'ours-proba'"),
        ("eeg", "lacks the decoder's source 'amplifier'"),
    ],
)
def test_what_an_audit_needs_and_was_not_recorded_is_told(session, tmp_path, left_out, message):
    streams = {"eeg": session.eeg, "proba": session.proba, "status": session.status}
    del streams[left_out]
    with pytest.raises(RecordingError, match=message):
        read_evidence(write_xdf(tmp_path / "s.xdf", *streams.values()))


def test_a_status_stream_of_another_kind_is_told(session, tmp_path):
    session.status["values"][0] = "hello"
    with pytest.raises(RecordingError, match="no JSON object: 'hello'"):
        session.audit(tmp_path / "s.xdf")
    session.status["values"][0] = json.dumps({"event": "start", "sha256": "x"})
    with pytest.raises(RecordingError, match="event 'start' cannot be audited: model: Field required"):
        session.audit(tmp_path / "s.xdf")


def test_a_decoder_of_other_outputs_is_refused(session, tmp_path):
    three = Classification(class_names=("left", "right", "rest"))
    contract = build_contract(truth={"outputs": three})
    signal = contract.signal
    proto = linear_graph(signal.n_channels, contract.window.n_times, n_outputs=3)
    other = read_model(build_model(tmp_path / "other.onnx", contract, proto))
    with pytest.raises(RecordingError, match=r"gave 2 outputs; model .* gives left, right, rest"):
        session.audit(tmp_path / "s.xdf", other)


def test_a_decoder_begins_when_somebody_listens(model):
    script = Script().play(8.0)
    script.world.record.listens = False
    script.world.at(START + 4.0, lambda: setattr(script.world.record, "listens", True))
    (start,) = script.run(model, wait_listener=True).of("start")
    assert START + 4.0 < start["first_timestamp"] < START + 6.0
