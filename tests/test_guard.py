import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.guard import Guard

SFREQ = 100.0


def clean(n):
    return np.zeros((n, 2)), 5.0 + np.arange(n) / SFREQ


def verdicts(samples, stamps, sizes=(), tolerance_s=None):
    """Return (index, fault, sound) of every sample at which something changes."""
    guard, at, told = Guard(SFREQ, tolerance_s), 0, []
    for size in [*sizes, len(stamps)]:
        for segment in guard.check(samples[at : at + size], stamps[at : at + size]):
            start = at + segment.start
            if segment.fault or not told or told[-1][2] != segment.sound:
                told.append((start, segment.fault, segment.sound))
        at += size
    return told


def test_a_clean_stream_has_no_fault():
    assert verdicts(*clean(50), sizes=[1, 7, 0, 20]) == [(0, None, True)]


@pytest.mark.parametrize("lost", [1, 2, 3, 250])
@pytest.mark.parametrize("at", [1, 17, 49])
def test_lost_samples_are_a_gap_at_their_place(lost, at):
    samples, stamps = clean(50)
    stamps[at:] += lost / SFREQ
    assert verdicts(samples, stamps, sizes=[10, 7]) == [(0, None, True), (at, "gap", True)]


@pytest.mark.parametrize("shift", [-1.0, -0.02, -1e5])
def test_stamps_that_go_back_are_a_clock_fault(shift):
    samples, stamps = clean(30)
    stamps[20:] += shift
    assert verdicts(samples, stamps)[1] == (20, "clock", True)


def test_a_wider_tolerance_lets_jitter_pass():
    samples, stamps = clean(200)
    stamps = stamps + np.random.default_rng(0).uniform(0, 0.02, 200)
    assert len(verdicts(samples, stamps)) > 1
    assert verdicts(samples, stamps, tolerance_s=0.025) == [(0, None, True)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_set_apart(value):
    samples, stamps = clean(30)
    samples[10:13, 1] = value
    assert verdicts(samples, stamps) == [(0, None, True), (10, "non-finite", False), (13, None, True)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_stamps_that_are_not_finite_are_a_clock_fault(value):
    samples, stamps = clean(30)
    stamps[10:12] = value
    assert verdicts(samples, stamps) == [(0, None, True), (10, "clock", False), (12, None, True)]


@given(
    sizes=st.lists(st.integers(0, 12), max_size=12),
    bad=st.dictionaries(st.integers(0, 59), st.sampled_from(["nan", "gap", "back", "stamp", "both"]), max_size=8),
)
def test_the_verdict_does_not_depend_on_chunking(sizes, bad):
    samples, stamps = clean(60)
    for at, kind in bad.items():
        if kind in ("nan", "both"):
            samples[at, 0] = np.nan
        if kind in ("gap", "both"):
            stamps[at:] += 0.5
        if kind == "back":
            stamps[at:] -= 0.3
        if kind == "stamp":
            stamps[at] = np.nan
    assert verdicts(samples, stamps, sizes) == verdicts(samples, stamps)
