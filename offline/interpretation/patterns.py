"""Spatial patterns: what a component would look like at the sensors.

A filter's weights tell how a component is read off, not where it comes from: they also cancel what disturbs it.
Haufe et al. 2014, On the interpretation of weight vectors of linear models in multivariate neuroimaging. NeuroImage
87, 96-110, doi 10.1016/j.neuroimage.2013.10.067.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

PatternForm = Literal["haufe", "mneflow"]


def covariance(windows: ArrayLike, demean: bool = True) -> NDArray[np.float64]:
    """Return how channels vary together over all samples of all windows.

    Parameters
    ----------
    windows : array, (n_windows, n_channels, n_times)
        In any unit.
    demean : bool
        Whether each channel's mean over all of them is taken out. MNEflow leaves it in, and calls second moments
        covariances.

    Returns
    -------
    array of float64, (n_channels, n_channels)
        In that unit squared.
    """
    windows = np.asarray(windows, np.float64)
    n = windows.shape[0] * windows.shape[2]
    moments = np.tensordot(windows, windows, axes=([0, 2], [0, 2]))
    if demean:
        mean = windows.mean(axis=(0, 2))
        moments -= n * np.outer(mean, mean)
    return np.asarray(moments / (n - 1))


def spatial_patterns(filters: ArrayLike, cov: ArrayLike, form: PatternForm = "haufe") -> NDArray[np.float64]:
    """Return the pattern of each component.

    Parameters
    ----------
    filters : array, (n_components, n_channels)
        A component is the sum over channels of filter times signal.
    cov : array, (n_channels, n_channels)
        Covariance of the channels.
    form : str
        `haufe`: Cov(x) W Cov(s)^-1, the regression of the channels on all components together. `mneflow`: Cov(x) w of
        each by itself, in which components that vary together show each other's patterns.

    Returns
    -------
    array of float64, (n_components, n_channels)
        In units of the channels per unit of the component (`haufe`).
    """
    filters, cov = np.asarray(filters, np.float64), np.asarray(cov, np.float64)
    if form not in get_args(PatternForm):
        raise ValueError(f"form is one of {', '.join(get_args(PatternForm))}; got {form!r}")
    shared = filters @ cov
    if form == "mneflow":
        return np.asarray(shared)
    # More components than channels, or than the channels' rank, vary in fewer dimensions than there are of them.
    return np.asarray(np.linalg.pinv(shared @ filters.T, hermitian=True) @ shared)


def combined_patterns(patterns: ArrayLike, relevance: ArrayLike) -> NDArray[np.float64]:
    """Return one pattern for each output: the sum of the components' patterns, each times its relevance.

    Parameters
    ----------
    patterns : array, (n_components, n_channels)
        Of the components.
    relevance : array, (n_components, n_outputs)
        Of each component for each output, as `combined_relevance` tells.

    Returns
    -------
    array of float64, (n_outputs, n_channels)
    """
    return np.asarray(np.asarray(relevance, np.float64).T @ np.asarray(patterns, np.float64))
