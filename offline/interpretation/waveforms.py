"""When a component is active: its average over the windows of each class, and the time of its peak."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray


class Waveforms(NamedTuple):
    """Averages over the windows of each class.

    Attributes
    ----------
    mean : array of float64, (n_classes, n_components, n_times)
        NaN for a class without windows.
    sem : array of float64, (n_classes, n_components, n_times)
        Standard error of the mean, for independent windows; NaN for fewer than two.
    n_windows : array of int, (n_classes,)
        Of each class.
    """

    mean: NDArray[np.float64]
    sem: NDArray[np.float64]
    n_windows: NDArray[np.int_]


class Latency(NamedTuple):
    """When averages are farthest from zero.

    Attributes
    ----------
    peak : array of float64, (n_components,)
        On the scale of the times that were given.
    low, high : array of float64, (n_components,)
        The 95 % interval over resampled trials.
    """

    peak: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def class_waveforms(activations: ArrayLike, classes: ArrayLike, n_classes: int) -> Waveforms:
    """Return the average of components over the windows of each class.

    Parameters
    ----------
    activations : array, (n_windows, n_components, n_times)
        Components before or behind their temporal filters, or pooled.
    classes : array of int, (n_windows,)
        The class of each window.
    n_classes : int
        How many there are.
    """
    activations, classes = np.asarray(activations, np.float64), np.asarray(classes)
    n_windows = np.bincount(classes, minlength=n_classes)
    mean, sem = np.full((2, n_classes, *activations.shape[1:]), np.nan)
    for c, n in enumerate(n_windows):
        of_class = activations[classes == c]
        if n:
            mean[c] = of_class.mean(axis=0)
        if n > 1:
            sem[c] = of_class.std(axis=0, ddof=1) / np.sqrt(n)
    return Waveforms(mean, sem, n_windows)


def peak_latency(
    activations: ArrayLike, times: ArrayLike, trials: ArrayLike, n_repeats: int, random: Generator
) -> Latency:
    """Return when the average over windows is farthest from zero, with the interval over resampled trials.

    Efron 1979, Bootstrap methods: another look at the jackknife, doi 10.1214/aos/1176344552. A level that is no part
    of a response is taken out before: the mean over windows of other classes, or over a baseline.

    Parameters
    ----------
    activations : array, (n_windows, n_components, n_times)
        Components in the windows of one class, all cut at the same time after their event.
    times : array, (n_times,)
        When, after the event.
    trials : array, (n_windows,)
        Which trial each window is of: windows of one trial are drawn together.
    n_repeats : int
        How often trials are drawn.
    random : numpy.random.Generator
        Draws them.
    """
    activations, times = np.asarray(activations, np.float64), np.asarray(times, np.float64)
    of_trial = np.unique(np.asarray(trials), return_inverse=True)[1]
    n_trials = of_trial.max() + 1
    sums = np.zeros((n_trials, *activations.shape[1:]))
    np.add.at(sums, of_trial, activations)
    # A sum over drawn trials peaks where their average does.
    drawn = random.multinomial(n_trials, np.full(n_trials, 1 / n_trials), size=n_repeats)
    peaks = times[np.abs(np.tensordot(drawn, sums, axes=1)).argmax(axis=2)]
    low, high = np.percentile(peaks, [2.5, 97.5], axis=0)
    return Latency(times[np.abs(sums.sum(axis=0)).argmax(axis=1)], low, high)
