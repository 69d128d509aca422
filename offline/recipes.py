"""How a configuration asks for preprocessing; a recipe becomes a step once the signal is known."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rtdecode.configuration import reason_of
from rtdecode.contract import Signal
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Chain, Step
from rtdecode.preprocessing.base import Samples
from rtdecode.preprocessing.filters import Decimate, Filter, FilterBank
from rtdecode.preprocessing.resampling import Resample
from rtdecode.preprocessing.running import RunningAlign, RunningStandardize
from rtdecode.preprocessing.scaling import Clamp, Scale, Standardize
from rtdecode.preprocessing.spatial import Linear, Pick

# Gives samples of the training trials, preprocessed by the steps so far.
TrainingSamples = Callable[[Sequence[Step]], Samples]


class _Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def fitted(self) -> bool:
        """Whether the step needs training data."""
        return False

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        raise NotImplementedError


class PickRecipe(_Recipe):
    """Keep some channels."""

    step: Literal["pick"]
    ch_names: tuple[str, ...] = Field(min_length=1)

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Pick.by_name(signal, self.ch_names)


class ScaleRecipe(_Recipe):
    """Express each type of channel in a unit: `units: {mag: pT}`."""

    step: Literal["scale"]
    units: dict[str, str]

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Scale.to_units(signal, self.units)


class ReferenceRecipe(_Recipe):
    """Re-reference the EEG to its average, or to the mean of named channels."""

    step: Literal["reference"]
    to: Literal["average"] | tuple[str, ...]
    ch_type: str = "eeg"

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        if self.to == "average":
            return Linear.average_reference(signal, self.ch_type)
        return Linear.channel_reference(signal, self.to, self.ch_type)


class BipolarRecipe(_Recipe):
    """Differences of pairs of channels."""

    step: Literal["bipolar"]
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Linear.bipolar(signal, self.pairs)


class FilterRecipe(_Recipe):
    """Butterworth band-pass, high-pass or low-pass."""

    step: Literal["filter"]
    l_freq: float | None = None
    h_freq: float | None = None
    order: Annotated[int, Field(ge=1, le=12)] = 4

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Filter.butterworth(signal.sfreq, self.l_freq, self.h_freq, self.order)


class NotchRecipe(_Recipe):
    """Notches, for the mains and its harmonics."""

    step: Literal["notch"]
    freqs_hz: tuple[float, ...]
    quality: Annotated[float, Field(gt=0)] = 30.0

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Filter.notches(signal.sfreq, self.freqs_hz, self.quality)


class FilterBankRecipe(_Recipe):
    """Several band-passes side by side: Butterworth, or the Chebyshev bank of FBLightConvNet's authors.

    A number of bands means as many as theirs: 4-8, 8-12, ... Hz.
    """

    step: Literal["filter-bank"]
    bands_hz: Annotated[tuple[tuple[float, float], ...], Field(min_length=1)] | Annotated[int, Field(ge=1)]
    design: Literal["chebyshev", "butterworth"] = "chebyshev"
    order: Annotated[int, Field(ge=1, le=12)] = 4

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        bands = self.bands_hz
        if isinstance(bands, int):
            bands = tuple((4.0 * k, 4.0 * k + 4.0) for k in range(1, bands + 1))
        if self.design == "butterworth":
            return FilterBank.butterworth(signal.sfreq, bands, self.order)
        return FilterBank.chebyshev(signal.sfreq, bands)


class DecimateRecipe(_Recipe):
    """Lower the rate by a whole factor."""

    step: Literal["decimate"]
    by: Annotated[int, Field(ge=2, le=64)]

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Decimate.design(self.by)


class ResampleRecipe(_Recipe):
    """Change the rate to one that is a fraction of it in whole numbers."""

    step: Literal["resample"]
    sfreq: Annotated[float, Field(gt=0)]

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Resample.to_rate(signal, self.sfreq)


class StandardizeRecipe(_Recipe):
    """Zero mean and unit standard deviation over the training trials, each channel by itself."""

    step: Literal["standardize"]

    @property
    def fitted(self) -> bool:
        """Whether the step needs training data."""
        return True

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Standardize.fit(np.asarray(samples()))


class RunningStandardizeRecipe(_Recipe):
    """Zero mean and unit standard deviation over what was seen lately."""

    step: Literal["running-standardize"]
    time_constant_s: Annotated[float, Field(ge=0.01, le=86_400)] = 30.0
    minimum_s: Annotated[float, Field(ge=0)] = 10.0

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return RunningStandardize(**self.model_dump(), sfreq=signal.sfreq)


class RunningAlignRecipe(_Recipe):
    """Recentre by the covariance of what was seen lately."""

    step: Literal["running-align"]
    method: Literal["euclidean", "riemannian"] = "euclidean"
    time_constant_s: Annotated[float, Field(ge=0.01, le=86_400)] = 60.0
    minimum_s: Annotated[float, Field(ge=0)] = 10.0
    update_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    shrinkage: Annotated[float, Field(ge=1e-3, le=1)] = 0.01

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return RunningAlign(**self.model_dump(), sfreq=signal.sfreq)


class WhitenRecipe(_Recipe):
    """Decorrelate the channels over the training trials."""

    step: Literal["whiten"]
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 0.01

    @property
    def fitted(self) -> bool:
        """Whether the step needs training data."""
        return True

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Linear.whitening(signal, np.asarray(samples()), self.shrinkage)


class ClampRecipe(_Recipe):
    """Limit every value."""

    step: Literal["clamp"]
    limit: Annotated[float, Field(gt=0)]

    def build(self, signal: Signal, samples: Callable[[], Samples]) -> Step:
        """Return the step."""
        return Clamp(limit=self.limit)


Recipe = Annotated[
    PickRecipe
    | ScaleRecipe
    | ReferenceRecipe
    | BipolarRecipe
    | FilterRecipe
    | NotchRecipe
    | FilterBankRecipe
    | DecimateRecipe
    | ResampleRecipe
    | StandardizeRecipe
    | RunningStandardizeRecipe
    | RunningAlignRecipe
    | WhitenRecipe
    | ClampRecipe,
    Field(discriminator="step"),
]


def build_steps(recipes: Sequence[_Recipe], signal: Signal, training_samples: TrainingSamples) -> tuple[Step, ...]:
    """Turn recipes into steps for `signal`; fitted ones learn from `training_samples` only."""
    steps: list[Step] = []
    for number, recipe in enumerate(recipes, 1):
        so_far = tuple(steps)
        entering = Chain(so_far, signal).output
        try:
            step = recipe.build(entering, lambda so_far=so_far: training_samples(so_far))  # type: ignore[misc]
            step.output(entering)
        except ValueError as error:
            raise ConfigurationError(f"preprocessing.{number - 1}: {reason_of(error)}.") from None
        steps.append(step)
    return tuple(steps)
