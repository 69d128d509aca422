"""Time by sample count, anchored to a robust fit of raw stamps: what was lost, what is wrong, how fast it runs.

Each stamp has an error: how many samples later it is than its count says. A straight line through the mean
errors of fixed blocks of the last 10 s is the fit, and the median distance from it tells the jitter. All that
is learned is learned at the ends of blocks, so it does not depend on how the samples are cut into chunks.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtdecode.guard.settings import GuardSettings

# So many stamps tell how much a source jitters before a gap is looked for among them.
_FIRST = 16
# So many stamps in a row must agree on another time before it is believed.
_AGREEING = 3
_FIT_S, _RATE_S, _SLOPE_FROM_S = 10.0, 60.0, 2.0
_BLOCKS_PER_S = 8
# Up to so many stamps are followed one by one: numpy's calls take longer than what they do for so few.
_FEW = 32
_Values = NDArray[np.float64]
# A median distance of normal noise, as standard deviation.
_SIGMA = 1.4826


class Step(NamedTuple):
    """What one stamp off the fit means: a fault (`gap`, `clock`) or none, samples lost, the stamp to use."""

    fault: str | None
    lost: int
    timestamp: float
    is_bad: bool = False


class _Line:
    """The least-squares line through counts and errors of blocks; its offset is at its centre."""

    def __init__(self, blocks: Sequence[tuple[float, float]] = ()) -> None:
        self._n, self.centre, self.offset, self._spread, self._cross = len(blocks), 0.0, 0.0, 0.0, 0.0
        if blocks:
            values = np.array(blocks)
            self.centre, self.offset = values.mean(axis=0).tolist()
            counts, errors = (values - (self.centre, self.offset)).T
            self._spread, self._cross = float(counts @ counts), float(counts @ errors)

    @property
    def slope(self) -> float:
        """How much errors grow from one sample to the next."""
        return self._cross / self._spread

    def move(self, count: float, error: float, sign: int = 1) -> None:
        """Take one block more, or one less (`sign` -1)."""
        self._n += sign
        run, rise, share = count - self.centre, error - self.offset, sign / self._n
        self.centre += share * run
        self.offset += share * rise
        self._spread += sign * run * (count - self.centre)
        self._cross += sign * run * (error - self.offset)


class Clock:
    """Follows raw stamps.

    Parameters
    ----------
    sfreq : float
        Nominal rate in Hz.
    settings : GuardSettings
        Thresholds, as they are meant at the nominal rate.
    speed : float
        How many times faster the stream is stamped than its nominal rate says, on purpose: in a replay.

    Attributes
    ----------
    period : float
        Seconds from one stamp to the next, nominally.
    tolerance : float
        How far, in samples, a stamp may now be from the fit.
    deviation : float
        Effective rate over the last 60 s, relative to the nominal one: 0.01 is 1 % too fast. NaN before 10 s.
    recent_deviation : float
        The same over the last 10 s; 0 before 2 s.
    refusal : str or None
        `clock` or `rate` while time is not to be believed.
    """

    def __init__(self, sfreq: float, settings: GuardSettings, speed: float = 1.0) -> None:
        self._sfreq, self._settings = sfreq, settings
        self.period = 1.0 / (sfreq * speed)
        self._least = max(settings.gap_tolerance_ms / 1e3 * sfreq, 0.5)
        self._block = max(_FIRST, math.ceil(sfreq / _BLOCKS_PER_S))
        self._n_fit = math.ceil(_FIT_S * sfreq / self._block)
        self._n_rate = math.ceil(_RATE_S * sfreq / self._block)
        self._bad_span = math.ceil(_FIT_S * sfreq)
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next stamp is the first of a new stream."""
        self._anchor, self._next = math.nan, 0
        self._offset, self._slope, self._centre = 0.0, 0.0, 0.0
        self._first: list[float] | None = []
        # Of the samples of a block: how far their stamps were from the fit, and the sum of their counts.
        self._rest: list[float] = []
        self._sum = 0
        # Of the newest blocks: mean count and mean error, the lines through them, and median distances from the fit.
        self._recent = deque[tuple[float, float]](maxlen=self._n_fit)
        self._minute = deque[tuple[float, float]](maxlen=self._n_rate)
        self._recent_line, self._minute_line, self._n_blocks = _Line(), _Line(), 0
        self._distances, self._in_order = deque[float](maxlen=self._n_fit), list[float]()
        self._aim()
        self._doubted: deque[float] = deque(maxlen=_AGREEING)
        self._bad: deque[int] = deque()
        self.tolerance, self.deviation = self._least, math.nan
        self.refusal: str | None = None
        self.recent_deviation, self._recent_span = 0.0, 0.0

    @property
    def smallest_gap(self) -> int:
        """Fewest lost samples in a row that are found now; fewer show in the effective rate only."""
        return math.ceil(self.tolerance)

    def follow(self, timestamps: _Values) -> int:
        """Take the leading stamps that lie on the fit; return how many (0: the first is for `judge`).

        They go beyond the end of a block only if it gave nothing to tell.
        """
        if self._first is not None:
            return 0
        taken, n = 0, len(timestamps)
        while True:
            taken += self._take_on_line(timestamps[taken : taken + self._block - len(self._rest)])
            if taken == n or len(self._rest) < self._block or not self._is_calm():
                return taken
            self.learn()
            if not self._is_calm():
                return taken

    def _is_calm(self) -> bool:
        """Tell whether time is believed, and its rate not worth a word."""
        return self.refusal is None and not abs(self.deviation) > 0.5 * self._settings.warn_rate

    def _take_on_line(self, timestamps: _Values) -> int:
        tolerance, before = self.tolerance, len(self._rest)
        if len(timestamps) <= _FEW:
            anchor, period, due, step = self._anchor, self.period, self._due, self._step
            note = self._rest.append
            for number, stamp in enumerate(timestamps.tolist(), self._next - self._ref):
                rest = (stamp - anchor) / period - (due + number * step)
                if not -tolerance <= rest <= tolerance:
                    break
                note(rest)
        else:
            numbers = np.arange(len(timestamps)) + (self._next - self._ref)
            rests = (timestamps - self._anchor) / self.period - (self._due + numbers * self._step)
            off = np.flatnonzero(~(np.abs(rests) <= tolerance))
            self._rest += rests[: off[0] if len(off) else None].tolist()
        n = len(self._rest) - before
        if n:
            self._doubted.clear()
            self._sum += n * self._next + n * (n - 1) // 2
            self._next += n
        return n

    def skip(self, lost: int) -> None:
        """Count samples that are known to be missing before the next one."""
        self._next += lost

    def expected(self) -> float:
        """Return the stamp that the next sample should have; NaN without any stamp so far."""
        return self._anchor + self._next_due * self.period

    @property
    def _next_due(self) -> float:
        return self._due + (self._next - self._ref) * self._step

    def _aim(self) -> None:
        """Let the fit say what is due from the next sample on."""
        self._ref = self._next
        self._due, self._step = self._next + self._error_at(self._next), 1 + self._slope

    def _error_at(self, count: float) -> float:
        return self._offset + self._slope * (count - self._centre)

    def judge(self, timestamp: float, may_lose: bool = True) -> Step:
        """Take one stamp that `follow` left.

        Parameters
        ----------
        timestamp : float
            Any value, also NaN.
        may_lose : bool
            Whether a later stamp may mean that samples are missing.
        """
        if self._first is not None:
            return self._begin(timestamp, self._first)
        late = (timestamp - self._anchor) / self.period - self._next_due
        if may_lose and self.tolerance < late < self._settings.max_step_s * self._sfreq:
            lost = max(1, round(late))
            self.skip(lost)
            self._doubted.clear()
            self._rest.append((timestamp - self._anchor) / self.period - self._next_due)
            self._sum += self._next
            self._next += 1
            return Step("gap", lost, timestamp)
        expected = self.expected()
        self._note_bad()
        if not math.isfinite(late):
            return Step(None, 0, expected, is_bad=True)
        self._doubted.append(late)
        if len(self._doubted) == _AGREEING and max(self._doubted) - min(self._doubted) <= 2 * self.tolerance:
            self._anchor += float(np.median(self._doubted)) * self.period
            self._doubted.clear()
            return Step("clock", 0, timestamp)
        return Step(None, 0, expected, is_bad=True)

    def _begin(self, timestamp: float, first: list[float]) -> Step:
        """Take one of the first stamps: only the last of them tells whether they hang together."""
        if not math.isfinite(timestamp):
            expected = self.expected()
            self._note_bad()
            return Step(None, 0, expected, is_bad=True)
        if math.isnan(self._anchor):
            self._anchor = timestamp - self._next * self.period
            self._refuse()
        first.append((timestamp - self._anchor) / self.period - self._next)
        self._next += 1
        if len(first) < _FIRST:
            return Step(None, 0, timestamp)
        self._first = None
        steps = np.diff(first)
        usual = float(np.median(steps))
        # Stamps of chunks repeat, so that most steps agree on a wrong length: that is jitter too.
        sigma = _SIGMA * float(np.median(np.abs(steps - usual))) / math.sqrt(2) + _FIRST * abs(usual)
        self._trust(sigma, _FIRST)
        far = steps[np.abs(steps) > self.tolerance]
        self._offset = first[-1] if len(far) else float(np.median(first))
        self._aim()
        return Step(None if not len(far) else "gap" if far[-1] > 0 else "clock", 0, timestamp)

    def _trust(self, sigma: float, n: int) -> None:
        # Few stamps tell the jitter badly.
        self.tolerance = max(self._least, self._settings.gap_sigmas * (1 + _FIRST / n) * sigma)

    def learn(self) -> None:
        """Fit the line anew at the end of a block; to be called whenever stamps were taken."""
        if len(self._rest) < self._block:
            return
        count = self._sum / self._block
        self._fit(count, sum(self._rest) / self._block + self._error_at(count))
        self._note_distance(sorted(map(abs, self._rest))[self._block // 2])
        self._rest.clear()
        self._sum = 0
        self._refuse()
        self._aim()

    def _fit(self, count: float, error: float) -> None:
        """Let the lines go through the mean count and error of one block more."""
        for blocks, line in ((self._recent, self._recent_line), (self._minute, self._minute_line)):
            oldest = blocks[0] if len(blocks) == blocks.maxlen else None
            blocks.append((count, error))
            line.move(count, error)
            if oldest:
                # Last: of a slow stream there is one block, and a line is through one at least.
                line.move(*oldest, -1)
        self._n_blocks += 1
        if self._n_blocks % self._n_rate == 0:
            # Before rounding errors add up.
            self._recent_line, self._minute_line = _Line(self._recent), _Line(self._minute)
        self._recent_span = (count - self._recent[0][0]) / self._sfreq
        if self._recent_span < _SLOPE_FROM_S:
            self._centre, self._offset = count, error
            return
        line = self._recent_line
        self._centre, self._offset, self._slope = line.centre, line.offset, line.slope
        self.recent_deviation = _deviation(self._slope)
        if self._n_blocks >= self._n_fit:
            self.deviation = _deviation(self._minute_line.slope)

    def _note_distance(self, distance: float) -> None:
        """Let one block more tell how much stamps jitter."""
        if len(self._distances) == self._n_fit:
            del self._in_order[bisect_left(self._in_order, self._distances[0])]
        self._distances.append(distance)
        insort(self._in_order, distance)
        n = len(self._in_order)
        # The upper one of two.
        self._trust(_SIGMA * self._in_order[n // 2], n * self._block)

    def _note_bad(self) -> None:
        self._bad.append(self._next)
        self._next += 1
        self._refuse()

    def _refuse(self) -> None:
        while self._bad and self._bad[0] < self._next - self._bad_span:
            self._bad.popleft()
        # Over a shorter time the rate is known less well.
        limit = self._settings.max_rate * max(1.0, _FIT_S / max(self._recent_span + 2 / _BLOCKS_PER_S, 1e-9))
        if math.isnan(self._anchor) or len(self._bad) > self._settings.max_bad_stamps * self._bad_span:
            self.refusal = "clock"
        else:
            self.refusal = "rate" if abs(self.recent_deviation) > limit else None


def _deviation(slope: float) -> float:
    """Return how much too fast samples come whose errors grow by `slope` from one to the next."""
    return 1 / (1 + slope) - 1 if slope > -1 else math.inf
