"""A linear model of the mean signal in short segments: for slow and evoked responses.

Linear discriminant analysis for classes, ridge regression for values.

Blankertz, Lemm, Treder, Haufe, Müller (2011), NeuroImage 56(2), 814-825, doi 10.1016/j.neuroimage.2010.06.048.
The shrinkage is Ledoit and Wolf's; fitted by scikit-learn, the graph computes what it does.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.models.closed_form import ClosedForm, prior_probabilities


class ShrinkageLDA(ClosedForm):
    """Mean of every channel over segments of the window, linear model.

    For values it is ridge regression, whose penalty is chosen by leaving out one training window after the other.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    pooling : int
        Samples in a segment; what is left over at the window's end belongs to none.
    """

    def __init__(self, n_channels: int, n_times: int, n_outputs: int, pooling: int = 10) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        if not 1 <= pooling <= n_times:
            raise ValueError(f"pooling must lie between 1 and the window's {n_times} samples; got {pooling}")
        self.pool = nn.AvgPool1d(pooling)
        self.fc = nn.Linear(n_channels * (n_times // pooling), n_outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return segment means (batch, n_channels * n_segments) of windows (batch, n_channels, n_times)."""
        means: Tensor = self.pool(x)
        return means.flatten(1)

    def fit(self, x: NDArray[np.float32], y: NDArray[Any], class_weights: NDArray[np.float64] | None = None) -> None:
        """See ClosedForm. Weights become the classes' prior probabilities."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import RidgeCV

        with torch.no_grad():
            features = self.features(torch.from_numpy(x)).double().numpy()
        if y.ndim == 2:
            ridge = RidgeCV(np.logspace(-2, 6, 17)).fit(features, y)
            self.set_linear(ridge.coef_.reshape(self.n_outputs, -1), np.reshape(ridge.intercept_, self.n_outputs))
            return
        priors = prior_probabilities(y, class_weights)
        classifier = LinearDiscriminantAnalysis("lsqr", shrinkage="auto", priors=priors).fit(features, y)
        self.set_classifier(classifier.coef_, classifier.intercept_)
