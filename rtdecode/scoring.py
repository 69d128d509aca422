"""Figures told with their chance level and their interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DRAWS = 1000
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name : str
        What was measured: `accuracy`, `AUC`, `R2` or `Spearman`, the last two with the target's name.
    value : float
        The figure.
    low, high : float
        95 % interval.
    chance : float
        What can be had without decoding anything. Of an accuracy: always saying the most frequent class. Of a
        regression's figures: the 97.5th percentile when the truth of whole trials or segments is exchanged
        at random (the shuffled control).
    n : int
        Number of independent trials or segments.
    """

    name: str
    value: float
    low: float
    high: float
    chance: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (chance {self.chance:.3f}, n = {self.n})"


def accuracy(truth: ArrayLike, decided: ArrayLike, name: str = "accuracy") -> Figure:
    """Compare class indices (n,) with the true ones (n,); ValueError if there are none.

    The interval is Wilson's (1927, doi 10.1080/01621459.1927.10502953), decisions taken as independent.
    """
    truth, decided = np.asarray(truth), np.asarray(decided)
    n = len(truth)
    if n == 0 or truth.shape != decided.shape:
        raise ValueError(f"{truth.shape} truths for {decided.shape} decisions")
    p, z = float(np.mean(truth == decided)), 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    chance = float(np.bincount(truth).max() / n)
    return Figure(name, p, max(0.0, middle - half), min(1.0, middle + half), chance, n)


def auc(truth: ArrayLike, evidence: ArrayLike) -> Figure:
    """Area under the ROC curve of evidence (n,) for class 1 against class 0 of truth (n,).

    The interval is a bootstrap over trials, each class by itself. ValueError if a class has no trial.
    """
    truth, evidence = np.asarray(truth), np.asarray(evidence, np.float64)
    negative, positive = evidence[truth == 0], evidence[truth == 1]
    if not len(negative) or not len(positive):
        raise ValueError("an AUC needs trials of both classes")
    rng = np.random.default_rng(0)
    draws = [_auc(rng.choice(negative, len(negative)), rng.choice(positive, len(positive))) for _ in range(_DRAWS)]
    return Figure("AUC", _auc(negative, positive), *_interval(draws), 0.5, len(truth))


def _auc(negative: _Floats, positive: _Floats) -> float:
    """Share of pairs in which the positive one has more evidence; ties count half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def regression(truth: _Floats, predicted: _Floats, names: Sequence[str]) -> list[Figure]:
    """Return R2 (about the truth's mean) and Spearman's correlation of each target.

    Parameters
    ----------
    truth, predicted : arrays, (n_segments, n_windows, n_targets)
        Windows of one segment depend on each other: intervals are a bootstrap over segments.
    names : sequence of str
        Of the targets.
    """
    rng = np.random.default_rng(0)
    n = len(truth)
    if n < 2:
        raise ValueError("a regression's figures need at least two trials or segments")
    resampled = [rng.integers(n, size=n) for _ in range(_DRAWS)]
    shuffled = [rng.permutation(n) for _ in range(_DRAWS)]
    figures = []
    for target, name in enumerate(names):
        t, p = truth[..., target], predicted[..., target]
        measures: tuple[tuple[str, Callable[[_Floats, _Floats], float]], ...] = (("R2", _r2), ("Spearman", _spearman))
        for label, measure in measures:
            low, high = _interval([measure(t[i], p[i]) for i in resampled])
            chance = float(np.nanpercentile([measure(t[i], p) for i in shuffled], 97.5))
            figures.append(Figure(f"{label} of {name}", measure(t, p), low, high, chance, n))
    return figures


def _r2(truth: _Floats, predicted: _Floats) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread else float("nan")


def _spearman(truth: _Floats, predicted: _Floats) -> float:
    from scipy.stats import rankdata

    a, b = (rankdata(values) - (values.size + 1) / 2 for values in (truth, predicted))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float("nan")


def _interval(draws: list[float] | _Floats) -> tuple[float, float]:
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
    draws = measure(np.random.default_rng(0).choice(values, (_DRAWS, len(values))), axis=1)
    return Figure(name, float(measure(values)), *_interval(draws), chance, len(values))
