"""Programs that listen to a decoder, which runs in another process. Real LSL on loopback."""

import itertools
import json
import re
import signal
import time
import uuid

import numpy as np
import pytest

import rtdecode
from rtdecode.lsl import local_clock
from tests.processes import Program, can_shift_clocks, run_rtdecode, shifted
from tests.processes import rtdecode as rtdecode_program
from tests.speaker import ABSTAINS_EVERY, HOP_S

# Not a timing, which other programs would spoil: waiting for a decoder that is not there takes seconds.
NEVER_BLOCKS_S = 0.5
SHIFT_S = 100_000


def speaker(name, marker_format="label", kind="classification", prefix=()):
    return Program("-m", "tests.speaker", name, marker_format, kind, prefix=prefix)


@pytest.fixture(scope="module")
def spoken():
    """The prefix of the names of five decoders that publish throughout."""
    prefix = uuid.uuid4().hex[:8]
    decoders = [
        (f"{prefix}-{kind}-{marker_format}", marker_format, kind)
        for kind in ("classification", "regression")
        for marker_format in ("label", "json", "int32")
        if (kind, marker_format) != ("regression", "int32")
    ]
    with Program("-m", "tests.speaker", *itertools.chain(*decoders)):
        yield prefix


class Frames:
    """A frame loop: what it was given, and how long the longest frame took."""

    def __init__(self, listener):
        self.listener = listener
        self.newest, self.decisions, self.took_s = [], [], []

    def frame(self):
        begun = time.perf_counter()
        newest, decisions = self.listener.poll(), self.listener.decisions()
        self.listener.connected  # noqa: B018
        self.took_s.append(time.perf_counter() - begun)
        self.newest += [newest] if newest else []
        self.decisions += decisions
        return self

    def hear_more(self, eventually):
        eventually(lambda: self.frame().listener.connected, what="the decoder")
        n_before = len(self.decisions)
        eventually(lambda: len(self.frame().decisions) > n_before + 10, what="decisions")


@pytest.fixture
def frames(names):
    """A frame loop that listens, before there is anybody to listen to."""
    with rtdecode.Listener(names[1], wait_s=0) as listener:
        yield Frames(listener)


def heard(name, eventually):
    """Listen to a decoder for some 20 decisions."""
    with rtdecode.Listener(name) as listener:
        frames = Frames(listener)
        eventually(lambda: any(output.abstained for output in frames.frame().newest), what="an abstention")
        eventually(lambda: len(frames.frame().decisions) > 20 and len(frames.newest) > 20, what="20 decisions")
    assert not any(output.abstained for output in frames.decisions)
    return [output for output in frames.newest if not output.abstained], frames.decisions


@pytest.mark.parametrize("marker_format", ["label", "json", "int32"])
def test_predictions_and_decisions_are_what_was_said(spoken, eventually, marker_format):
    newest, decisions = heard(f"{spoken}-classification-{marker_format}", eventually)
    assert {output.proba["left"] for output in newest} <= {0.125, 0.375, 0.625, 0.875}
    for output in newest + (decisions if marker_format == "json" else []):
        assert output.proba == {"left": output.proba["left"], "right": 1 - output.proba["left"]}
        assert output.label == max(output.proba, key=output.proba.get) and output.values is None
    assert {output.label for output in decisions} == {"left", "right"}


@pytest.mark.parametrize("marker_format", ["label", "json"])
def test_a_decoder_of_continuous_targets_gives_values(spoken, eventually, marker_format):
    newest, decisions = heard(f"{spoken}-regression-{marker_format}", eventually)
    for output in newest + decisions:
        assert output.label is output.proba is None
        assert output.values == {"x": output.values["x"], "y": 1 - output.values["x"]}


def test_a_slow_program_loses_no_decision(spoken, eventually):
    with rtdecode.Listener(f"{spoken}-classification-label") as listener:
        until = local_clock() + 1.0
        eventually(lambda: (newest := listener.poll()) and newest.timestamp > until, what="a second")
        decisions = listener.decisions()
    since_first = np.array([output.timestamp for output in decisions]) - decisions[0].timestamp
    hops = (since_first / HOP_S).round().astype(int)
    missing = sorted(set(range(hops[-1])) - set(hops))
    assert len(hops) > 0.8 / HOP_S and np.abs(since_first / HOP_S - hops).max() < 1e-3
    assert set(np.diff(missing)) == {ABSTAINS_EVERY} and set(np.diff(hops)) == {1, 2}


def test_ages_are_those_of_the_data(spoken, eventually):
    with rtdecode.Listener(f"{spoken}-classification-label") as listener:
        newest = eventually(listener.poll, what="a prediction")
    before, age, after = local_clock() - newest.timestamp, newest.age_s, local_clock() - newest.timestamp
    assert newest.timestamp <= newest.received and 0 < before <= age <= after
    assert newest.age_s > age


