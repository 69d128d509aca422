"""Deep4Net: four blocks of convolution and max pooling.

Schirrmeister et al. (2017), Human Brain Mapping 38, 5391-5420, doi 10.1002/hbm.23730.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.base import Network


class Deep4Net(Network):
    """Temporal and spatial filters, then three convolutional blocks, each pooled by 3; dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes.
    n_temporal, n_spatial : int
        Filters of the first block.
    n_filters : tuple of int
        Filters of the later blocks.
    filter_length : int
        Samples of every kernel; no padding.
    pooling : int
        Length and step of the max pooling.
    dropout : float
        Before every block but the first, and before the dense layer.
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        n_temporal: int = 25,
        n_spatial: int = 25,
        n_filters: tuple[int, ...] = (50, 100, 200),
        filter_length: int = 10,
        pooling: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        self.temporal = nn.Conv2d(1, n_temporal, (filter_length, 1))
        self.spatial = nn.Conv2d(n_temporal, n_spatial, (1, n_channels), bias=False)
        self.norm = nn.BatchNorm2d(n_spatial)
        widths = [n_spatial, *n_filters]
        n = (n_times - filter_length + 1) // pooling
        self.blocks = nn.ModuleList()
        for n_in, n_out in pairwise(widths):
            convolution = nn.Conv2d(n_in, n_out, (filter_length, 1), bias=False)
            self.blocks.append(nn.Sequential(nn.Dropout(dropout), convolution, nn.BatchNorm2d(n_out)))
            n = (n - filter_length + 1) // pooling
        if n < 1:
            raise ValueError(f"a window of {n_times} samples is too short for {1 + len(n_filters)} blocks")
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[-1] * n, n_outputs)
        self._pooling = (pooling, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, n_filters[-1], n_pooled) of windows (batch, n_channels, n_times)."""
        x = self.spatial(self.temporal(x.transpose(1, 2)[:, None]))  # (B, n_spatial, T', 1)
        x = F.max_pool2d(F.elu(self.norm(x)), self._pooling)
        for block in self.blocks:
            x = F.max_pool2d(F.elu(block(x)), self._pooling)
        return x[..., 0]

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        logits: Tensor = self.fc(self.dropout(self.features(x)).flatten(1))
        return logits
