"""One connection to the source: what arrives is decoded and published, until the source goes away."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Event
from rtdecode.decoder import Decoder
from rtdecode.errors import DeadlineError, StreamLostError
from rtdecode.lsl import MOST_SAMPLES
from rtdecode.network import Inlet, Markers
from rtdecode.pace import SAME_CHUNK_S, STALL_S, Correction, Pace
from rtdecode.prediction import Prediction
from rtdecode.reporter import Reporter, State
from rtdecode.session import SessionWriter
from rtdecode.warmth import Rehearsal, Warmth

LagPolicy = Literal["newest", "every"]
# Short enough to end soon when that is asked for.
_PULL_S = 0.2
# A queue that gives nothing for so long is empty.
_DRAIN_S = 4e-3
_CARE_EVERY_S = 1.0
_REPEAT_EVERY_S = 1.0
_JUMP_S = 1e-3
# The stamp of an event further ahead than this is none of its own time.
_AHEAD_S = 1.0
# Events have no hop to be late for.
_EVENT_LATE_S = 0.1


class Connection:
    """Pulls, decodes, publishes; minds stalls, backlogs, overruns and the clock offset.

    Parameters
    ----------
    inlet : Inlet
        Opened.
    decoder : Decoder
        Made for `inlet.signal`; fresh.
    reporter : Reporter
        Who publishes and tells.
    clock : callable
        Seconds in LSL's clock.
    strict : bool
        End at the first overrun.
    lag_policy : str
        Which results of a backlog are published.
    spin : bool
        Wait busily while a chunk is due.
    rehearse : bool
        Decode noise for nothing just before a hop is due; with windows at events nobody knows when that is.
    started : callable
        Called once, with the first raw stamp and the correction.
    saver : SessionWriter, optional
        Keeps what the decoder sees.
    markers : Markers, optional
        Where events come from, for a decoder with windows at events.

    Attributes
    ----------
    lost : Prediction or None
        The abstention that was published when the source went away.
    correction : Correction
        From the source's clock to ours.
    """

    def __init__(
        self,
        inlet: Inlet,
        decoder: Decoder,
        reporter: Reporter,
        clock: Callable[[], float],
        strict: bool,
        lag_policy: LagPolicy,
        spin: bool,
        rehearse: bool,
        started: Callable[[float, float], None],
        saver: SessionWriter | None = None,
        markers: Markers | None = None,
    ) -> None:
        self._inlet, self._decoder, self._reporter = inlet, decoder, reporter
        self._clock, self._strict, self._started, self._saver = clock, strict, started, saver
        self._lag_policy, self._spin = lag_policy, spin
        self.correction = Correction(inlet.correction()[0])
        self._told_s = self.correction.seconds
        self._markers = markers
        self._marker_correction: Correction | None = None
        self._ahead = False
        self.lost: Prediction | None = None
        self._sfreq = inlet.signal.sfreq * inlet.speed
        self._hop_s = _EVENT_LATE_S if markers else decoder.hop_s
        # In a slow replay chunks are far apart before any has told how far.
        self._pace = Pace(self._sfreq, STALL_S / min(inlet.speed, 1.0))
        self._seen, self._last, self._full = 0, float("nan"), False
        self._held: tuple[Prediction, float] | None = None
        self._repeat_at: float | None = None
        self._cared_at = clock()
        self._warmth = Warmth(decoder.engine, self._pace, clock)
        self._rehearsal = Rehearsal(decoder, self._pace, clock) if rehearse and not markers else None
        self._counted = self._counts()

    def decode(self, is_over: Callable[[], bool]) -> None:
        """Go on until `is_over`, which is asked between two chunks.

        Raises
        ------
        StreamLostError
            The source went away.
        DeadlineError
            With `strict`, at the first overrun.
        """
        try:
            while not is_over():
                self._turn()
        except StreamLostError:
            self._release()
            if self._seen:
                self._finish("stream-lost")
                self.lost = self._decoder.reset("stream-lost", self._last)
                self._publish(self.lost, self._clock())
                self._save(*self._nothing, [self.lost])
            raise
        finally:
            self._release()
            self._finish("end")
            if self._seen:
                last = self._last if np.isfinite(self._last) else None
                self._reporter.tell("stop", self._clock(), samples=self._seen, last_timestamp=last)

    def _finish(self, reason: str) -> None:
        """Abstain for every event that still waits."""
        abstentions = self._decoder.finish(reason)
        for abstention in abstentions:
            self._publish(abstention, self._clock())
        self._save(*self._nothing, abstentions)

    @property
    def _nothing(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        return np.empty((0, self._inlet.signal.n_channels), np.float32), np.empty(0)

    def _turn(self) -> None:
        asked = self._clock()
        left_s = self._warmth.left_s(asked)
        if not left_s and not self._held:
            self._warmth.renew()
            return
        if self._rehearsal and not self._held:
            rest_s = self._rehearsal.left_s(asked)
            if not rest_s:
                self._rehearsal.go()
                return
            left_s = min(left_s or _PULL_S, rest_s)
        timeout_s = min(self._timeout_s(asked), left_s or _PULL_S)
        samples, timestamps = self._pull(asked, timeout_s)
        arrived, n = self._clock(), len(timestamps)
        held_up = self._mind_overrun(arrived - asked - timeout_s, self._hop_s)
        if n:
            # A pull that gave all it may left the rest of a chunk for the next one.
            goes_on = self._full and arrived - asked < SAME_CHUNK_S
            self._full = n == MOST_SAMPLES
            self._pace.arrive(n, arrived, goes_on)
            self._take(samples, timestamps, arrived)
            if self._rehearsal:
                self._rehearsal.arrived(n)
        else:
            self._release()
            if held_up:
                self._pace.excuse(arrived)
            elif arrived >= self._silent_at(arrived):
                self._stall(arrived)
            # An event may come after its data.
            if events := self._events():
                self._decode(*self._nothing, events, arrived)
        if arrived - self._cared_at >= _CARE_EVERY_S:
            self._cared_at = arrived
            self._mind_offset()
            self._reporter.greet()
            self._reporter.mind_log()
            if self._saver and (problem := self._saver.news()):
                self._reporter.news("not-saved", problem)
        self._mind_overrun(self._clock() - arrived, max(self._hop_s, n / self._sfreq))

    def _pull(self, asked: float, timeout_s: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Wait for data; busily only while they are due: who comes before all others must leave them their time."""
        if not self._spin or self._held:
            return self._inlet.pull(timeout_s)
        begin, end = self._pace.due()
        if not begin <= asked < end:
            return self._inlet.pull(min(timeout_s, begin - asked) if asked < begin else timeout_s)
        end = min(end, asked + timeout_s)
        while not len((pulled := self._inlet.pull(0.0))[1]) and self._clock() < end:
            pass
        return pulled

    def _timeout_s(self, now: float) -> float:
        if self._held:
            return _DRAIN_S
        return min(max(self._silent_at(now) - now, 0.0), _PULL_S)

    def _silent_at(self, now: float) -> float:
        """Return when the silence is to be told, for the first time or again."""
        return self._pace.stalls_at(now) if self._repeat_at is None else self._repeat_at

    def _take(self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], arrived: float) -> None:
        self._repeat_at = None
        if not self._seen:
            self._told_s = self.correction.seconds
            self._started(float(timestamps[0]), self._told_s)
        self._decode(samples, timestamps, self._events(), arrived)
        self._seen += len(timestamps)
        self._last = float(timestamps[-1])
        self._reporter.summary.n_samples += len(timestamps)
        # What was skipped is told up to the newest sample.
        if not self._backlog:
            self._release()

    @property
    def _backlog(self) -> bool:
        # What an event gives is not late because other data came.
        return self._pace.backlog and self._markers is None

    def _events(self) -> list[Event]:
        """Return the events that came, stamped in the source's clock; tell when their stream was lost or found."""
        if self._markers is None:
            return []
        for news, message in self._markers.news():
            self._reporter.news(news, message)
            if news == "events-found":
                # It may be another computer's, or that one's clock after a restart.
                self._marker_correction = None
        events = []
        for marker in self._markers.pull():
            if self._marker_correction is None:
                self._marker_correction = Correction(marker.correction_s)
            self._marker_correction.offer(marker.correction_s, marker.uncertainty_s)
            ahead_s = self._marker_correction.seconds - self.correction.seconds
            events.append(Event(marker.timestamp + ahead_s, marker.label))
            self._mind_ahead(marker.timestamp + self._marker_correction.seconds - self._clock())
        return events

    def _mind_ahead(self, ahead_s: float) -> None:
        before, self._ahead = self._ahead, ahead_s > _AHEAD_S
        if self._ahead and not before:
            why = f"an event is stamped {ahead_s:.3g} s ahead of now, and waits for its sample: is its clock LSL's?"
            self._reporter.news("event-ahead", why)

    def _decode(
        self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], events: list[Event], arrived: float
    ) -> None:
        predictions = []
        try:
            for prediction in self._decoder.push_each(samples, timestamps, events):
                predictions.append(prediction)
                self._tell_incidents(timestamps)
                if self._held:
                    self._publish(*self._held, out_of_date=True)
                    self._held = None
                if self._backlog and self._lag_policy == "newest":
                    # Whether it is the newest of all, the next one or the next pull tells.
                    self._held = prediction, arrived
                else:
                    self._publish(prediction, arrived, belated=self._backlog)
        finally:
            # Whatever went wrong: what was published rests on these samples.
            self._save(samples, timestamps, predictions, events)
        self._tell_incidents(timestamps)
        if predictions:
            self._warmth.used(arrived)

    def _tell_incidents(self, timestamps: NDArray[np.float64]) -> None:
        for incident in self._decoder.guard.drain():
            at = incident.sample - self._seen
            known = at < len(timestamps) and bool(np.isfinite(timestamps[at]))
            self._reporter.incident(incident, float(timestamps[at]) if known else None)

    def _release(self) -> None:
        """Publish the result that was held back: nothing newer came."""
        if self._held:
            held, self._held = self._held, None
            self._publish(*held)
        before, self._counted = self._counted, self._counts()
        hops, decisions, belated = (now - then for now, then in zip(self._counted, before, strict=True))
        if hops:
            told = {"count": hops, "decisions": decisions, "sample": self._seen - 1}
            self._reporter.tell("skipped", self._clock(), **told)
        if belated:
            self._reporter.tell("belated", self._clock(), count=belated, sample=self._seen - 1)

    def _counts(self) -> tuple[int, int, int]:
        """Return how many hops were skipped so far, how many decisions in them, and how many came late."""
        summary = self._reporter.summary
        return summary.abstained["skipped"], summary.decisions_skipped, summary.n_belated

    def _stall(self, now: float) -> None:
        """Abstain when the source falls silent, and again every second: consumers see that we are there."""
        stalled = Prediction(self._last, self._seen - 1, None, -1, "stalled")
        if not self._seen:
            self._reporter.state(State.HOLD, "stalled", "no sample has come yet")
        elif self._repeat_at is None:
            self._publish(stalled, now)
        else:
            self._reporter.repeat(stalled, self.correction.seconds)
        self._repeat_at = now + _REPEAT_EVERY_S

    def _publish(
        self, prediction: Prediction, arrived: float, out_of_date: bool = False, belated: bool = False
    ) -> None:
        if prediction.reason == "clock":
            # The source's clock may have been set: what comes from here on needs the offset of the new one. Should
            # the source be gone, the next pull tells.
            with suppress(StreamLostError):
                self._mind_offset()
        self._reporter.publish(prediction, self.correction.seconds, arrived, out_of_date, belated)

    def _save(
        self,
        samples: NDArray[np.float32],
        timestamps: NDArray[np.float64],
        predictions: list[Prediction],
        events: Sequence[Event] = (),
    ) -> None:
        if self._saver:
            self._saver.add(samples, timestamps, predictions, events)

    def _mind_offset(self) -> None:
        before, (seconds, uncertainty_s) = self._told_s, self._inlet.correction()
        # From what was told last: clocks that drift apart move it by little at a time.
        if self.correction.offer(seconds, uncertainty_s) and abs(seconds - before) > _JUMP_S:
            self._told_s = seconds
            told = {"correction_s": seconds, "from_s": before, "uncertainty_s": uncertainty_s}
            self._reporter.tell("correction", self._clock(), **told, sample=self._seen - 1)

    def _mind_overrun(self, late_s: float, allowed_s: float) -> bool:
        """Tell when the loop came late; return whether it did."""
        if late_s <= allowed_s:
            return False
        self._reporter.summary.overruns += 1
        self._reporter.tell("overrun", self._clock(), late_s=late_s, allowed_s=allowed_s, sample=self._seen - 1)
        if self._strict:
            raise DeadlineError(
                f"The decoder was held up for {late_s:.3g} s; {allowed_s:.3g} s are allowed. Free the processor "
                "for it, choose a model with a longer hop, or leave --strict."
            )
        return True
