"""What sensors and components do in the trials of each class, on average, and whether that is more than chance."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

_Floats = NDArray[np.float64]
# Seconds over which powers are averaged as a trial goes on.
_SMOOTH_S = 0.1
# Trials that a test takes at most.
_MOST_TRIALS = 300


@dataclass(frozen=True)
class Trials:
    """Trials cut whole, at the rate of the network.

    Attributes
    ----------
    sensors : array, (n_trials, n_sensors, n_times)
        Behind the filters alone.
    seen : array, (n_trials, n_channels', n_times)
        As they enter the network.
    truth : array of int, (n_trials,)
        Their classes.
    time_s : array, (n_times,)
        From the event.
    """

    sensors: _Floats
    seen: _Floats
    truth: NDArray[np.int64]
    time_s: _Floats


@dataclass(frozen=True)
class Average:
    """Averages over the trials of each class.

    Attributes
    ----------
    mean : array, (n_classes, n, n_times)
        NaN of a class without a trial.
    error : array, (n_classes, n, n_times)
        Standard error over trials; NaN of fewer than two.
    n : tuple of int
        Trials of each class.
    """

    mean: _Floats
    error: _Floats
    n: tuple[int, ...]

    @property
    def peak(self) -> NDArray[np.int64]:
        """Where each is largest in each class, (n_classes, n): an index of time."""
        return np.asarray(np.abs(np.nan_to_num(self.mean)).argmax(axis=2))


def average(values: _Floats, truth: NDArray[np.int64], n_classes: int) -> Average:
    """Average values (n_trials, n, n_times) over the trials of each class."""
    mean, error = (np.full((n_classes, *values.shape[1:]), np.nan) for _ in range(2))
    counts = tuple(int((truth == c).sum()) for c in range(n_classes))
    for c, n in enumerate(counts):
        if n:
            mean[c] = values[truth == c].mean(axis=0)
        if n > 1:
            error[c] = values[truth == c].std(axis=0, ddof=1) / np.sqrt(n)
    return Average(mean, error, counts)


def filtered(latent: _Floats, kernels: _Floats | None) -> _Floats:
    """Return components (n, n_components, n_times) behind their kernels, each sample with those around it.

    Correlated as in networks, zeros beyond the ends.
    """
    if kernels is None:
        return latent
    n_taps = kernels.shape[-1]
    left = (n_taps - 1) // 2
    padded = np.pad(latent, ((0, 0), (0, 0), (left, n_taps - 1 - left)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_taps, axis=2)
    over = "nktl,kl->nkt" if kernels.ndim == 2 else "nktl,okl->not"
    return np.asarray(np.einsum(over, windows, kernels, optimize=True))


def smoothed_power(values: _Floats, sfreq: float) -> _Floats:
    """Return powers, each the mean over a tenth of a second."""
    return np.asarray(uniform_filter1d(values**2, max(1, round(_SMOOTH_S * sfreq)), axis=2, mode="nearest"))


@dataclass(frozen=True)
class Response:
    """What is at the sensors of one type when the mean over trials of a class is strongest.

    Attributes
    ----------
    at : int
        Index of time.
    p : float
        How often a mean over the same trials, each with a sign at random, is as strong anywhere in the trial.
    """

    at: int
    p: float


def response(trials: _Floats, n_draws: int, random: Generator) -> Response:
    """Find the strongest moment of a mean over trials (n_trials, n_sensors, n_times), and test it.

    Strength is the root mean square over the sensors, each by its standard deviation. Without a response a trial is as
    likely as its negative (doi 10.1016/j.jneumeth.2007.03.024); p counts the observed one, so it is never 0.
    """
    trials = trials[:_MOST_TRIALS]
    scaled = trials / np.maximum(trials.std(axis=(0, 2), keepdims=True), 1e-300)
    flat = scaled.reshape(len(trials), -1)

    def strength(signs: _Floats) -> _Floats:
        mean = (signs @ flat / len(flat)).reshape(len(signs), *trials.shape[1:])
        return np.asarray(np.sqrt((mean**2).mean(axis=1)))

    observed = strength(np.ones((1, len(flat))))[0]
    drawn = strength(random.choice([-1.0, 1.0], (n_draws, len(flat)))).max(axis=1)
    p = (1 + int((drawn >= observed.max()).sum())) / (1 + n_draws)
    return Response(int(observed.argmax()), p)


@dataclass(frozen=True)
class PowerContrast:
    """How much power the sensors have in a class, against the other classes.

    Attributes
    ----------
    db : array, (n_classes, n_sensors)
        Mean of the log power of its trials less that of the others, in dB.
    p : tuple of float
        How often classes exchanged between trials differ as much at any sensor.
    """

    db: _Floats
    p: tuple[float, ...]


def power_contrast(
    sensors: _Floats, truth: NDArray[np.int64], n_classes: int, n_draws: int, random: Generator
) -> PowerContrast:
    """Compare the log powers of trials (n_trials, n_sensors, n_times) between classes, each with all others."""
    log = 10 * np.log10(np.maximum(sensors.var(axis=2), 1e-300))
    spread = np.maximum(log.std(axis=0), 1e-12)

    def contrast(labels: NDArray[np.int64]) -> _Floats:
        return np.stack([_apart(log, labels == c) for c in range(n_classes)])

    observed = contrast(truth)
    drawn = np.stack(
        [np.nanmax(np.abs(contrast(random.permutation(truth)) / spread), axis=1) for _ in range(n_draws)]
    )
    most = np.nanmax(np.abs(observed / spread), axis=1)
    p = (1 + (drawn >= most).sum(axis=0)) / (1 + n_draws)
    return PowerContrast(observed, tuple(p.tolist()))


def _apart(log: _Floats, own: NDArray[np.bool_]) -> _Floats:
    if own.all() or not own.any():
        return np.zeros(log.shape[1])
    return np.asarray(log[own].mean(axis=0) - log[~own].mean(axis=0))
