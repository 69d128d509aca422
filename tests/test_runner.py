"""The live loop under a script and a virtual clock: what it publishes and tells when the source misbehaves."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtdecode.contract import Exponential, Policy
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, DeadlineError, StreamError
from rtdecode.interrupts import Interrupts
from rtdecode.model_file import read_model
from rtdecode.recording import read_recording
from rtdecode.saving import Saving
from rtdecode.session import SessionWriter
from tests.builders import assert_same, build_model
from tests.scripted import CONNECT_S, FITTING, MISMATCHED, START, Script, expected_hops

HOP_S, CHUNK_S, ROUND_S = 8 / 128, 8 / 128, 1.0
# Facts of a hop; other abstentions are about the stream.
OF_A_HOP = (None, "warming-up", "skipped")
FOLLOWS = {
    None: {"SEARCHING"},
    "SEARCHING": {"SEARCHING", "HANDSHAKE", "STOPPING"},
    "HANDSHAKE": {"WARMING", "SEARCHING", "LOST", "STOPPING"},
    "WARMING": {"RUNNING", "HOLD", "LOST", "STOPPING"},
    "RUNNING": {"HOLD", "LOST", "STOPPING"},
    "HOLD": {"HOLD", "WARMING", "RUNNING", "LOST", "STOPPING"},
    "LOST": {"SEARCHING", "STOPPING"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


@pytest.fixture(scope="module")
def warm_up_s(model):
    return Decoder(model).warm_up_s


def check_every_hop(model, script):
    """Every hop got one row, and every row is what a fresh decoder gives for it, or is skipped."""
    world = script.world
    starts = [inlet.first_row for inlet in world.inlets] + [len(world.record.rows)]
    for inlet, (a, b) in zip(world.inlets, itertools.pairwise(starts), strict=True):
        rows = [p for _, _, p in world.record.rows[a:b] if p.reason in OF_A_HOP]
        expected = expected_hops(model, inlet)
        assert Counter((p.timestamp, p.sample) for p in rows) == Counter(expected.keys())
        for p in rows:
            fresh = expected[p.timestamp, p.sample]
            if p.reason == "skipped":
                assert fresh.reason is None and p.outputs is None
            else:
                assert p.reason == fresh.reason
                assert p.outputs is fresh.outputs or p.outputs.tobytes() == fresh.outputs.tobytes()


def check_states(record, follows=FOLLOWS):
    """States follow each other as they may, each told with where it came from, and counted at the end."""
    told = record.of("state")
    for before, after in itertools.pairwise([None, *(d["state"] for d in told)]):
        assert after in follows[before], (before, after)
    assert [d["from"] for d in told] == [None, *(d["state"] for d in told[:-1])]
    counts = Counter((d["state"], d["reason"]) for d in told)
    (end,) = record.of("end")
    assert {(s, r): n for s, reasons in end["states"].items() for r, n in reasons.items()} == counts


# What may happen, in the script's words; each begins where the one before ended.
chunks = st.sampled_from([1, 8, 32])
lag_policies = st.sampled_from(["newest", "every"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.floats(0.5, 4.0)),
        st.tuples(st.just("stall"), st.floats(0.1, 4.0), st.sampled_from([0.0, 1e-4, 0.05])),
        st.tuples(st.just("freeze"), st.floats(0.1, 4.0)),
        st.tuples(st.just("pause"), st.floats(0.25, 3.0)),
        st.tuples(st.just("away"), st.floats(0.1, 4.0), st.sampled_from([*FITTING, *MISMATCHED])),
        st.tuples(st.just("duplicate"), st.floats(0.1, 3.0)),
    ),
    max_size=8,
)


def acted(script, steps):
    """Put generated steps into a script."""
    for name, *arguments in steps:
        if name == "away":
            script.lost(arguments[0]).back(arguments[1]).play(3.0)
        else:
            getattr(script, name)(*arguments)
    return script


@settings(max_examples=2 * settings.default.max_examples)
@given(chunk=chunks, steps=steps, lag_policy=lag_policies, spin=st.booleans())
# A pause within the first stamps of a connection.
@example(
    chunk=1, steps=[("duplicate", 3.0), ("away", 0.6875, "same"), ("pause", 1.0)], lag_policy="newest", spin=False
)
def test_whatever_happens_every_hop_gets_one_prediction_or_one_reason(model, chunk, steps, lag_policy, spin):
    script = acted(Script(chunk).play(4.0), steps)
    record = script.play(1.0).run(model, lag_policy=lag_policy, realtime={"spin": spin})
    check_every_hop(model, script)
    check_states(record)
    (end,) = record.of("end")
    rows = Counter(p.reason for _, _, p in record.rows)
    assert end["predictions"] == rows.pop(None, 0)
    assert sum(rows.values()) == sum(end["abstained"].values()) + end["heartbeats"]
    for event, counted in (("skipped", end["abstained"].get("skipped", 0)), ("belated", end["belated"])):
        assert sum(d["count"] for d in record.of(event)) == counted
    assert not (end["belated"] if lag_policy == "newest" else rows["skipped"])


class TestLossAndReturn:
    """S1, S2, S16, S17."""

    @pytest.mark.parametrize("variant", FITTING)
    def test_what_fits_is_decoded_again_after_a_handshake_and_a_warm_up(self, model, warm_up_s, variant):
        script = Script().play(6.0)
        left = script.time
        returned = script.lost(3.0).time
        record = script.back(variant).play(8.0).run(model)
        (lost,) = [row for row in record.rows if row[2].reason == "stream-lost"][:1]
        assert lost[0] - left <= HOP_S
        again = next(t for t, _, _ in record.decided if t > left)
        assert again - returned <= 3.0 + warm_up_s
        assert [s for s, _ in record.states[3:7]] == ["RUNNING", "LOST", "SEARCHING", "HANDSHAKE"]
        check_every_hop(model, script)

    def test_while_it_is_away_consumers_hear_of_it_every_second(self, model):
        script = Script().play(6.0)
        record = script.lost(5.0).run(model)
        times = [t for t, _, p in record.rows if p.reason == "stream-lost"]
        assert np.allclose(np.diff(times), ROUND_S) and len(times) == 5
        assert record.of("end")[0]["abstained"]["stream-lost"] == 1

    @pytest.mark.parametrize(
        ("variant", "told"),
        [
            ("other labels", "lacks 1 of the 4"),
            ("other rate", "runs at 256 Hz"),
            ("other unit", "none instead of uV"),
            ("other format", "int16 instead of float32"),
        ],
    )
    def test_what_does_not_fit_is_told_and_waited_out(self, model, variant, told):
        script = Script().play(6.0)
        left = script.time
        script.lost(1.0).back(variant).play(6.0)
        returned = script.lost(1.0).time
        record = script.back("same").play(6.0).run(model)
        (mismatch,) = [d for d in record.of("state") if d["reason"] == "mismatch"]
        assert told in mismatch["message"]
        decided = [t for t, _, _ in record.decided if t > left]
        assert decided and min(decided) > returned
        check_every_hop(model, script)

    def test_two_of_one_name_are_held_until_one_is_left(self, model):
        script = Script().play(6.0)
        left = script.time
        script.lost(1.0).duplicate(5.0).back().play(5.0)
        alone = script.time
        record = script.play(5.0).run(model)
        (held,) = [d for d in record.of("state") if d["reason"] == "ambiguous"]
        assert "2 streams could be meant" in held["message"]
        assert min(t for t, _, _ in record.decided if t > left) > alone

    def test_two_of_one_name_are_refused_at_the_start(self, model):
        with pytest.raises(StreamError, match="2 streams could be meant"):
            Script().duplicate(5.0).play(5.0).run(model)

    def test_a_source_id_that_was_asked_for_is_held_to(self, model):
        script = Script().play(6.0)
        left = script.time
        record = script.lost(1.0).back("other source_id").play(6.0).run(model, stream={"source_id": "serial-1"})
        assert not [t for t, _, _ in record.decided if t > left + HOP_S]

    def test_another_stream_of_the_same_type_is_not_taken_instead(self, model):
        script = Script().play(6.0)
        left = script.time
        record = script.lost(1.0).duplicate(5.0, name="next door").pause(5.0).run(model)
        assert not [t for t, _, _ in record.decided if t > left + HOP_S]
        assert record.states[-2] == ("SEARCHING", "stream-lost")


class TestStalls:
    """S3, S4, S19."""

    @pytest.mark.parametrize("chunk", [4, 8, 64])
    def test_silence_is_held_within_the_timer_and_a_hop(self, model, chunk):
        script = Script(chunk).play(6.0)
        last = START + (script.time - START) // (chunk / 128) * (chunk / 128)
        record = script.stall(5.0).run(model)
        times = [t for t, _, p in record.rows if p.reason == "stalled"]
        limit = max(0.5, 3 * chunk / 128)
        assert limit <= times[0] - last <= limit + HOP_S
        assert np.allclose(np.diff(times), 1.0) and len(times) >= 4
        assert record.states.count(("HOLD", "stalled")) == 1

    def test_a_stall_without_a_gap_resets_nothing(self, model):
        record = (script := Script().play(6.0).stall(3.0).play(2.0)).run(model)
        check_every_hop(model, script)
        assert [s for s, _ in record.states[3:7]] == ["RUNNING", "HOLD", "HOLD", "RUNNING"]
        assert [r for _, r in record.states[4:6]] == ["stalled", "skipped"]

    @pytest.mark.parametrize("step", [("stall", 3.0, 0.0), ("stall", 3.0, 1e-4), ("freeze", 3.0)])
    @pytest.mark.parametrize("chunk", [1, 8, 32])
    def test_of_a_backlog_only_the_newest_result_is_published(self, model, chunk, step):
        script = Script(chunk).play(6.0)
        resumed = script.time + 3.0
        getattr(script, step[0])(*step[1:])
        record = script.play(2.0).run(model)
        first, *_ = [row for row in record.decided if row[0] >= resumed]
        assert first[0] - resumed <= HOP_S
        assert first[0] - first[1] <= HOP_S + chunk / 128 + 5e-3
        skipped = sum(p.reason == "skipped" for _, _, p in record.rows)
        assert skipped >= (3.0 - chunk / 128) / HOP_S - 2
        assert sum(d["count"] for d in record.of("skipped")) == skipped
        check_every_hop(model, script)

    @pytest.mark.parametrize("chunk", [1, 8, 32])
    def test_every_result_of_a_backlog_is_published_if_asked_for_and_told(self, model, chunk):
        stall = Script(chunk).play(6.0).stall(3.0).play(2.0)
        record = stall.run(model, lag_policy="every")
        plain = Script(chunk).play(11.5).run(model)
        assert_same([p for _, _, p in record.decided], [p for _, _, p in plain.decided])
        belated = [t for t, stamp, _ in record.decided if t - stamp > 0.5 + chunk / 128]
        (told,) = record.of("belated")
        assert told["count"] >= len(belated) >= (2.5 - chunk / 128) / HOP_S - 2
        assert ("HOLD", "skipped") not in record.states

    def test_every_result_but_none_that_is_older_than_the_limit(self, model):
        script = Script().play(6.0).stall(3.0).play(2.0)
        record = script.run(model, lag_policy="every", max_age_s=1.0)
        assert 0.5 < max(published - stamp for published, stamp, _ in record.decided) <= 1.0
        skipped = sum(d["count"] for d in record.of("skipped"))
        belated = sum(d["count"] for d in record.of("belated"))
        assert skipped == sum(p.reason == "skipped" for _, _, p in record.rows) > 0 < belated
        check_every_hop(model, script)

    @pytest.mark.parametrize("speed", [0.1, 10.0])
    def test_a_replay_at_another_speed_is_decoded_without_a_stall_or_a_gap(self, model, speed):
        record = Script(16, speed).play(5.0 + 12.8 / speed).run(model)
        assert [s for s, _ in record.states] == ["SEARCHING", "HANDSHAKE", "WARMING", "RUNNING", "STOPPING"]
        assert np.allclose(np.diff([p.timestamp for _, _, p in record.decided]), HOP_S / speed)
        (end,) = record.of("end")
        assert end["predictions"] > 50 and set(end["abstained"]) == {"warming-up"} and not end["incidents"]

    def test_a_stop_of_the_decoder_is_an_overrun_and_no_stall(self, model):
        record = Script().play(6.0).freeze(3.0).play(1.0).run(model)
        (overrun,) = record.of("overrun")
        assert overrun["late_s"] == pytest.approx(3.0, abs=0.3)
        assert record.of("end")[0]["overruns"] == 1
        assert ("HOLD", "stalled") not in record.states

    def test_strict_ends_at_the_first_overrun(self, model):
        script = Script().play(6.0).freeze(3.0)
        with pytest.raises(DeadlineError, match="held up"):
            script.run(model, strict=True)
        assert script.world.record.of("end")[0]["overruns"] == 1

    def test_decisions_older_than_the_limit_are_counted_only(self, model):
        record = (script := Script(32).play(10.0)).run(model, max_age_s=0.1)
        ages = [published - stamp for published, stamp, _ in record.decided]
        assert ages and max(ages) <= 0.1
        skipped = [published - stamp for published, stamp, p in record.rows if p.reason == "skipped"]
        assert skipped and min(skipped) > 0.1
        check_every_hop(model, script)

    def test_large_chunks_are_no_backlog(self, model):
        record = Script(64).play(10.0).run(model)
        reasons = Counter(p.reason for _, _, p in record.rows)
        assert set(reasons) == {None, "warming-up"}


def test_an_interruption_while_a_session_is_written_ends_the_run(model, tmp_path, monkeypatch):
    script, end = Script().play(4.0).lost(2.0).back().play(4.0), SessionWriter.end

    def interrupted(writer, about):
        script.interrupts.ask()
        end(writer, about)

    monkeypatch.setattr(SessionWriter, "end", interrupted)
    record = script.run(model, save=tmp_path / "s.npz")
    assert [s for s, _ in record.states[-1:]] == ["STOPPING"] and len(record.of("start")) == 1
    assert (tmp_path / "s.npz").exists()


class TestKeepingSeveralConnections:
    @pytest.fixture
    def script(self):
        return Script().play(4.0).lost(2.0).back().play(4.0)

    def test_what_another_run_has_left_stays(self, model, script, tmp_path):
        (tmp_path / "s-2.npz").write_bytes(b"of another day")
        script.run(model, save=tmp_path / "s.npz")
        for name, inlet in zip(("s.npz", "s-3.npz"), script.world.inlets, strict=True):
            received = np.concatenate([samples for samples, _ in inlet.received])
            assert read_recording(tmp_path / name).samples.tobytes() == received.tobytes()
        assert (tmp_path / "s-2.npz").read_bytes() == b"of another day"

    def test_a_file_is_written_while_the_next_is_decoded(self, model, script, tmp_path, monkeypatch, eventually):
        finish, inlets = SessionWriter._finish, script.world.inlets

        def patient(writer, about):
            eventually(lambda: len(inlets) == 2, what="the next connection")
            return finish(writer, about)

        monkeypatch.setattr(SessionWriter, "_finish", patient)
        script.run(model, save=tmp_path / "s.npz")
        assert (tmp_path / "s.npz").exists() and (tmp_path / "s-2.npz").exists()

    def test_a_disk_that_is_full_is_told_at_once_and_decoding_goes_on(self, model, tmp_path, monkeypatch, eventually):
        opened = []

        class Full(SessionWriter):
            def _rows(self, chunk):
                if len(chunk.timestamps):
                    raise OSError(28, "No space left on device")
                return super()._rows(chunk)

            def add(self, *chunk):
                opened.append(self)
                super().add(*chunk)

        monkeypatch.setattr("rtdecode.saving.SessionWriter", Full)
        script = Script().play(2.0)
        script.world.at(script.time, lambda: eventually(lambda: opened[-1].problem, what="the problem"))
        record = script.play(2.0).run(model, save=tmp_path / "s.npz")
        ((at, message),) = [(at, told["message"]) for at, told in record.told if told["event"] == "not-saved"]
        assert "No space left on device" in message and at < START + 3.5
        assert [p for _, _, p in record.decided if p.timestamp > START + 3.5]

    def test_a_file_that_could_not_be_opened_counts_as_not_saved(self, model, tmp_path, recording):
        folder = tmp_path / "sessions"
        folder.mkdir()
        saving = Saving(folder / "s.npz", model.contract, Interrupts())
        folder.rmdir()
        with pytest.raises(ConfigurationError):
            saving.open(recording.signal, 1.0)
        assert len(saving.problems) == 1 and not saving.saved

    def test_a_file_that_cannot_be_opened_later_is_told_and_decoding_goes_on(self, model, tmp_path):
        folder = tmp_path / "sessions"
        folder.mkdir()
        script = Script().play(4.0)
        script.world.at(script.time, lambda: folder.rename(tmp_path / "moved"))
        record = script.lost(2.0).back().play(4.0).run(model, save=folder / "s.npz")
        assert len(record.of("start")) == 2 and record.of("not-saved")


class TestClockOffset:
    """S10."""

    @pytest.mark.parametrize(
        ("readings", "believed"),
        [
            ([(0.5, 1e-3)], True),
            ([(0.5, 9e-3)], False),
            ([(0.5, 9e-3), (0.5, 9e-3)], False),
            ([(0.5, 9e-3), (0.504, 9e-3), (0.498, 9e-3)], True),
            ([(0.5, 9e-3), (0.7, 9e-3), (0.5, 9e-3)], False),
        ],
    )
    def test_a_new_offset_is_believed_when_certain_or_three_times_the_same(self, model, readings, believed):
        script = Script()
        script.world.corrections = [(0.0, 1e-5)] * 3 + readings + [(0.0, 1e-5)]
        record = script.play(12.0).run(model)
        shifts = np.array([stamp - p.timestamp for _, stamp, p in record.decided])
        assert bool((np.abs(shifts - 0.5) < 5e-3).any()) == believed
        assert bool(record.of("correction")) == believed

    def test_it_moves_stamps_and_nothing_else(self, model):
        script, other = Script(), Script()
        script.world.corrections = [(0.0, 1e-5)] * 3 + [(1e5, 1e-5)]
        moved, plain = script.play(10.0).run(model), other.play(10.0).run(model)
        assert [at for at, _, _ in moved.rows] == [at for at, _, _ in plain.rows]
        assert_same([p for _, _, p in moved.rows], [p for _, _, p in plain.rows])
        shifted_at = START + ROUND_S + CONNECT_S + 3 * 1.0 + CHUNK_S
        assert {stamp - p.timestamp for at, stamp, p in moved.rows if at > shifted_at} == {1e5}
        assert {stamp - p.timestamp for at, stamp, p in moved.rows if at < shifted_at - CHUNK_S} == {0.0}

    @pytest.mark.parametrize("chunk", [1, 8, 64])
    @pytest.mark.parametrize("ahead_s", [1e5, -500.0, -0.25])
    def test_a_clock_that_is_set_is_one_reset_and_every_row_keeps_its_true_stamp(self, model, ahead_s, chunk):
        script = Script(chunk).play(5.0).set_clock(ahead_s)
        set_at = script.time
        record = script.play(10.0).run(model)
        first_stamp = script.world.inlets[0].received[0][1][0]
        errors = [stamp - (first_stamp + p.sample / 128) for _, stamp, p in record.rows]
        assert np.abs(errors).max() < 1e-3
        assert min(at for at, _, _ in record.decided) < set_at < max(at for at, _, _ in record.decided) - 5.0
        assert [d["reason"] for d in record.of("reset")] == ["clock"]
        assert [d["correction_s"] for d in record.of("correction")] == [-ahead_s]
        assert max(record.of("end")[0]["age_ms"].values()) < 1e3 * (HOP_S + chunk / 128)

    def test_stamps_that_are_not_to_be_believed_for_seconds_are_one_reset(self, model):
        script = Script().play(5.0)
        for _ in range(40):
            script.stamp(float("nan")).play(HOP_S).stamp(0.0).play(HOP_S)
        record = script.play(15.0).run(model)
        assert sum(p.reason == "clock" for _, _, p in record.rows) > 40
        assert [d["reason"] for d in record.of("reset")] == ["clock"]


class TestTelling:
    """What NAME-status and the log say."""

    def test_who_listens_later_gets_the_start_again(self, model):
        script = Script().play(4.0)
        script.world.record.listens = False
        script.world.at(script.time, lambda: setattr(script.world.record, "listens", True))
        first, again = script.play(4.0).run(model).of("start")
        assert (first.pop("repeated"), again.pop("repeated")) == (False, True) and first == again

    def test_the_log_says_what_the_status_stream_says(self, model, tmp_path):
        record = Script().play(6.0).stall(3.0).lost(2.0).run(model, log=tmp_path / "run.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
        assert lines == [{"time": t, **d} for t, d in record.told]
        assert all(np.isfinite(line["time"]) for line in lines)


class TestDecisions:
    """What a policy decides, and what becomes of it in a backlog."""

    POLICY = Policy(evidence=Exponential(tau_s=0.1), threshold=0.6, refractory_s=0.25)

    def decisions(self, model, script):
        """What a fresh decoder decides on all that the one connection received, by sample."""
        (inlet,) = script.world.inlets
        samples, stamps = (np.concatenate(part) for part in zip(*inlet.received, strict=True))
        made = Decoder(model, inlet.signal, policy=self.POLICY).push(samples, stamps)
        return {p.sample: p.decision for p in made if p.decision is not None}

    def test_what_is_published_is_what_the_policy_decides(self, model):
        record = (script := Script().play(12.0)).run(model, policy=self.POLICY)
        published = {p.sample: p.decision for _, _, p in record.rows if p.decision is not None}
        assert published == self.decisions(model, script) and len(published) > 3
        (end,) = record.of("end")
        assert (end["decisions"], end["decisions_skipped"]) == (len(published), 0)

    def test_the_start_tells_the_policy_in_force(self, model):
        (start,) = Script().play(4.0).run(model, policy=self.POLICY).of("start")
        assert start["settings"]["policy"] == self.POLICY.model_dump(mode="json")

    def test_a_decision_in_a_skipped_hop_is_never_published_and_told(self, model):
        script = Script(8).play(6.0).stall(3.0)
        record = script.play(3.0).run(model, policy=self.POLICY)
        expected, skipped = (
            self.decisions(model, script),
            {p.sample for _, _, p in record.rows if p.reason == "skipped"},
        )
        published = {p.sample: p.decision for _, _, p in record.rows if p.decision is not None}
        assert published == {sample: made for sample, made in expected.items() if sample not in skipped}
        lost = len(expected) - len(published)
        assert lost > 0 and sum(d["decisions"] for d in record.of("skipped")) == lost
        assert record.of("end")[0]["decisions_skipped"] == lost

    def test_a_policy_for_other_classes_ends_the_run_before_it_begins(self, model):
        with pytest.raises(ConfigurationError, match="the policy speaks of up"):
            Script().play(1.0).run(model, policy={"thresholds": {"up": 0.9}})
