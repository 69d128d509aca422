"""Mean and covariance of more samples than memory holds."""

import numpy as np
from numpy.typing import NDArray

from rtdecode.preprocessing.base import Samples

# How many stand in for more.
_N_ALIKE = 1 << 15
# Less than this share of its mean, a deviation is a matter of rounding.
_FLAT = 1e-12


class Moments:
    """Mean and covariance of samples that come in parts.

    Chan, Golub, LeVeque (1983), The American Statistician 37(3), 242-247, doi 10.1080/00031305.1983.10483115.

    Parameters
    ----------
    n_channels : int
        Values of a sample.

    Attributes
    ----------
    n : int
        Samples so far.
    mean : array of float64, (n_channels,)
        Of these.
    """

    def __init__(self, n_channels: int) -> None:
        self.n, self.mean, self._scatter = 0, np.zeros(n_channels), np.zeros((n_channels, n_channels))

    def add(self, samples: Samples) -> None:
        """Take note of samples (n_samples, n_channels)."""
        n, mean = len(samples), samples.mean(axis=0)
        apart, deviations = mean - self.mean, samples - mean
        share = n / (self.n + n)
        self._scatter += deviations.T @ deviations + self.n * share * np.outer(apart, apart)
        self.mean = self.mean + share * apart
        self.n += n

    @property
    def covariance(self) -> NDArray[np.float64]:
        """How channels vary together, (n_channels, n_channels)."""
        return np.asarray(self._scatter / max(self.n - 1, 1))

    def alike(self) -> Samples:
        """Return samples (n_samples, n_channels), not many, of the same mean and covariance."""
        variances, directions = np.linalg.eigh(self._scatter / self.n)
        n = len(variances)
        deviations = np.sqrt(n * np.maximum(variances, 0))[:, None] * directions.T
        pairs = np.concatenate([deviations, -deviations])
        samples: Samples = self.mean + np.tile(pairs, (-(-_N_ALIKE // len(pairs)), 1))
        # What is flat stays so to the last bit.
        flat = np.sqrt(np.diag(self._scatter) / self.n) <= _FLAT * np.abs(self.mean)
        samples[:, flat] = self.mean[flat]
        return samples
