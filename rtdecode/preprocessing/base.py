"""What every preprocessing step is: frozen settings, explicit state, rules for both."""

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rtdecode.contract import Signal

Samples = NDArray[np.float64]


class Step(BaseModel, ABC):
    """One causal operation on samples (n_samples, n_channels), float64.

    Settings are frozen and written to the decoder file; what changes from sample to sample lives in the
    state that `start` returns and `process` advances.

    Causality: the output at sample n depends on samples up to n only.
    Determinism: the output is bit-identical however the samples are cut into chunks.

    Attributes
    ----------
    step : str
        Name of the step in the file (the discriminator).
    reset_voids : str
        What a reset of the stream voids: `nothing`, the `filter` state, or nothing of the `statistics`,
        which are kept across resets.
    factor : Fraction
        Input samples per output sample.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: str
    reset_voids: ClassVar[str] = "nothing"

    @property
    def factor(self) -> Fraction:
        """Input samples per output sample."""
        return Fraction(1)

    def newest_input(self, output: int) -> int:
        """Return the newest input on which an output rests: output k exists when input ceil(k*factor) has arrived."""
        factor = self.factor
        return -(-output * factor.numerator // factor.denominator)

    def n_outputs(self, n_inputs: int) -> int:
        """Return how many outputs exist after `n_inputs` inputs."""
        return (n_inputs - 1) * self.factor.denominator // self.factor.numerator + 1 if n_inputs else 0

    @abstractmethod
    def output(self, signal: Signal) -> Signal:
        """Return the signal that leaves the step; ValueError if it cannot work on `signal`."""

    def start(self, n_channels: int) -> Any:
        """Return a fresh state for `n_channels` input channels."""
        return None

    @abstractmethod
    def process(self, samples: Samples, state: Any) -> Samples:
        """Advance `state` by `samples` (n_samples, n_channels) and return a new array."""

    def settling(self) -> int:
        """Input samples after which a step at the input has settled within 1 %."""
        return 0

    def minimum(self) -> int:
        """Input samples that the step's statistics rest on before they are trusted."""
        return 0

    def group_delay(self) -> float:
        """Delay in input samples of what the step lets pass (at the middle of its band)."""
        return 0.0

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what the step does."""


def check_rate(what: str, sfreq: float, signal: Signal) -> None:
    """Raise ValueError if `signal` does not run at the rate for which a step was made."""
    if abs(signal.sfreq - sfreq) > 1e-4 * sfreq:
        raise ValueError(f"{what} was designed for {sfreq:g} Hz, not {signal.sfreq:g} Hz")
