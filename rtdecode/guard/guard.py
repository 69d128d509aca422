"""Cuts and mends what arrives, so that nothing unsound is decoded."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtdecode.guard.clock import Clock, Step
from rtdecode.guard.health import Health
from rtdecode.guard.settings import GuardSettings

_KEPT = 1000
_AS_EXPECTED = Step(None, 0, math.nan)


class Segment(NamedTuple):
    """What samples [start, stop) of a chunk became.

    Attributes
    ----------
    start, stop : int
        Which samples of the chunk; none (start == stop) where lost ones are stood in for.
    samples : array, (n_samples, n_channels)
        Finite where `reason` is None.
    timestamps : array of float64, (n_samples,)
        Raw stamps, wrong ones replaced by the fit.
    fault : str or None
        What broke before the first of them (the decoder must start anew).
    reason : str or None
        Why they must not be decoded.
    imputed : bool
        Whether the last value stands in for what was lost or not finite.
    doubted : bool
        Whether its stamp was wrong: the next right one tells whether samples are missing before it.
    """

    start: int
    stop: int
    samples: NDArray[np.floating]
    timestamps: NDArray[np.float64]
    fault: str | None = None
    reason: str | None = None
    imputed: bool = False
    doubted: bool = False


class Incident(NamedTuple):
    """Something that happened at a sample: a reason, and a message for the user."""

    sample: int
    reason: str
    message: str


class Guard:
    """Watches samples and raw timestamps: no clock, no I/O; the verdict does not depend on chunking.

    Parameters
    ----------
    sfreq : float
        Nominal rate of the stream in Hz.
    settings : GuardSettings
        Thresholds.
    health : Health, optional
        Judges the channels; without it only time and finiteness are watched.
    speed : float
        How many times faster than at its nominal rate the stream is stamped (`Clock`).

    Attributes
    ----------
    incidents : Counter of str
        How often each thing happened: faults (`gap`, `clock`, `non-finite`), refusals (`clock`, `rate`,
        `amplitude`, `channels`), and what was mended or only told (`imputed`, `bad-stamp`, `rate-warning`,
        `bad-channels`).
    clock : Clock
        Tells the effective rate and the smallest gap that can be found.
    """

    def __init__(
        self,
        sfreq: float,
        settings: GuardSettings | None = None,
        health: Health | None = None,
        speed: float = 1.0,
    ) -> None:
        self.settings = settings or GuardSettings()
        self.sfreq, self.clock, self.health = sfreq, Clock(sfreq, self.settings, speed), health
        self.incidents: Counter[str] = Counter()
        self._told: deque[Incident] = deque(maxlen=_KEPT)
        self._seen = 0
        self.restart()

    def restart(self) -> None:
        """Forget what came before: the next sample starts a new stream. Incidents are kept."""
        self.clock.restart()
        if self.health:
            self.health.restart()
        self._last: NDArray[np.floating] | None = None
        self._held = 0
        self._count: float | None = None
        self._reason: str | None = None
        self._bad_stamp, self._rate_told, self._channels_told = False, False, ""

    @property
    def unjudged(self) -> int:
        """Samples in a row that must be seen before anything may be decoded; 0 once the channels were judged."""
        return self.health.block if self.health and not self.health.judged else 0

    def drain(self) -> list[Incident]:
        """Return the incidents since the last call, the newest 1000 at most."""
        told = list(self._told)
        self._told.clear()
        return told

    def check(
        self,
        samples: NDArray[np.floating],
        timestamps: NDArray[np.float64],
        counts: NDArray[np.float64] | None = None,
    ) -> Iterator[Segment]:
        """Cut a chunk into segments, in order.

        What is learned from a segment holds for those after it, and is learned when the next one is asked for: what
        one gives is not held up by it.

        Parameters
        ----------
        samples : array, (n_samples, n_channels)
            Left as they are.
        timestamps : array of float64, (n_samples,)
            Raw stamps in seconds.
        counts : array of float64, (n_samples,), optional
            The device's own counter.
        """
        numbers = np.isfinite(samples)
        finite = None if numbers.all() else numbers.all(axis=1)
        missing = None if counts is None else self._missing(counts)
        at, n = 0, len(timestamps)
        cuts = self._cuts(n, finite, missing)
        while at < n:
            while cuts[-1] < at:
                cuts.pop()
            stop = max(cuts[-1], at + 1)
            if self.health:
                stop = min(stop, at + self.health.room)
            lost = 0.0 if missing is None else float(missing[at])
            step, stamps, refusal = self._time(timestamps[at:stop], lost, missing is None)
            done = at + len(stamps)
            # A counter tells losses, whatever the stamps are.
            doubted = step.is_bad and missing is None
            is_finite = finite is None or bool(finite[at])
            segments = self._sort(at, samples[at:done], stamps, step, doubted, is_finite, refusal)
            self._seen += len(stamps)
            yield from segments
            self._watch(segments[-1])
            at = done

    @staticmethod
    def _cuts(n: int, finite: NDArray[np.bool_] | None, missing: NDArray[np.float64] | None) -> list[int]:
        """Tell where, of `n` samples, a piece must begin: at, and after, what is odd; the last one first."""
        if finite is None and missing is None:
            return [n]
        odd = np.zeros(n, bool) if finite is None else ~finite
        return [n, *np.flatnonzero(odd if missing is None else odd | (missing != 0))[::-1].tolist()]

    def _missing(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many samples the counter says are missing before each; -1 where it does not tell."""
        if len(counts) == 0:
            return counts
        # A counter may be infinite, or no number.
        with np.errstate(invalid="ignore"):
            steps = np.diff(counts, prepend=counts[0] - 1 if self._count is None else self._count)
            if self.settings.counter_modulus:
                steps = np.mod(steps, self.settings.counter_modulus)
        self._count = float(counts[-1])
        return np.where((steps >= 1) & np.isfinite(steps), np.rint(steps) - 1, -1.0)

    def _time(
        self, timestamps: NDArray[np.float64], lost: float, by_stamps: bool
    ) -> tuple[Step, NDArray[np.float64], str | None]:
        """Take stamps from the first on, as many as lie on the fit, at least one.

        Returns
        -------
        step : Step
            What the first of them is.
        stamps : array of float64
            They, mended.
        refusal : str or None
            Why they must not be believed.
        """
        if lost > 0:
            self.clock.skip(int(lost))
        # What these stamps teach holds for those after them.
        refusal = self.clock.refusal
        n = self.clock.follow(timestamps)
        if n:
            step, stamps = _AS_EXPECTED, timestamps[:n]
        else:
            step = self.clock.judge(float(timestamps[0]), by_stamps)
            stamps, refusal = np.array([step.timestamp]), self.clock.refusal
        if step.is_bad:
            self.note("bad-stamp", f"stamp {timestamps[0]} is replaced by the fit", tell=not self._bad_stamp)
        self._bad_stamp = step.is_bad
        return (step._replace(fault="gap", lost=max(int(lost), 0)) if lost else step), stamps, refusal

    def _sort(
        self,
        start: int,
        rows: NDArray[np.floating],
        timestamps: NDArray[np.float64],
        step: Step,
        doubted: bool,
        finite: bool,
        refusal: str | None,
    ) -> list[Segment]:
        """Decide what becomes of a piece of which no sample, or the only one, may be faulty."""
        stood_in = []
        fault, held = step.fault, self._held
        reason = refusal or (self.health.refusal if self.health else None)
        fits = 0 < step.lost <= self.settings.max_gap - held
        # What must not be decoded has nothing that stands in for it.
        if fault == "gap" and reason is None and self._last is not None and fits:
            stood_in.append(self._stand_in(self._last, start, timestamps[0], step.lost))
            fault, held = None, held + step.lost
        if finite:
            held = 0
        elif reason is None and fault is None and self._last is not None and held < self.settings.max_gap:
            rows, held = np.where(np.isfinite(rows), rows, self._last), held + 1
            self.note("imputed", "values that are not finite are replaced by the last ones", tell=held == 1)
        else:
            reason = reason or "non-finite"
        if fault:
            self.note(fault, self._told_as(fault, step.lost))
        if reason and reason != self._reason:
            fault = reason
            self.note(reason, self._told_as(reason, 0))
        self._reason, self._held, self._last = reason, held, rows[-1] if reason is None else None
        imputed = not finite and reason is None
        stop = start + len(timestamps)
        return [*stood_in, Segment(start, stop, rows, timestamps, fault, reason, imputed, doubted)]

    def _stand_in(self, last: NDArray[np.floating], at: int, timestamp: float, lost: int) -> Segment:
        self.note("imputed", f"{lost} samples lost; the last value stands in for them")
        stamps = timestamp + np.arange(-float(lost), 0.0) * self.clock.period
        return Segment(at, at, np.tile(last, (lost, 1)), stamps, imputed=True)

    def _watch(self, segment: Segment) -> None:
        """Let rate and channels be judged, for the samples to come."""
        clock, health = self.clock, self.health
        clock.learn()
        drifts = abs(clock.deviation) > self.settings.warn_rate * (0.5 if self._rate_told else 1.0)
        if drifts and not self._rate_told:
            self.note("rate-warning", f"the stream runs at {self.sfreq * (1 + clock.deviation):.6g} Hz")
        self._rate_told = drifts
        if health is None:
            return
        # Whatever else is wrong with it, what is not finite tells nothing of a channel.
        finite = segment.reason is None or bool(np.isfinite(segment.samples).all())
        if segment.fault or not finite:
            health.break_off()
        if finite and health.add(segment.samples):
            if health.refusal is None and health.message and health.message != self._channels_told:
                self.note("bad-channels", health.message)
            self._channels_told = health.message

    def _told_as(self, reason: str, lost: int) -> str:
        if reason in ("amplitude", "channels") and self.health:
            return self.health.message
        return {
            "gap": f"{lost or 'some'} samples lost",
            "clock": "stamps stepped to another time" if self.clock.refusal is None else "too many wrong stamps",
            "rate": f"the stream runs {self.clock.recent_deviation:+.2%} off its nominal {self.sfreq:g} Hz",
            "non-finite": f"more than {self.settings.max_gap} samples in a row are not finite",
        }[reason]

    def note(self, reason: str, message: str, tell: bool = True) -> None:
        """Count an incident, and tell it."""
        self.incidents[reason] += 1
        if tell:
            self._told.append(Incident(self._seen, reason, message))


def unbroken(segments: Iterable[Segment]) -> list[tuple[int, int]]:
    """Return the stretches [start, stop) of a chunk in which nothing is missing, wrong or stood in for."""
    stretches: list[tuple[int, int]] = []
    whole = False
    for segment in segments:
        if segment.reason or segment.imputed:
            whole = False
        elif whole and not segment.fault:
            stretches[-1] = (stretches[-1][0], segment.stop)
        else:
            stretches.append((segment.start, segment.stop))
            whole = True
    return stretches
