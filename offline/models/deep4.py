"""Deep4Net: four blocks of convolution and max pooling.

Schirrmeister et al. (2017), Human Brain Mapping 38, 5391-5420, doi 10.1002/hbm.23730.
"""

from itertools import chain, pairwise
from typing import Self

from torch import Tensor, nn

from offline.models.layers import Nonlinearity, Pool, folded, xavier
from offline.models.schirrmeister import TimeThenSpace
from offline.models.stepping import Front, Stepping, dense, stepping


class Deep4Net(TimeThenSpace):
    """Temporal and spatial filters, then three convolutional blocks, each pooled by 3; dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    n_temporal, n_spatial : int
        Filters of the first block.
    n_filters : tuple of int
        Filters of the later blocks.
    filter_length : int
        Samples of the first block's temporal filters; no padding.
    filter_lengths : int or tuple of int
        Samples of the later blocks' kernels, of all or of each; no padding.
    pooling, stride : int
        Length and step of every block's pooling.
    first_nonlinearity, later_nonlinearity : str
        After the convolution; see `offline.models.layers.NONLINEARITIES`.
    first_pool_type, later_pool_type : str
        `max` or `avg`.
    first_pool_nonlinearity, later_pool_nonlinearity : str
        After the pooling.
    stride_before_pool : bool
        Whether the convolution makes the step instead of the pooling.
    split_first_layer : bool
        Otherwise the first block has `n_temporal` filters over time and channels at once, and no spatial ones.
    batch_norm : bool
        Whether every convolution is followed by one; otherwise they have a bias.
    batch_norm_momentum : float
        Share of a batch in its running statistics.
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
        filter_lengths: int | tuple[int, ...] = 10,
        pooling: int = 3,
        stride: int = 3,
        first_nonlinearity: str = "elu",
        later_nonlinearity: str = "elu",
        first_pool_type: str = "max",
        later_pool_type: str = "max",
        first_pool_nonlinearity: str = "identity",
        later_pool_nonlinearity: str = "identity",
        stride_before_pool: bool = False,
        split_first_layer: bool = True,
        batch_norm: bool = True,
        batch_norm_momentum: float = 0.1,
        dropout: float = 0.5,
    ) -> None:
        step, pool_step = (stride, 1) if stride_before_pool else (1, stride)
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
            step,
        )
        lengths = (filter_lengths,) * len(n_filters) if isinstance(filter_lengths, int) else filter_lengths
        if len(n_filters) != len(lengths):
            raise ValueError("n_filters and filter_lengths need as many values, one for each later block")
        widths, n = (self.n_filtered, *n_filters), n_times
        nonlinearities = (first_nonlinearity, first_pool_nonlinearity), (later_nonlinearity, later_pool_nonlinearity)
        self.pools, self.blocks, self._steps = nn.ModuleList(), nn.ModuleList(), list[tuple[int, int]]()
        for k, length in enumerate((filter_length, *lengths)):
            n = (n - length) // step + 1
            if n < pooling:
                raise ValueError(f"a window of {n_times} samples is too short for {len(widths)} blocks")
            before, after = nonlinearities[k > 0]
            pool = Pool(n, pooling, pool_step, later_pool_type if k else first_pool_type)
            self.pools.append(nn.Sequential(Nonlinearity(before), pool, Nonlinearity(after)))
            n = pool.n_out
            self._steps += [(length, step), (pooling, pool_step)]
        for (n_in, n_out), length in zip(pairwise(widths), lengths, strict=True):
            convolution = nn.Conv1d(n_in, n_out, length, step, bias=not batch_norm)
            norm = nn.BatchNorm1d(n_out, momentum=batch_norm_momentum) if batch_norm else nn.Identity()
            self.blocks.append(nn.Sequential(nn.Dropout(dropout), convolution, norm))
        self.fc = nn.Linear(widths[-1] * n, n_outputs)
        self.start_filters()
        xavier(*(module for module in self.blocks.modules() if isinstance(module, nn.Conv1d)))
        self.start_head()

    def features(self, x: Tensor) -> Tensor:
        """Return features (batch, n_filters[-1], n_pooled) of windows (batch, n_channels, n_times)."""
        first, *later = self.pools
        x = first(self.filtered(x))
        for block, pool in zip(self.blocks, later, strict=True):
            x = pool(block(x))
        return x

    def fused(self) -> Self:
        """Return a copy without batch norms, whose first filters over time and channels are one convolution."""
        network = super().fused()
        for block in network.blocks:
            assert isinstance(block, nn.Sequential)
            convolution = block[1]
            assert isinstance(convolution, nn.Conv1d)
            block[1], block[2] = folded(convolution, block[2])
        return network

    def stepping(self) -> Stepping:
        """See Network."""
        first, *later = self.pools
        parts = (first, *chain.from_iterable(zip(self.blocks, later, strict=True)))
        front = Front(self.n_channels, (self.temporal, *chain.from_iterable(part.children() for part in parts)))
        return stepping(front, dense(self.fc, front.width), self.n_times)

    @property
    def receptive_field(self) -> int:
        """See Network."""
        seen, spacing = 1, 1
        for length, step in self._steps:
            seen, spacing = seen + (length - 1) * spacing, spacing * step
        return seen
