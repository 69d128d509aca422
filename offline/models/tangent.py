"""Riemannian tangent space and a linear model, as a graph of matrix products.

Barachant, Bonnet, Congedo, Jutten (2012), IEEE Trans. Biomed. Eng. 59(4), 920-928, doi 10.1109/TBME.2011.2172210.
For evoked responses every window is stacked on prototypes: Barachant, Congedo (2014), arXiv:1409.0107.
The mean is pyriemann's; logistic regression, or ridge regression for values, scikit-learn's.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.models.closed_form import ClosedForm, matrix_log


class TangentSpace(ClosedForm):
    """Shrunk covariance of the window, whitened at the training mean, its logarithm, linear model.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    shrinkage : float
        Share of the mean variance in every covariance, which keeps it invertible (a flat channel, an average
        reference).
    c : float
        Inverse strength of the penalty: logistic regression's, or for values ridge regression's.
    prototypes : int
        Time courses of each class's mean response that are stacked on every window, at most as many as channels:
        how the window goes along with them is then part of its covariance. 0 leaves only power and its topography.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        shrinkage: float = 0.05,
        c: float = 1.0,
        prototypes: int = 0,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        if not c > 0:
            raise ValueError(f"c must be positive; got {c}")
        if not 0 < shrinkage < 1:
            raise ValueError(f"shrinkage must lie between 0 and 1; got {shrinkage}")
        if prototypes < 0:
            raise ValueError(f"prototypes must be 0 or more; got {prototypes}")
        self._shrinkage, self._c = shrinkage, c
        self._per_class = min(prototypes, n_channels, n_times)
        stacked = torch.zeros(n_outputs * self._per_class, n_times, dtype=torch.float64)
        self.register_buffer("prototypes", stacked)
        self.prototypes: Tensor
        size = len(stacked) + n_channels
        self.register_buffer("whitening", torch.eye(size, dtype=torch.float64))
        self.whitening: Tensor
        # Every element off the diagonal stands for two of the symmetric matrix.
        rows, columns = np.triu_indices(size)
        self.register_buffer("_upper", torch.from_numpy(rows * size + columns), persistent=False)
        weight = torch.from_numpy(np.where(rows == columns, 1.0, 2**0.5))
        self.register_buffer("_weight", weight, persistent=False)
        self._upper: Tensor
        self._weight: Tensor
        self.fc = nn.Linear(len(rows), n_outputs, dtype=torch.float64)

    def covariance(self, x: Tensor) -> Tensor:
        """Return shrunk covariances (batch, size, size) of prototypes and channels, float64; offsets do not count."""
        x = x.double()
        if self._per_class:
            x = torch.cat([self.prototypes.expand(len(x), -1, -1), x], dim=1)
        x = x - x.mean(dim=2, keepdim=True)
        raw = x @ x.transpose(1, 2) / self.n_times
        eye = torch.eye(len(self.whitening), dtype=raw.dtype)
        variance = (raw * eye).sum(dim=(1, 2), keepdim=True) / len(eye)
        # A window without any signal has a covariance all the same, so that its logarithm is a number. Not by
        # adding: the exporter's optimiser takes an addition of so little for none.
        return (1 - self._shrinkage) * raw + self._shrinkage * torch.clamp(variance, min=1e-30) * eye

    def features(self, x: Tensor) -> Tensor:
        """Return tangent vectors (batch, n (n + 1) / 2) of windows (batch, n_channels, n_times)."""
        logarithm = matrix_log(self.whitening @ self.covariance(x) @ self.whitening)
        return logarithm.flatten(1)[:, self._upper] * self._weight

    def head(self, features: Tensor) -> Tensor:
        """See Network."""
        return super().head(features).float()

    def fit(self, x: NDArray[np.float32], y: NDArray[Any], class_weights: NDArray[np.float64] | None = None) -> None:
        """See ClosedForm."""
        from pyriemann.geometry.base import invsqrtm
        from pyriemann.geometry.mean import mean_riemann
        from sklearn.linear_model import LogisticRegression, Ridge

        if self._per_class and y.ndim == 2:
            raise ValueError("prototypes are the responses of classes; for values leave them out")
        windows = torch.from_numpy(x)
        with torch.no_grad():
            if self._per_class:
                self.prototypes.copy_(torch.from_numpy(self._time_courses(x.astype(np.float64), y)))
            covariances = torch.cat([self.covariance(windows[i : i + 256]) for i in range(0, len(x), 256)])
            self.whitening.copy_(torch.from_numpy(invsqrtm(mean_riemann(covariances.numpy()))))
            features = torch.cat([self.features(windows[i : i + 256]) for i in range(0, len(x), 256)]).numpy()
        if y.ndim == 2:
            ridge = Ridge(1 / self._c).fit(features, y)
            self.set_linear(ridge.coef_, ridge.intercept_)
            return
        weights = None if class_weights is None else dict(enumerate(class_weights))
        classifier = LogisticRegression(C=self._c, max_iter=1000, class_weight=weights).fit(features, y)
        self.set_classifier(classifier.coef_, classifier.intercept_)

    def _time_courses(self, x: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the main time courses (n_prototypes, n_times) of every class's mean window.

        Each is as strong as the windows are, so that the shrinkage treats both alike.
        """
        x = x - x.mean(axis=2, keepdims=True)
        means = [x[y == label].mean(axis=0) for label in range(self.n_outputs)]
        courses = [np.linalg.svd(mean, full_matrices=False)[2][: self._per_class] for mean in means]
        scaled: NDArray[np.float64] = np.concatenate(courses) * np.sqrt(self.n_times * x.var())
        return scaled
