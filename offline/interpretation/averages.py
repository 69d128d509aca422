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
    outputs : array, (n_trials, n_outputs)
        What the decoder gives for each, the mean over its windows: log probabilities about their mean, or values.
    time_s : array, (n_times,)
        From the event.
    """

    sensors: _Floats
    seen: _Floats
    truth: NDArray[np.int64]
    outputs: _Floats
    time_s: _Floats


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

    Strength is the root mean square over the sensors, each by its standard deviation. Without a response a trial is
    as likely as its negative (doi 10.1016/j.jneumeth.2007.03.024); p counts the observed one, so it is never 0.
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
    log = log_power(sensors)
    spread = np.maximum(log.std(axis=0), 1e-12)

    def contrast(labels: NDArray[np.int64]) -> _Floats:
        return np.stack([_apart(log, labels == c) for c in range(n_classes)])

    observed = contrast(truth)
    drawn = np.stack(
        [np.nanmax(np.abs(contrast(random.permutation(truth)) / spread), axis=1) for _ in range(n_draws)]
    )
    most = np.abs(observed / spread).max(axis=1)
    p = (1 + (drawn >= most).sum(axis=0)) / (1 + n_draws)
    return PowerContrast(observed, tuple(p.tolist()))


def log_power(sensors: _Floats) -> _Floats:
    """Return the power of each trial (n_trials, n_sensors, n_times) at each sensor in dB."""
    return np.asarray(10 * np.log10(np.maximum(sensors.var(axis=2), 1e-300)))


def _apart(log: _Floats, own: NDArray[np.bool_]) -> _Floats:
    if own.all() or not own.any():
        return np.zeros(log.shape[1])
    return np.asarray(log[own].mean(axis=0) - log[~own].mean(axis=0))
