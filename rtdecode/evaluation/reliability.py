"""Whether probabilities mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.replay import TrialDecision
from rtdecode.scoring import DRAWS, Figure, interval

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


def reliability(trials: Sequence[TrialDecision], chance: float) -> Reliability:
    """Judge the windows of some trials; `chance` is that of their accuracy.

    Windows of a trial share samples and truth: all intervals are a bootstrap over trials. That of the error is the
    basic one, as its draws are too large by about as much as the error itself is.
    """
    windows = _Windows(trials)
    n, sure, right = windows.sums(), windows.sums(windows.confidence), windows.sums(windows.right(windows.truth))
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(trials), np.full(len(trials), 1 / len(trials)), DRAWS).astype(np.float64)
    drawn_n, drawn_right = times @ n, times @ right
    bounds = np.array([interval(share) for share in _divided(drawn_right, drawn_n).T])
    of_all = interval(drawn_right.sum(axis=1) / drawn_n.sum(axis=1))
    low, high = interval(_error(drawn_n, times @ sure, drawn_right))
    if_true = [windows.sums(windows.right(truth)).sum(axis=0) for truth in windows.truths_if_true(rng)]
    n, sure, right = n.sum(axis=0), sure.sum(axis=0), right.sum(axis=0)
    error, expected = float(_error(n, sure, right)), float(np.mean([_error(n, sure, drawn) for drawn in if_true]))
    basic = max(0.0, 2 * error - high), max(error, 2 * error - low)
    return Reliability(
        n.astype(np.int64),
        _divided(sure, n),
        _divided(right, n),
        bounds[:, 0],
        bounds[:, 1],
        Figure("calibration error", error, *basic, expected, len(trials)),
        Figure("accuracy over windows", float(right.sum() / n.sum()), *of_all, chance, len(trials)),
    )


class _Windows:
    """Windows of trials, one after the other."""

    def __init__(self, trials: Sequence[TrialDecision]) -> None:
        self._proba = np.concatenate([t.windows for t in trials]).astype(np.float64)
        self._trial = np.repeat(np.arange(len(trials)), [len(t.windows) for t in trials])
        self._shape = len(trials), N_BINS
        self.truth = np.array([t.truth for t in trials])
        self.confidence, self._said = self._proba.max(axis=1), self._proba.argmax(axis=1)
        of_window = np.minimum((self.confidence * N_BINS).astype(np.int64), N_BINS - 1)
        self._cell = self._trial * N_BINS + of_window

    def right(self, truth: _Ints) -> _Floats:
        """Tell which windows are right if this is the truth (n_trials,)."""
        return (self._said == truth[self._trial]).astype(np.float64)

    def sums(self, values: _Floats | None = None) -> _Floats:
        """Sum values of windows (without: count them) by trial and bin."""
        sums = np.bincount(self._cell, values, self._shape[0] * N_BINS)
        by_trial: _Floats = sums.astype(np.float64).reshape(self._shape)
        return by_trial

    def truths_if_true(self, rng: np.random.Generator) -> list[_Ints]:
        """Draw truths (n_trials,) from the mean probabilities of the trials' windows."""
        counts = np.bincount(self._trial)[:, None]
        sums = np.zeros((self._shape[0], self._proba.shape[1]))
        np.add.at(sums, self._trial, self._proba)
        edges = (sums / counts).cumsum(axis=1)
        edges /= edges[:, -1:]
        return [(rng.random((len(edges), 1)) > edges).sum(axis=1) for _ in range(DRAWS // 5)]


def _divided(part: _Floats, whole: _Floats) -> _Floats:
    shares: _Floats = np.divide(part, whole, where=whole > 0, out=np.full(np.shape(whole), np.nan))
    return shares


def _error(n: _Floats, confidence: _Floats, right: _Floats) -> _Floats:
    error: _Floats = np.abs(confidence - right).sum(axis=-1) / n.sum(axis=-1)
    return error
