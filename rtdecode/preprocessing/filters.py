"""Recursive filters as second-order sections, in float64, started from the first sample."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from rtdecode.contract import Signal
from rtdecode.contract.arrays import FloatArray
from rtdecode.preprocessing.base import Samples, Step, check_rate


def _check_sections(sos: NDArray[np.float64]) -> NDArray[np.float64]:
    if sos.ndim != 2 or sos.shape[1] != 6 or len(sos) == 0 or not (sos[:, 3] == 1).all():
        raise ValueError(f"second-order sections (n_sections, 6) with a0 = 1 are needed, got shape {sos.shape}")
    return sos


Sections = Annotated[FloatArray, AfterValidator(_check_sections)]
Band = Literal["bandpass", "highpass", "lowpass", "notch"]


class _SosState:
    """A copy of the sections that scipy may write to, and `zi` (n_channels, n_sections, 2) after the first sample."""

    def __init__(self, sos: NDArray[np.float64]) -> None:
        self.sos = sos.copy()
        self.zi: NDArray[np.float64] | None = None


def _run(samples: Samples, state: _SosState) -> Samples:
    if len(samples) == 0:
        return samples.copy()
    if state.zi is None:
        # As if the first sample had been there for ever: no jump from zero at the start. The first
        # *sample*, never a mean over the first chunk, whose length is an accident.
        state.zi = samples[0][:, None, None] * _after_ones(state.sos)
    filtered = np.array(samples.T, np.float64, order="C")
    _kernel()(state.sos, filtered, state.zi)
    return filtered.T


@cache
def _kernel() -> Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], None]:
    """Return what filters (n_channels, n_samples) in place.

    The compiled part of scipy's sosfilt: of the few samples of a hop, the checks around it take ten times as long. It
    is loaded by itself: all of scipy.signal takes longer than everything else that a live run needs.
    """
    import scipy

    try:
        spec = PathFinder.find_spec("_sosfilt", [str(Path(scipy.__file__).with_name("signal"))])
        module = module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return module._sosfilt  # type: ignore[no-any-return]
    except (ImportError, AttributeError):  # it is private to scipy, and may move
        return _filter_in_place


def _filter_in_place(sos: NDArray[np.float64], samples: NDArray[np.float64], zi: NDArray[np.float64]) -> None:
    from scipy.signal import sosfilt

    samples[:], after = sosfilt(sos, samples, zi=zi.transpose(1, 0, 2))
    zi[:] = after.transpose(1, 0, 2)


def _after_ones(sos: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the sections hold, (n_sections, 2), when the input has been 1 for ever (scipy's sosfilt_zi)."""
    held, level = np.empty((len(sos), 2)), 1.0
    for i, (b, a) in enumerate(zip(sos[:, :3], sos[:, 3:], strict=True)):
        held[i] = level * np.linalg.solve([[1 + a[1], -1], [a[2], 1]], b[1:] - a[1:] * b[0])
        level *= b.sum() / a.sum()
    return held


def _response(sos: NDArray[np.float64], frequency: float) -> complex:
    """Return the response at a frequency in radians per sample."""
    delays = np.exp(-1j * frequency * np.arange(3))
    return complex(np.prod((sos[:, :3] @ delays) / (sos[:, 3:] @ delays)))


def _settling(sos: NDArray[np.float64]) -> int:
    """Return the samples after which the step response stays within 1 % (of its peak) of its final value."""
    return _settled(sos.tobytes())


@lru_cache(maxsize=64)
def _settled(sections: bytes) -> int:
    """Remember it: a decoder asks for its filters as the file has them, and as they are run."""
    sos = np.frombuffer(sections).reshape(-1, 6)
    final = _response(sos, 0.0).real
    n, zi = 1024, np.zeros((1, len(sos), 2))
    response: NDArray[np.float64] = np.empty(0)
    while True:
        more = np.ones((1, n))
        _kernel()(sos.copy(), more, zi)
        response = np.concatenate([response, more[0]])
        scale = max(np.abs(response).max(), abs(final))
        outside = np.flatnonzero(np.abs(response - final) > 0.01 * scale)
        last = int(outside[-1]) + 1 if len(outside) else 0
        if last < len(response) // 2 or len(response) >= 1 << 22:
            return last
        n = len(response)


