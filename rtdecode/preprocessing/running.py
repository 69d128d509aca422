"""Steps that follow the signal: statistics of what has been seen so far, kept over resets."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rtdecode.contract import Signal
from rtdecode.preprocessing.base import Samples, Step, check_rate
from rtdecode.preprocessing.spatial import mix


class _Running(Step):
    """A step whose statistics are means with exponentially fading weights.

    The weights always add up to one: the first samples count as what they are, not as a mixture with zeros.

    Attributes
    ----------
    time_constant_s : float
        Age at which a sample's weight has faded to 1/e.
    minimum_s : float
        How much must have been seen before the statistics are trusted.
    sfreq : float
        The rate it was made for.
    """

    reset_voids: ClassVar[str] = "statistics"
    time_constant_s: Annotated[float, Field(gt=0)]
    minimum_s: Annotated[float, Field(ge=0)]
    sfreq: Annotated[float, Field(gt=0)]

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        check_rate(self.step, self.sfreq, signal)
        return signal.with_channels(signal.ch_names, signal.ch_types, ("none",) * signal.n_channels)


@dataclass(slots=True)
class _StandardizeState:
    """Mean and total weight before the next sample, (1, n_channels + 1), and what `lfilter` keeps."""

    last: NDArray[np.float64]

    sums: NDArray[np.float64]
    squares: NDArray[np.float64]


class RunningStandardize(_Running):
    """Subtract the running mean of each channel and divide by its running standard deviation.

    Both rest on the samples up to and including the one that leaves. The squared deviations are summed about
    the mean as it moves (Welford; West 1979, doi 10.1145/359146.359153), never as a difference of large
    numbers. A channel in which nothing moves gives zeros.
    """

    step: Literal["running-standardize"] = "running-standardize"

    def start(self, n_channels: int) -> _StandardizeState:
        """See Step."""
        return _StandardizeState(
            last=np.zeros((1, n_channels + 1)), sums=np.zeros((1, n_channels + 1)), squares=np.zeros((1, n_channels))
        )

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        from scipy.signal import lfilter

        if len(samples) == 0:
            return samples.copy()
        age = 1 / (self.time_constant_s * self.sfreq)
        fading = [-math.expm1(-age)], [1.0, -math.exp(-age)]
        # A channel of ones gives the sum of the weights.
        entering = np.concatenate([samples, np.ones((len(samples), 1))], axis=1)
        sums, state.sums = lfilter(*fading, entering, axis=0, zi=state.sums)
        weight = sums[:, -1:]
        mean = sums[:, :-1] / weight
        now = np.concatenate([mean, weight], axis=1)
        before = np.concatenate([state.last, now[:-1]])
        state.last = now[-1:]
        share = math.exp(-age) * before[:, -1:] / weight
        deviation = samples - before[:, :-1]
        squares, state.squares = lfilter(*fading, share * deviation**2, axis=0, zi=state.squares)
        std = np.sqrt(squares / weight)
        # Below the resolution of a float32 stream by far: rounding, not signal.
        std[std <= 1e-9 * np.abs(mean)] = np.inf
        return np.asarray((samples - mean) / std)

    def minimum(self) -> int:
        """See Step."""
        return math.ceil(self.minimum_s * self.sfreq)

    def describe(self) -> str:
        """See Step."""
        return (
            f"running standardisation, time constant {self.time_constant_s:g} s, trusted after {self.minimum_s:g} s"
        )


@dataclass(slots=True)
class _AlignState:
    """The block being filled (n_samples, n_channels); mean and operator (n_channels, n_channels)."""

    block: NDArray[np.float64]
    mean: NDArray[np.float64]
    operator: NDArray[np.float64]
    filled: int = 0
    weight: float = 0.0


class RunningAlign(_Running):
    """Multiply by the inverse square root of the running mean of the channels' covariance.

    Sessions and subjects differ less afterwards: seen over a long time, every channel has variance 1 and no
    two are correlated. The covariance, taken about zero (so a high-pass belongs before this step), is that of
    blocks counted from the first sample ever; what leaves rests on the blocks completed before. Until the
    first one is complete, zeros leave.

    Attributes
    ----------
    method : str
        `euclidean`: arithmetic mean (He & Wu 2020, doi 10.1109/TBME.2019.2913914). `riemannian`: geometric mean,
        moved along the geodesic towards each block (Zanini et al. 2018, doi 10.1109/TBME.2017.2742541).
    update_s : float
        Length of a block.
    shrinkage : float
        By which each block's covariance is shrunk towards its mean variance, so that a channel that is flat
        or a sum of others (a reference does that) does no harm.
    """

    step: Literal["running-align"] = "running-align"
    method: Literal["euclidean", "riemannian"]
    update_s: Annotated[float, Field(gt=0)]
    shrinkage: Annotated[float, Field(ge=1e-3, le=1)]

    @property
    def _every(self) -> int:
        """Samples in a block."""
        return max(1, round(self.update_s * self.sfreq))

    def start(self, n_channels: int) -> _AlignState:
        """See Step."""
        square = (n_channels, n_channels)
        return _AlignState(np.empty((self._every, n_channels)), np.zeros(square), np.zeros(square))

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        aligned, at = np.empty_like(samples), 0
        while at < len(samples):
            take = min(len(state.block) - state.filled, len(samples) - at)
            cut = slice(at, at + take)
            aligned[cut] = mix(samples[cut], state.operator)
            state.block[state.filled : state.filled + take] = samples[cut]
            state.filled += take
            at += take
            if state.filled == len(state.block):
                self._learn(state)
        return aligned

    def _learn(self, state: _AlignState) -> None:
        """Move the mean towards the covariance of the block, which is full, and begin the next one."""
        state.filled, n = 0, len(state.mean)
        covariance = state.block.T @ state.block / len(state.block)
        variance = np.trace(covariance) / n
        if variance <= 1e-12 * np.trace(state.mean) / n:
            return  # Nothing moves: the geometric mean would fall towards zero.
        covariance = (1 - self.shrinkage) * covariance + self.shrinkage * variance * np.eye(n)
        age = len(state.block) / (self.time_constant_s * self.sfreq)
        first, new = state.weight == 0, -math.expm1(-age)
        state.weight = math.exp(-age) * state.weight + new
        if first:
            state.mean = covariance
        elif self.method == "euclidean":
            state.mean += new / state.weight * (covariance - state.mean)
        else:
            state.mean = _geodesic(state.mean, state.operator, covariance, new / state.weight)
        state.operator = _power(state.mean, -0.5)

    def minimum(self) -> int:
        """See Step. Whole blocks, one at least."""
        return max(1, math.ceil(self.minimum_s * self.sfreq / self._every)) * self._every

    def describe(self) -> str:
        """See Step."""
        return (
            f"{self.method} alignment by the running covariance, updated every {self.update_s:g} s, "
            f"time constant {self.time_constant_s:g} s, trusted after {self.minimum() / self.sfreq:.3g} s"
        )


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    power: NDArray[np.float64] = (vectors * values**exponent) @ vectors.T
    return power


def _geodesic(
    start: NDArray[np.float64], inverse_root: NDArray[np.float64], end: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """Go a share of the way between two covariances, affine-invariantly; `inverse_root` is that of the first."""
    root = start @ inverse_root
    moved = root @ _power(inverse_root @ end @ inverse_root, share) @ root.T
    symmetric: NDArray[np.float64] = (moved + moved.T) / 2
    return symmetric
