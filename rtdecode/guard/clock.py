"""Time by sample count, anchored to a robust fit of raw stamps: what was lost, what is wrong, how fast it runs.

Each stamp has an error: how many samples later it is than its count says. A straight line through the mean
errors of fixed blocks of the last 10 s is the fit, and the median distance from it tells the jitter. All that
is learned is learned at the ends of blocks, so it does not depend on how the samples are cut into chunks.

Learning takes longer than following, and a chunk that goes beyond the end of a block is not to wait for it: what
the next fit will say is foreseen, and stamps that are far from any doubt are taken before it is made.
"""

import math
from collections import deque
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
# The share of a threshold within which what is foreseen of a fit, which is as exact as rounding, leaves no doubt.
_SURELY = 0.9
_Values = NDArray[np.float64]
# A median distance of normal noise, as standard deviation.
_SIGMA = 1.4826


class Step(NamedTuple):
    """What one stamp off the fit means: a fault (`gap`, `clock`) or none, samples lost, the stamp to use."""

    fault: str | None
    lost: int
    timestamp: float
    is_bad: bool = False


class _Line(NamedTuple):
    """The least-squares line through counts and errors of n blocks; its offset is at its centre.

    `spread` is the sum of the squares of counts about the centre.
    """

    n: int
    centre: float
    offset: float
    slope: float
    spread: float

    def moved(self, count: float, error: float, sign: int = 1) -> "_Line":
        """Return the line with one block more, or one less (`sign` -1)."""
        run, rise, n = count - self.centre, error - self.offset, self.n + sign
        run_on, rise_on = sign * run / n, sign * rise / n
        spread = self.spread + sign * run * (run - run_on)
        slope = (self.slope * self.spread + sign * run * (rise - rise_on)) / spread
        return _Line(n, self.centre + run_on, self.offset + rise_on, slope, spread)


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
        # Of each sample of a block: its count, its error by the fit, their sum, and how far its stamp was from that.
        self._counts, self._errors, self._due, self._rest = (np.empty(self._block) for _ in range(4))
        self._ramp, self._filled, self._foresees = np.arange(float(self._block)), 0, False
        self._due_told: list[float] = []
        # Per block: mean count, mean error, median distance from the fit. Of the block that is full: the first two.
        self._history, self._n_blocks = np.empty((3, 2 * self._n_rate)), 0
        self._means: tuple[float, float] | None = None
        # The line without the oldest block, if that will leave it; stamps that were taken beyond the block's end.
        self._recent: _Line | None = None
        self._ahead: list[float] = []
        self._doubted: deque[float] = deque(maxlen=_AGREEING)
        self._bad: deque[int] = deque()
        self.tolerance, self.deviation = self._least, math.nan
        self.refusal: str | None = None
        self.recent_deviation, self._recent_span = 0.0, 0.0

    @property
    def smallest_gap(self) -> int:
        """Fewest lost samples in a row that are found now; fewer show in the effective rate only."""
        return math.ceil(self.tolerance)

    @property
    def n_ahead(self) -> int:
        """How many of the stamps that were taken are beyond the end of the block that is to be learned from."""
        return len(self._ahead)

    def follow(self, timestamps: _Values) -> int:
        """Take the leading stamps that lie on the fit; return how many (0: the first is for `judge`)."""
        if self._first is not None:
            return 0
        room = self._block - self._filled
        n = self._on_line(timestamps[:room])
        if n:
            self._doubted.clear()
            self._take(n)
        return n + self._look_ahead(timestamps[n:]) if n == room < len(timestamps) else n

    def _on_line(self, timestamps: _Values) -> int:
        """Note how far the next stamps (n,) are from the fit; return how many of the leading ones lie on it."""
        if len(timestamps) > _FEW:
            on_line = np.abs(self._place(timestamps)) <= self.tolerance
            first_off = int(on_line.argmin())
            return len(timestamps) if on_line[first_off] else first_off
        tolerance = self.tolerance
        for n, rest in enumerate(self._place_few(timestamps.tolist())):
            if not abs(rest) <= tolerance:
                return n
        return len(timestamps)

    def _place(self, timestamps: _Values) -> _Values:
        """Note how far, in samples, the next stamps (n,) are from the fit, and return it."""
        if not self._foresees:
            self._foresee()
        cut = slice(self._filled, self._filled + len(timestamps))
        rest = np.subtract(timestamps, self._anchor, out=self._rest[cut])
        rest /= self.period
        rest -= self._due[cut]
        return rest

    def _place_few(self, stamps: list[float]) -> list[float]:
        """Do the same, to the last bit, for few."""
        if not self._foresees:
            self._foresee()
        anchor, period, end = self._anchor, self.period, self._filled + len(stamps)
        due = self._due_told[self._filled : end]
        rests = [(stamp - anchor) / period - at for stamp, at in zip(stamps, due, strict=True)]
        self._rest[self._filled : end] = rests
        return rests

    def _look_ahead(self, timestamps: _Values) -> int:
        """Take stamps beyond the end of the block that will surely lie on the fit, all or none; return how many."""
        if self._recent is None or self._bad or self.refusal or len(timestamps) >= min(_FEW, self._block):
            return 0
        line = self._recent.moved(*self._block_means())
        if abs(_deviation(line.slope)) > _SURELY * self._settings.max_rate:
            return 0
        stamps, sure = timestamps.tolist(), _SURELY * self._least
        for count, stamp in enumerate(stamps, self._next):
            due = count + line.offset + line.slope * (count - line.centre)
            if not abs((stamp - self._anchor) / self.period - due) <= sure:
                return 0
        self._ahead = stamps
        return len(stamps)

    def _block_means(self) -> tuple[float, float]:
        """Return mean count and error of the block, which is full."""
        if self._means is None:
            self._errors += self._rest
            self._means = _mean(self._counts), _mean(self._errors)
        return self._means

    def _foresee(self) -> None:
        """Put down what the fit says of the rest of the block: once, in however many chunks that comes."""
        cut = slice(self._filled, None)
        counts = self._counts[cut] = self._ramp[: self._block - self._filled] + self._next
        errors = self._errors[cut] = self._offset + self._slope * (counts - self._centre)
        self._due_told[self._filled :] = np.add(counts, errors, out=self._due[cut]).tolist()
        self._foresees = True

    def _take(self, n: int) -> None:
        self._filled += n
        self._next += n

    def skip(self, lost: int) -> None:
        """Count samples that are known to be missing before the next one."""
        self._next += lost
        self._foresees = False

    def expected(self) -> float:
        """Return the stamp that the next sample should have; NaN without any stamp so far."""
        return self._anchor + self._next_due * self.period

    @property
    def _next_due(self) -> float:
        return self._next + (self._offset + self._slope * (self._next - self._centre))

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
            self._place(np.array([timestamp]))
            self._take(1)
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
        return Step(None if not len(far) else "gap" if far[-1] > 0 else "clock", 0, timestamp)

    def _trust(self, sigma: float, n: int) -> None:
        # Few stamps tell the jitter badly.
        self.tolerance = max(self._least, self._settings.gap_sigmas * (1 + _FIRST / n) * sigma)

    def learn(self) -> None:
        """Fit the line anew at the end of a block; to be called whenever stamps were taken."""
        if self._filled < self._block:
            return
        if self._n_blocks == 2 * self._n_rate:
            self._n_blocks -= self._n_rate
            self._history[:, : self._n_blocks] = self._history[:, self._n_rate :]
        counts, errors, distances = self._history
        counts[self._n_blocks], errors[self._n_blocks] = self._block_means()
        distances[self._n_blocks] = _middle(np.abs(self._rest))
        self._n_blocks += 1
        self._filled, self._means = 0, None
        self._fit()
        self._refuse()
        self._foresee()
        if self._ahead:
            self._place_few(self._ahead)
            self._take(len(self._ahead))
            self._ahead = []

    def _fit(self) -> None:
        n = min(self._n_blocks, self._n_rate)
        n_recent = min(n, self._n_fit)
        history = self._history[:, self._n_blocks - n : self._n_blocks]
        recent = history[:, n - n_recent :]
        self._trust(_SIGMA * _middle(recent[2]), n_recent * self._block)
        self._recent_span = float(recent[0, -1] - recent[0, 0]) / self._sfreq
        if self._recent_span < _SLOPE_FROM_S:
            self._centre, self._offset = float(history[0, -1]), float(history[1, -1])
            return
        line = _line(recent)
        _, self._centre, self._offset, self._slope, _ = line
        self.recent_deviation = _deviation(line.slope)
        if n >= self._n_fit:
            self.deviation = self.recent_deviation if n == n_recent else _deviation(_line(history).slope)
            line = line.moved(float(recent[0, 0]), float(recent[1, 0]), -1)
        self._recent = line

    def _note_bad(self) -> None:
        self._bad.append(self._next)
        self._next += 1
        self._foresees = False
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


def _line(history: _Values) -> _Line:
    """Return the least-squares line through counts (first row) and errors (second)."""
    n = history.shape[1]
    centre, offset = (np.add.reduce(history[:2], axis=1) / n).tolist()
    counts = history[0] - centre
    spread = float(counts.dot(counts))
    return _Line(n, centre, offset, float(counts.dot(history[1] - offset)) / spread, spread)


def _deviation(slope: float) -> float:
    """Return how much too fast samples come whose errors grow by `slope` from one to the next."""
    return 1 / (1 + slope) - 1 if slope > -1 else math.inf


def _mean(values: _Values) -> float:
    # np.mean takes three times as long on so few; the sum is the same.
    return float(np.add.reduce(values)) / len(values)


def _middle(values: _Values) -> float:
    # The upper one of two; np.median takes ten times as long on so few.
    return float(np.sort(values)[len(values) // 2])
