"""What a component's temporal filter lets through."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy.signal import detrend, freqz, get_window


class Spectra(NamedTuple):
    """Power spectral densities of components, before and behind their filters.

    Attributes
    ----------
    freqs : array of float64, (n_freqs,)
        In Hz.
    latent : array of float64, (n_components, n_freqs)
        Of the components, in their unit squared per Hz.
    filtered : array of float64, (n_filters, n_freqs)
        Behind the temporal filters.
    """

    freqs: NDArray[np.float64]
    latent: NDArray[np.float64]
    filtered: NDArray[np.float64]


def frequency_response(kernels: ArrayLike, freqs: ArrayLike, sfreq: float) -> NDArray[np.complex128]:
    """Return the transfer function of temporal kernels.

    Parameters
    ----------
    kernels : array, (..., n_taps)
        As a network has them: correlated with the signal, not convolved.
    freqs : array, (n_freqs,)
        In Hz.
    sfreq : float
        Rate of the samples in Hz.

    Returns
    -------
    array of complex128, (..., n_freqs)
        Its absolute value is the gain of the amplitude; of power, it is that squared.
    """
    kernels = np.asarray(kernels, np.float64)
    responses = [
        freqz(taps[::-1], worN=np.asarray(freqs), fs=sfreq)[1] for taps in kernels.reshape(-1, kernels.shape[-1])
    ]
    return np.asarray(responses).reshape(*kernels.shape[:-1], -1)


def component_spectra(latent: ArrayLike, kernels: ArrayLike, sfreq: float, n_fft: int = 256) -> Spectra:
    """Return the spectra of components, and what their temporal filters let through of them.

    Welch's method, Hann windows of up to `n_fft` samples that overlap by half, each without its mean (doi
    10.1109/TAU.1967.1161901). Behind a filter it is |H|^2 times as much; where a filter sums over components
    (VAR-CNN), the square of their sum.

    Parameters
    ----------
    latent : array, (n_windows, n_components, n_times)
        The components of each window.
    kernels : array, (n_components, n_taps) or (n_filters, n_components, n_taps)
        Of one component each, or over all of them.
    sfreq : float
        Rate of the samples in Hz.
    n_fft : int
        Length of the Fourier transform.
    """
    latent, kernels = np.asarray(latent, np.float64), np.asarray(kernels, np.float64)
    n_segment = min(n_fft, latent.shape[-1])
    taper, freqs = get_window("hann", n_segment), np.fft.rfftfreq(n_fft, 1 / sfreq).astype(np.float64)
    segments = sliding_window_view(latent, n_segment, axis=-1)[..., :: n_segment - n_segment // 2, :]
    parts = np.fft.rfft(detrend(segments, type="constant") * taper, n_fft)
    response = frequency_response(kernels, freqs, sfreq)
    behind = np.einsum("kf,nksf->nksf" if kernels.ndim == 2 else "okf,nksf->nosf", response, parts)
    # What negative frequencies have is told with that of the positive ones.
    density = np.where((freqs == 0) | (2 * freqs == sfreq), 1, 2) / (sfreq * np.sum(taper**2))
    power, passed = ((np.abs(part) ** 2).mean(axis=(0, 2)) * density for part in (parts, behind))
    return Spectra(freqs, power, passed)
