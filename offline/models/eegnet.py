"""EEGNet: a compact network for many paradigms.

Lawhern, Solon, Waytowich, Gordon, Hung, Lance (2018), J. Neural Eng. 15, 056013, doi 10.1088/1741-2552/aace8c.
"""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from offline.models.base import Network
from offline.models.layers import Nonlinearity, Pool, folded, limit_norm, one_of, xavier
from offline.models.stepping import (
    ZEROS,
    Front,
    Separable,
    Stepped,
    Stepping,
    averaged,
    dense,
    dense_over_averages,
    flat,
    stepping,
)


class EEGNet(Network):
    """Temporal filters, a depthwise spatial filter for each, a separable convolution, a dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    f1, d, f2 : int
        Temporal filters, spatial filters for each, pointwise filters of the second block.
    kernel_length, depth_kernel_length : int
        Samples of the temporal and of the separable kernel.
    pool1, pool2 : int
        Samples pooled after the first and the second block.
    dropout : float
        After each block.
    max_norm_spatial, max_norm_fc : float or None
        Largest norm of a spatial filter and of an output's weights; None: not limited.
    padding : str
        `same` as published: half of each kernel on both sides, so that an even one leaves one value more; `valid`:
        none, so that no zeros stand for what was before the window.
    pool_type : str
        `avg` or `max`.
    nonlinearity : str
        Of each block; see `offline.models.layers.NONLINEARITIES`.
    spatial_dropout : bool
        Whether dropout takes whole filters rather than single values.
    batch_norm_momentum, batch_norm_eps : float
        Share of a batch in the running statistics, and what is added to the variance.
    batch_norm_affine : bool
        Whether the batch norms have weights of their own.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        f1: int = 8,
        d: int = 2,
        f2: int = 16,
        kernel_length: int = 64,
        depth_kernel_length: int = 16,
        pool1: int = 4,
        pool2: int = 8,
        dropout: float = 0.25,
        max_norm_spatial: float | None = 1.0,
        max_norm_fc: float | None = 0.25,
        padding: str = "same",
        pool_type: str = "avg",
        nonlinearity: str = "elu",
        spatial_dropout: bool = False,
        batch_norm_momentum: float = 0.01,
        batch_norm_eps: float = 1e-3,
        batch_norm_affine: bool = True,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        one_of("padding", padding, ("same", "valid"))
        pads = (kernel_length // 2, depth_kernel_length // 2) if padding == "same" else (0, 0)
        n_spatial, n_filtered = f1 * d, n_times + 2 * pads[0] - kernel_length + 1
        n_separated = n_filtered // pool1 + 2 * pads[1] - depth_kernel_length + 1
        if n_filtered < pool1 or n_separated < pool2:
            raise ValueError(f"a window of {n_times} samples is too short for pooling by {pool1} and {pool2}")
        norm = (batch_norm_eps, batch_norm_momentum, batch_norm_affine)
        kernel, depth_kernel = (1, kernel_length), (1, depth_kernel_length)
        self.temporal = nn.Conv2d(1, f1, kernel, padding=(0, pads[0]), bias=False)
        self.norm_temporal: nn.Module = nn.BatchNorm2d(f1, *norm)
        self.spatial = nn.Conv2d(f1, n_spatial, (n_channels, 1), groups=f1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(n_spatial, *norm)
        self.pool1 = Pool(n_filtered, pool1, pool1, pool_type)
        self.depth = nn.Conv2d(n_spatial, n_spatial, depth_kernel, padding=(0, pads[1]), groups=n_spatial, bias=False)
        self.point = nn.Conv2d(n_spatial, f2, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(f2, *norm)
        self.pool2 = Pool(n_separated, pool2, pool2, pool_type)
        self.fc = nn.Linear(f2 * self.pool2.n_out, n_outputs)
        self.nonlinearity = Nonlinearity(nonlinearity)
        self.dropout = nn.Dropout1d(dropout) if spatial_dropout else nn.Dropout(dropout)
        self._receptive_field = kernel_length + pool1 - 1 + pool1 * (depth_kernel_length - 1 + pool2 - 1)
        self._max_norms = {"spatial.weight": max_norm_spatial, "fc.weight": max_norm_fc}
        xavier(self.temporal, self.spatial, self.depth, self.point)
        self.start_head()
        self.constrain()

    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, f2, n_pooled) of windows (batch, n_channels, n_times)."""
        x = self.norm_temporal(self.temporal(x[:, None]))  # (B, f1, C, T or T + 1)
        x = self.nonlinearity(self.norm1(self.spatial(x)).squeeze(2))  # (B, f1*d, T)
        x = self.dropout(self.pool1(x)).unsqueeze(2)
        x = self.nonlinearity(self.norm2(self.point(self.depth(x))).squeeze(2))  # (B, f2, T / pool1)
        pooled: Tensor = self.pool2(x)
        return pooled

    def stepping(self) -> Stepping:
        """See Network."""
        if self.temporal.padding[1] or self.spatial.padding[1]:
            raise ValueError(ZEROS)
        # After fusing, the filters over channels come first; all are convolutions over time alone then.
        space, time = flat(self.temporal), flat(self.spatial)
        depth, point = flat(self.depth), flat(self.point)
        if self.pool1.pool_type == "max":
            layers = (space, time, self.nonlinearity, self.pool1, depth, point, self.nonlinearity, self.pool2)
            front = Front(self.n_channels, layers)
            return stepping(front, dense(self.fc, front.width), self.n_times)
        # An average is linear: each is merged with the weights behind it.
        depth = averaged(self.pool1, depth)
        separable = Stepped(Separable(depth, point), depth.kernel_size[0] - 1, depth.stride[0])
        front = Front(self.n_channels, (space, time, self.nonlinearity, separable, self.nonlinearity))
        return stepping(front, dense_over_averages(self.fc, self.pool2, front, self.n_times), self.n_times)

    @property
    def receptive_field(self) -> int:
        """See Network."""
        return self._receptive_field

    def start_head(self) -> None:
        """See Network."""
        xavier(self.fc)

    def constrain(self) -> None:
        """Limit the norms of the spatial filters and of the dense layer."""
        for name, at_most in self._max_norms.items():
            if at_most is not None:
                limit_norm(self.get_parameter(name), at_most)

    def fused(self) -> Self:
        """Return a copy without batch norms in which the spatial filters come first.

        Then there are f1 * d signals to filter over time instead of f1 times the channels. Temporal and spatial
        filters have only affine steps between them, and the padded zeros stay zeros before either.
        """
        network = copy.deepcopy(self).eval()
        temporal, _ = folded(network.temporal, network.norm_temporal)
        mixing = network.spatial.weight[:, 0, :, 0]  # (f1*d, C)
        n_spatial, d = len(mixing), len(mixing) // temporal.out_channels
        projection = nn.Conv2d(1, n_spatial, (self.n_channels, 1), bias=False).to(mixing)
        kernel, pad = temporal.kernel_size[1], int(temporal.padding[1])
        filters = nn.Conv2d(n_spatial, n_spatial, (1, kernel), padding=(0, pad), groups=n_spatial).to(mixing)
        with torch.no_grad():
            assert temporal.bias is not None and filters.bias is not None
            projection.weight.copy_(mixing[:, None, :, None])
            filters.weight.copy_(temporal.weight.repeat_interleave(d, dim=0))
            filters.bias.copy_(temporal.bias.repeat_interleave(d) * mixing.sum(dim=1))
        # The two change places.
        network.temporal, network.norm_temporal = projection, nn.Identity()
        network.spatial, network.norm1 = folded(filters.eval(), network.norm1)
        network.point, network.norm2 = folded(network.point, network.norm2)
        return network
