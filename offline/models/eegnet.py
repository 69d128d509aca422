"""EEGNet: a compact network for many paradigms.

Lawhern, Solon, Waytowich, Gordon, Hung, Lance (2018), J. Neural Eng. 15, 056013, doi 10.1088/1741-2552/aace8c.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.base import Network, limit_norm


class EEGNet(Network):
    """Temporal filters, a depthwise spatial filter for each, a separable convolution, a dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes.
    f1, d, f2 : int
        Temporal filters, spatial filters for each, pointwise filters of the second block.
    kernel_length, depth_kernel_length : int
        Samples of the temporal and of the separable kernel; half of each is padded on both sides.
    pool1, pool2 : int
        Samples averaged after the first and the second block.
    dropout : float
        After each block.
    max_norm_spatial, max_norm_fc : float or None
        Largest norm of a spatial filter and of an output's weights; None: not limited.
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
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        n_spatial = f1 * d
        n_padded = n_times + (kernel_length % 2 == 0)
        n_pooled = n_padded // pool1
        n_features = (n_pooled + (depth_kernel_length % 2 == 0)) // pool2
        if n_features < 1:
            raise ValueError(f"a window of {n_times} samples is too short for pooling by {pool1} and {pool2}")
        self.temporal = nn.Conv2d(1, f1, (1, kernel_length), padding=(0, kernel_length // 2), bias=False)
        self.norm_temporal = nn.BatchNorm2d(f1, eps=1e-3, momentum=0.01)
        self.spatial = nn.Conv2d(f1, n_spatial, (n_channels, 1), groups=f1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_spatial, eps=1e-3, momentum=0.01)
        self.depth = nn.Conv2d(
            n_spatial,
            n_spatial,
            (1, depth_kernel_length),
            padding=(0, depth_kernel_length // 2),
            groups=n_spatial,
            bias=False,
        )
        self.point = nn.Conv2d(n_spatial, f2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(f2, eps=1e-3, momentum=0.01)
        self.fc = nn.Linear(f2 * n_features, n_outputs)
        self._pools, self._dropout = (pool1, pool2), dropout
        self._max_norms: list[tuple[nn.Conv2d | nn.Linear, float | None]] = [
            (self.spatial, max_norm_spatial),
            (self.fc, max_norm_fc),
        ]
        for layer in (self.temporal, self.spatial, self.depth, self.point, self.fc):
            nn.init.xavier_uniform_(layer.weight)
        self.constrain()

    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, f2, n_pooled) of windows (batch, n_channels, n_times)."""
        x = self.norm_temporal(self.temporal(x[:, None]))  # (B, f1, C, T or T + 1)
        x = F.elu(self.norm1(self.spatial(x)))  # (B, f1*d, 1, T)
        x = F.dropout(F.avg_pool2d(x, (1, self._pools[0])), self._dropout, self.training)
        x = F.elu(self.norm2(self.point(self.depth(x))))  # (B, f2, 1, T / pool1)
        x = F.dropout(F.avg_pool2d(x, (1, self._pools[1])), self._dropout, self.training)
        return x[:, :, 0]

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        logits: Tensor = self.fc(self.features(x).flatten(1))
        return logits

    def constrain(self) -> None:
        """Limit the norms of the spatial filters and of the dense layer."""
        for layer, at_most in self._max_norms:
            if at_most is not None:
                limit_norm(layer.weight, at_most)
