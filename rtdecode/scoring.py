"""Accuracies told with their chance level and their interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A proportion of right decisions.

    Attributes
    ----------
    value : float
        Right ones over all.
    low, high : float
        95 % interval (Wilson 1927, doi 10.1080/01621459.1927.10502953), decisions taken as independent.
    chance : float
        What always saying the most frequent class would give.
    n : int
        Number of decisions.
    """

    value: float
    low: float
    high: float
    chance: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (chance {self.chance:.3f}, n = {self.n})"


def accuracy(truth: ArrayLike, decided: ArrayLike) -> Accuracy:
    """Compare class indices (n,) with the true ones (n,); ValueError if there are none."""
    truth, decided = np.asarray(truth), np.asarray(decided)
    n = len(truth)
    if n == 0 or truth.shape != decided.shape:
        raise ValueError(f"{truth.shape} truths for {decided.shape} decisions")
    p, z = float(np.mean(truth == decided)), 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    chance = float(np.bincount(truth).max() / n)
    return Accuracy(p, max(0.0, middle - half), min(1.0, middle + half), chance, n)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval (Student's t) over people; NaN for one of them alone."""
    from scipy.stats import t

    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / sqrt(len(array)))
    return mean, mean - half, mean + half