@pytest.mark.skipif(not can_shift_clocks(), reason="this system does not allow time namespaces")
def test_ages_are_right_when_the_decoder_has_another_clock(names, frames, eventually):
    with speaker(names[1], prefix=shifted(SHIFT_S)):
        frames.hear_more(eventually)
        before = local_clock()
        newest = eventually(frames.listener.poll, what="a prediction")
    # What was said before the first reading of the clock was waiting; the newest is some hops old at most.
    assert abs(newest.timestamp - before) < NEVER_BLOCKS_S < SHIFT_S


def test_no_frame_waits_when_the_decoder_dies_and_when_it_comes_back(names, frames, eventually):
    for _ in range(2):
        with speaker(names[1]) as decoder:
            frames.hear_more(eventually)
            decoder.kill()
            eventually(lambda: not frames.frame().listener.connected, what="the loss")
    assert max(frames.took_s) < NEVER_BLOCKS_S
    print("frame, us: p50, p99, max", *np.percentile(np.array(frames.took_s) * 1e6, [50, 99, 100]).round(1))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
@pytest.mark.parametrize("restarted", [False, True])
def test_a_frozen_decoder_is_not_connected_until_it_thaws_or_another_comes(names, frames, eventually, restarted):
    with speaker(names[1]) as decoder:
        frames.hear_more(eventually)
        decoder.signal(signal.SIGSTOP)
        eventually(lambda: not frames.frame().listener.connected, what="the loss")
        assert not frames.listener.poll()
        if restarted:
            with speaker(names[1], "int32"):
                frames.hear_more(eventually)
        else:
            decoder.signal(signal.SIGCONT)
            frames.hear_more(eventually)
    assert max(frames.took_s) < NEVER_BLOCKS_S


def test_nobody_is_there(names):
    with pytest.raises(rtdecode.DeadlineError, match=f"No decoder '{names[1]}' within 0.3 s. Is `rtdecode run"):
        rtdecode.Listener(names[1], wait_s=0.3)


def test_a_stream_that_is_no_decoder_is_refused(names):
    with (
        Program("-m", "tests.outlet", names[0], "serial-1", "128", "E0,E1"),
        pytest.raises(rtdecode.StreamError, match=f"'{names[0]}' is no output of `rtdecode run`"),
    ):
        rtdecode.Listener(names[0], wait_s=20)


def test_a_name_that_cannot_be_looked_for_is_refused():
    with pytest.raises(rtdecode.ConfigurationError, match="holds a quotation mark"):
        rtdecode.Listener("subject's")


def test_a_program_that_forgets_to_close_ends(spoken):
    name = f"{spoken}-classification-json"
    with Program(
        "-c", f"import rtdecode; listener = rtdecode.Listener({name!r}); print(listener.connected)"
    ) as program:
        assert program.wait() == 0 and program.lines == ["True"]


@pytest.mark.parametrize(
    ("stream", "pattern"),
    [
        pytest.param("classification-int32", r"0 \(left\)|1 \(right\)", marks=pytest.mark.slow),
        ("classification-json", "label (left, index 0|right, index 1), proba .*"),
        ("classification-label-proba", r"left 0\.\d+  right 0\.\d+  -> (left|right)|abstained"),
        ("classification-label-status", r"event abstain, reason filling, sample \d+"),
        pytest.param("regression-label-values", r"x 0\.\d+  y 0\.\d+|abstained", marks=pytest.mark.slow),
    ],
)
def test_listen_prints_time_age_and_values(spoken, stream, pattern):
    code, output = run_rtdecode("listen", f"{spoken}-{stream}", "--seconds", 0.5)
    rows = [re.fullmatch(r"(\d+\.\d{6})  age +(\d+\.\d) ms  (.+)", line) for line in output.splitlines()]
    assert code == 0 and len(rows) > 3 and all(re.fullmatch(pattern, row[3]) for row in rows)
    stamps = [float(row[1]) for row in rows]
    assert stamps == sorted(stamps) and abs(local_clock() - stamps[-1]) < 60


def test_listen_prints_json_for_programs(spoken):
    code, output = run_rtdecode("listen", f"{spoken}-classification-label-proba", "--json", "--seconds", 0.3)
    rows = [json.loads(line) for line in output.splitlines()]
    assert code == 0 and len(rows) > 10
    assert all(row["age_s"] == row["received"] - row["timestamp"] > 0 for row in rows)
    assert {row["label"] for row in rows} == {-1.0, 0.0, 1.0} and {None, 0.125} <= {row["left"] for row in rows}


def test_listen_waits_for_a_decoder_that_went_away(names, eventually):
    with rtdecode_program("listen", names[1]) as listen:
        for n_away in (0, 1):
            with speaker(names[1]):
                eventually(lambda: listen.saw("back") if n_away else listen.saw("age"), what="a row")  # noqa: B023
            eventually(lambda: listen.saw("away; waiting for it"), what="the loss")
        listen.interrupt(signal.SIGINT)
        assert listen.wait() == 0


def test_listen_tells_that_nobody_is_there(names):
    code, output = run_rtdecode("listen", names[1], "--wait", 0.3)
    assert code == 6 and f"No stream '{names[1]}' within 0.3 s. Is `rtdecode run` running?" in output
