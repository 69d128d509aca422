"""Steps that act on each value by itself."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from rtdecode.contract import Signal
from rtdecode.contract.arrays import FloatArray
from rtdecode.errors import RtdecodeError
from rtdecode.preprocessing.base import Samples, Step


class Scale(Step):
    """Multiply each channel by a factor of its own, and say in which unit that leaves it.

    Attributes
    ----------
    factors : array of float64, (n_channels,)
        One factor a channel.
    units : tuple of str
        The unit of each channel afterwards.
    """

    step: Literal["scale"] = "scale"
    factors: FloatArray
    units: tuple[str, ...]

    @classmethod
    def to_units(cls, signal: Signal, by_type: dict[str, str]) -> Self:
        """Express the channels of each type in the unit given for it."""
        units = tuple(by_type.get(t, u) for t, u in zip(signal.ch_types, signal.units, strict=True))
        target = signal.with_channels(signal.ch_names, signal.ch_types, units)
        return cls(factors=target.adapt(signal, "The signal", "the step", _UnitError).factors, units=units)

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        _check_size(self.step, self.factors, signal)
        return signal.with_channels(signal.ch_names, signal.ch_types, self.units)

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return samples * self.factors

    def describe(self) -> str:
        """See Step."""
        return f"scale to {', '.join(sorted(set(self.units)))}"


class Standardize(Step):
    """Subtract a fixed mean and divide by a fixed standard deviation, both from training data.

    Attributes
    ----------
    mean, std : array of float64, (n_channels,)
        In the unit of the samples that enter; std is positive.
    """

    step: Literal["standardize"] = "standardize"
    mean: FloatArray
    std: FloatArray

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.mean.shape != self.std.shape or not (self.std > 0).all():
            raise ValueError("std must be positive, one per mean")
        return self

    @classmethod
    def fit(cls, samples: Samples) -> Self:
        """Learn mean and standard deviation of each channel from samples (n_samples, n_channels)."""
        mean, std = samples.mean(axis=0), samples.std(axis=0)
        # Of a channel that is flat, what is left of a deviation is rounding.
        return cls(mean=mean, std=np.where(std > 1e-12 * np.abs(mean), std, 1.0))

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        _check_size(self.step, self.mean, signal)
        return signal.with_channels(signal.ch_names, signal.ch_types, ("none",) * signal.n_channels)

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return (samples - self.mean) / self.std

    def describe(self) -> str:
        """See Step."""
        return "standardise with the training data's mean and standard deviation"


class Clamp(Step):
    """Limit every value to [-limit, limit]."""

    step: Literal["clamp"] = "clamp"
    limit: Annotated[float, Field(gt=0)]

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        return signal

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return np.clip(samples, -self.limit, self.limit)

    def describe(self) -> str:
        """See Step."""
        return f"clamp at +-{self.limit:g}"


def _check_size(step: str, array: FloatArray, signal: Signal) -> None:
    if array.shape != (signal.n_channels,):
        raise ValueError(f"{step} is for {array.size} channels, {signal.n_channels} enter")


class _UnitError(RtdecodeError, ValueError):
    """Raised by `to_units` for units of another dimension."""
