"""Counting decisions against the truth, tuning a policy on it, and what is kept of both."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from offline.tune import course_of, curve, figures_of, grid, tune, with_policy
from rtdecode.contract import Policy
from rtdecode.decisions import NOT_COUNTED, OUTSIDE, Course, decision_figures, tally
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, RecordingError, RecordingWarning
from rtdecode.model_file import read_model, rewrite
from rtdecode.recording import read_recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import rate
from tests.builders import build_telling_model, build_telling_recording
from tests.processes import run_rtdecode

NAMES = ("left", "right")
SFREQ, HOP = 100.0, 10


def build_course(trial, truth, proba=None, events=None):
    """One hop every 0.1 s; `trial` tells whose each is."""
    n = len(trial)
    proba = np.full((n, 2), 0.5, np.float32) if proba is None else np.array(proba, np.float32)
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
        proba = [[np.nan] * 2] * 2 + [[0.5] * 2] * 2
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
        best, tried = tune([telling_course()], self.POLICIES, NAMES, wanted)
        assert best.tally.false_per_minute <= wanted
        assert best.tally.gain == max(t.tally.gain for t in tried if t.tally.false_per_minute <= wanted) > 0.5
        assert {t.policy.threshold for t in curve(best, tried)} == {p.threshold for p in self.POLICIES}

    def test_a_rate_that_cannot_be_kept_is_told(self):
        course = telling_course()
        backwards = build_course(course.trial, 1 - course.truth, course.proba, course.events)
        with pytest.raises(ConfigurationError, match=r"at most 2 false activations per minute .* right than wrong"):
            tune([backwards], self.POLICIES, NAMES, 2.0)

    def test_recordings_without_rest_are_told(self):
        course = telling_course()
        everywhere = build_course(np.maximum(course.trial, 0), course.truth, course.proba, course.events)
        with pytest.raises(RecordingError, match="nothing outside of trials"):
            tune([everywhere], self.POLICIES[:2], NAMES, 2.0)


LENGTH = 32


@pytest.fixture
def telling(tmp_path):
    build_telling_recording(6000).save(tmp_path / "r.npz")
    return build_telling_model(tmp_path / "m.onnx", LENGTH), tmp_path / "r.npz"


@pytest.mark.slow
def test_tune_writes_a_policy_into_the_file_that_replay_then_scores_alike(telling, tmp_path):
    model, recording = telling
    code, output = run_rtdecode("tune", model, recording, "--false-per-minute", 6, "--curve", tmp_path / "c.csv")
    assert code == 0 and "<--" in output, output
    tuned = read_model(model)
    assert tuned.contract.policy.told() in output
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text(encoding="utf-8").splitlines()))
    assert tuned.contract.policy.told() in [row["policy"] for row in rows] and len(rows) > 300
    data = read_recording(recording)
    figures = decode_recording(data, Decoder(tuned, data.signal)).decision_figures()
    assert all(f"{figure.name}: {figure}" in output for figure in figures) and len(figures) == 5
    right, rate = figures[0], figures[3]
    assert right.value > 0.9 > right.chance and rate.value <= 6
    scores = {score.name: score for score in tuned.contract.provenance.scores}
    assert scores[f"policy: {right.name}"].value == right.value
    assert scores[f"policy: {right.name}"].split.startswith("on what chose it")


def test_a_policy_tuned_again_takes_the_place_of_the_older_ones_figures(telling):
    model, recording = telling
    contract = read_model(model).contract
    courses = [course_of(read_model(model), read_recording(recording), ())]
    once, twice = (with_policy(c, Policy(), figures_of(Policy(), courses, NAMES), "s") for c in [contract] * 2)
    again = with_policy(once, Policy(), figures_of(Policy(), courses, NAMES), "s")
    assert again.provenance.scores == twice.provenance.scores and len(again.provenance.scores) == 5


def test_recordings_the_decoder_was_trained_on_are_refused(telling, tmp_path):
    model, path = telling
    contract = read_model(model).contract
    trained = {"data_fingerprint": read_recording(path).fingerprint()[:16]}
    provenance = contract.provenance.model_copy(update=trained)
    model = rewrite(read_model(model), contract.model_copy(update={"provenance": provenance}), tmp_path / "n.onnx")
    with pytest.raises(ConfigurationError, match="was trained on"):
        course_of(model, read_recording(path), ())


def test_a_rest_class_has_no_trials_and_its_time_is_outside(telling):
    model, recording = read_model(telling[0]), read_recording(telling[1])
    course, idle = course_of(model, recording, ()), course_of(model, recording, ("right",))
    assert set(idle.truth) == {0} and len(idle.truth) < len(course.truth)
    assert (idle.trial == OUTSIDE).sum() > (course.trial == OUTSIDE).sum()


def test_a_trial_that_is_marked_bad_is_neither_judged_nor_outside(telling):
    model, recording = read_model(telling[0]), read_recording(telling[1])
    at = recording.events[1].timestamp
    with pytest.warns(RecordingWarning, match="1 of"):
        course = course_of(model, replace(recording, bad_spans=((at, at),)), ())
    whole = course_of(model, recording, ())
    assert course.events.tolist() == np.delete(whole.events, 1).tolist()
    assert (course.trial == NOT_COUNTED).tolist() == (whole.trial == 1).tolist()
    assert (course.trial == OUTSIDE).tolist() == (whole.trial == OUTSIDE).tolist()


def test_a_decision_belongs_to_a_trial_until_half_a_window_after_its_end(telling):
    course = course_of(read_model(telling[0]), read_recording(telling[1]), ())
    times = course.samples - course.events[0]
    assert times[course.trial == 0].min() >= 0
    assert times[course.trial == 0].max() < 128 + LENGTH / 2 <= times[(course.trial == OUTSIDE) & (times > 0)].min()
