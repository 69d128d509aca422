"""Mean and covariance of more samples than memory holds."""

import numpy as np

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
    """

    def __init__(self, n_channels: int) -> None:
        self._n, self._mean, self._scatter = 0, np.zeros(n_channels), np.zeros((n_channels, n_channels))

    def add(self, samples: Samples) -> None:
        """Take note of samples (n_samples, n_channels)."""
        n, mean = len(samples), samples.mean(axis=0)
        apart, deviations = mean - self._mean, samples - mean
        share = n / (self._n + n)
        self._scatter += deviations.T @ deviations + self._n * share * np.outer(apart, apart)
        self._mean = self._mean + share * apart
        self._n += n

    def alike(self) -> Samples:
        """Return samples (n_samples, n_channels), not many, of the same mean and covariance."""
        variances, directions = np.linalg.eigh(self._scatter / self._n)
        n = len(variances)
        deviations = np.sqrt(n * np.maximum(variances, 0))[:, None] * directions.T
        pairs = np.concatenate([deviations, -deviations])
        samples: Samples = self._mean + np.tile(pairs, (-(-_N_ALIKE // len(pairs)), 1))
        # What is flat stays so to the last bit.
        flat = np.sqrt(np.diag(self._scatter) / self._n) <= _FLAT * np.abs(self._mean)
        samples[:, flat] = self._mean[flat]
        return samples
