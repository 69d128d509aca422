"""Figures told with their chance level and their interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, log2, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.surrogates import dependence, enough, redraws, shifts

DRAWS = 1000
# Said where a figure of segments stands alone; see `surrogates.enough`.
TOO_FEW = "too few that do not depend on each other"
_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name : str
        What was measured: `accuracy`, `AUC`, `R2` or `Spearman`, say; the last two with the target's name.
    value : float
        The figure.
    low, high : float
        95 % interval; NaN where too little was measured for one.
    chance : float
        What can be had without decoding anything. Of an accuracy: always saying the most frequent class. Of a
        regression's figures: the 97.5th percentile when the truth of whole trials is exchanged at random, or that of
        segments is shifted in time (the shuffled control); NaN where there are too few for that.
    n : int
        Number of trials or segments.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float
    n: int

    def mapped(self, name: str, increasing: Callable[[float], float], chance: float) -> "Figure":
        """Return the figure that an increasing function makes of this one and its interval."""
        return Figure(name, increasing(self.value), increasing(self.low), increasing(self.high), chance, self.n)

    @property
    def told_whole(self) -> bool:
        """Whether value, interval and chance are numbers."""
        return all(map(isfinite, (self.value, self.low, self.high, self.chance)))

    def between(self, digits: int = 3) -> str:
        """Write the interval, or why there is none; nothing where there is no figure either."""
        if isfinite(self.low):
            return f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"({TOO_FEW})" if isfinite(self.value) else ""

    def __str__(self) -> str:
        if isfinite(self.value) and isnan(self.low) and isnan(self.chance):
            return f"{self.value:.3f} (n = {self.n}: {TOO_FEW} for an interval and a chance level)"
        return f"{self.value:.3f} {self.between()} (chance {self.chance:.3f}, n = {self.n})"


def accuracy(truth: ArrayLike, decided: ArrayLike, name: str = "accuracy") -> Figure:
    """Compare class indices (n,) with the true ones (n,); ValueError if there are none.

    The interval is Wilson's (1927, doi 10.1080/01621459.1927.10502953), decisions taken as independent.
    """
    truth, decided = np.asarray(truth), np.asarray(decided)
    n = len(truth)
    if n == 0 or truth.shape != decided.shape:
        raise ValueError(f"{truth.shape} truths for {decided.shape} decisions")
    p = float(np.mean(truth == decided))
    return Figure(name, p, *wilson(p, n), float(np.bincount(truth).max() / n), n)


def wilson(p: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `n` independent trials.

    Where each trial gives a share itself, as of its windows, it is wide enough: of all that lies in [0, 1] and has
    this mean, what is either 0 or 1 varies most.
    """
    z = 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def auc(truth: ArrayLike, evidence: ArrayLike) -> Figure:
    """Area under the ROC curve.

    Parameters
    ----------
    truth : array of int, (n,)
        Class indices.
    evidence : array, (n,), or (n, n_classes)
        For class 1 against class 0, or for each class, as log probabilities: then the mean over classes is told, each
        against all others.

    Notes
    -----
    The interval is a bootstrap over trials, each class by itself. ValueError if a class has no trial.
    """
    truth, scores = np.asarray(truth), against_others(evidence)
    of_class = [scores[truth == label] for label in range(scores.shape[1])]
    if not all(len(part) for part in of_class):
        raise ValueError("an AUC needs trials of every class")
    rng = np.random.default_rng(0)
    draws = [_mean_auc([rng.choice(part, len(part)) for part in of_class]) for _ in range(DRAWS)]
    return Figure("AUC", _mean_auc(of_class), *interval(draws), 0.5, len(truth))


def against_others(evidence: ArrayLike) -> _Floats:
    """Return log odds (n, n_classes) of each class against all others, of evidence as `auc` takes it."""
    evidence = np.asarray(evidence, np.float64)
    if evidence.ndim == 1:
        return np.column_stack([-evidence, evidence])
    others = [np.logaddexp.reduce(np.delete(evidence, i, axis=1), axis=1) for i in range(evidence.shape[1])]
    scores: _Floats = evidence - np.column_stack(others)
    return scores


def _mean_auc(of_class: Sequence[_Floats]) -> float:
    """Return the mean AUC of scores (n, n_classes) of the trials of each class; of two classes they are the same."""
    each = []
    for i in range(len(of_class)) if len(of_class) > 2 else [1]:
        others = np.concatenate([part[:, i] for j, part in enumerate(of_class) if j != i])
        each.append(_auc(others, of_class[i][:, i]))
    return float(np.mean(each))


