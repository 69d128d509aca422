"""Decoders that are fitted at once rather than by gradient descent; they run from the same kind of file."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline.models.base import Network


class ClosedForm(Network):
    """A network with a `fit` of its own.

    Its last layer `fc` is linear; `set_classifier` and `set_linear` take what scikit-learn found.
    """

    @abstractmethod
    def fit(self, x: NDArray[np.float32], y: NDArray[Any], class_weights: NDArray[np.float64] | None = None) -> None:
        """Fit to windows (n_windows, n_channels, n_times).

        Parameters
        ----------
        y : array of int64, (n_windows,), or of float32, (n_windows, n_targets)
            Classes, or standardised values; ValueError if it is not made for these.
        class_weights : array, (n_classes,), optional
            How much a window of each class counts.
        """

    def set_classifier(self, coef: NDArray[np.float64], intercept: NDArray[np.float64]) -> None:
        """Take the weights (n_classes or 1, n_features) and offsets of a linear classifier.

        For two classes scikit-learn has one row, the logit of the second class; the first one's is then 0.
        """
        if len(coef) == 1:
            coef, intercept = np.vstack([0 * coef, coef]), np.array([0.0, float(intercept[0])])
        self.set_linear(coef, intercept)

    def set_linear(self, coef: NDArray[np.float64], intercept: NDArray[np.float64]) -> None:
        """Take the weights (n_outputs, n_features) and offsets of a linear model."""
        with torch.no_grad():
            self.fc.weight.copy_(torch.from_numpy(coef))
            self.fc.bias.copy_(torch.from_numpy(intercept))


def prior_probabilities(y: NDArray[np.int64], weights: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Return priors (n_classes,) that weigh the classes of y (n_windows,); None without weights."""
    if weights is None:
        return None
    counts = weights * np.bincount(y)
    priors: NDArray[np.float64] = counts / counts.sum()
    return priors


# Newton-Schulz steps of each square root: the first sees the whole spread of the eigenvalues (up to 1e5 is exact
# to 1e-8), and every root halves its logarithm.
_STEPS = (26, 15, 10, 8, 7, 6, 6)
_TERMS = 8


def matrix_log(a: Tensor) -> Tensor:
    """Logarithm of symmetric positive definite matrices (..., n, n) by products alone, so that it exports.

    Inverse scaling and squaring (Higham 2008, Functions of Matrices, doi 10.1137/1.9780898717778, ch. 11): square
    roots by the Newton-Schulz iteration until the matrix is near the identity, then the series of log(1 + x).
    Each root needs the eigenvalues in (0, 1]: they are divided by the trace first, and its logarithm is added.
    Wants float64: what is lost in a root is doubled by each of them.
    """
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    scale = (a * eye).sum(dim=(-2, -1), keepdim=True)
    root = a / scale
    for n_steps in _STEPS:
        root = _root(root, eye, n_steps)
    x = root - eye
    series, power = x, x
    for k in range(2, _TERMS + 1):
        power = power @ x
        series = series + power * ((-1) ** (k + 1) / k)
    logarithm: Tensor = series * 2 ** len(_STEPS) + torch.log(scale) * eye
    return logarithm


def _root(a: Tensor, eye: Tensor, n_steps: int) -> Tensor:
    """Square root of matrices whose eigenvalues lie in (0, 1]."""
    y, z = a, eye.expand_as(a)
    for _ in range(n_steps):
        half = 1.5 * eye - 0.5 * z @ y
        y, z = y @ half, half @ z
    return y
