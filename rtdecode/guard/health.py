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
# What a block says is noted after so many values, and so many samples at most: no hop is to bear the work of all.
_PART_VALUES, _PART_MOST = 8192, 64


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
        self._was_alive = np.isfinite(self._usual)
        # A file that does not tell the spread tells how far levels drift: no channel must vary as much as that.
        self._least = 1 / settings.max_factor if amplitude.spread is not None else 0.0
        self.block = block_size(signal.sfreq)
        self._n_part = n = min(max(_PART_VALUES // signal.n_channels, 1), _PART_MOST, self.block)
        self._part = np.empty((n, signal.n_channels))
        self._sizes = np.array([min(n, self.block - at) for at in range(0, self.block, n)], np.float64)[:, None]
        # Of each part: largest value, and smallest with its sign changed; how often each is there; mean, and squares
        # about it.
        shape = len(self._sizes), signal.n_channels
        self._limits, self._n_there = np.empty((2, *shape)), np.empty((2, *shape), np.uint8)
        self._at_limit = np.empty((n, signal.n_channels), bool)
        self._means, self._squares = np.empty(shape), np.empty(shape)
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
        at = 0
        while at < len(samples):
            number, begin = divmod(self._filled, self._n_part)
            end = min(begin + len(samples) - at, self._n_part, self.block - number * self._n_part)
            np.subtract(samples[at : at + end - begin], self._level, out=self._part[begin:end])
            self._filled += end - begin
            at += end - begin
            if end == self._n_part or not self.room:
                self._note(number, self._part[:end])
        if self.room:
            return False
        self._judge()
        self._filled, self.judged = 0, True
        return True

    def _note(self, number: int, part: NDArray[np.float64]) -> None:
        there = self._at_limit[: len(part)]
        largest = np.maximum.reduce(part, axis=0, out=self._limits[0, number])
        np.equal(part, largest, out=there)
        np.add.reduce(there.view(np.uint8), axis=0, dtype=np.uint8, out=self._n_there[0, number])
        smallest = np.minimum.reduce(part, axis=0)
        np.equal(part, smallest, out=there)
        np.add.reduce(there.view(np.uint8), axis=0, dtype=np.uint8, out=self._n_there[1, number])
        np.negative(smallest, out=self._limits[1, number])
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.divide(np.add.reduce(part, axis=0), len(part), out=self._means[number])
            part -= mean
            np.einsum("ij,ij->j", part, part, out=self._squares[number])

    def _judge(self) -> None:
        self.bad_channels, self.refusal, self.message = {}, None, ""
        limits = np.maximum.reduce(self._limits, axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            away = self._means - np.add.reduce(self._sizes * self._means, axis=0) / self.block
            variance = np.add.reduce(self._squares + self._sizes * away * away, axis=0) / self.block
            factor = np.sqrt(variance) / self._usual
        n_there = np.add.reduce(self._n_there * (self._limits == limits[:, None]), axis=1)
        # A flat channel is always at its limit, and what was flat in training has no factor.
        if (
            np.maximum.reduce(n_there, axis=None) / self.block < self._settings.max_at_limit
            and np.minimum.reduce(factor) >= self._least
            and np.maximum.reduce(factor) <= self._settings.max_factor
        ):
            return
        flat = limits[0] == -limits[1]
        self._condemn(flat, np.where(flat, np.nan, factor), n_there.max(axis=0))

    def _condemn(self, flat: NDArray[np.bool_], factor: NDArray[np.float64], n_there: NDArray[np.int_]) -> None:
        """Say which channels are bad, how many values of the block being at a limit, and whether too many are."""
        saturated = ~flat & (n_there / self.block >= self._settings.max_at_limit)
        # A channel that was flat in training is not asked for life.
        flat = (flat & self._was_alive) | (factor < self._least)
        found = {"flat": flat, "saturated": saturated & ~flat, "wild": factor > self._settings.max_factor}
        bad = {kind: where.nonzero()[0] for kind, where in found.items()}
        self.bad_channels = {str(self._names[i]): kind for kind, indices in bad.items() for i in indices}
        if not self.bad_channels:
            return
        if wrong := self._wrong_scale(factor):
            self.refusal, self.message = "amplitude", wrong
            return
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
