"""What a network learns of continuous targets: numbers of mean 0 and standard deviation 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.configuration import TargetSettings

_Values = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """How values become what is learned, and back: as z-scores, of themselves or of their logarithm.

    Attributes
    ----------
    mean, std : array of float32, (n_targets,)
        Of the values that are learned from, or of their logarithms.
    log : bool
        Whether the logarithm is taken first.
    """

    mean: _Values
    std: _Values
    log: bool

    @classmethod
    def fit(cls, values: NDArray[Any], settings: TargetSettings) -> "Scale":
        """Find the scale of values (n, n_targets), which are above 0 where their logarithm is wanted."""
        log = settings.transform == "log"
        taken = np.log(values) if log else values
        std = taken.std(axis=0)
        return cls(taken.mean(axis=0), np.where(std > 0, std, 1).astype(np.float32), log)

    def learned(self, values: NDArray[Any]) -> _Values:
        """Return what a network learns of values (n, n_targets)."""
        return (((np.log(values) if self.log else values) - self.mean) / self.std).astype(np.float32)
