"""Changing the rate by a fraction, with one low-pass against aliases and images."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rtdecode.contract import Signal
from rtdecode.contract.arrays import FloatArray
from rtdecode.preprocessing.base import Samples, Step

_MOST, _MOST_RAISED = 1000, 4
_Whole = Annotated[int, Field(ge=1, le=_MOST)]


@dataclass(slots=True)
class _ResampleState:
    """What the low-pass remembers: `zi` (n_modes, 1, n_channels), or None before the first sample."""

    weights: NDArray[np.complex128]  # (n_modes, up): of each mode at each moment between two inputs
    zi: NDArray[np.complex128] | None = None
    n_inputs: int = 0


class Resample(Step):
    """Change the rate by up/down.

    The low-pass is an analogue one; its impulse response is a sum of damped oscillations (modes),
    h(t) = 2 Re sum_i residue_i exp(pole_i t). One complex number per mode and channel holds all that the past
    inputs leave behind, and can be read at any moment until the next input: no sample is computed that is
    not used, whatever the fraction.

    Output k exists when input ceil(k*down/up) has arrived and rests on it: the low-pass is read at
    t = (k*down + up - 1)/up, counted in inputs, the last of its moments before the input after that one.

    Attributes
    ----------
    up, down : int
        Without common factor.
    poles, residues : array of float64, (n_modes, 2)
        Real and imaginary part; of each conjugate pair one. Time is counted in input samples.
    """

    step: Literal["resample"] = "resample"
    reset_voids = "filter"
    up: _Whole
    down: _Whole
    poles: FloatArray
    residues: FloatArray

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if math.gcd(self.up, self.down) != 1:
            raise ValueError(f"up {self.up} and down {self.down} have a common factor")
        shape = self.poles.shape
        if len(shape) != 2 or shape[1] != 2 or not len(self.poles) or self.residues.shape != shape:
            raise ValueError(f"poles {shape} and residues {self.residues.shape}: (n_modes, 2) is needed for both")
        if not (self.poles[:, 0] < 0).all():
            raise ValueError("the real part of every pole must be negative")
        return self

    @classmethod
    def to_rate(cls, signal: Signal, sfreq: float) -> Self:
        """Design for a new rate: Chebyshev I of order 8, 0.05 dB ripple, edge at 0.8 of the lower Nyquist frequency.

        ValueError if no fraction of whole numbers up to 1000 leads there, or it is raised more than fourfold.
        """
        from scipy.signal import cheby1

        if sfreq > _MOST_RAISED * signal.sfreq:
            raise ValueError(
                f"{sfreq:g} Hz is more than {_MOST_RAISED} times the {signal.sfreq:g} Hz that there are: that adds "
                "work and no information; choose a lower rate"
            )
        ratio = Fraction(sfreq / signal.sfreq).limit_denominator(_MOST)
        if not math.isclose(ratio * signal.sfreq, sfreq, rel_tol=1e-6) or ratio.numerator > _MOST:
            raise ValueError(
                f"{sfreq:g} Hz is no fraction of {signal.sfreq:g} Hz in whole numbers up to {_MOST}; "
                "choose a rate that is"
            )
        edge = 0.8 * np.pi * min(1.0, float(ratio))
        _, poles, gain = cheby1(8, 0.05, edge, analog=True, output="zpk")
        apart = poles[:, None] - poles
        np.fill_diagonal(apart, 1.0)
        residues = gain / apart.prod(axis=1)
        half = poles.imag > 0
        return cls(
            up=ratio.numerator, down=ratio.denominator, poles=_parts(poles[half]), residues=_parts(residues[half])
        )

    @property
    def factor(self) -> Fraction:
        """See Step."""
        return Fraction(self.down, self.up)

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        return signal.model_copy(update={"sfreq": signal.sfreq * self.up / self.down})

    def start(self, n_channels: int) -> _ResampleState:
        """See Step."""
        moments = np.arange(self.up) / self.up
        return _ResampleState(2 * _complex(self.residues)[:, None] * np.exp(np.outer(_complex(self.poles), moments)))

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        from scipy.signal import lfilter

        if len(samples) == 0:
            return samples.copy()
        decay = np.exp(_complex(self.poles))
        if state.zi is None:
            # As if the first sample had been there for ever.
            state.zi = (decay / (1 - decay))[:, None, None] * samples[0]
        first = state.n_inputs
        state.n_inputs += len(samples)
        k = np.arange(self.n_outputs(first), self.n_outputs(state.n_inputs))
        newest, moment = np.divmod(k * self.down + self.up - 1, self.up)
        resampled = np.zeros((len(k), samples.shape[1]))
        for i, (weights, pole) in enumerate(zip(state.weights, decay, strict=True)):
            mode, state.zi[i] = lfilter([1.0], [1.0, -pole], samples, axis=0, zi=state.zi[i])
            weight, read = weights[moment, None], mode[newest - first]
            # Products of real numbers: complex ones may round differently for different chunk sizes.
            resampled += weight.real * read.real - weight.imag * read.imag
        return resampled

    def settling(self) -> int:
        """See Step."""
        longest = math.ceil(-10 / self.poles[:, 0].max())
        samples = np.ones((longest + 1, 1))
        samples[0] = 0.0
        response = self.process(samples, self.start(1))[:, 0]
        outside = np.flatnonzero(np.abs(response - response[-1]) > 0.01 * np.abs(response).max())
        return self.newest_input(int(outside[-1]))

    def group_delay(self) -> float:
        """See Step. Behind the newest input, on average over the moments between inputs; near half the edge."""
        poles = np.concatenate([_complex(self.poles), _complex(self.poles).conj()])
        middle = np.abs(poles).max() / 2
        delay = (-poles.real / np.abs(1j * middle - poles) ** 2).sum()
        return float(delay) - (self.up - 1) / (2 * self.up)

    def describe(self) -> str:
        """See Step."""
        return f"resample by {self.up}/{self.down}, low-pass against aliases and images"


def _parts(values: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.stack([values.real, values.imag], axis=1)


def _complex(parts: NDArray[np.float64]) -> NDArray[np.complex128]:
    return parts[:, 0] + 1j * parts[:, 1]
