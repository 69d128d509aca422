"""Counting decisions against the truth, tuning a policy on it, and what is kept of both."""

import csv

import numpy as np
import pytest

from offline.tune import curve, grid, tune
from rtdecode.contract import Policy
from rtdecode.decisions import NOT_COUNTED, OUTSIDE, Course, decision_figures, tally
from rtdecode.engine import read_model
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.scoring import rate
from tests.builders import CLASSES, build_contract, build_model, build_recording
from tests.processes import run_rtdecode

NAMES = ("left", "right", "rest")
SFREQ, HOP = 100.0, 10


def build_course(trial, truth, proba=None, events=None):
    """One hop every 0.1 s; `trial` tells whose each is."""
    n = len(trial)
    proba = np.full((n, 3), 1 / 3, np.float32) if proba is None else np.array(proba, np.float32)
    trial = np.array(trial, np.int64)
    events = [HOP * int(np.flatnonzero(trial == i)[0]) for i in range(len(truth))] if events is None else events
    return Course(HOP * np.arange(n), proba, trial, np.array(truth), np.array(events), HOP / SFREQ, SFREQ)


def count(trial, truth, decided, **more):
    return tally([build_course(trial, truth, **more)], [np.array(decided, np.int64)])


class TestTally:
    def test_the_first_decision_of_a_trial_counts_and_others_are_counted(self):
        t = count([0, 0, 0, OUTSIDE, 1, 1, 1], [0, 1], [-1, 1, 0, -1, -1, 1, -1])
        assert t.first.tolist() == [1, 1] and t.n.tolist() == [2, 1]
        assert t.right.tolist() == [False, True] and t.gain == 0.0
        assert t.time_s.tolist() == pytest.approx([0.1, 0.1]) and t.median_s == pytest.approx(0.1)

    def test_what_is_decided_outside_of_trials_is_false(self):
        t = count([OUTSIDE] * 5 + [0], [0], [0, -1, 1, -1, -1, 0])
        assert t.n_false == 2 and t.minutes == pytest.approx(0.5 / 60)

    def test_what_is_not_counted_is_neither(self):
        t = count([NOT_COUNTED, NOT_COUNTED, 0], [0], [1, 1, 0])
        assert t.n_false == 0 and t.minutes == 0 and np.isnan(t.false_per_minute) and t.right.all()

    def test_a_trial_without_a_decoded_hop_asks_nothing(self):
        proba = [[np.nan] * 3] * 2 + [[1 / 3] * 3] * 2
        assert count([0, 0, 1, 1], [0, 1], [-1, -1, 1, -1], proba=proba).truth.tolist() == [1]

    def test_without_decisions_nothing_is_right_and_nothing_false(self):
        t = count([0, OUTSIDE], [0], [-1, -1])
        assert (t.gain, t.n_false, t.false_per_minute) == (0.0, 0, 0.0) and np.isnan(t.median_s)


def test_decisions_that_know_nothing_are_at_their_chance():
    rng = np.random.default_rng(0)
    trial = np.repeat(np.where(np.arange(80) % 2, np.arange(80) // 2, OUTSIDE), 20)
    course = build_course(trial, rng.integers(0, 2, 40))
    decided = np.where(rng.random(len(trial)) < 0.1, rng.integers(0, 2, len(trial)), -1)
    for figure in decision_figures([course], [decided]):
        assert figure.low <= figure.chance <= figure.high, figure


def test_the_interval_of_a_rate_is_the_exact_poisson_one():
    """Garwood's table: of 0 events up to 3.69, of 10 from 4.80 to 18.39."""
    assert (rate(0, 1.0, "", 0.0).low, rate(0, 1.0, "", 0.0).high) == (0.0, pytest.approx(3.689, abs=1e-3))
    ten = rate(10, 2.0, "", 0.0)
    assert (ten.value, ten.low, ten.high) == (5.0, pytest.approx(2.398, abs=1e-3), pytest.approx(9.195, abs=1e-3))


def telling_course(n=20, seed=0):
    """Trials in which the right class becomes probable, and rest in which left sometimes does."""
    rng = np.random.default_rng(seed)
    trial = np.repeat(np.where(np.arange(2 * n) % 2, np.arange(2 * n) // 2, OUTSIDE), 30)
    truth = rng.integers(0, 2, n)
    logits = rng.normal(0, 0.7, (len(trial), 2))
    for i, label in enumerate(truth):
        logits[trial == i, label] += 2.0
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return build_course(trial, truth, proba)


class TestTuning:
    POLICIES = grid(2, 3.0, 1.0)[::3]

    @pytest.mark.parametrize("wanted", [0.5, 4.0])
    def test_the_best_keeps_to_the_rate_and_none_that_does_gains_more(self, wanted):
        best, tried = tune([telling_course()], self.POLICIES, NAMES[:2], wanted)
        assert best.tally.false_per_minute <= wanted
        assert best.tally.gain == max(t.tally.gain for t in tried if t.tally.false_per_minute <= wanted) > 0.5
        assert {t.policy.threshold for t in curve(best, tried)} == {p.threshold for p in self.POLICIES}

    def test_a_rate_that_cannot_be_kept_is_told(self):
        course = telling_course()
        backwards = build_course(course.trial, 1 - course.truth, course.proba, course.events)
        with pytest.raises(ConfigurationError, match=r"at most 2 false activations per minute .* right than wrong"):
            tune([backwards], self.POLICIES, NAMES[:2], 2.0)

    def test_recordings_without_rest_are_told(self):
        course = telling_course()
        everywhere = build_course(np.maximum(course.trial, 0), course.truth, course.proba, course.events)
        with pytest.raises(RecordingError, match="nothing outside of trials"):
            tune([everywhere], self.POLICIES[:2], NAMES[:2], 2.0)


@pytest.fixture
def telling(tmp_path):
    """A decoder of power and a recording of which it tells something: (model, recording)."""
    recording = build_recording(6000)
    onsets = {recording.sample_at(e.timestamp): e.label for e in recording.events}
    for at, label in onsets.items():
        recording.samples[at : at + 128] += 60 if label == "left" else -60
    recording.save(tmp_path / "r.npz")
    return tmp_path / "m.onnx", tmp_path / "r.npz"