def confusion(truth: ArrayLike, decided: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Count class indices (n,): (n_classes, n_classes), the truth in rows."""
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (np.asarray(truth), np.asarray(decided)), 1)
    return counts


def kappa(counts: NDArray[np.int64], right: Figure) -> Figure:
    """Cohen's (1960, doi 10.1177/001316446002000104) kappa of a confusion matrix; 0 is agreement by chance.

    The interval is that of the accuracy, both margins of the matrix taken as they are. NaN where truth and decisions
    are of one class alone.
    """
    shares = counts / counts.sum()
    expected = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return right.mapped("kappa", lambda p: (p - expected) / (1 - expected) if expected < 1 else nan, 0.0)


def information_rate(right: Figure, n_classes: int, seconds: float, name: str) -> Figure:
    """Bits per minute (see `wolpaw_bits`) of a decision of this accuracy every so many seconds.

    The interval is that of the accuracy.
    """
    return right.mapped(name, lambda p: 60 / seconds * wolpaw_bits(p, n_classes), 0.0)


def wolpaw_bits(p: float, n_classes: int) -> float:
    """Return the bits of a decision that is right with probability `p` (Wolpaw 2002, 10.1016/S1388-2457(02)00057-3).

    All classes are taken to be equally probable, all wrong ones to be decided equally often, and decisions to be
    independent. At chance and below it is 0, though by the formula always to be wrong is worth something.
    """
    if p <= 1 / n_classes or n_classes < 2:
        return 0.0
    return log2(n_classes) + (p * log2(p) + (1 - p) * log2((1 - p) / (n_classes - 1)) if p < 1 else 0.0)


def _auc(negative: _Floats, positive: _Floats) -> float:
    """Share of pairs in which the positive one has more evidence; ties count half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def regression(
    truth: _Floats, predicted: _Floats, names: Sequence[str], recordings: Sequence[int] | None = None
) -> list[Figure]:
    """Return R2 (about the truth's mean) and Spearman's correlation of each target.

    Parameters
    ----------
    truth, predicted : arrays, (n_segments, n_windows, n_targets)
        Windows of one segment depend on each other: intervals are a bootstrap over segments.
    names : sequence of str
        Of the targets.
    recordings : sequence of int, (n_segments,), or None
        Where target channels tell the truth, the recording of each segment, those of one in order of time: segments
        depend on their neighbours (see `surrogates`). None: trials, which are independent.
    """
    if len(truth) < 2:
        raise ValueError("a regression's figures need at least two trials or segments")
    figures = []
    for target, name in enumerate(names):
        t, p = truth[..., target], predicted[..., target]
        drawn, exchanged = _independent(len(t)) if recordings is None else _in_time(t, recordings)
        measures: tuple[tuple[str, Callable[[_Floats, _Floats], float]], ...] = (("R2", _r2), ("Spearman", _spearman))
        for label, measure in measures:
            low, high = interval([measure(t[i], p[i]) for i in drawn])
            _, chance = interval([measure(t[i], p) for i in exchanged])
            figures.append(Figure(f"{label} of {name}", measure(t, p), low, high, chance, len(t)))
    return figures


def _independent(n: int) -> tuple[list[_Ints], list[_Ints]]:
    """Return draws and exchanges (n,) of trials that do not depend on each other."""
    rng = np.random.default_rng(0)
    return [rng.integers(n, size=n) for _ in range(DRAWS)], [rng.permutation(n) for _ in range(DRAWS)]


def _in_time(truth: _Floats, recordings: Sequence[int]) -> tuple[list[_Ints], list[_Ints]]:
    """Return draws and shifts (n_segments,) of segments that follow each other; none where these are too few.

    Shifts are as long as what a segment knows of its neighbours, at least: a shorter one is nearly the truth itself,
    and would tell as chance what the decoder is worth.
    """
    length, rng = dependence(truth, recordings), np.random.default_rng(0)
    if not enough(recordings, length):
        return [], []
    return list(redraws(recordings, length, DRAWS, rng)), list(shifts(recordings, DRAWS, rng, length))


def _r2(truth: _Floats, predicted: _Floats) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread else float("nan")


def _spearman(truth: _Floats, predicted: _Floats) -> float:
    from scipy.stats import rankdata

    a, b = (rankdata(values) - (values.size + 1) / 2 for values in (truth, predicted))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float("nan")


def interval(draws: list[float] | _Floats) -> tuple[float, float]:
    """Return the 95 % interval of a figure whose bootstrap draws these are; NaN of it count for nothing."""
    if np.isnan(draws).all():
        return nan, nan
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval (Student's t) over people; NaN for one of them alone."""
    from scipy.stats import t

    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / sqrt(len(array)))
    return mean, mean - half, mean + half


def rate(n: int, minutes: float, name: str, chance: float) -> Figure:
    """Events per minute, with Garwood's (1936, doi 10.1093/biomet/28.3-4.437) interval of a Poisson count."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
    return Figure(name, n / minutes, float(low) / minutes, float(chi2.ppf(0.975, 2 * n + 2)) / 2 / minutes, chance, n)


def mean_of(values: ArrayLike, name: str, chance: float) -> Figure:
    """Mean of values (n,), with a bootstrap interval."""
    return _bootstrapped(np.asarray(values, np.float64), np.mean, name, chance)


def median_of(values: ArrayLike, name: str, chance: float) -> Figure:
    """Median of values (n,), with a bootstrap interval."""
    return _bootstrapped(np.asarray(values, np.float64), np.median, name, chance)


def _bootstrapped(values: _Floats, measure: Callable[..., Any], name: str, chance: float) -> Figure:
    draws = measure(np.random.default_rng(0).choice(values, (DRAWS, len(values))), axis=1)
    return Figure(name, float(measure(values)), *interval(draws), chance, len(values))
