"""What a decider's decisions are worth, on recordings that tell what was to be decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Policy
from rtdecode.policy import Decider
from rtdecode.scoring import Figure, accuracy, mean_of, median_of, rate
from rtdecode.surrogates import shifts

_SHIFTS = 200
_Ints = NDArray[np.int64]
OUTSIDE, NOT_COUNTED = -1, -2


@dataclass(frozen=True)
class Course:
    """The predictions of a recording, hop by hop, beside its truth.

    Attributes
    ----------
    samples : array of int64, (n_hops,)
        Newest sample of each hop.
    proba : array of float32, (n_hops, n_classes)
        Probabilities; NaN where the decoder abstained.
    trial : array of int64, (n_hops,)
        Number of the trial the hop belongs to; -1: none, or one of rest (`OUTSIDE`); -2: `NOT_COUNTED`.
    truth : array of int64, (n_trials,)
        Class index of each trial.
    events : array of int64, (n_trials,)
        Sample of each trial's event.
    hop_s, sfreq : float
        Seconds from one hop to the next; rate in Hz at which samples count.
    """

    samples: _Ints
    proba: NDArray[np.float32]
    trial: _Ints
    truth: _Ints
    events: _Ints
    hop_s: float
    sfreq: float

    @property
    def decoded(self) -> NDArray[np.bool_]:
        """Tell for each hop (n_hops,) whether the decoder gave probabilities."""
        return ~np.isnan(self.proba[:, 0])

    def decide(self, policy: Policy, class_names: tuple[str, ...]) -> _Ints:
        """Return what a policy decides at each hop (n_hops,); -1: nothing."""
        decider = Decider(policy, class_names, self.hop_s, self.sfreq)
        decided = np.full(len(self.samples), -1, np.int64)
        decoded = self.decoded
        for hop, (proba, sample) in enumerate(zip(self.proba, self.samples.tolist(), strict=True)):
            decision = decider.decide(proba if decoded[hop] else None, sample)
            if decision is not None:
                decided[hop] = decision.index
        return decided


@dataclass(frozen=True)
class Tally:
    """Decisions counted, of one or of many recordings.

    Attributes
    ----------
    truth, first, n : arrays of int64, (n_trials,)
        Class of each trial, class that was decided first in it (-1: none), number of decisions in it.
    time_s : array of float64, (n_trials,)
        From the event to the first decision's newest sample; NaN without one.
    n_false : int
        Decisions outside of trials.
    minutes : float
        Minutes of decoded hops outside of trials.
    """

    truth: _Ints
    first: _Ints
    n: _Ints
    time_s: NDArray[np.float64]
    n_false: int
    minutes: float

    @property
    def false_per_minute(self) -> float:
        """False activations per minute; NaN where nothing lies outside of trials."""
        return self.n_false / self.minutes if self.minutes else nan

    @property
    def right(self) -> NDArray[np.bool_]:
        """Tell for each trial (n_trials,) whether what was decided first is right."""
        right: NDArray[np.bool_] = self.first == self.truth
        return right

    @property
    def gain(self) -> float:
        """Share of trials decided right first, less the share decided wrong first; 0 without trials."""
        wrong = (self.first >= 0) & ~self.right
        return float(np.mean(self.right) - np.mean(wrong)) if len(self.truth) else 0.0

    @property
    def median_s(self) -> float:
        """Median time to a right first decision; NaN without any."""
        return float(np.median(self.time_s[self.right])) if self.right.any() else nan


def tally(courses: Sequence[Course], decided: Sequence[_Ints]) -> Tally:
    """Count decisions (n_hops,) of each course."""
    parts = [_tally(course, decisions) for course, decisions in zip(courses, decided, strict=True)]
    return Tally(
        np.concatenate([p.truth for p in parts]),
        np.concatenate([p.first for p in parts]),
        np.concatenate([p.n for p in parts]),
        np.concatenate([p.time_s for p in parts]),
        sum(p.n_false for p in parts),
        sum(p.minutes for p in parts),
    )


def _tally(course: Course, decisions: _Ints) -> Tally:
    trial, outside = course.trial, course.trial == OUTSIDE
    hops = np.flatnonzero(decisions >= 0)
    inside = hops[trial[hops] >= 0]
    numbers, at = np.unique(trial[inside], return_index=True)
    first, time_s = np.full(len(course.truth), -1, np.int64), np.full(len(course.truth), nan)
    first[numbers] = decisions[inside[at]]
    time_s[numbers] = (course.samples[inside[at]] - course.events[numbers]) / course.sfreq
    n = np.bincount(trial[inside], minlength=len(course.truth))
    # A trial of which nothing was decoded asks nothing of the decider.
    decoded = course.decoded
    asked = np.isin(np.arange(len(course.truth)), trial[decoded])
    minutes = float((outside & decoded).sum()) * course.hop_s / 60
    n_false = int(outside[hops].sum())
    return Tally(course.truth[asked], first[asked], n[asked], time_s[asked], n_false, minutes)


def decision_figures(courses: Sequence[Course], decided: Sequence[_Ints]) -> list[Figure]:
    """Return what decisions are worth, each figure beside its chance and interval; none without trials.

    `trials right first`: whose first decision is right. `right of those decided`: accuracy of first decisions where
    there is one. `decisions per trial`. `false per minute`: false activations, and in how many minutes they were
    counted. `median s to the right one`: from the event to the newest sample of a first decision that is right.

    Chance is the mean over the same decisions shifted in time at random, so that they know nothing of the trials; of
    the first decisions' accuracy it is always saying the most frequent class.
    """
    counted = tally(courses, decided)
    n = len(counted.truth)
    if not n:
        return []
    chance = _by_chance(courses, decided)

    def expected(measure: str) -> float:
        values = np.array([getattr(shifted, measure) for shifted in chance], np.float64)
        return float(np.nanmean(values)) if np.isfinite(values).any() else nan

    right = accuracy(counted.right, np.ones(n, bool), "trials right first")
    share = float(np.mean([shifted.right.mean() for shifted in chance]))
    figures = [
        Figure(right.name, right.value, right.low, right.high, share, n),
        mean_of(counted.n, "decisions per trial", float(np.mean([shifted.n.mean() for shifted in chance]))),
    ]
    made = counted.first >= 0
    if made.any():
        figures.insert(1, accuracy(counted.truth[made], counted.first[made], "right of those decided"))
    if counted.minutes:
        name = f"false per minute, of {counted.minutes:.1f}"
        figures.append(rate(counted.n_false, counted.minutes, name, expected("false_per_minute")))
    if counted.right.any():
        name = "median s to the right one"
        figures.append(median_of(counted.time_s[counted.right], name, expected("median_s")))
    return figures


def _by_chance(courses: Sequence[Course], decided: Sequence[_Ints]) -> list[Tally]:
    """Count the same decisions moved round the decoded hops of each recording, by as many hops as chance has it."""
    hops = [np.flatnonzero(course.decoded) for course in courses]
    said = np.concatenate([decisions[own] for decisions, own in zip(decided, hops, strict=True)])
    of = np.repeat(np.arange(len(hops)), [len(own) for own in hops])
    tallies = []
    for order in shifts(of, _SHIFTS, np.random.default_rng(0)):
        moved = [decisions.copy() for decisions in decided]
        for number, (decisions, own) in enumerate(zip(moved, hops, strict=True)):
            decisions[own] = said[order[of == number]]
        tallies.append(tally(courses, moved))
    return tallies
