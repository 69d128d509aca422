"""ShallowFBCSPNet: filter-bank common spatial patterns as a network.

Schirrmeister et al. (2017), Human Brain Mapping 38, 5391-5420, doi 10.1002/hbm.23730.
"""

from torch import Tensor, nn

from offline.models.layers import Nonlinearity, Pool
from offline.models.schirrmeister import TimeThenSpace
from offline.models.stepping import Front, Stepping, dense, stepping


class ShallowFBCSPNet(TimeThenSpace):
    """Temporal and spatial filters without a nonlinearity between, log of the pooled square, dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    n_temporal, n_spatial : int
        Temporal filters, and spatial filters over all of them.
    filter_length : int
        Samples of a temporal filter; no padding.
    nonlinearity : str
        Of the filtered signals; see `offline.models.layers.NONLINEARITIES`.
    pooling, stride : int
        Length and step of the pooling, in samples.
    pool_type : str
        `avg` or `max`.
    pool_nonlinearity : str
        Of the pooled values; `log` is that of at least 1e-6.
    split_first_layer : bool
        Otherwise there are `n_temporal` filters over time and channels at once, and no spatial ones.
    batch_norm : bool
        Whether the filters are followed by one; otherwise they have a bias.
    batch_norm_momentum : float
        Share of a batch in its running statistics.
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
        nonlinearity: str = "square",
        pooling: int = 75,
        stride: int = 15,
        pool_type: str = "avg",
        pool_nonlinearity: str = "log",
        split_first_layer: bool = True,
        batch_norm: bool = True,
        batch_norm_momentum: float = 0.1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            n_channels,
            n_times,
            n_outputs,
            n_temporal,
            n_spatial,
            filter_length,
            split_first_layer,
            batch_norm,
            batch_norm_momentum,
            dropout,
        )
        n_filtered = n_times - filter_length + 1
        if n_filtered < pooling:
            raise ValueError(f"a window of {n_times} samples is too short for pooling {pooling}")
        self.nonlinearity, self.pool_nonlinearity = Nonlinearity(nonlinearity), Nonlinearity(pool_nonlinearity)
        self.pool = Pool(n_filtered, pooling, stride, pool_type)
        self.fc = nn.Linear(self.n_filtered * self.pool.n_out, n_outputs)
        self.start_filters()
        self.start_head()

    def features(self, x: Tensor) -> Tensor:
        """Return log powers (batch, n_spatial, n_pooled) of windows (batch, n_channels, n_times)."""
        powers = self.nonlinearity(self.filtered(x))
        features: Tensor = self.pool_nonlinearity(self.pool(powers))
        return features

    def stepping(self) -> Stepping:
        """See Network."""
        front = Front(self.n_channels, (self.temporal, self.nonlinearity, self.pool, self.pool_nonlinearity))
        return stepping(front, dense(self.fc, front.width), self.n_times)

    @property
    def receptive_field(self) -> int:
        """See Network."""
        return self.temporal.kernel_size[0] + self.pool.size - 1
