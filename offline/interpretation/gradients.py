"""Integrated gradients: what each channel and sample of a window adds to what a network says of it.

Sundararajan, Taly, Yan 2017, Axiomatic attribution for deep networks, arXiv 1703.01365.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline.models import Network
from rtdecode.errors import ModelError

_Floats = NDArray[np.float64]
Tell = Callable[[int, int], None]

# Values of windows whose gradients are asked for at once.
_AT_ONCE = 1 << 22
_FEWEST, _MOST = 16, 512
# What may be missing of the difference after most steps, as a share.
_MOST_OFF = 0.1


@dataclass(frozen=True)
class Gradients:
    """What windows add up to, against a baseline of zeros.

    Attributes
    ----------
    maps : array, (n_outputs, n_channels, n_times)
        For each output the mean attribution over its windows: of a class, over the windows whose truth it is; of a
        value, over all windows. NaN for a class without any.
    by_channel : array, (n_windows, n_outputs, n_channels)
        The attributions of each window, summed over time; NaN for classes that are not its truth.
    by_time : array, (n_windows, n_outputs, n_times)
        The same, summed over channels.
    difference : array, (n_windows, n_outputs)
        What the output is more than at the baseline: of a class its logit less the mean of all classes' logits; of a
        value, in standard deviations of the targets it was trained on (of their logarithms, where it gives those).
    gap : array, (n_windows, n_outputs)
        The sum of the attributions less `difference`: 0 but for the steps of the integral.
    n_steps : int
        Most steps that an integral took.
    """

    maps: _Floats
    by_channel: _Floats
    by_time: _Floats
    difference: _Floats
    gap: _Floats
    n_steps: int

    @property
    def incomplete(self) -> float:
        """The largest gap, as a share of the largest difference."""
        largest = float(np.nanmax(np.abs(self.difference)))
        return float(np.nanmax(np.abs(self.gap))) / largest if largest else 0.0


def integrated_gradients(
    network: Network,
    windows: NDArray[np.float32],
    truth: NDArray[Any],
    tolerance: float = 0.005,
    tell: Tell | None = None,
) -> Gradients:
    """Integrate the gradients of a network's outputs from a window of zeros to each window.

    Behind a standardisation or a filter without a mean, zeros are what the training data had on average. A network
    with a memory is asked as at its first window.

    Parameters
    ----------
    network : Network
        In evaluation mode; left as it is.
    windows : array of float32, (n_windows, n_channels, n_times)
        As the network sees them; may be mapped. A batch of them at a time is copied.
    truth : array of int, (n_windows,), or of float, (n_windows, n_targets)
        Of classes, only that of a window's truth is attributed.
    tolerance : float
        Steps are doubled, up to 512, until the gap is at most this share of the largest difference of the batch.
    tell : callable, optional
        Called with how many of how many windows are done.

    Raises
    ------
    ModelError
        A tenth of the difference is missing after 512 steps, or the network has no gradient somewhere on the way.
    """
    n, n_channels, n_times = windows.shape
    classifies = truth.ndim == 1
    n_outputs = network.n_outputs
    maps, counts = np.zeros((n_outputs, n_channels, n_times)), np.zeros(n_outputs)
    by_channel, by_time = np.full((n, n_outputs, n_channels), np.nan), np.full((n, n_outputs, n_times), np.nan)
    difference, gap = np.full((2, n, n_outputs), np.nan)
    n_steps, size = _FEWEST, max(1, _AT_ONCE // (n_channels * n_times))
    for output in range(n_outputs):
        chosen = np.flatnonzero(truth == output) if classifies else np.arange(n)
        direction = torch.eye(n_outputs)[output] - (1 / n_outputs if classifies else 0)
        for batch in np.array_split(chosen, -(-len(chosen) // size)) if len(chosen) else ():
            given, told, steps = _integrate(network, torch.from_numpy(windows[batch]), direction, tolerance)
            maps[output] += given.sum(axis=0)
            by_channel[batch, output], by_time[batch, output] = given.sum(axis=2), given.sum(axis=1)
            difference[batch, output], gap[batch, output] = told, given.sum(axis=(1, 2)) - told
            counts[output] += len(batch)
            n_steps = max(n_steps, steps)
            if tell:
                tell(int(counts.sum()), n if classifies else n * n_outputs)
    with np.errstate(invalid="ignore"):
        means: _Floats = maps / counts[:, None, None]
    return Gradients(means, by_channel, by_time, difference, gap, n_steps)


def _integrate(network: Network, x: Tensor, direction: Tensor, tolerance: float) -> tuple[_Floats, _Floats, int]:
    """Return attributions of windows (n, n_channels, n_times), what they should add up to (n,), and the steps."""
    with torch.no_grad():
        told = (_raw(network, x) - _raw(network, torch.zeros_like(x[:1]))) @ direction
    n_steps = _FEWEST
    while True:
        given = _midpoints(network, x, direction, n_steps)
        off = float((given.sum(dim=(1, 2)) - told.double()).abs().max()) / (float(told.abs().max()) or 1.0)
        # NaN is not small either.
        if off <= tolerance or (n_steps >= _MOST and off <= _MOST_OFF):
            return given.numpy(), told.double().numpy(), n_steps
        if n_steps >= _MOST or not np.isfinite(off):
            raise ModelError(
                f"The gradients of {type(network).__name__} cannot be integrated from a window of zeros to those of "
                f"the recordings: after {n_steps} steps {100 * off:.0f} % is missing (it takes a logarithm of power, "
                "say, which at zero has none). Look at what is lost by occlusion instead."
            )
        n_steps *= 2


def _midpoints(network: Network, x: Tensor, direction: Tensor, n_steps: int) -> Tensor:
    """Integrate along the straight line at the middles of steps, which are shorter near the zeros.

    There logarithms of power rise most steeply. The place is the square of evenly spaced numbers; the weights, of
    which the sum is 1, follow from that.
    """
    total = torch.zeros(x.shape, dtype=torch.float64)
    for i in range(n_steps):
        root = (i + 0.5) / n_steps
        at = (x * root**2).requires_grad_()
        (slope,) = torch.autograd.grad((_raw(network, at) @ direction).sum(), at)
        total += slope * (2 * root / n_steps)
    return total * x


def _raw(network: Network, x: Tensor) -> Tensor:
    return network.step(x, *network.initial_state(len(x)))[0]
