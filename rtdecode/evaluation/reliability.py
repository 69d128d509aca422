"""Whether probabilities mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from rtdecode.replay import TrialDecision
from rtdecode.scoring import DRAWS, Figure, interval, wilson

N_BINS = 10
_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """How often windows are right, by how sure they are of it.

    Attributes
    ----------
    n : array of int, (n_bins,)
        Windows whose most probable class has a probability in this tenth of [0, 1].
    confidence, accuracy, low, high : arrays, (n_bins,)
        Mean of that probability, share of right ones with its 95 % interval; NaN without windows.
    error : Figure
        Expected calibration error: the mean distance of the two, each window counting alike (Guo et al. 2017,
        arXiv:1706.04599). Its `chance` is what a decoder with these very probabilities has on average if they are
        true: with few trials that is far from 0.
    right : Figure
        Accuracy over windows.
    """

    n: _Ints
    confidence: _Floats
    accuracy: _Floats
    low: _Floats
    high: _Floats
    error: Figure
    right: Figure


def reliability(trials: Sequence[TrialDecision]) -> Reliability:
    """Judge the windows of some trials.

    Windows of a trial share samples and truth: intervals of shares are Wilson's, by the number of trials. That of the
    error is a bootstrap over trials, of percentiles or the basic one, whichever reaches further: its draws are larger
    than the error, as that of few trials is larger than that of many.
    """
    windows, n_trials = _Windows(trials), len(trials)
    of_trials = windows.sums(), windows.sums(windows.confidence), windows.sums(windows.right(windows.truth))
    rng = np.random.default_rng(0)
    times = rng.multinomial(n_trials, np.full(n_trials, 1 / n_trials), DRAWS).astype(np.float64)
    low, high = interval(_error(*(times @ part for part in of_trials)))
    n, sure, right = (part.sum(axis=0) for part in of_trials)
    if_true = [_error(n, sure, windows.sums(windows.right(t)).sum(axis=0)) for t in windows.truths_if_true(rng)]
    error, share, shares = float(_error(n, sure, right)), float(right.sum() / n.sum()), _divided(right, n)
    in_bin = np.count_nonzero(of_trials[0], axis=0).tolist()
    bounds = [wilson(p, k) if k else (nan, nan) for p, k in zip(shares.tolist(), in_bin, strict=True)]
    return Reliability(
        n.astype(np.int64),
        _divided(sure, n),
        shares,
        np.array([low for low, _ in bounds]),
        np.array([high for _, high in bounds]),
        Figure(
            "calibration error",
            error,
            max(0.0, min(low, 2 * error - high)),
            max(high, 2 * error - low),
            float(np.mean(if_true)),
            n_trials,
        ),
        Figure("accuracy over windows", share, *wilson(share, n_trials), windows.chance, n_trials),
    )


class _Windows:
    """Windows of trials, one after the other."""

    def __init__(self, trials: Sequence[TrialDecision]) -> None:
        self._proba = np.concatenate([t.windows for t in trials]).astype(np.float64)
        self._trial = np.repeat(np.arange(len(trials)), [len(t.windows) for t in trials])
        self._shape = len(trials), N_BINS
        self.truth = np.array([t.truth for t in trials])
        self.chance = float(np.bincount(self.truth).max() / len(trials))
        self.confidence, self._said = self._proba.max(axis=1), self._proba.argmax(axis=1)
        of_window = np.minimum((self.confidence * N_BINS).astype(np.int64), N_BINS - 1)
        self._cell = self._trial * N_BINS + of_window

    def right(self, truth: _Ints) -> _Floats:
        """Tell which windows are right if this is the truth (n_trials,)."""
        right: _Floats = (self._said == truth[self._trial]).astype(np.float64)
        return right

    def sums(self, values: _Floats | None = None) -> _Floats:
        """Sum values of windows (without: count them) by trial and bin."""
        sums = np.bincount(self._cell, values, self._shape[0] * N_BINS)
        by_trial: _Floats = sums.reshape(self._shape).astype(np.float64)
        return by_trial

    def truths_if_true(self, rng: np.random.Generator) -> list[_Ints]:
        """Draw truths (n_trials,) from the mean probabilities of the trials' windows."""
        sums = np.zeros((self._shape[0], self._proba.shape[1]))
        np.add.at(sums, self._trial, self._proba)
        edges = sums.cumsum(axis=1)
        edges /= edges[:, -1:]
        return [(rng.random((len(edges), 1)) > edges).sum(axis=1) for _ in range(DRAWS // 5)]


def _divided(part: _Floats, whole: _Floats) -> _Floats:
    shares: _Floats = np.divide(part, whole, where=whole > 0, out=np.full(np.shape(whole), np.nan))
    return shares


def _error(n: _Floats, confidence: _Floats, right: _Floats) -> _Floats:
    error: _Floats = np.abs(confidence - right).sum(axis=-1) / n.sum(axis=-1)
    return error
