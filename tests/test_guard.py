"""Time: what was lost, what is wrong with stamps, how fast a stream runs; and that chunks do not matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.guard import Guard, GuardSettings

SFREQ = 250.0


def clean(n, sfreq=SFREQ):
    samples = np.random.default_rng(0).standard_normal((n, 2))
    return samples, 5.0 + np.arange(n) / sfreq


def watch(samples, stamps, sizes=(), counts=None, sfreq=SFREQ, **settings):
    """Return the guard and what it told: (index, fault, reason) where something broke, (index, lost) where mended."""
    guard, at, told = Guard(sfreq, GuardSettings(**settings)), 0, []
    for size in [*sizes, len(stamps)]:
        cut = slice(at, at + size)
        for s in guard.check(samples[cut], stamps[cut], None if counts is None else counts[cut]):
            assert len(s.samples) == len(s.timestamps)
            if s.fault:
                told.append((at + s.start, s.fault, s.reason))
            if s.imputed:
                told.append((at + s.start, len(s.samples)))
        at += size
    return guard, told


def without(n, at, lost):
    """Return a clean stream of which `lost` samples before `at` never arrived."""
    samples, stamps = clean(n + lost)
    kept = np.r_[:at, at + lost : n + lost]
    return samples[kept], stamps[kept]


def test_a_clean_stream_has_no_fault():
    guard, told = watch(*clean(500), sizes=[1, 7, 0, 20])
    assert told == [] and not guard.incidents and guard.clock.smallest_gap == 1


@pytest.mark.parametrize("sfreq", [0.5, 1.0, 1.6, 2.0, 10.0])
def test_a_slow_stream_has_none_either(sfreq):
    guard, told = watch(*clean(500, sfreq), sizes=[1, 7, 0, 20], sfreq=sfreq)
    assert told == [] and not guard.incidents


@pytest.mark.parametrize("at", [16, 17, 49, 300])
@pytest.mark.parametrize(("lost", "mended"), [(1, True), (2, True), (3, False), (250, False)])
def test_s6_lost_samples_are_found_at_their_place(at, lost, mended):
    guard, told = watch(*without(400, at, lost), sizes=[10, 7])
    assert told == ([(at, lost)] if mended else [(at, "gap", None)])
    assert guard.incidents == ({"imputed": 1} if mended else {"gap": 1})


@pytest.mark.parametrize("lost", [1, 2, 3, 250])
@pytest.mark.parametrize("at", range(1, 16))
def test_s6_a_gap_among_the_first_16_voids_them_all(at, lost):
    assert watch(*without(100, at, lost))[1] == [(15, "gap", None)]


def test_a_lost_sample_is_stood_in_for_by_the_last_one_and_has_its_own_stamp():
    samples, stamps = without(100, 40, 2)
    segments = list(Guard(SFREQ).check(samples, stamps))
    (segment,) = [s for s in segments if s.imputed]
    assert np.array_equal(segment.samples, samples[[39, 39]])
    assert np.allclose(segment.timestamps, 5.0 + np.array([40, 41]) / SFREQ)
    assert sum(len(s.samples) for s in segments) == 102


@pytest.mark.parametrize(
    ("minutes", "late"),
    [
        (60, lambda rng, n: rng.normal(0, 0.01, n)),
        (10, lambda rng, n: rng.normal(0, 0.0007, n)),
        (60, lambda rng, n: (63 - (np.arange(n) + 17) % 64) / SFREQ),
        (10, lambda rng, n: (7 - np.arange(n) % 8) / SFREQ),
    ],
    ids=["10 ms", "0.7 ms", "a stamp per 64", "a stamp per 8"],
)
def test_s5_jitter_gives_no_false_gap(minutes, late):
    n = int(60 * minutes * SFREQ)
    stamps = 1e6 + np.arange(n) / SFREQ + late(np.random.default_rng(1), n)
    guard, told = watch(np.zeros((n, 1)), stamps, sizes=[4096] * (n // 4096))
    assert told == [] and not guard.incidents
    assert abs(guard.clock.deviation) < 2e-4


@pytest.mark.parametrize("lost", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_s6_with_little_jitter_every_gap_of_two_is_found_within_a_hop(lost, seed):
    samples, stamps = without(5000, 4000, lost)
    stamps = stamps + np.random.default_rng(seed).normal(0, 0.19 / SFREQ, 5000)
    (found,) = watch(samples, stamps)[1]
    assert 4000 <= found[0] < 4008


@pytest.mark.parametrize("seed", range(5))
def test_s6_with_much_jitter_gaps_of_six_sigma_are_found_within_2_s(seed):
    samples, stamps = without(5000, 4000, 15)
    stamps = stamps + np.random.default_rng(seed).normal(0, 0.01, 5000)
    guard, told = watch(samples, stamps)
    assert [t[1] for t in told] == ["gap"] and 4000 <= told[0][0] < 4000 + 2 * SFREQ
    assert 13 <= guard.clock.smallest_gap <= 18


@pytest.mark.parametrize(("lost", "expected"), [(1, [(400, 1)]), (3, [(400, "gap", None)])])
@pytest.mark.parametrize("modulus", [None, 256])
def test_s6_a_counter_finds_every_gap_whatever_the_stamps(lost, expected, modulus):
    samples, stamps = without(1000, 400, lost)
    counts = np.rint((stamps - 5.0) * SFREQ)
    counts = np.mod(counts, modulus) if modulus else counts
    stamps = stamps + np.random.default_rng(0).normal(0, 0.01, 1000)
    assert watch(samples, stamps, [7, 393, 1], counts, counter_modulus=modulus)[1] == expected


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("modulus", [None, 256])
def test_s6_a_counter_that_is_no_number_once_is_a_gap_of_unknown_length_before_it_and_after_it(value, modulus):
    samples, stamps = clean(200)
    counts = np.mod(np.arange(200.0), modulus or math.inf)
    counts[100] = value
    told = watch(samples, stamps, [60, 40, 1], counts, counter_modulus=modulus)[1]
    assert told == [(100, "gap", None), (101, "gap", None)]


def test_s6_a_counter_that_starts_anew_is_a_gap_of_unknown_length():
    samples, stamps = clean(200)
    counts = np.r_[np.arange(100.0), np.arange(100.0)]
    assert watch(samples, stamps, counts=counts)[1] == [(100, "gap", None)]


@pytest.mark.parametrize(
    ("true_rate", "refused", "warned"), [(250.0, 0, 0), (250.4, 0, 0), (250.6, 0, 1), (252.0, 0, 1), (253.0, 1, 1)]
)
def test_s7_the_effective_rate_is_told_and_a_wrong_one_refused(true_rate, refused, warned):
    n = int(70 * true_rate)
    stamps = 1e6 + np.arange(n) / true_rate + np.random.default_rng(0).normal(0, 0.0005, n)
    guard, _ = watch(np.zeros((n, 1)), stamps)
    assert guard.clock.deviation == pytest.approx(true_rate / 250 - 1, abs=2e-4)
    assert (guard.incidents["rate"], guard.incidents["rate-warning"]) == (refused, warned)
    assert (guard.clock.refusal == "rate") == bool(refused)


def test_s7_a_stream_of_twice_its_rate_is_refused_soon():
    samples, _ = clean(2000)
    _, told = watch(samples, np.arange(2000) / 500)
    assert told[0][1:] == ("rate", "rate") and told[0][0] <= 2.5 * 500


@pytest.mark.parametrize("shift", [-1.0, -0.02, -1e5, 1e5])
def test_s8_another_time_is_believed_after_three_stamps_with_one_reset(shift):
    samples, stamps = clean(300)
    stamps[200:] += shift
    guard, told = watch(samples, stamps)
    assert told == [(202, "clock", None)]
    assert guard.incidents == {"clock": 1, "bad-stamp": 2}


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -3.0, "repeat"])
def test_s8_s9_single_wrong_stamps_are_replaced(value):
    samples, stamps = clean(1000)
    wrong, true = stamps.copy(), stamps
    for at in (0, 40, 300, 301):
        wrong[at] = wrong[at - 1] if value == "repeat" else value
    if value in (0.0, -3.0, "repeat"):
        wrong[0] = true[0]
    segments = list(Guard(SFREQ).check(samples, wrong))
    assert all(s.fault in (None, "clock") and s.start < 1 for s in segments if s.fault)
    used = np.concatenate([s.timestamps for s in segments])
    assert np.allclose(used[1:], true[1:], atol=1e-6)


@pytest.mark.parametrize(("n_bad", "refused"), [(25, False), (26, True)])
def test_s9_more_than_one_percent_of_wrong_stamps_in_10_s_are_refused(n_bad, refused):
    samples, stamps = clean(5000)
    stamps[500 : 500 + 9 * n_bad : 9] = np.nan
    guard, told = watch(samples, stamps)
    assert [t[1:] for t in told] == [("clock", "clock")] * refused
    assert guard.clock.refusal is None


def test_a_wider_tolerance_can_be_asked_for():
    samples, stamps = without(100, 40, 3)
    assert watch(samples, stamps, gap_tolerance_ms=15)[1] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("n", "told"), [(1, [(10, 1)]), (2, [(10, 1), (11, 1)])])
def test_s11_values_that_are_not_finite_are_held_for_two_samples(value, n, told):
    samples, stamps = clean(30)
    samples[10 : 10 + n, 1] = value
    guard, found = watch(samples, stamps)
    assert found == told and guard.incidents == {"imputed": n}


def test_s11_more_are_a_fault_and_no_decoded_sample_is_not_finite():
    samples, stamps = clean(30)
    samples[10:15, 1] = np.nan
    assert watch(samples, stamps)[1] == [(10, 1), (11, 1), (12, "non-finite", "non-finite")]
    segments = list(Guard(SFREQ).check(samples, stamps))
    assert all(np.isfinite(s.samples).all() for s in segments if s.reason is None)


def test_s11_lost_and_wrong_samples_in_a_row_are_counted_together():
    samples, stamps = without(60, 40, 1)
    samples[40:42] = np.nan
    assert watch(samples, stamps)[1] == [(40, 1), (40, 1), (41, "non-finite", "non-finite")]


@pytest.mark.parametrize("rate", [250.0, 251.0, 253.0])
@pytest.mark.parametrize("size", [1, 25, 32, 33, 500])
def test_what_was_learned_of_a_minute_is_the_same_to_the_last_bit_for_any_chunking(rate, size):
    n = int(70 * rate)
    stamps = 1e4 + np.arange(n) / rate + np.random.default_rng(0).normal(0, 0.0005, n)
    stamps[5000:] += 40 / SFREQ
    samples = np.zeros((n, 1))
    guard, told = watch(samples, stamps, [size] * (n // size))
    whole, expected = watch(samples, stamps)
    assert told == expected and guard.drain() == whole.drain()
    learned, once = ([c.tolerance, c.deviation, c.recent_deviation, c.expected()] for c in (guard.clock, whole.clock))
    assert learned == once


@pytest.mark.parametrize("rate", [249.9, 250.0, 251.0])
def test_the_rate_is_that_of_a_straight_line_through_the_last_minute(rate):
    n = int(200 * rate)
    stamps = 1e4 + np.arange(n) / rate + np.random.default_rng(1).normal(0, 0.001, n)
    guard, _ = watch(np.zeros((n, 1)), stamps)
    last = slice(n - int(60 * rate), n)
    slope = np.polyfit(stamps[last] - stamps[-1], np.arange(n)[last], 1)[0]
    assert guard.clock.deviation == pytest.approx(slope / SFREQ - 1, abs=2e-6)


@given(
    sizes=st.lists(st.integers(0, 40), max_size=12),
    bad=st.dictionaries(st.integers(0, 399), st.sampled_from(["nan", "gap", "back", "stamp", "both"]), max_size=8),
    jitter=st.sampled_from([0.0, 0.0005, 0.01]),
)
def test_the_verdict_does_not_depend_on_chunking(sizes, bad, jitter):
    samples, stamps = clean(400)
    stamps = stamps + np.random.default_rng(0).normal(0, jitter, 400)
    for at, kind in bad.items():
        if kind in ("nan", "both"):
            samples[at, 0] = np.nan
        if kind in ("gap", "both"):
            stamps[at:] += 0.5
        if kind == "back":
            stamps[at:] -= 0.3
        if kind == "stamp":
            stamps[at] = np.nan
    guard, told = watch(samples, stamps, sizes)
    whole, expected = watch(samples, stamps)
    assert told == expected and guard.incidents == whole.incidents and guard.drain() == whole.drain()


@pytest.mark.parametrize("refusal", ["clock", "rate"])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_refusal_begins_and_ends_at_the_same_sample_whatever_the_chunks(refusal, size):
    samples, stamps = clean(8000)
    if refusal == "clock":
        stamps[500:600:2] = np.nan
    else:
        stamps[:1500] = stamps[1500] - 1.03 * (1500 - np.arange(1500)) / SFREQ
    guard, reasons = Guard(SFREQ, GuardSettings()), []
    for at in range(0, len(stamps), size):
        for s in guard.check(samples[at : at + size], stamps[at : at + size]):
            reasons += [s.reason] * len(s.timestamps)
    whole = [s.reason for s in Guard(SFREQ, GuardSettings()).check(samples, stamps) for _ in s.timestamps]
    assert reasons == whole and refusal in reasons and reasons[-1] is None
