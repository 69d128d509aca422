"""Parts of signals: channels, bands, times, and what channels share; exchanged by what is elsewhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

_Floats = NDArray[np.float64]
_ORDER = 4


@dataclass(frozen=True)
class Part:
    """A part of a signal.

    Attributes
    ----------
    name : str
        What it is called.
    channels : tuple of int, or None
        Their indices; None: all.
    band_hz : (float, float), or None
        Its edges, where a zero-phase filter lets half of the amplitude pass; 0 and infinity are none.
    span : (int, int), or None
        Samples [start, stop) of the window.
    spread : array, (n_channels, n_channels), or None
        What channels (columns) give of the part to all channels (rows), instead of `channels`.
    """

    name: str
    channels: tuple[int, ...] | None = None
    band_hz: tuple[float, float] | None = None
    span: tuple[int, int] | None = None
    spread: _Floats | None = None


def band_name(band_hz: tuple[float, float]) -> str:
    """Say which band it is."""
    low, high = band_hz
    if low <= 0:
        return f"below {high:g} Hz"
    return f"above {low:g} Hz" if np.isinf(high) else f"{low:g}-{high:g} Hz"


def mixed(own: NDArray[Any], other: NDArray[Any] | float, part: Part, sfreq: float) -> NDArray[Any]:
    """Return stretches `own` (n_stretches, n_channels, n_times) with a part as in `other`."""
    out = np.array(own)
    others = np.broadcast_to(np.asarray(other, out.dtype), out.shape)
    channels = slice(None) if part.channels is None else list(part.channels)
    span = slice(*part.span) if part.span else slice(None)
    if part.band_hz is None and part.spread is None:
        out[:, channels, span] = others[:, channels, span]
        return out
    change = others[:, channels].astype(np.float64) - out[:, channels]
    if part.band_hz is not None:
        change = in_band(change, part.band_hz, sfreq)
    if part.spread is not None:
        change = part.spread @ change
    out[:, channels, span] += change[..., span].astype(out.dtype)
    return out


def in_band(x: NDArray[np.floating], band_hz: tuple[float, float], sfreq: float) -> _Floats:
    """Return what of signals (..., n_times) lies in a band: a Butterworth filter of order 4, forth and back."""
    low, _ = band_hz
    if low >= sfreq / 2:
        return np.zeros(x.shape)
    inner = [edge for edge in band_hz if 0 < edge < sfreq / 2]
    if not inner:
        return np.array(x, np.float64)
    kind = "bandpass" if len(inner) == 2 else "highpass" if low > 0 else "lowpass"
    sos = butter(_ORDER, inner if len(inner) == 2 else inner[0], kind, fs=sfreq, output="sos")
    filtered: _Floats = sosfiltfilt(sos, x, axis=-1, padlen=min(x.shape[-1] - 1, round(2 * sfreq / inner[0])))
    return filtered
