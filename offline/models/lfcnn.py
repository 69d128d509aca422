"""LF-CNN: a network whose features are filtered latent sources.

Zubarev, Zetter, Halme, Parkkonen (2019), Adaptive neural network classifier for decoding MEG signals.
NeuroImage 197, 425-434, doi 10.1016/j.neuroimage.2019.04.068. Defaults are those of its package MNEflow.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.base import Network, one_of

_LOWEST = torch.finfo(torch.float32).min
Scope = Literal["fc", "demix", "temporal"]

_NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "square": torch.square,
    "identity": nn.Identity(),
}


class LFCNN(Network):
    """Spatial demixing, one temporal filter per component, nonlinearity, pooling, dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes.
    n_latent : int
        Latent components K.
    filter_length : int
        Length L of each component's temporal kernel, in samples.
    nonlinearity : str
        `relu`, `elu`, `tanh`, `square` or `identity`.
    pooling, stride : int
        Length and step of the pooling, in samples.
    pool_type : str
        `max` or `avg`.
    padding : str
        Of the temporal filter: `same` (zeros) or `valid` (none). Pooling always pads, as published.
    dropout : float
        Of the pooled features.
    l1, l2 : float
        Weight of the sum of absolute and of squared weights in the loss.
    l1_scope, l2_scope : tuple of str
        Which weights they are for: `fc`, `demix`, `temporal`. Biases are never penalised.
    """

    pool_follows_padding = False

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        n_outputs: int,
        n_latent: int = 32,
        filter_length: int = 7,
        nonlinearity: str = "relu",
        pooling: int = 2,
        stride: int = 2,
        pool_type: str = "max",
        padding: str = "same",
        dropout: float = 0.5,
        l1: float = 3e-4,
        l2: float = 0.0,
        l1_scope: tuple[Scope, ...] = ("fc", "demix", "temporal"),
        l2_scope: tuple[Scope, ...] = (),
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs)
        one_of("nonlinearity", nonlinearity, _NONLINEARITIES)
        one_of("pool_type", pool_type, ("max", "avg"))
        one_of("padding", padding, ("same", "valid"))
        for scope in (*l1_scope, *l2_scope):
            one_of("l1_scope and l2_scope", scope, ("fc", "demix", "temporal"))
        if min(n_latent, filter_length, pooling, stride) < 1:
            raise ValueError("n_latent, filter_length, pooling and stride must be at least 1")
        if padding == "valid" and filter_length > n_times:
            raise ValueError(f"filter_length {filter_length} is longer than the window of {n_times} samples")
        self.demix = nn.Conv1d(n_channels, n_latent, 1)
        self.temporal = self.temporal_filter(n_latent, filter_length)
        filtered = n_times if padding == "same" else n_times - filter_length + 1
        self.pool = Pool(filtered, pooling, stride, pool_type, padding if self.pool_follows_padding else "same")
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(n_latent * self.pool.n_out, n_outputs)
        for layer in (self.demix, self.temporal, self.fc):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, 0.1) if layer.bias is not None else None
        left = (filter_length - 1) // 2
        self._pad = (left, filter_length - 1 - left) if padding == "same" else (0, 0)
        self._nonlinearity = _NONLINEARITIES[nonlinearity]
        self._penalties = [(1, l1, tuple(l1_scope)), (2, l2, tuple(l2_scope))]

    @staticmethod
    def temporal_filter(n_latent: int, filter_length: int) -> nn.Conv1d:
        """Return the temporal filters: here one kernel per component."""
        return nn.Conv1d(n_latent, n_latent, filter_length, groups=n_latent)

    def features(self, x: Tensor) -> Tensor:
        """Return pooled components (batch, n_latent, n_pooled) of windows (batch, n_channels, n_times)."""
        latent = self.demix(x)  # (B, K, T)
        filtered = self.temporal(F.pad(latent, self._pad))  # (B, K, T or T - L + 1)
        pooled: Tensor = self.pool(self._nonlinearity(filtered))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        logits: Tensor = self.fc(self.dropout(self.features(x)).flatten(1))
        return logits

    def penalty(self) -> Tensor | None:
        """Return the L1 and L2 terms of the loss."""
        terms = [
            weight * self.get_parameter(f"{layer}.weight").abs().pow(power).sum()
            for power, weight, scope in self._penalties
            if weight
            for layer in scope
        ]
        return torch.stack(terms).sum() if terms else None


class Pool(nn.Module):
    """Pooling over time. With padding `same` it keeps ceil(n_times / stride) values, padded half on each side.

    The maximum never sees the padding; the average divides by the samples that are really there.
    """

    def __init__(self, n_times: int, size: int, stride: int, pool_type: str, padding: str = "same") -> None:
        super().__init__()
        self.size, self.stride, self.pool_type = size, stride, pool_type
        self.n_out = -(-n_times // stride) if padding == "same" else (n_times - size) // stride + 1
        if self.n_out < 1:
            raise ValueError(f"pooling {size} is longer than the {n_times} samples that are pooled")
        total = max((self.n_out - 1) * stride + size - n_times, 0)
        self.pad = (total // 2, total - total // 2)
        real = F.avg_pool1d(F.pad(torch.ones(1, 1, n_times), self.pad), size, stride)
        self.register_buffer("_share", real, persistent=False)
        self._share: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Pool (batch, n_latent, n_times) to (batch, n_latent, n_out)."""
        if self.pool_type == "max":
            # Not -inf: a decoder file holds no value that is not finite. Every pool has a real sample.
            return F.max_pool1d(F.pad(x, self.pad, value=_LOWEST), self.size, self.stride)
        return F.avg_pool1d(F.pad(x, self.pad), self.size, self.stride) / self._share
