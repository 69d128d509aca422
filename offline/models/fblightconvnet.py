"""FBLightConvNet: band-wise spatial filters, log variance, and attention over time segments.

Ma, Chen, Yang, Zhang, He, Zhang (2023), IEEE TNSRE 31, 3441-3451, doi 10.1109/TNSRE.2023.3299355. The filter bank
is a preprocessing step of the decoder (`filter-bank`): it is causal and keeps its state, so the graph starts at the
bands.
"""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from offline.models.base import Network
from offline.models.layers import Nonlinearity, folded
from offline.models.stepping import Front, Stepped, Stepping, stepping


class FBLightConvNet(Network):
    """Convolution over bands and channels, log variance of segments, light convolution over them, dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets; `n_channels` counts every channel of every band.
    n_filters : int
        Spatial filters over bands and channels jointly.
    segment : int
        Samples of a segment; they must divide the window, or its newest samples would be dropped.
    heads : int
        Attention heads; filter f uses head f mod heads.
    weight_softmax : bool
        Whether a head's weights over the segments are a softmax.
    bias : bool
        Whether the attention adds a bias.
    activation : str
        After the batch norm; see `offline.models.layers.NONLINEARITIES`.
    """

    n_bands = 9

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        n_filters: int = 32,
        segment: int = 250,
        heads: int = 8,
        weight_softmax: bool = True,
        bias: bool = False,
        activation: str = "elu",
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        if segment < 2 or n_times % segment:
            raise ValueError(f"segments of {segment} samples must divide the window of {n_times}")
        if n_filters % heads:
            raise ValueError(f"{n_filters} filters cannot be shared by {heads} heads")
        self.spatial = nn.Conv1d(n_channels, n_filters, 1)
        self.norm: nn.Module = nn.BatchNorm1d(n_filters)
        self.activation = Nonlinearity(activation)
        self.attention = nn.Parameter(torch.empty(heads, n_times // segment))
        self.attention_bias = nn.Parameter(torch.zeros(n_filters)) if bias else None
        self.fc = nn.Linear(n_filters, n_outputs)
        self._segment, self._repeats, self._softmax = segment, n_filters // heads, weight_softmax
        for weight in (self.spatial.weight, self.attention):
            nn.init.xavier_uniform_(weight)
        self.start_head()

    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, n_filters) of windows (batch, n_channels, n_times)."""
        x = self.activation(self.norm(self.spatial(x)))  # (B, F, T)
        return self.attended(log_variance(x.reshape(x.shape[0], x.shape[1], -1, self._segment)))

    def attended(self, power: Tensor) -> Tensor:
        """Return the features (batch, n_filters) of log variances (batch, n_filters, n_segments)."""
        weights = torch.softmax(self.attention, dim=1) if self._softmax else self.attention
        attended = (power * weights.repeat(self._repeats, 1)).sum(dim=2)  # (B, F)
        return attended if self.attention_bias is None else attended + self.attention_bias

    def stepping(self) -> Stepping:
        """See Network."""
        power = Stepped(_Power(self._segment), self._segment - 1, self._segment)
        front = Front(self.n_channels, (self.spatial, self.activation, power))
        return stepping(front, _Attended(self), self.n_times)

    def start_head(self) -> None:
        """See Network."""
        nn.init.xavier_uniform_(self.fc.weight)

    def fused(self) -> Self:
        """Return a copy whose spatial filters include the batch norm."""
        network = copy.deepcopy(self).eval()
        network.spatial, network.norm = folded(network.spatial, network.norm)
        return network


def log_variance(x: Tensor) -> Tensor:
    """Return the logarithm of the variance over the last dimension, within 1e-6 and 1e6."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().sum(dim=-1) / (x.shape[-1] - 1)
    return torch.log(torch.clamp(variance, 1e-6, 1e6))


class _Power(nn.Module):
    """The log variance of the segment that ends with a sample, for every sample."""

    def __init__(self, segment: int) -> None:
        super().__init__()
        self._segment = segment

    def forward(self, x: Tensor) -> Tensor:
        return log_variance(x.unfold(2, self._segment, 1))


class _Attended(nn.Module):
    """What follows the log variances, which come as (1, n_segments, n_filters)."""

    def __init__(self, network: FBLightConvNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network.head(self.network.attended(features.transpose(1, 2)))
