"""Where signals show: what all channels have of some, and where the truth does."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offline.interpretation.occlusion import Signals
from offline.interpretation.parts import in_band
from rtdecode.evaluation.permutation import exchanges

_PIECE_S, _ORDERS = 0.2, 100


def shared_with(
    signals: Signals, ch_types: Sequence[str], channels: Sequence[int], band_hz: tuple[float, float], n_most: int
) -> NDArray[np.float64]:
    """Return what all channels have of the strongest signals of some, in a band: a matrix (n_channels, n_channels).

    Times the signals it gives the regression of all channels on the first principal components of those, over all
    stretches. As weights of a decoder are no pattern (Haufe et al. 2014, doi 10.1016/j.neuroimage.2013.10.067), what
    it reads from frontal channels is not all that it may read from the eyes: they show at all channels.

    Parameters
    ----------
    signals : Signals
        Stretches of signal.
    ch_types : sequence of str
        The type of each channel; of each type the root mean square of `channels` counts as 1.
    channels : sequence of int
        Whose strongest signals.
    band_hz : (float, float)
        Edges of the band.
    n_most : int
        Components, at most.
    """
    n_channels, chosen = signals.x.shape[1], np.asarray(channels)
    moments = np.zeros((n_channels, n_channels))
    for stretch in signals.x:
        inside = in_band(stretch, band_hz, signals.sfreq)
        inside -= inside.mean(axis=1, keepdims=True)
        moments += inside @ inside.T
    kinds, scale = np.asarray(ch_types)[chosen], np.ones(len(chosen))
    for kind in np.unique(kinds):
        scale[kinds == kind] = np.sqrt(np.diag(moments)[chosen][kinds == kind].mean()) or 1.0
    own = moments[np.ix_(chosen, chosen)] / np.outer(scale, scale)
    power, axes = np.linalg.eigh(own)
    kept = power > 1e-9 * power.max(initial=0.0)
    readers = (axes[:, kept][:, ::-1][:, :n_most] / scale[:, None]).T
    spread = np.zeros((n_channels, n_channels))
    spread[:, chosen] = (moments[:, chosen] @ readers.T / power[kept][::-1][:n_most]) @ readers
    return spread


def following(signals: Signals, band_hz: tuple[float, float], channels: Sequence[int]) -> NDArray[np.float64]:
    """Return the energy of what goes along with the truth in a band at each channel (n_channels,).

    It is the squared covariance of the truth with means over 0.2 s, less what that is of noise: with truths exchanged
    between trials of a recording. It is told of those 0.2 s at which it exceeds noise most at one of `channels`.
    """
    n, n_channels, n_times = signals.x.shape
    starts = np.arange(0, n_times, max(1, round(_PIECE_S * signals.sfreq)))
    courses = np.empty((n, n_channels, len(starts)))
    for i, stretch in enumerate(signals.x):
        courses[i] = np.add.reduceat(in_band(stretch, band_hz, signals.sfreq), starts, axis=1)
    courses -= courses.mean(axis=0)
    first = np.searchsorted(signals.window, np.arange(n))
    truth = signals.truth[first]
    wanted = np.eye(int(truth.max()) + 1)[truth] if signals.classifies else truth / truth.std(axis=0)
    wanted = wanted - wanted.mean(axis=0)

    def energy(order: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray((np.tensordot(wanted[order], courses, (0, 0)) ** 2).sum(axis=0))

    noise = np.mean([energy(order) for order in exchanges(signals.block.tolist(), _ORDERS, 0)], axis=0)
    beyond = energy(np.arange(n)) - noise
    exceeding = beyond / np.maximum(noise, np.finfo(float).tiny)
    most = int(exceeding[list(channels)].max(axis=0).argmax())
    return np.asarray(beyond[:, most])
