"""How data arrive: has the source stalled, is a backlog being worked off, and how far is a stamp from our clock.

Stalls and backlogs are told from the arrival of samples alone, not from their stamps: a source whose stamps are
late, early or wrong by a constant is as good as any other here.
"""

import math
from collections import deque
from statistics import median_low

STALL_S = 0.5
_STALL_INTERVALS = 3.0
_REMEMBERED = 15
# liblsl hands out one pushed chunk in two pulls or more, a fraction of a millisecond apart.
SAME_CHUNK_S = 2e-3
# Data that come this much faster than they were taken, or in chunks this much larger than usual, have been waiting.
_CATCHING_UP = 2.0
# A chunk is due so long, or so large a part of the usual interval, before its time and after it.
_DUE_S, _DUE_SHARE = 2e-3, 0.25


class Pace:
    """Watches the arrivals of one connection.

    Parameters
    ----------
    sfreq : float
        Rate in Hz at which samples come.
    stall_s : float
        The shortest silence that is a stall.

    Attributes
    ----------
    backlog : bool
        More data than usual came at once, and more may be waiting.
    """

    def __init__(self, sfreq: float, stall_s: float = STALL_S) -> None:
        self._sfreq, self._least_s = sfreq, stall_s
        # When samples came last, and when their chunk began to come: after how long, and how much of it so far.
        self._arrived: float | None = None
        self._began, self._elapsed_s, self._brought_s = 0.0, 0.0, 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._usual_s = 0.0
        self.backlog = False

    @property
    def stall_s(self) -> float:
        """Seconds without a sample that make a stall: 3 usual chunk intervals, and never less than was given."""
        return max(self._least_s, _STALL_INTERVALS * self._usual_s)

    def stalls_at(self, now: float) -> float:
        """Return the time at which silence becomes a stall; it counts from now before any arrival."""
        if self._arrived is None:
            self._arrived = self._began = now
        return self._arrived + self.stall_s

    def due(self) -> tuple[float, float]:
        """Return from when to when the next chunk is due; never, before the source has shown its rhythm."""
        if self._arrived is None or not self._intervals:
            return math.inf, math.inf
        at, either_side = self._began + self._usual_s, min(_DUE_S, _DUE_SHARE * self._usual_s)
        return at - either_side, at + either_side

    def earliest(self) -> tuple[float, float]:
        """Return when the newest chunk came, and when the next one may: after the shortest of the last intervals."""
        return self._began, self._began + min(self._intervals) if self._intervals else math.inf

    def excuse(self, now: float) -> None:
        """Begin the wait for data anew: it was the decoder that was not there, and data have been waiting."""
        self._arrived, self._began, self.backlog = now, now, True

    def arrive(self, n_samples: int, now: float, goes_on: bool = False) -> None:
        """Take note of samples that arrived together, or of more of those before (`goes_on`)."""
        if goes_on:
            self._brought_s += n_samples / self._sfreq
        else:
            self._elapsed_s = now - (now if self._arrived is None else self._began)
            self._brought_s, self._began = n_samples / self._sfreq, now
        brought, elapsed = self._brought_s, self._elapsed_s
        if brought > self.stall_s or elapsed > self.stall_s:
            self.backlog = True
        elif brought <= _CATCHING_UP * min(elapsed, max(self._usual_s, SAME_CHUNK_S)):
            self.backlog = False
        if elapsed > SAME_CHUNK_S and not goes_on:
            self._intervals.append(elapsed)
            self._usual_s = median_low(self._intervals)
        self._arrived = now


class Correction:
    """What to add to a source's stamps to bring them into our clock.

    A reading is believed at once when it is certain to 2 ms, and otherwise when three in a row agree: network
    trouble makes single readings wrong by as much as it delays them.

    Parameters
    ----------
    seconds : float
        The first reading, believed as it is.
    """

    certain_s = 2e-3
    consistent = 3

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._doubtful: deque[tuple[float, float]] = deque(maxlen=self.consistent)

    def offer(self, seconds: float, uncertainty_s: float) -> bool:
        """Take a reading; tell whether it was believed."""
        self._doubtful.append((seconds, uncertainty_s))
        if uncertainty_s > self.certain_s and not self._agreed():
            return False
        self.seconds = seconds
        self._doubtful.clear()
        return True

    def _agreed(self) -> bool:
        readings, uncertainties = zip(*self._doubtful, strict=True)
        return len(readings) == self.consistent and max(readings) - min(readings) <= max(uncertainties)
