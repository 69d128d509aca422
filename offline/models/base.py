"""What every network is."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn


@dataclass(frozen=True)
class Inputs:
    """What a network is built for.

    Attributes
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes or regression targets.
    sfreq : float
        Rate of the samples in Hz.
    ch_names : tuple of str
        Names of the channels that leave the preprocessing.
    positions : tuple of (float, float), or None
        Where each of them is on a plane, both coordinates in [0, 1]; None when the recordings do not tell.
    ch_types : tuple of str, or None
        The type of each of them.
    """

    n_channels: int
    n_times: int
    n_outputs: int
    sfreq: float
    ch_names: tuple[str, ...]
    positions: tuple[tuple[float, float], ...] | None = None
    ch_types: tuple[str, ...] | None = None


class Network(nn.Module, ABC):
    """A decoder's computational graph: windows in, logits out.

    A network is its `features`; dropout and the last layer `fc` follow.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes or regression targets.
    dropout : float
        Of the features.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer.
    causal : bool
        Whether `sequence` gives, for each sample, features that rest on no later one.
    """

    causal: bool = False
    fc: nn.Linear

    def __init__(self, n_channels: int, n_times: int, n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_channels, self.n_times, self.n_outputs = n_channels, n_times, n_outputs
        self.dropout: nn.Module = nn.Dropout(dropout)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, ...) of windows (batch, n_channels, n_times)."""

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        return self.head(self.features(x))

    def head(self, features: Tensor) -> Tensor:
        """Turn features (batch, ...) into logits (batch, n_outputs)."""
        logits: Tensor = self.fc(self.dropout(features).flatten(1))
        return logits

    def with_head(self, n_outputs: int) -> Self:
        """Return a copy with all weights but those of the last layer, which starts anew with `n_outputs`."""
        network = copy.deepcopy(self)
        network.n_outputs = n_outputs
        network.fc = nn.Linear(self.fc.in_features, n_outputs).to(self.fc.weight)
        network.start_head()
        network.constrain()
        return network.train(self.training)

    def start_head(self) -> None:
        """Give the last layer the weights it starts with: torch's own, unless the publication tells."""

    def fused(self) -> "Network":
        """Return what computes the same outputs in evaluation mode with fewer operations: a copy, or itself.

        Only linear neighbours are merged, so it differs by rounding alone.
        """
        return self

    @property
    def receptive_field(self) -> int | None:
        """Samples of the window that one time step of the features rests on; None: the whole window."""
        return None

    def sequence(self, x: Tensor) -> Tensor:
        """Return features per sample (batch, width, n_samples); the last one is that of the newest sample.

        For networks that claim to be `causal`; NotImplementedError for all others.
        """
        raise NotImplementedError(f"{type(self).__name__} has no features per sample")

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss in training, or None."""
        return None

    def constrain(self) -> None:
        """Bring the weights back to what the network allows (norms); called after every training step."""
