"""CSP+LDA: common spatial patterns, log variance, linear discriminant analysis.

Blankertz, Tomioka, Lemm, Kawanabe, Müller (2008), IEEE Signal Processing Magazine 25(1), 41-56, doi
10.1109/MSP.2008.4408441. Fitted by MNE and scikit-learn; the graph computes what they do.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.models.closed_form import ClosedForm, prior_probabilities


class CSPLDA(ClosedForm):
    """Spatial filters, logarithm of their power in the window, linear classifier.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes.
    n_patterns : int
        Spatial filters, at most as many as channels.
    """

    def __init__(self, n_channels: int, n_times: int, n_outputs: int, n_patterns: int = 6) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        if n_patterns < 1:
            raise ValueError(f"n_patterns must be at least 1; got {n_patterns}")
        n_patterns = min(n_patterns, n_channels)
        self.spatial = nn.Conv1d(n_channels, n_patterns, 1, bias=False)
        self.fc = nn.Linear(n_patterns, n_outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return log powers (batch, n_patterns) of windows (batch, n_channels, n_times)."""
        # A window without any signal has a power all the same, so that its logarithm is a number.
        return torch.log(torch.clamp(self.spatial(x).square().mean(dim=2), min=1e-30))

    def fit(self, x: NDArray[np.float32], y: NDArray[Any], class_weights: NDArray[np.float64] | None = None) -> None:
        """See ClosedForm; for classes only. Weights become the classes' prior probabilities."""
        if y.ndim != 1:
            raise ValueError("csp-lda decodes classes; for values take tangent-space")
        import mne
        from mne.decoding import CSP
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        n_patterns = self.spatial.out_channels
        with mne.use_log_level("ERROR"):
            csp = CSP(n_patterns).fit(x.astype(np.float64), y)
        # Of channels that depend on each other there are fewer filters than channels: the rest give no power.
        filters = np.zeros((n_patterns, x.shape[1]))
        filters[: len(csp.filters_)] = csp.filters_[:n_patterns]
        with torch.no_grad():
            self.spatial.weight.copy_(torch.from_numpy(filters[:, :, None]))
            features = self.features(torch.from_numpy(x)).double().numpy()
        classifier = LinearDiscriminantAnalysis(priors=prior_probabilities(y, class_weights)).fit(features, y)
        self.set_classifier(classifier.coef_, classifier.intercept_)
