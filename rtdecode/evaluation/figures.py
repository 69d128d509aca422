"""The figures of decoded recordings: of all, or of those of one person."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Policy, Regression, Trials
from rtdecode.decisions import Course, Tally, decision_figures, tally
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
    """Return what recordings tell of a decoder; none if they hold too little to judge it by."""
    if isinstance(contract.outputs, Regression):
        truth, predicted = values_of(decoded)
        recordings = recordings_of(decoded) if in_time(contract) else None
        return regression(truth, predicted, contract.outputs.names, recordings) if len(truth) > 1 else []
    trials = [trial for one in decoded for trial in one.replay.trials]
    if not trials or contract.trials is None:
        return []
    n_classes, right = len(contract.outputs.names), _accuracy(trials)
    of_windows = reliability(trials)
    figures = [*_of_trials(contract, trials, right), of_windows.error]
    if contract.events:
        return figures
    rate = information_rate(right, n_classes, _seconds(contract.trials), "bits per minute")
    courses, decided = courses_of(decoded)
    of_decisions = decision_figures(courses, decided)
    counted, n_decidable = tally(courses, decided), n_classes - len(policy.rest if policy else ())
    return [*figures, of_windows.right, rate, *of_decisions, *_decided_rate(counted, contract.trials, n_decidable)]


def _of_trials(contract: Contract, trials: Sequence[TrialDecision], right: Figure) -> list[Figure]:
    truth, evidence = classes_of(trials)
    counts = confusion(truth, evidence.argmax(axis=1), len(contract.outputs.names))
    figures = [right, kappa(counts, right)]
    if len(np.unique(truth)) > 1:
        figures.insert(0 if _by_auc(contract) else 2, auc(*among_present(truth, evidence)))
    return figures


def _seconds(trials: Trials) -> float:
    """Return how long a trial's decision takes: from the event, or from the span's begin, to its end."""
    return trials.tmax_s - min(trials.tmin_s, 0.0)


def kind(figure: Figure) -> str:
    """Return a figure's name, without how many minutes it was counted for."""
    return figure.name.partition(", of ")[0]


def headline(contract: Contract, one: Decoded) -> Figure | None:
    """Return the first figure of one recording; None if it holds too little for it."""
    if isinstance(contract.outputs, Regression):
        return next(iter(figures_of(contract, [one], None)), None)
    trials = one.replay.trials
    if not _by_auc(contract):
        return _accuracy(trials) if trials else None
    truths = {trial.truth for trial in trials}
    return auc(*among_present(*classes_of(trials))) if len(truths) > 1 else None


def _by_auc(contract: Contract) -> bool:
    """Tell whether training judged it by the AUC: of rare targets an accuracy says little."""
    return any(score.name == "AUC" for score in contract.provenance.scores)


def _accuracy(trials: Sequence[TrialDecision]) -> Figure:
    return accuracy([t.truth for t in trials], [t.decided for t in trials], "accuracy over trials")


def classes_of(trials: Sequence[TrialDecision]) -> tuple[_Ints, _Floats]:
    """Return truth (n_trials,) and evidence (n_trials, n_classes)."""
    return np.array([t.truth for t in trials], np.int64), np.array([t.evidence for t in trials])


def among_present(truth: _Ints, evidence: _Floats) -> tuple[_Ints, _Floats]:
    """Leave out classes without a trial, as rest may be: truth (n_trials,), evidence (n_trials, n_present)."""
    present = np.unique(truth)
    return np.searchsorted(present, truth).astype(np.int64), evidence[:, present]


def values_of(decoded: Sequence[Decoded]) -> tuple[_Floats, _Floats]:
    """Return truth and values (n_segments, n_windows, n_targets) of a regression, of all recordings."""
    pairs = [one.pairs for one in decoded]
    # As many windows in each: segments hold equally many, but for a rounding of their borders.
    shortest = min(truth.shape[1] for truth, _ in pairs)
    truth, predicted = (np.concatenate([part[:, :shortest] for part in parts]) for parts in zip(*pairs, strict=True))
    return truth, predicted


def recordings_of(decoded: Sequence[Decoded]) -> list[int]:
    """Return the number of the recording of each of the segments or trials of `values_of`."""
    return [number for number, one in enumerate(decoded) for _ in one.pairs[0]]


def in_time(contract: Contract) -> bool:
    """Tell whether segments follow each other: where target channels tell the truth."""
    return contract.targets is not None and bool(contract.targets.channels)


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


def _decided_rate(counted: Tally, trials: Trials, n_classes: int) -> list[Figure]:
    """Return bits per minute of first decisions; a trial without one takes its time for nothing."""
    made = counted.first >= 0
    if not made.any():
        return []
    seconds = np.where(made, counted.time_s, _seconds(trials))

    def rate(chosen: _Ints) -> float:
        n_made = int(np.count_nonzero(made[chosen]))
        p = int(np.count_nonzero(counted.right[chosen])) / max(n_made, 1)
        return 60 * n_made * wolpaw_bits(p, n_classes) / float(seconds[chosen].sum())

    n, rng = len(made), np.random.default_rng(0)
    low, high = interval([rate(rng.integers(n, size=n)) for _ in range(DRAWS)])
    return [Figure("bits per minute, decided", rate(np.arange(n)), low, high, 0.0, n)]
