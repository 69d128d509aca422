"""Cuts what arrives where it is broken, so that nothing unsound is decoded."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples [start, stop) of a chunk.

    `fault` tells what broke before the first of them (the decoder must start anew), or None.
    `sound` is False when the samples themselves must not be decoded.
    """

    start: int
    stop: int
    fault: str | None
    sound: bool = True


class Guard:
    """Watches samples and raw timestamps: no clock, no I/O; the verdict does not depend on chunking.

    Faults: `gap` (a step between stamps longer than one sample by more than the tolerance), `clock` (stamps
    that go back by more than it, or are not finite), `non-finite` (NaN or infinity in a sample).

    Parameters
    ----------
    sfreq : float
        Nominal rate of the stream in Hz.
    gap_tolerance_s : float
        How far a step may be from one sample. Half a sample by default, which finds every lost sample of
        a source with regular stamps; a source whose stamps jitter needs more.
    """

    def __init__(self, sfreq: float, gap_tolerance_s: float | None = None) -> None:
        self._period = 1.0 / sfreq
        self.gap_tolerance_s = max(gap_tolerance_s or 0.0, 0.5 / sfreq)
        self.restart()

    def restart(self) -> None:
        """Forget the last stamp: the next sample starts a new stream."""
        self._last = math.nan
        self._sound = True

    def check(self, samples: NDArray[np.floating], timestamps: NDArray[np.float64]) -> list[Segment]:
        """Cut a chunk (n_samples, n_channels) with stamps (n_samples,) into segments, in order."""
        if len(timestamps) == 0:
            return []
        finite = np.isfinite(samples).all(axis=1)
        if not np.isfinite(timestamps).all():
            timestamps = np.where(np.isfinite(timestamps), timestamps, np.nan)
        excess = np.diff(timestamps, prepend=self._last) - self._period
        if math.isnan(self._last):
            excess[0] = 0.0 if math.isfinite(timestamps[0]) else math.nan
        clean = finite & (np.abs(excess) <= self.gap_tolerance_s)
        if self._sound and clean.all():
            self._last = float(timestamps[-1])
            return [Segment(0, len(timestamps), None)]
        return self._cut(finite, excess, timestamps)

    def _cut(
        self, finite: NDArray[np.bool_], excess: NDArray[np.float64], timestamps: NDArray[np.float64]
    ) -> list[Segment]:
        starts: list[tuple[int, str | None, bool]] = []
        for i in range(len(timestamps)):
            fault = self._fault(bool(finite[i]), float(excess[i]), float(timestamps[i]))
            # Another bad sample after a bad one is the same fault; after it, a sound one starts anew.
            sound = fault not in ("non-finite", "stamp")
            if fault is not None and not sound and not self._sound:
                fault = None
            if not starts or fault is not None or sound != self._sound:
                starts.append((i, "clock" if fault == "stamp" else fault, sound))
            self._sound = sound
            self._last = float(timestamps[i])
        ends = [at for at, _, _ in starts[1:]] + [len(timestamps)]
        return [Segment(at, end, f, s) for (at, f, s), end in zip(starts, ends, strict=True)]

    def _fault(self, finite: bool, excess: float, timestamp: float) -> str | None:
        if not finite:
            return "non-finite"
        if not math.isfinite(timestamp):
            return "stamp"
        if excess > self.gap_tolerance_s:
            return "gap"
        return "clock" if excess < -self.gap_tolerance_s else None