def _group_delay(sos: NDArray[np.float64], frequency: float) -> float:
    """Group delay in samples at a frequency in radians per sample."""
    step = 1e-4
    around = [max(frequency - step, 1e-6), frequency + step]
    phase = np.unwrap([np.angle(_response(sos, w)) for w in around])
    return float(-(phase[1] - phase[0]) / (around[1] - around[0]))


class Filter(Step):
    """Causal IIR filter, the same on every channel.

    Attributes
    ----------
    sos : array of float64, (n_sections, 6)
        Second-order sections as scipy orders them.
    band : str
        `bandpass`, `highpass`, `lowpass` or `notch`.
    freqs_hz : tuple of float
        Its edges, or the frequencies of the notches.
    sfreq : float
        The rate it was designed for.
    """

    step: Literal["filter"] = "filter"
    reset_voids = "filter"
    sos: Sections
    band: Band
    freqs_hz: tuple[float, ...]
    sfreq: Annotated[float, Field(gt=0)]

    @classmethod
    def butterworth(cls, sfreq: float, l_freq: float | None, h_freq: float | None, order: int = 4) -> Self:
        """Design a Butterworth band-, high- or low-pass (`order` as in scipy.signal.butter)."""
        from scipy.signal import butter

        edges = tuple(f for f in (l_freq, h_freq) if f is not None)
        band: Band = "bandpass" if len(edges) == 2 else "highpass" if l_freq is not None else "lowpass"
        _check_edges(edges, sfreq)
        sos = butter(order, edges if len(edges) == 2 else edges[0], band, fs=sfreq, output="sos")
        return cls(sos=sos, band=band, freqs_hz=edges, sfreq=sfreq)

    @classmethod
    def notches(cls, sfreq: float, freqs_hz: tuple[float, ...], quality: float = 30.0) -> Self:
        """Design second-order notches; `quality` is each one's frequency over its width at -3 dB."""
        from scipy.signal import iirnotch, tf2sos

        _check_edges(freqs_hz, sfreq)
        sos = np.concatenate([tf2sos(*iirnotch(f, quality, fs=sfreq)) for f in freqs_hz])
        return cls(sos=sos, band="notch", freqs_hz=freqs_hz, sfreq=sfreq)

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        check_rate(self.band, self.sfreq, signal)
        return signal

    def start(self, n_channels: int) -> _SosState:
        """See Step."""
        return _SosState(self.sos)

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return _run(samples, state)

    def settling(self) -> int:
        """See Step."""
        return _settling(self.sos)

    def group_delay(self) -> float:
        """See Step. Of a band-pass at its geometric middle; of the others in the middle of what passes."""
        low = self.freqs_hz[0]
        high = self.sfreq / 2 if self.band == "highpass" else self.freqs_hz[-1]
        middle = low / 2 if self.band in ("lowpass", "notch") else (low * high) ** 0.5
        return _group_delay(self.sos, 2 * np.pi * middle / self.sfreq)

    def describe(self) -> str:
        """See Step."""
        return f"causal {self.band} {'-'.join(f'{f:g}' for f in self.freqs_hz)} Hz, {len(self.sos)} sections"


