"""What every network is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A decoder's computational graph: windows in, logits out.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Channels and samples of a window, classes.
    """

    def __init__(self, n_channels: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.n_channels, self.n_times, self.n_outputs = n_channels, n_times, n_outputs

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss in training, or None."""
        return None
