"""What several networks are made of."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

Convolution = TypeVar("Convolution", nn.Conv1d, nn.Conv2d)

_LOWEST = torch.finfo(torch.float32).min


def safe_log(x: Tensor) -> Tensor:
    """Logarithm of what is at least 1e-6."""
    return torch.log(torch.clamp(x, min=1e-6))


def _identity(x: Tensor) -> Tensor:
    return x


NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "square": torch.square,
    "log": safe_log,
    "identity": _identity,
}


class Nonlinearity(nn.Module):
    """One of `NONLINEARITIES` by name; `gelu` is the exact one, `log` that of at least 1e-6."""

    def __init__(self, name: str) -> None:
        super().__init__()
        one_of("a nonlinearity", name, NONLINEARITIES)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every value."""
        return NONLINEARITIES[self.name](x)


class Pool(nn.Module):
    """Pooling over time. With padding `same` it keeps ceil(n_times / stride) values, padded half on each side.

    The maximum never sees the padding; the average divides by the samples that are really there.
    """

    def __init__(self, n_times: int, size: int, stride: int, pool_type: str, padding: str = "valid") -> None:
        super().__init__()
        one_of("pool_type", pool_type, ("max", "avg"))
        if min(size, stride) < 1:
            raise ValueError("pooling and stride must be at least 1")
        self.size, self.stride, self.pool_type = size, stride, pool_type
        self.n_out = -(-n_times // stride) if padding == "same" else (n_times - size) // stride + 1
        if self.n_out < 1:
            raise ValueError(f"pooling {size} is longer than the {n_times} samples that are pooled")
        total = max((self.n_out - 1) * stride + size - n_times, 0)
        self.pad = (total // 2, total - total // 2)
        real = F.avg_pool1d(F.pad(torch.ones(1, 1, n_times), self.pad), size, stride)
        self.register_buffer("_share", real if total and pool_type == "avg" else None, persistent=False)
        self._share: Tensor | None
        # Pools of many strides share them: what each stride gives is pooled first, once.
        shared = not total and size % stride == 0
        self._steps = [(stride, stride), (size // stride, 1)] if shared else [(size, stride)]

    def forward(self, x: Tensor) -> Tensor:
        """Pool (batch, width, n_times) to (batch, width, n_out)."""
        if any(self.pad):
            # Not -inf: a decoder file holds no value that is not finite. Every pool has a real sample.
            x = F.pad(x, self.pad, value=_LOWEST if self.pool_type == "max" else 0.0)
        for size, stride in self._steps:
            if (size, stride) != (1, 1):
                x = (F.max_pool1d if self.pool_type == "max" else F.avg_pool1d)(x, size, stride)
        return x if self._share is None else x / self._share


class Single(nn.Linear):
    """A linear layer for one row of features at a time.

    ONNX Runtime runs weights times a column several times faster than a row times weights, unless there are many
    outputs.

    Parameters
    ----------
    linear : torch.nn.Linear
        Whose weights it takes over.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features)
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Turn features (1, in_features) into (1, out_features)."""
        column = self.weight @ x.reshape(-1, 1)
        return (column if self.bias is None else column + self.bias[:, None]).reshape(1, -1)


def xavier(*layers: nn.Module) -> None:
    """Start convolutions and linear layers as Glorot and Bengio: uniform weights, biases of zero."""
    for layer in layers:
        nn.init.xavier_uniform_(layer.get_parameter("weight"))
        if layer.bias is not None:
            nn.init.zeros_(layer.get_parameter("bias"))


def folded(convolution: Convolution, norm: nn.Module) -> tuple[Convolution, nn.Module]:
    """Return one convolution in place of two layers, and what stands where the batch norm was.

    Both are in evaluation mode, and `norm` may be an identity already.
    """
    if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return convolution, norm
    return fuse_conv_bn_eval(convolution, norm), nn.Identity()


def limit_norm(weight: Tensor, at_most: float) -> None:
    """Shrink, in place, every output's weights whose Euclidean norm exceeds `at_most`."""
    with torch.no_grad():
        weight.copy_(torch.renorm(weight, 2, 0, at_most))


def to_unit_norm(weight: Tensor) -> None:
    """Scale, in place, every output's weights to a Euclidean norm of one; weights of zero stay."""
    with torch.no_grad():
        norm = weight.flatten(1).norm(dim=1).clamp(min=1e-7)
        weight.div_(norm.view(-1, *[1] * (weight.dim() - 1)))


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise ValueError unless `value` is allowed."""
    choices = list(allowed)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
