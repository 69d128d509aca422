"""What every network is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtdecode.errors import ConfigurationError


@dataclass(frozen=True)
class Inputs:
    """What a network is built for.

    Attributes
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes.
    sfreq : float
        Rate of the samples in Hz.
    ch_names : tuple of str
        Names of the channels that leave the preprocessing.
    positions : tuple of (float, float), or None
        Where each of them is on a plane, both coordinates in [0, 1]; None when the recordings do not tell.
    unplaced : tuple of str
        The channels of which they do not.
    """

    n_channels: int
    n_times: int
    n_outputs: int
    sfreq: float
    ch_names: tuple[str, ...]
    positions: tuple[tuple[float, float], ...] | None = None
    unplaced: tuple[str, ...] = ()

    def placed(self, network: str) -> tuple[tuple[float, float], ...]:
        """Return the positions; ConfigurationError if they are unknown and `network` needs them."""
        if self.positions is None:
            names = self.unplaced or self.ch_names
            some = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise ConfigurationError(
                f"Network {network!r} asks where the sensors are, which the recordings do not tell of {some}. "
                "Set a montage in the recordings; behind bipolar or other spatial steps with new names there is none."
            )
        return self.positions


class Network(nn.Module, ABC):
    """A decoder's computational graph: windows in, logits out.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes.

    Attributes
    ----------
    causal : bool
        Whether the features that `sequence` gives rest on no later sample. False makes no claim; a claim is
        tried out at export.
    n_bands : int
        How many bands the filter bank has that the network was made to stand behind; 1: none.
    """

    causal: bool = False
    n_bands: int = 1

    def __init__(self, n_channels: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.n_channels, self.n_times, self.n_outputs = n_channels, n_times, n_outputs

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""

    @property
    def receptive_field(self) -> int | None:
        """Samples of the input that one feature in time sees; None: the whole window."""
        return None

    def sequence(self, x: Tensor) -> Tensor:
        """Return a feature vector per sample, of a network that is `causal`.

        Parameters
        ----------
        x : Tensor, (batch, n_channels, n_times)
            Windows.

        Returns
        -------
        Tensor, (batch, width, n_times')
            The last column belongs to the newest sample. There are fewer than n_times where nothing is padded.
        """
        raise NotImplementedError

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss in training, or None."""
        return None

    def constrain(self) -> None:
        """Bring the weights back to what the network allows (norms); called after every training step."""


def limit_norm(weight: Tensor, at_most: float) -> None:
    """Shrink, in place, every output's weights whose Euclidean norm exceeds `at_most`."""
    with torch.no_grad():
        weight.copy_(torch.renorm(weight, 2, 0, at_most))


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise ValueError unless `value` is allowed."""
    choices = list(allowed)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
