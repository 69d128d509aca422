"""The incremental form of a network: a front that is run on new samples only, and a head over what it gave.

The front is made of time-local layers without padding. Each keeps the newest values of its own input, as many as it
looks back, and gives a value per sample; so what is pooled with a stride s is there for every sample, and what comes
after looks at every s-th: it is dilated by s. The head takes those of these features that belong to the window.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from offline.models.layers import Pool, Single

ZEROS = "the network pads with zeros where the stream has a past; with padding valid it would not"


class Stepped(nn.Module):
    """A layer that is given, besides new values, the `reach` values before them.

    Parameters
    ----------
    layer : torch.nn.Module
        From (1, width, reach + n) to (1, width', n).
    reach : int
        Values it looks back besides the newest.
    stride : int
        Samples from one of its values to the next in the network.
    """

    def __init__(self, layer: nn.Module, reach: int = 0, stride: int = 1) -> None:
        super().__init__()
        self.layer, self.reach, self.stride = layer, reach, stride

    def forward(self, x: Tensor) -> Tensor:
        """Turn past and new values (1, width, reach + n) into (1, width', n)."""
        given: Tensor = self.layer(x)
        return given


class Front(nn.Module):
    """Time-local layers in a row, run on new samples with what each layer keeps of its input.

    Parameters
    ----------
    n_channels : int
        Channels of a sample.
    layers : iterable of torch.nn.Module
        Convolutions, `Pool`s and what looks at a single sample, as in the network, all without padding; or, before
        any stride, `Stepped`.

    Attributes
    ----------
    reach : int
        Samples that a value rests on besides the newest.
    stride : int
        Samples from one value to the next in the network.
    width : int
        Values of a feature.
    past : tuple of Tensor
        What the layers keep, before the first sample: zeros (1, width, reach) of each that looks back.
    """

    def __init__(self, n_channels: int, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers, self.stride = nn.ModuleList(), 1
        x, past = torch.zeros(1, n_channels, 1), []
        for layer in layers:
            stepped = _stepped(layer, self.stride)
            self.layers.append(stepped)
            self.stride *= stepped.stride
            past.append(torch.zeros(1, x.shape[1], stepped.reach))
            x = stepped(torch.cat([past[-1], x], dim=2))
        self._reaches = [kept.shape[2] for kept in past]
        self.reach, self.width = sum(self._reaches), x.shape[1]
        self.past = tuple(kept for kept in past if kept.shape[2])

    def n_features(self, n_times: int) -> int:
        """Return how many features the network has in a window of `n_times` samples."""
        return (n_times - 1 - self.reach) // self.stride + 1

    def forward(self, x: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Turn new samples (1, n_channels, n) and what was kept into features (1, n, width) and what to keep."""
        kept, following = iter(past), []
        for layer, reach in zip(self.layers, self._reaches, strict=True):
            if reach:
                x = torch.cat([next(kept), x], dim=2)
                following.append(x[:, :, x.shape[2] - reach :])
            x = layer(x)
        return x.transpose(1, 2), *following


def _stepped(layer: nn.Module, spacing: int) -> Stepped:
    """Return a layer of the network as one that gives a value per sample, of values `spacing` samples apart."""
    if isinstance(layer, Stepped):
        return layer
    if isinstance(layer, Pool):
        return Stepped(_Pooled(layer, spacing), (layer.size - 1) * spacing, layer.stride)
    if isinstance(layer, nn.Conv1d):
        every = _Filtered(layer, spacing)
        return Stepped(every, every.reach, layer.stride[0])
    return Stepped(layer)


class _Filtered(nn.Module):
    """A convolution over values `spacing` samples apart, for every sample.

    A single new one is a product with the weights: ONNX Runtime spends more on preparing a convolution.
    """

    def __init__(self, convolution: nn.Conv1d, spacing: int) -> None:
        super().__init__()
        self.weight, self.bias, self.groups = convolution.weight, convolution.bias, convolution.groups
        self.dilation = convolution.dilation[0] * spacing
        self.reach = (self.weight.shape[2] - 1) * self.dilation

    def forward(self, x: Tensor) -> Tensor:
        one_for_each = self.groups == x.shape[1] == len(self.weight)
        if x.shape[2] > self.reach + 1 or not (one_for_each or self.groups == 1):
            return nn.functional.conv1d(x, self.weight, self.bias, dilation=self.dilation, groups=self.groups)
        seen = x[:, :, :: self.dilation]
        if one_for_each:
            summed = (seen * self.weight[:, 0]).sum(dim=2, keepdim=True)
            return summed if self.bias is None else summed + self.bias[:, None]
        matrix = self.weight.flatten(1)
        if self.bias is None:
            # To bring into another form what has it already would be a step too.
            return matrix @ (seen if seen.shape[2] == 1 else seen.reshape(1, -1, 1))
        return torch.addmm(self.bias[:, None], matrix, seen.reshape(-1, 1))[None]


class Separable(nn.Module):
    """A convolution of each signal by itself, without a bias, and one that mixes them.

    For a single new value they are one: more products, and fewer steps, which cost ONNX Runtime more.
    """

    def __init__(self, depth: nn.Conv1d, point: nn.Conv1d) -> None:
        super().__init__()
        self.apart = nn.Sequential(_Filtered(depth, 1), _Filtered(point, 1))
        both = nn.Conv1d(depth.in_channels, point.out_channels, depth.kernel_size[0])
        with torch.no_grad():
            both.weight.copy_(point.weight * depth.weight[:, 0])
        both.bias = point.bias
        self.both = _Filtered(both, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (1, width, reach + n) into (1, width', n)."""
        given: Tensor = (self.both if x.shape[2] == self.both.reach + 1 else self.apart)(x)
        return given


class _Pooled(nn.Module):
    """Pooling of every `spacing`-th value, for every sample."""

    def __init__(self, pool: Pool, spacing: int) -> None:
        super().__init__()
        self.size, self.spacing, self.pool_type = pool.size, spacing, pool.pool_type

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_type == "max":
            return nn.functional.max_pool1d(x, self.size, 1, dilation=self.spacing)
        if x.shape[2] == (self.size - 1) * self.spacing + 1:
            return x[:, :, :: self.spacing].mean(dim=2, keepdim=True)
        if self.spacing == 1:
            return nn.functional.avg_pool1d(x, self.size, 1)
        weight = x.new_full((x.shape[1], 1, self.size), 1 / self.size)
        return nn.functional.conv1d(x, weight, dilation=self.spacing, groups=x.shape[1])


def flat(convolution: nn.Conv2d) -> nn.Conv1d:
    """Return a convolution over the whole height of its input as one over time alone."""
    n_out, n_in, height, length = convolution.weight.shape
    groups = convolution.groups
    layer = nn.Conv1d(groups * n_in * height, n_out, length, groups=groups, bias=convolution.bias is not None)
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.reshape(n_out, n_in * height, length))
        if layer.bias is not None and convolution.bias is not None:
            layer.bias.copy_(convolution.bias)
    return layer


def over_time(linear: nn.Linear) -> nn.Conv1d:
    """Return a linear layer as one of each sample by itself."""
    layer = nn.Conv1d(linear.in_features, linear.out_features, 1)
    layer.weight, layer.bias = nn.Parameter(linear.weight[:, :, None].detach()), linear.bias
    return layer


def averaged(pool: Pool, convolution: nn.Conv1d) -> nn.Conv1d:
    """Return an average pool and the convolution of what it gives as one convolution."""
    weight = _of_averages(convolution.weight, pool, convolution.dilation[0])
    layer = copy.deepcopy(convolution)
    layer.stride, layer.dilation = (convolution.stride[0] * pool.stride,), (1,)
    layer.kernel_size, layer.weight = (weight.shape[2],), nn.Parameter(weight)
    return layer


def dense_over_averages(fc: nn.Linear, pool: Pool, front: Front, n_times: int) -> nn.Module:
    """Return what turns features (1, n, width) of a window into what `fc` makes of their average pools."""
    weight = _of_averages(fc.weight.reshape(len(fc.weight), front.width, -1), pool)
    # Those that fill no whole pool any more count nothing.
    rest = front.n_features(n_times) - weight.shape[2]
    layer = nn.Linear(1, len(weight))
    layer.weight, layer.bias = nn.Parameter(nn.functional.pad(weight, (0, rest)).flatten(1)), fc.bias
    return dense(layer, front.width)


def _of_averages(weight: Tensor, pool: Pool, dilation: int = 1) -> Tensor:
    """Return the weights of values, for those of average pools of them (..., n)."""
    spacing, last = dilation * pool.stride, weight.shape[-1] - 1
    spread = weight.new_zeros((*weight.shape[:-1], last * spacing + pool.size))
    for k in range(last + 1):
        spread[..., k * spacing : k * spacing + pool.size] += weight[..., k : k + 1] / pool.size
    return spread


@dataclass(frozen=True)
class Stepping:
    """The two parts of an incremental form, and which features the head takes.

    Attributes
    ----------
    front : Front
        Gives features (1, n, width) of n new samples.
    head : torch.nn.Module
        Turns features (1, n_features, width), oldest first, into what the network's `forward` gives.
    n_features, stride, behind : int
        The head takes `n_features`, `stride` samples apart; the newest is that of the sample `behind` samples before
        the window's end.
    """

    front: Front
    head: nn.Module
    n_features: int
    stride: int
    behind: int


def stepping(front: Front, head: nn.Module, n_times: int) -> Stepping:
    """Return the incremental form of a network for windows of `n_times` samples."""
    behind = (n_times - 1 - front.reach) % front.stride
    return Stepping(front, head, front.n_features(n_times), front.stride, behind)


class Mean(nn.Module):
    """The mean over the window."""

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (1, n, width) into (1, width)."""
        return features.mean(dim=1)


def dense(fc: nn.Linear, width: int) -> nn.Module:
    """Return what turns features (1, n, width) into what `fc` makes of them flattened as (width, n)."""
    turned = Single(copy.deepcopy(fc))
    with torch.no_grad():
        turned.weight.copy_(fc.weight.reshape(len(fc.weight), width, -1).transpose(1, 2).flatten(1))
    return nn.Sequential(nn.Flatten(), turned)
