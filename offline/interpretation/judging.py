"""What outputs are worth, trial by trial."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
_LEAST = 1e-12


@dataclass(frozen=True)
class Judged:
    """What outputs are worth, trial by trial.

    Attributes
    ----------
    right : array, (n_trials,)
        Whether the class was right that is most probable over the windows of the trial; of values NaN.
    loss : array, (n_trials,)
        Cross-entropy in nats, mean over the windows; of values squared error in units of the truth's variance.
    evidence : array, (n_trials,)
        Covariance of truth and output is their mean: of the class (0 or 1) with its log probability, summed over
        classes; of values in standard deviations of the truth. It does not saturate, and where decoders are linear
        it is the sum of what each part of a signal gives.
    """

    right: _Floats
    loss: _Floats
    evidence: _Floats


def judge(truth: NDArray[Any], outputs: NDArray[np.floating], trial: _Ints) -> Judged:
    """Judge outputs (n_windows, n_outputs) of windows by their truth, trial by trial (see Judged)."""
    of_trial = np.unique(trial, return_inverse=True)[1]
    n_windows = np.bincount(of_trial)

    def over_windows(values: _Floats) -> _Floats:
        sums = np.zeros((len(n_windows), *values.shape[1:]))
        np.add.at(sums, of_trial, values)
        return np.asarray(sums / n_windows.reshape(-1, *(1,) * (values.ndim - 1)))

    outputs = outputs.astype(np.float64)
    if truth.ndim == 1:
        told, wanted = np.log(np.maximum(outputs, _LEAST)), np.eye(outputs.shape[1])[truth.astype(int)]
        loss = -(told * wanted).sum(axis=1)
        right = over_windows(told).argmax(axis=1) == over_windows(wanted).argmax(axis=1)
    else:
        spread = truth.std(axis=0)
        told, wanted = outputs / spread, truth / spread
        loss, right = ((told - wanted) ** 2).mean(axis=1), np.full(len(n_windows), np.nan)
    shared = (wanted - wanted.mean(axis=0)) * (told - told.mean(axis=0))
    return Judged(right.astype(np.float64), over_windows(loss), over_windows(shared.sum(axis=1)))