class FilterBank(Step):
    """Several causal band-passes side by side: bands x channels leave, band-major.

    Attributes
    ----------
    sos : tuple of arrays of float64, (n_sections, 6)
        One filter a band.
    bands_hz : tuple of (float, float)
        Their edges.
    sfreq : float
        The rate they were designed for.
    """

    step: Literal["filter-bank"] = "filter-bank"
    reset_voids = "filter"
    sos: Annotated[tuple[Sections, ...], Field(min_length=1)]
    bands_hz: tuple[tuple[float, float], ...]
    sfreq: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _one_a_band(self) -> Self:
        if len(self.sos) != len(self.bands_hz):
            raise ValueError(f"{len(self.sos)} filters for {len(self.bands_hz)} bands")
        return self

    @classmethod
    def butterworth(cls, sfreq: float, bands_hz: tuple[tuple[float, float], ...], order: int = 4) -> Self:
        """Design Butterworth band-passes (`order` as in scipy.signal.butter)."""
        sos = tuple(Filter.butterworth(sfreq, low, high, order).sos for low, high in bands_hz)
        return cls(sos=sos, bands_hz=bands_hz, sfreq=sfreq)

    @classmethod
    def chebyshev(
        cls,
        sfreq: float,
        bands_hz: tuple[tuple[float, float], ...],
        ripple_db: float = 3.0,
        stop_db: float = 30.0,
        transition_hz: float = 2.0,
    ) -> Self:
        """Design the causal bank of FBLightConvNet's authors: Chebyshev II of the least sufficient order.

        Ma et al. 2023, doi 10.1109/TNSRE.2023.3299355: 3 dB in the band, 30 dB below from 2 Hz beside it.
        """
        from scipy.signal import cheb2ord, cheby2

        designed = []
        for low, high in bands_hz:
            _check_edges((low - transition_hz, low, high, high + transition_hz), sfreq)
            stop = (low - transition_hz, high + transition_hz)
            order, natural = cheb2ord((low, high), stop, ripple_db, stop_db, fs=sfreq)
            designed.append(cheby2(order, stop_db, natural, "bandpass", fs=sfreq, output="sos"))
        return cls(sos=tuple(designed), bands_hz=bands_hz, sfreq=sfreq)

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        check_rate("filter bank", self.sfreq, signal)
        names = [f"{name} {low:g}-{high:g} Hz" for low, high in self.bands_hz for name in signal.ch_names]
        n = len(self.bands_hz)
        return signal.with_channels(names, signal.ch_types * n, signal.units * n)

    def start(self, n_channels: int) -> list[_SosState]:
        """See Step."""
        return [_SosState(sos) for sos in self.sos]

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return np.concatenate([_run(samples, band) for band in state], axis=1)

    def settling(self) -> int:
        """See Step. Of the slowest band."""
        return max(_settling(sos) for sos in self.sos)

    def group_delay(self) -> float:
        """See Step. Of the slowest band, at its geometric middle."""
        middles = [2 * np.pi * (low * high) ** 0.5 / self.sfreq for low, high in self.bands_hz]
        return max(_group_delay(sos, middle) for sos, middle in zip(self.sos, middles, strict=True))

    def describe(self) -> str:
        """See Step."""
        low, high = self.bands_hz[0][0], self.bands_hz[-1][1]
        return f"causal filter bank, {len(self.sos)} bands, {low:g} to {high:g} Hz"


@dataclass(slots=True)
class _DecimateState:
    sos: _SosState
    phase: int = 0  # samples until the next one that is kept


class Decimate(Step):
    """Low-pass against aliasing, then keep every `by`-th sample, the first one included.

    Output k exists when input k*by has arrived: the newest sample it rests on.

    Attributes
    ----------
    by : int
        Decimation factor.
    sos : array of float64, (n_sections, 6)
        The low-pass.
    """

    step: Literal["decimate"] = "decimate"
    reset_voids = "filter"
    by: Annotated[int, Field(ge=2)]
    sos: Sections

    @classmethod
    def design(cls, by: int) -> Self:
        """Chebyshev I of order 8, 0.05 dB ripple, edge at 0.8 of the new Nyquist frequency."""
        from scipy.signal import cheby1

        return cls(by=by, sos=cheby1(8, 0.05, 0.8 / by, output="sos"))

    @property
    def factor(self) -> Fraction:
        """See Step."""
        return Fraction(self.by)

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        return signal.model_copy(update={"sfreq": signal.sfreq / self.by})

    def start(self, n_channels: int) -> _DecimateState:
        """See Step."""
        return _DecimateState(_SosState(self.sos))

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        filtered = _run(samples, state.sos)
        kept = filtered[state.phase :: self.by]
        state.phase = (state.phase - len(samples)) % self.by
        return kept

    def settling(self) -> int:
        """See Step."""
        return _settling(self.sos)

    def group_delay(self) -> float:
        """See Step."""
        return _group_delay(self.sos, 0.4 * np.pi / self.by)

    def describe(self) -> str:
        """See Step."""
        return f"low-pass against aliasing, keep one sample in {self.by}"


def _check_edges(freqs_hz: tuple[float, ...], sfreq: float) -> None:
    if not freqs_hz or list(freqs_hz) != sorted(freqs_hz) or freqs_hz[0] <= 0 or freqs_hz[-1] >= sfreq / 2:
        shown = ", ".join(f"{f:g}" for f in freqs_hz)
        raise ValueError(
            f"filter frequencies must rise between 0 and half the rate ({sfreq / 2:g} Hz); got {shown or 'none'}"
        )
