"""The first layers that Shallow and Deep4 have in common.

Schirrmeister et al. (2017), Human Brain Mapping 38, 5391-5420, doi 10.1002/hbm.23730.
"""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from offline.models.base import Network
from offline.models.layers import folded, xavier


class TimeThenSpace(Network):
    """Temporal filters, spatial filters over all of them without a nonlinearity between, batch norm.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    n_temporal, n_spatial : int
        Temporal filters, and spatial filters over all of them.
    filter_length : int
        Samples of a temporal filter; no padding.
    split_first_layer : bool
        Otherwise there are `n_temporal` filters over time and channels at once, and no spatial ones.
    batch_norm : bool
        Whether a batch norm follows; otherwise the filters have a bias.
    batch_norm_momentum : float
        Share of a batch in its running statistics.
    dropout : float
        Of the features.
    step : int
        Samples from one filtered value to the next.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        n_temporal: int,
        n_spatial: int,
        filter_length: int,
        split_first_layer: bool,
        batch_norm: bool,
        batch_norm_momentum: float,
        dropout: float,
        step: int = 1,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs, dropout)
        if filter_length > n_times:
            raise ValueError(f"a window of {n_times} samples is too short for filters of {filter_length}")
        self.temporal: nn.Conv1d | nn.Conv2d = nn.Conv2d(1, n_temporal, (filter_length, 1))
        self.spatial: nn.Module = nn.Conv2d(n_temporal, n_spatial, (1, n_channels), (step, 1), bias=not batch_norm)
        if not split_first_layer:
            self.temporal = nn.Conv1d(n_channels, n_temporal, filter_length, step, bias=not batch_norm)
            self.spatial = nn.Identity()
        self.n_filtered = n_spatial if split_first_layer else n_temporal
        self.norm: nn.Module = nn.Identity()
        if batch_norm:
            self.norm = nn.BatchNorm1d(self.n_filtered, momentum=batch_norm_momentum)

    def filtered(self, x: Tensor) -> Tensor:
        """Return filtered signals (batch, n_filtered, n) of windows (batch, n_channels, n_times)."""
        if isinstance(self.temporal, nn.Conv1d):
            filtered = self.temporal(x)
        else:
            filtered = self.spatial(self.temporal(x.transpose(1, 2)[:, None]))[..., 0]
        normed: Tensor = self.norm(filtered)
        return normed

    def start_filters(self) -> None:
        """Give the filters the weights they start with."""
        xavier(*(layer for layer in (self.temporal, self.spatial) if not isinstance(layer, nn.Identity)))

    def start_head(self) -> None:
        """See Network."""
        xavier(self.fc)

    def fused(self) -> Self:
        """Return a copy whose filters over time and channels are one convolution, batch norms included."""
        network = copy.deepcopy(self).eval()
        filters = network.temporal
        if not isinstance(filters, nn.Conv1d):
            assert isinstance(network.spatial, nn.Conv2d)
            filters, network.spatial = _merged(filters, network.spatial), nn.Identity()
        network.temporal, network.norm = folded(filters, network.norm)
        return network


@torch.no_grad()
def _merged(temporal: nn.Conv2d, spatial: nn.Conv2d) -> nn.Conv1d:
    """Return one convolution (n_spatial, n_channels, filter_length) in place of two."""
    kernels, mixing = temporal.weight[:, 0, :, 0].double(), spatial.weight[:, :, 0].double()
    both = nn.Conv1d(mixing.shape[2], len(mixing), kernels.shape[1], spatial.stride[0]).to(spatial.weight)
    both.weight.copy_(torch.einsum("fl,sfc->scl", kernels, mixing))
    assert both.bias is not None and temporal.bias is not None
    both.bias.copy_(mixing.sum(dim=2) @ temporal.bias.double() + (0 if spatial.bias is None else spatial.bias))
    return both.eval()
