"""LF-CNN: a network whose features are filtered latent sources.

Zubarev, Zetter, Halme, Parkkonen (2019), Adaptive neural network classifier for decoding MEG signals.
NeuroImage 197, 425-434, doi 10.1016/j.neuroimage.2019.04.068. Defaults are those of its package MNEflow.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offline.models.base import Network
from offline.models.layers import Nonlinearity, Pool, one_of, to_unit_norm
from offline.models.stepping import ZEROS, Front, Stepping, dense, stepping

Scope = Literal["fc", "demix", "temporal"]


class Stages(NamedTuple):
    """What becomes of windows, layer by layer.

    Attributes
    ----------
    latent : Tensor, (batch, n_latent, n_times)
        Components: the channels, mixed.
    filtered : Tensor, (batch, n_latent, n_filtered)
        Components behind their temporal filters, before the nonlinearity.
    pooled : Tensor, (batch, n_latent, n_pooled)
        The features.
    """

    latent: Tensor
    filtered: Tensor
    pooled: Tensor


class LFCNN(Network):
    """Spatial demixing, one temporal filter per component, nonlinearity, pooling, dense layer.

    Parameters
    ----------
    n_channels, n_times, n_outputs : int
        Shape of a window, number of classes or targets.
    n_latent : int
        Latent components K.
    filter_length : int
        Length L of each component's temporal kernel, in samples.
    nonlinearity : str
        Of the filtered components: `relu`, `elu`, `gelu`, `tanh`, `square`, `log` or `identity`.
    pooling, stride : int
        Length and step of the pooling, in samples.
    pool_type : str
        `max` or `avg`.
    padding : str
        Of the temporal filter: `same` (zeros) or `valid` (none).
    pool_padding : str or None
        Of the pooling; None: `same`, as published, of which nothing is seen where the pools fill the window.
    dropout : float
        Of the pooled features.
    l1, l2 : float
        Weight of the sum of absolute and of squared weights in the loss.
    l1_scope, l2_scope : tuple of str
        Which weights they are for: `fc`, `demix`, `temporal`. Biases are never penalised.
    unit_norm : tuple of str
        Which of these weights are scaled to a Euclidean norm of one after every training step, each component's
        (`demix`, `temporal`) or output's (`fc`) by themselves.
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
        pool_padding: str | None = None,
        dropout: float = 0.5,
        l1: float = 3e-4,
        l2: float = 0.0,
        l1_scope: tuple[Scope, ...] = ("fc", "demix", "temporal"),
        l2_scope: tuple[Scope, ...] = (),
        unit_norm: tuple[Scope, ...] = (),
    ) -> None:
        super().__init__(n_channels, n_times, n_outputs, dropout)
        if pool_padding is None:
            pool_padding = padding if self.pool_follows_padding else "same"
        one_of("padding", padding, ("same", "valid"))
        one_of("pool_padding", pool_padding, ("same", "valid"))
        for scope in (*l1_scope, *l2_scope, *unit_norm):
            one_of("l1_scope, l2_scope and unit_norm", scope, ("fc", "demix", "temporal"))
        if min(n_latent, filter_length) < 1:
            raise ValueError("n_latent and filter_length must be at least 1")
        if not (l1 >= 0 and l2 >= 0):
            raise ValueError(f"l1 and l2 must be 0 or more; got {l1} and {l2}")
        if padding == "valid" and filter_length > n_times:
            raise ValueError(f"filter_length {filter_length} is longer than the window of {n_times} samples")
        self.demix = nn.Conv1d(n_channels, n_latent, 1)
        self.temporal = self.temporal_filter(n_latent, filter_length)
        filtered = n_times if padding == "same" else n_times - filter_length + 1
        self.pool = Pool(filtered, pooling, stride, pool_type, pool_padding)
        self.nonlinearity = Nonlinearity(nonlinearity)
        self.fc = nn.Linear(n_latent * self.pool.n_out, n_outputs)
        left = (filter_length - 1) // 2
        self._pad = (left, filter_length - 1 - left) if padding == "same" else (0, 0)
        self._penalties = [(1, l1, tuple(l1_scope)), (2, l2, tuple(l2_scope))]
        self._unit_norm = tuple(unit_norm)
        for layer in (self.demix, self.temporal):
            _he_uniform(layer)
        self.start_head()
        self.constrain()

    @staticmethod
    def temporal_filter(n_latent: int, filter_length: int) -> nn.Conv1d:
        """Return the temporal filters: here one kernel per component."""
        return nn.Conv1d(n_latent, n_latent, filter_length, groups=n_latent)

    def features(self, x: Tensor) -> Tensor:
        """Return pooled components (batch, n_latent, n_pooled) of windows (batch, n_channels, n_times)."""
        return self.stages(x).pooled

    def stages(self, x: Tensor) -> Stages:
        """Return what each layer makes of windows (batch, n_channels, n_times)."""
        latent = self.demix(x)
        filtered = self.temporal(F.pad(latent, self._pad))
        return Stages(latent, filtered, self.pool(self.nonlinearity(filtered)))

    def stepping(self) -> Stepping:
        """See Network."""
        if any(self._pad) or any(self.pool.pad):
            raise ValueError(ZEROS)
        front = Front(self.n_channels, (self.demix, self.temporal, self.nonlinearity, self.pool))
        return stepping(front, dense(self.fc, front.width), self.n_times)

    @property
    def receptive_field(self) -> int:
        """See Network."""
        return self.temporal.kernel_size[0] + self.pool.size - 1

    def start_head(self) -> None:
        """See Network."""
        _he_uniform(self.fc)

    def penalty(self) -> Tensor | None:
        """Return the L1 and L2 terms of the loss."""
        terms = [
            weight * self.get_parameter(f"{layer}.weight").abs().pow(power).sum()
            for power, weight, scope in self._penalties
            if weight
            for layer in scope
        ]
        return torch.stack(terms).sum() if terms else None

    def constrain(self) -> None:
        """Scale the weights of `unit_norm` to a norm of one."""
        for layer in self._unit_norm:
            to_unit_norm(self.get_parameter(f"{layer}.weight"))


def _he_uniform(layer: nn.Conv1d | nn.Linear) -> None:
    assert layer.bias is not None
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.constant_(layer.bias, 0.1)
