"""Spatial patterns: what a component would look like at the sensors.

A filter's weights tell how a component is read off, not where it comes from: they also cancel what disturbs it.
Haufe et al. 2014, On the interpretation of weight vectors of linear models in multivariate neuroimaging. NeuroImage
87, 96-110, doi 10.1016/j.neuroimage.2013.10.067.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

PatternForm = Literal["haufe", "mneflow"]


class FilterPatterns(NamedTuple):
    """What goes along with what filters over channels and time give.

    Attributes
    ----------
    spatial : array of float64, (n_filters, n_channels)
        In the unit of the channels: how much of their standard deviation goes along with the filter's output, at the
        tap where that is most.
    temporal : array of float64, (n_filters, n_taps)
        Its course over the filter's taps, 1 where it is most.
    share : array of float64, (n_filters,)
        How much of the whole pattern, channels by taps, the product of both is, of its square: near 1 where a filter
        passes one source.
    """

    spatial: NDArray[np.float64]
    temporal: NDArray[np.float64]
    share: NDArray[np.float64]


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
    return np.asarray(lagged_covariances(windows, 1, demean)[0])


def lagged_covariances(windows: ArrayLike, n_lags: int, demean: bool = True) -> NDArray[np.float64]:
    """Return how channels vary together with what they are later.

    Parameters
    ----------
    windows : array, (n_windows, n_channels, n_times)
        In any unit.
    n_lags : int
        Lags of 0 to n_lags - 1 samples, all within a window.
    demean : bool
        As in `covariance`, which the first of them is.

    Returns
    -------
    array of float64, (n_lags, n_channels, n_channels)
        Channels in rows `lag` samples after channels in columns.
    """
    samples = np.asarray(windows, np.float64)
    n_windows, n_channels, n_times = samples.shape
    if not 1 <= n_lags <= n_times:
        raise ValueError(f"n_lags is between 1 and the {n_times} samples of a window; got {n_lags}")
    if demean:
        samples = samples - samples.mean(axis=(0, 2), keepdims=True)
    lagged = np.empty((n_lags, n_channels, n_channels))
    for lag, cov in enumerate(lagged):
        n = n_times - lag
        moments = np.tensordot(samples[:, :, lag:], samples[:, :, :n], axes=([0, 2], [0, 2]))
        cov[:] = moments / (n_windows * n - 1)
    return lagged


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


def joint_filters(filters: ArrayLike, kernels: ArrayLike) -> NDArray[np.float64]:
    """Return spatial filters and the temporal ones behind them as filters over channels and time.

    Parameters
    ----------
    filters : array, (n_components, n_channels)
        A component is the sum over channels of filter times signal.
    kernels : array, (n_components, n_taps) or (n_filters, n_components, n_taps)
        Of one component each (LF-CNN), or over all of them (VAR-CNN).

    Returns
    -------
    array of float64, (n_filters, n_channels, n_taps)
    """
    filters, kernels = np.asarray(filters, np.float64), np.asarray(kernels, np.float64)
    return np.asarray(np.einsum("kc,kt->kct" if kernels.ndim == 2 else "kc,okt->oct", filters, kernels))


def filter_patterns(filters: ArrayLike, lagged: ArrayLike) -> FilterPatterns:
    """Return the pattern of each filter over channels and time by itself.

    Haufe's transform of such a filter is Cov(x(t + tap), s(t)), channels by taps. Of a source that prevails behind
    the filter it is the topography times its course in time; this is the nearest such product. What a component picks
    up outside the band of its temporal filter does not show here, as it does in Cov(x) w.

    Parameters
    ----------
    filters : array, (n_filters, n_channels, n_taps)
        As a network has them: correlated with the signal, not convolved; as `joint_filters` gives them.
    lagged : array, (n_taps or more, n_channels, n_channels)
        As `lagged_covariances` tells.
    """
    filters, lagged = np.asarray(filters, np.float64), np.asarray(lagged, np.float64)
    n_taps = filters.shape[2]
    if len(lagged) < n_taps:
        raise ValueError(f"filters of {n_taps} taps need covariances at {n_taps} lags; got {len(lagged)}")
    whole = np.zeros(filters.shape)
    for tap, other in np.ndindex(n_taps, n_taps):
        cov = lagged[tap - other] if tap >= other else lagged[other - tap].T
        whole[:, :, tap] += filters[:, :, other] @ cov.T
    power = np.einsum("oct,oct->o", filters, whole)
    whole /= np.sqrt(np.where(power > 0, power, 1))[:, None, None]
    spatial, singular, temporal = np.linalg.svd(whole, full_matrices=False)
    course = temporal[:, 0]
    peak = np.take_along_axis(course, np.abs(course).argmax(axis=1)[:, None], axis=1)
    total = (singular**2).sum(axis=1)
    share = np.divide(singular[:, 0] ** 2, total, out=np.zeros_like(total), where=total > 0)
    return FilterPatterns(spatial[:, :, 0] * singular[:, :1] * peak, course / peak, share)


def output_patterns(values: ArrayLike, outputs: ArrayLike) -> NDArray[np.float64]:
    """Return what goes along with each output: the regression of values on all outputs together.

    Haufe's transform of a whole decoder, of which only its outputs are known; exact where they are linear in the
    values, as they are in the features of a dense layer.

    Parameters
    ----------
    values : array, (n_windows, ...)
        The windows themselves (of evoked responses), powers of channels or components, or features.
    outputs : array, (n_windows, n_outputs)
        Logits or values, as `Readout.outputs` gives them.

    Returns
    -------
    array of float64, (n_outputs, ...)
        Change of the values per unit of an output.
    """
    values, outputs = np.asarray(values, np.float64), np.asarray(outputs, np.float64)
    # Outputs that add up to the same for every window vary in fewer dimensions than there are of them. Each row adds
    # up to zero: what all windows have in common is taken out of the values too.
    regression: NDArray[np.float64] = np.linalg.pinv(outputs - outputs.mean(axis=0))
    return np.tensordot(regression, values, axes=1)


def evoked_patterns(filters: ArrayLike, windows: ArrayLike, outputs: ArrayLike) -> FilterPatterns:
    """Return the pattern of each filter in what goes along with each output, which background activity does not.

    For responses at a time of their own, as those to stimuli are: in the patterns of `filter_patterns` a stronger
    background that leaks into the filter prevails. For power without a fixed phase nothing is left here.

    Parameters
    ----------
    filters : array, (n_filters, n_channels, n_taps)
        As in `filter_patterns`.
    windows : array, (n_windows, n_channels, n_times)
        All cut at the same time after their event.
    outputs : array, (n_windows, n_outputs)
        As in `output_patterns`.

    Returns
    -------
    FilterPatterns
        Each of its arrays has the outputs as its first axis; the unit is that of the channels per unit of the output.
    """
    n_taps = np.shape(filters)[2]
    found = [
        filter_patterns(filters, lagged_covariances(along[None], n_taps))
        for along in output_patterns(windows, outputs)
    ]
    spatial, temporal, share = (np.stack(part) for part in zip(*found, strict=True))
    return FilterPatterns(spatial, temporal, share)


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
