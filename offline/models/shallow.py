"""ShallowFBCSPNet: filter-bank common spatial patterns as a network.

Schirrmeister et al. (2017), Human Brain Mapping 38, 5391-5420, doi 10.1002/hbm.23730.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.base import Network


class ShallowFBCSPNet(Network):
    """Temporal and spatial filters without a nonlinearity between, log of the pooled square, dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes.
    n_temporal, n_spatial : int
        Temporal filters, and spatial filters over all of them.
    filter_length : int
        Samples of a temporal filter; no padding.
    pooling, stride : int
        Length and step of the average of squares, in samples.
    dropout : float
        Of the log powers.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        n_temporal: int = 40,
        n_spatial: int = 40,
        filter_length: int = 25,
        pooling: int = 75,
        stride: int = 15,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        n_pooled = (n_times - filter_length + 1 - pooling) // stride + 1
        if n_pooled < 1:
            raise ValueError(f"a window of {n_times} samples is too short for pooling {pooling}")
        self.temporal = nn.Conv2d(1, n_temporal, (filter_length, 1))
        self.spatial = nn.Conv2d(n_temporal, n_spatial, (1, n_channels), bias=False)
        self.norm = nn.BatchNorm2d(n_spatial)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_spatial * n_pooled, n_outputs)
        self._pooling, self._stride = pooling, stride
        for layer in (self.temporal, self.spatial, self.fc):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.temporal, self.fc):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def features(self, x: Tensor) -> Tensor:
        """Return log powers (batch, n_spatial, n_pooled) of windows (batch, n_channels, n_times)."""
        x = self.spatial(self.temporal(x.transpose(1, 2)[:, None]))  # (B, n_spatial, T', 1)
        x = torch.square(self.norm(x))
        x = F.avg_pool2d(x, (self._pooling, 1), (self._stride, 1))
        return torch.log(torch.clamp(x, min=1e-6))[..., 0]

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        logits: Tensor = self.fc(self.dropout(self.features(x)).flatten(1))
        return logits
