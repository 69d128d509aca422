"""Sources in time namespaces: clocks that are 10^5 s away, and others after a restart. Real LSL, real processes."""

import json

import pytest

from rtdecode.lsl import local_clock
from tests.listener import Listener, first_stamp, source
from tests.processes import can_shift_clocks, rtdecode, shifted

pytestmark = pytest.mark.skipif(not can_shift_clocks(), reason="this system does not allow time namespaces")

SFREQ = 128
N_DECISIONS = 5
# What a clock may be off by; a wrong one here is off by at least the difference of two shifts.
TOLERANCE_S = 1e-3


class Life:
    """One outlet: how far its clock is from ours, its first stamp, and between which times it was decoded."""

    def __init__(self, shift_s, first_stamp, began, ended):
        self.shift_s, self.first_stamp, self.began, self.ended = shift_s, first_stamp, began, ended


def live(amplifier, shift_s, until, listener):
    """Wait until a source is decoded, kill it and wait for its loss."""
    began, n_lost = local_clock(), len(listener.states("LOST"))
    until(lambda: len(listener.decided(began)) > N_DECISIONS, "decisions")
    amplifier.kill()
    until(lambda: len(listener.states("LOST")) > n_lost, "the loss")
    return Life(shift_s, first_stamp(amplifier), began, local_clock())


@pytest.mark.parametrize(
    "shifts", [(100_000, 0), pytest.param((0, 100_000, 100_001, 1, 0, 500_000), marks=pytest.mark.slow)]
)
def test_stamps_lie_in_our_clock_whatever_clock_the_source_comes_back_with(model_path, names, eventually, shifts):
    def start(shift_s):
        return source(names[0], prefix=shifted(shift_s) if shift_s else ())

    # The first life is over before who listens late would be told of its start again.
    run = ("--stream", names[0], "--name", names[1], "--marker-format", "json", "--wait-listener")
    with start(shifts[0]) as first, rtdecode("run", "--model", model_path, *run) as decoder:
        listener = Listener(names[1])

        def until(condition, what):
            return eventually(lambda: listener.listen() or condition(), what=what)

        lives = [live(first, shifts[0], until, listener)]
        for shift_s in shifts[1:]:
            with start(shift_s) as again:
                lives.append(live(again, shift_s, until, listener))
        decoder.interrupt()
        until(lambda: listener.of("end"), "the end")
        listener.close()
    starts = listener.of("start")
    assert [d["correction_s"] for d in starts] == [pytest.approx(-s, abs=TOLERANCE_S if s else 0) for s in shifts]
    errors, ages = [], []
    for life, start in zip(lives, starts, strict=True):
        # Which of the source's samples was the first that was received.
        since_first = (start["first_timestamp"] - life.first_stamp) * SFREQ
        assert since_first == pytest.approx(round(since_first), abs=1e-3) and since_first > -0.5
        for received, stamp, (marker,) in listener.decided(life.began):
            if received <= life.ended:
                taken = life.first_stamp + (round(since_first) + json.loads(marker)["sample"]) / SFREQ - life.shift_s
                errors.append(stamp - taken)
                ages.append(received - stamp)
    print(f"{len(errors)} stamps off by {min(errors)} to {max(errors)} s; ages {min(ages)} to {max(ages)} s")
    assert len(errors) == len(listener.markers) > N_DECISIONS * len(shifts)
    assert max(map(abs, errors)) < TOLERANCE_S
    assert min(ages) > 0 and max(ages) < 5.0
    # One story for each loss, and none of a clock: it is another outlet's, not one that jumped.
    assert [d["reason"] for d in listener.of("reset")] == ["stream-lost"] * len(shifts)
    assert not [d for event in ("gap", "correction", "incident") for d in listener.of(event)]
    (end,) = listener.of("end")
    assert end["states"]["LOST"] == {"stream-lost": len(shifts)} and not end["incidents"]
    assert end["age_ms"]["p50"] > 0 and end["age_ms"]["max"] < 5e3
