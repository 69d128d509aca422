"""What sensors and components do in the trials of each class, on average, and whether that is more than chance."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from rtdecode.evaluation.permutation import exchanges

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
    recording : array of int, (n_trials,)
        Which file each is from.
    """

    sensors: _Floats
    seen: _Floats
    truth: NDArray[np.int64]
    outputs: _Floats
    time_s: _Floats
    recording: NDArray[np.int64]


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


def about_trial(signals: _Floats) -> _Floats:
    """Return signals (..., n_times) about their mean over the trial: what of them goes along with its event.

    Neither an amplifier's offset nor a slow drift is left in them, and nothing that other classes do comes in, as it
    would with a mean over the recording. What is the same throughout the trial is no response: nothing tells it from
    an offset.
    """
    return np.asarray(signals - signals.mean(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Response:
    """What is at the sensors of one type when the mean over trials of a class is strongest, each about its own mean.

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

    Each sensor is taken about its mean over the same trial (see `about_trial`). Strength is the root mean square over
    the sensors, each by its standard deviation. Without a response a trial is then as likely as its negative (doi
    10.1016/j.jneumeth.2007.03.024); p counts the observed one, so it is never 0.
    """
    trials = about_trial(trials[:_MOST_TRIALS])
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
        Mean of the log power of its trials less that of the others of the same recording, in dB; 0 where no recording
        has both.
    p : tuple of float
        How often classes exchanged between trials of the same recording differ as much at any sensor.
    """

    db: _Floats
    p: tuple[float, ...]


def power_contrast(
    sensors: _Floats,
    truth: NDArray[np.int64],
    recording: NDArray[np.int64],
    n_classes: int,
    n_draws: int,
    random: Generator,
) -> PowerContrast:
    """Compare the log powers of trials (n_trials, n_sensors, n_times) between classes, each with all others.

    Only trials of one recording are compared and exchanged: gains and impedances that differ between recordings, with
    classes that are not as frequent in each, would pass for what a class does.
    """
    log = _about_mean(log_power(sensors), recording)
    spread = np.maximum(log.std(axis=0), 1e-12)

    def contrast(labels: NDArray[np.int64]) -> _Floats:
        return np.stack([_apart(log, labels == c, recording) for c in range(n_classes)])

    observed = contrast(truth)
    orders = exchanges(recording.tolist(), n_draws, int(random.integers(1 << 31)))
    drawn = np.stack([np.abs(contrast(truth[order]) / spread).max(axis=1) for order in orders])
    # Equal ones may differ by how their sums were rounded.
    most = np.abs(observed / spread).max(axis=1) * (1 - 1e-9)
    p = (1 + (drawn >= most).sum(axis=0)) / (1 + n_draws)
    return PowerContrast(observed, tuple(p.tolist()))


def log_power(sensors: _Floats) -> _Floats:
    """Return the power of each trial (n_trials, n_sensors, n_times) at each sensor in dB."""
    return np.asarray(10 * np.log10(np.maximum(sensors.var(axis=2), 1e-300)))


def _about_mean(values: _Floats, recording: NDArray[np.int64]) -> _Floats:
    """Return values (n_trials, ...) less their mean over the trials of the same recording."""
    centred = values.copy()
    for number in np.unique(recording):
        centred[recording == number] -= centred[recording == number].mean(axis=0)
    return centred


def _apart(log: _Floats, own: NDArray[np.bool_], recording: NDArray[np.int64]) -> _Floats:
    """Return the difference of means within recordings; of several, the mean by how well each tells them apart."""
    held = _about_mean(own.astype(np.float64), recording)
    size = held @ held
    return np.asarray(held @ log / size) if size else np.zeros(log.shape[1])
