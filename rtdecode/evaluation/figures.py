"""The figures of decoded recordings: of all, or of those of one person."""

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Policy, Regression, Trials
from rtdecode.decisions import Course, Tally, decision_figures, tally
from rtdecode.errors import RecordingError
from rtdecode.evaluation.decoded import Decoded
from rtdecode.evaluation.reliability import reliability
from rtdecode.replay import TrialDecision
from rtdecode.scoring import (
    DRAWS,
    Figure,
    accuracy,
    auc,
    confusion,
    information_rate,
    interval,
    kappa,
    regression,
    wolpaw_bits,
)

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


def figures_of(contract: Contract, decoded: Sequence[Decoded], policy: Policy | None) -> list[Figure]:
    """Return what recordings tell of a decoder; none if they hold nothing to judge it by."""
    if isinstance(contract.outputs, Regression):
        truth, predicted = values_of(decoded)
        if len(truth) < 2:
            raise RecordingError("Two trials or segments are needed at least to judge a regression; there is one.")
        return regression(truth, predicted, contract.outputs.names)
    trials = [trial for one in decoded for trial in one.replay.trials]
    if not trials:
        return []
    truth, evidence = classes_of(trials)
    n_classes, right = len(contract.outputs.names), _accuracy(trials)
    figures = [right, kappa(confusion(truth, evidence.argmax(axis=1), n_classes), right)]
    if len(np.unique(truth)) > 1:
        figures.append(auc(*among_present(truth, evidence)))
    of_windows = reliability(trials, right.chance)
    figures.append(of_windows.error)
    if contract.events or contract.trials is None:
        return figures
    figures.append(of_windows.right)
    figures.append(information_rate(right, n_classes, contract.trials.tmax_s, "bits per minute"))
    courses, decided = courses_of(decoded)
    figures += decision_figures(courses, decided)
    return figures + _decided_rate(tally(courses, decided), contract.trials, policy, n_classes)


def headline(contract: Contract, one: Decoded) -> Figure | None:
    """Return the first figure of one recording; None if it holds too little for it."""
    if isinstance(contract.outputs, Regression):
        truth, predicted = one.pairs
        return regression(truth, predicted, contract.outputs.names)[0] if len(truth) > 1 else None
    return _accuracy(one.replay.trials) if one.replay.trials else None


def _accuracy(trials: Sequence[TrialDecision]) -> Figure:
    return accuracy([t.truth for t in trials], [t.decided for t in trials], "accuracy over trials")


def classes_of(trials: Sequence[TrialDecision]) -> tuple[_Ints, _Floats]:
    """Return truth (n_trials,) and evidence (n_trials, n_classes)."""
    return np.array([t.truth for t in trials], np.int64), np.array([t.evidence for t in trials])


def among_present(truth: _Ints, evidence: _Floats) -> tuple[_Ints, _Floats]:
    """Leave out classes without a trial (rest need not have any): truth (n_trials,), evidence (n_trials, n_present)."""
    present = np.unique(truth)
    return np.searchsorted(present, truth), evidence[:, present]


def values_of(decoded: Sequence[Decoded]) -> tuple[_Floats, _Floats]:
    """Return truth and values (n_segments, n_windows, n_targets) of a regression, of all recordings."""
    pairs = [one.pairs for one in decoded]
    # As many windows in each: segments hold equally many, but for a rounding of their borders.
    shortest = min(truth.shape[1] for truth, _ in pairs)
    truth, predicted = (np.concatenate([part[:, :shortest] for part in parts]) for parts in zip(*pairs, strict=True))
    return truth, predicted


def courses_of(decoded: Sequence[Decoded]) -> tuple[list[Course], list[_Ints]]:
    """Return the courses, and what was decided at each of their hops (-1: nothing)."""
    courses, decided = [], []
    for one in decoded:
        if one.replay.course is not None:
            courses.append(one.replay.course)
            decided.append(
                np.array([-1 if p.decision is None else p.decision for p in one.replay.predictions], np.int64)
            )
    return courses, decided


def _decided_rate(counted: Tally, trials: Trials, policy: Policy | None, n_classes: int) -> list[Figure]:
    """Return bits per minute of first decisions; a trial without one takes its time for nothing."""
    made = counted.first >= 0
    if not made.any():
        return []
    n_decidable = n_classes - len(policy.rest if policy else ())
    seconds = np.where(made, counted.time_s, trials.tmax_s)

    def rate(chosen: _Ints) -> float:
        n_made = np.count_nonzero(made[chosen])
        p = np.count_nonzero(counted.right[chosen]) / n_made if n_made else nan
        return 60 * n_made * wolpaw_bits(p, n_decidable) / float(seconds[chosen].sum())

    n, rng = len(made), np.random.default_rng(0)
    low, high = interval([rate(rng.integers(n, size=n)) for _ in range(DRAWS)])
    return [Figure("bits per minute, decided", rate(np.arange(n)), low, high, 0.0, n)]
