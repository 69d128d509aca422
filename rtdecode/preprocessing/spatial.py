"""Steps that mix or choose channels; each sample by itself."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from rtdecode.contract import Signal
from rtdecode.contract.arrays import FloatArray
from rtdecode.preprocessing.base import Samples, Step


def mix(samples: Samples, matrix: NDArray[np.float64]) -> Samples:
    """Multiply samples (n_samples, n_in) by a matrix (n_out, n_in), one product per sample.

    A product over all samples at once rounds differently for every chunk size.
    """
    mixed: Samples = np.matmul(samples[:, None, :], matrix.T)[:, 0, :]
    return mixed


class Pick(Step):
    """Keep these channels, in this order.

    Attributes
    ----------
    indices : tuple of int
        Positions among the channels that enter.
    ch_names : tuple of str
        Their names, checked against the signal that enters.
    """

    step: Literal["pick"] = "pick"
    indices: tuple[int, ...]
    ch_names: tuple[str, ...]

    @classmethod
    def by_name(cls, signal: Signal, ch_names: tuple[str, ...]) -> Self:
        """Pick by name; ValueError names the channels that `signal` lacks."""
        missing = [name for name in ch_names if name not in signal.ch_names]
        if missing:
            raise ValueError(f"channels to pick are missing: {', '.join(missing)}")
        return cls(indices=tuple(signal.ch_names.index(n) for n in ch_names), ch_names=ch_names)

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        if tuple(signal.ch_names[i] for i in self.indices if i < signal.n_channels) != self.ch_names:
            raise ValueError("the picked channels do not stand where the step says")
        return signal.pick(self.ch_names)

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return samples[:, self.indices]

    def describe(self) -> str:
        """See Step."""
        return f"keep {len(self.indices)} channels"


class Linear(Step):
    """Linear spatial operator: every output channel is a weighted sum of input channels.

    References, SSP projections, bipolar derivations, interpolation, CSP and whitening are all this step.

    Attributes
    ----------
    matrix : array of float64, (n_out, n_in)
        The weights.
    ch_names, ch_types, units : tuple of str
        Of the channels that leave.
    label : str
        What the operator is, for people.
    """

    step: Literal["linear"] = "linear"
    matrix: FloatArray
    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...]
    units: tuple[str, ...]
    label: str = "linear operator"

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        if self.matrix.ndim != 2 or len(self.matrix) != len(self.ch_names):
            raise ValueError(f"matrix has shape {self.matrix.shape}; ({len(self.ch_names)}, n_channels) is needed")
        return self

    @classmethod
    def average_reference(cls, signal: Signal, ch_type: str = "eeg") -> Self:
        """Subtract the mean over the channels of one type from each of them."""
        return cls._subtracting(signal, [t == ch_type for t in signal.ch_types], f"average reference ({ch_type})")

    @classmethod
    def channel_reference(cls, signal: Signal, ch_names: tuple[str, ...], ch_type: str = "eeg") -> Self:
        """Subtract the mean of the named channels (say, both mastoids) from each channel of one type."""
        missing = [name for name in ch_names if name not in signal.ch_names]
        if missing:
            raise ValueError(f"reference channels are missing: {', '.join(missing)}")
        chosen = [name in ch_names for name in signal.ch_names]
        return cls._subtracting(signal, chosen, f"reference {', '.join(ch_names)}", ch_type)

    @classmethod
    def _subtracting(cls, signal: Signal, chosen: list[bool], label: str, ch_type: str = "") -> Self:
        weights = np.array(chosen, float)
        if not weights.any():
            raise ValueError(f"no channel to compute the {label} from")
        rows = [t == ch_type for t in signal.ch_types] if ch_type else chosen
        matrix = np.eye(signal.n_channels) - np.outer(np.array(rows, float), weights / weights.sum())
        return cls(matrix=matrix, ch_names=signal.ch_names, ch_types=signal.ch_types, units=signal.units, label=label)

    @classmethod
    def bipolar(cls, signal: Signal, pairs: tuple[tuple[str, str], ...]) -> Self:
        """Return `anode - cathode` of each pair, and nothing else."""
        names = list(signal.ch_names)
        missing = sorted({name for pair in pairs for name in pair if name not in names})
        if missing:
            raise ValueError(f"channels of the bipolar pairs are missing: {', '.join(missing)}")
        matrix = np.zeros((len(pairs), len(names)))
        for row, (anode, cathode) in zip(matrix, pairs, strict=True):
            row[names.index(anode)] += 1.0
            row[names.index(cathode)] -= 1.0
        anodes = [names.index(anode) for anode, _ in pairs]
        return cls(
            matrix=matrix,
            ch_names=tuple(f"{a}-{c}" for a, c in pairs),
            ch_types=tuple(signal.ch_types[i] for i in anodes),
            units=tuple(signal.units[i] for i in anodes),
            label="bipolar derivations",
        )

    @classmethod
    def whitening(cls, signal: Signal, samples: Samples, shrinkage: float = 0.01) -> Self:
        """Decorrelate the channels of `samples` (n_samples, n_channels): the symmetric inverse square root.

        The covariance is shrunk towards its mean variance by `shrinkage`, so that a channel that is flat or a
        sum of others does no harm.
        """
        covariance = np.cov(samples, rowvar=False).reshape(signal.n_channels, signal.n_channels)
        variance = float(np.trace(covariance)) / signal.n_channels
        covariance = (1 - shrinkage) * covariance + shrinkage * variance * np.eye(signal.n_channels)
        values, vectors = np.linalg.eigh(covariance)
        if values[0] <= 1e-12 * values[-1]:
            raise ValueError("a channel is a sum of others (a reference does that); whitening needs shrinkage > 0")
        n = signal.n_channels
        return cls(
            matrix=(vectors / np.sqrt(values)) @ vectors.T,
            ch_names=signal.ch_names,
            ch_types=signal.ch_types,
            units=("none",) * n,
            label="whitening by the training data's covariance",
        )

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        if self.matrix.shape[1] != signal.n_channels:
            raise ValueError(f"{self.label} takes {self.matrix.shape[1]} channels, {signal.n_channels} enter")
        return signal.with_channels(self.ch_names, self.ch_types, self.units)

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return mix(samples, self.matrix)

    def describe(self) -> str:
        """See Step."""
        return f"{self.label}: {self.matrix.shape[1]} -> {self.matrix.shape[0]} channels"
