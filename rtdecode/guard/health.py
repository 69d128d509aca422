"""Channels against what they were in training: their amplitude, and which are flat, saturated or wild.

Levels drift and differ between sessions, so it is the spread that is compared: the standard deviation within
half a second about its own mean. Training measures the same.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Amplitude, Signal
from rtdecode.guard.settings import GuardSettings

# Half a second: a fault fills a whole block within a second.
_BLOCK_S, _FEWEST = 0.5, 16


def block_size(sfreq: float) -> int:
    """Return the samples of a block."""
    return max(_FEWEST, math.ceil(_BLOCK_S * sfreq))


def spreads(samples: NDArray[Any], sfreq: float) -> NDArray[np.float64]:
    """Return the standard deviations (n_blocks, n_channels) within blocks of samples (n_samples, n_channels)."""
    n = block_size(sfreq)
    blocks = samples[: len(samples) // n * n].reshape(-1, n, samples.shape[1])
    return np.array([block.std(axis=0, dtype=np.float64) for block in blocks]).reshape(-1, samples.shape[1])


class Health:
    """Judges the channels half a second at a time.

    Parameters
    ----------
    signal : Signal
        What the samples are.
    amplitude : Amplitude
        What they were in training, in the same units.
    settings : GuardSettings
        Thresholds.

    Attributes
    ----------
    judged : bool
        Whether a block was judged since the last `restart`.
    refusal : str or None
        `amplitude` or `channels` while the last block was not to be decoded.
    bad_channels : dict of str to str
        By name: `flat`, `saturated`, `wild`, as in the last block.
    message : str
        What is wrong with the last block, for the user; empty if nothing.
    """

    def __init__(self, signal: Signal, amplitude: Amplitude, settings: GuardSettings) -> None:
        self._names, self._settings = np.array(signal.ch_names), settings
        types = np.array(signal.ch_types)
        self._groups = {str(t): types == t for t in dict.fromkeys(signal.ch_types)}
        self._usual = np.where(amplitude.typical > 0, amplitude.typical, np.nan)
        # A file that does not tell the spread tells how far levels drift: no channel must vary as much as that.
        self._least = 1 / settings.max_factor if amplitude.spread is not None else 0.0
        self.block = block_size(signal.sfreq)
        self._samples = np.empty((self.block, signal.n_channels))
        self.restart()

    def restart(self) -> None:
        """Forget every verdict: the next sample is the first of a new stream."""
        self._filled, self.judged, self.message = 0, False, ""
        self._level: NDArray[np.float64] | None = None
        self.refusal: str | None = None
        self.bad_channels: dict[str, str] = {}

    def break_off(self) -> None:
        """Take note that what comes next does not follow what came before: its level may be another."""
        self._level = None

    @property
    def room(self) -> int:
        """Samples until the block is judged."""
        return self.block - self._filled

    def add(self, samples: NDArray[np.floating]) -> bool:
        """Take at most `room` samples (n_samples, n_channels); tell whether they gave a verdict."""
        if self._level is None:
            self._level = samples[0].astype(np.float64)
        self._samples[self._filled : self._filled + len(samples)] = samples - self._level
        self._filled += len(samples)
        if self.room:
            return False
        self._judge()
        self._filled, self.judged = 0, True
        return True

    def _judge(self) -> None:
        high, low = self._samples.max(axis=0), self._samples.min(axis=0)
        flat = high == low
        with np.errstate(over="ignore", invalid="ignore"):
            factor = np.where(flat, np.nan, self._samples.std(axis=0) / self._usual)
        at_limit = np.maximum((self._samples == high).mean(axis=0), (self._samples == low).mean(axis=0))
        saturated = ~flat & (at_limit >= self._settings.max_at_limit)
        # A channel that was flat in training is not asked for life.
        flat = (flat & np.isfinite(self._usual)) | (factor < self._least)
        found = {"flat": flat, "saturated": saturated & ~flat, "wild": factor > self._settings.max_factor}
        bad = {kind: np.flatnonzero(where) for kind, where in found.items()}
        self.bad_channels = {str(self._names[i]): kind for kind, indices in bad.items() for i in indices}
        self.refusal, self.message = None, ""
        if wrong := self._wrong_scale(factor):
            self.refusal, self.message = "amplitude", wrong
        elif self.bad_channels:
            if len(self.bad_channels) > self._settings.max_bad_channels * len(self._names):
                self.refusal = "channels"
            told = [f"{name} {kind}" for name, kind in self.bad_channels.items()]
            self.message = f"{len(told)} of {len(self._names)} channels: " + _shorten(told)

    def _wrong_scale(self, factor: NDArray[np.float64]) -> str:
        told = []
        for ch_type, members in self._groups.items():
            known = members & np.isfinite(factor)
            far = known & ((factor > self._settings.max_factor) | (factor < self._least))
            # A unit is wrong in all channels; half of them may be bad.
            if 2 * far.sum() > known.sum():
                middle = float(np.median(factor[far]))
                told.append(
                    f"{known.sum()} {ch_type} channels ({_shorten(list(self._names[known]))}) vary "
                    f"{middle:.3g} times as much as in training: is their unit right?"
                )
        return "; ".join(told)


def _shorten(told: list[str], most: int = 4) -> str:
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")
