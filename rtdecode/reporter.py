"""Publishes what the decoder gives and tells what happens: to consumers, the watcher, the log and the summary."""

import math
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, Protocol

from rtdecode.guard import Incident
from rtdecode.log import LogFile
from rtdecode.network import Sink
from rtdecode.prediction import Prediction
from rtdecode.summary import Summary

STATUS_VERSION = 1
# Facts of a single event; nothing is wrong with the signal.
_OF_AN_EVENT = ("late", "before-start", "bad-stamp", "end")


class State(StrEnum):
    """Where a run is.

    WARMING: the window fills. RUNNING: every hop is decoded. HOLD: the stream is there, but for some reason
    nothing is decided. LOST: it went away.
    """

    SEARCHING = "SEARCHING"
    HANDSHAKE = "HANDSHAKE"
    WARMING = "WARMING"
    RUNNING = "RUNNING"
    HOLD = "HOLD"
    LOST = "LOST"
    STOPPING = "STOPPING"


class Watcher(Protocol):
    """Who is told what happens (a status line, a test)."""

    def state(self, state: str, message: str) -> None:
        """Take note of a change of state."""

    def prediction(self, prediction: Prediction, age_s: float, latency_s: float) -> None:
        """Take note of a published prediction, how old its newest sample is, and what we added to that."""


class Reporter:
    """One place for everything that is published, told and counted.

    Parameters
    ----------
    sink : Sink
        Where predictions and status go.
    watcher : Watcher
        The person's view.
    clock : callable
        Seconds in LSL's clock.
    summary : Summary
        Where it is counted.
    max_age_s : float or None
        A prediction whose newest sample is older is out of date.
    log : LogFile, optional
        Where to write what is told.
    """

    def __init__(
        self,
        sink: Sink,
        watcher: Watcher,
        clock: Callable[[], float],
        summary: Summary,
        max_age_s: float | None = None,
        log: LogFile | None = None,
    ) -> None:
        self._sink, self._watcher, self._clock = sink, watcher, clock
        self._max_age_s, self._log = max_age_s, log
        self.summary = summary
        self._state: tuple[State | None, str] = None, ""
        self._abstaining: str | None = None
        self._why: dict[str, str] = {}
        self._advised = False
        self._start: dict[str, Any] | None = None
        self._listener = False

    def tell(self, event: str, timestamp: float, **details: Any) -> None:
        """Tell one event on NAME-status and in the log."""
        document = {"version": STATUS_VERSION, "event": event, **details}
        self._sink.status(document, timestamp)
        if self._log:
            self._log.write(document, timestamp)

    def start(self, timestamp: float, **details: Any) -> None:
        """Tell the start of a connection, now and to whoever begins to listen later."""
        self._start, self._listener = details, self._sink.has_listener()
        self.tell("start", timestamp, repeated=False, **details)

    def greet(self) -> None:
        """Repeat the start when somebody listens and nobody did before."""
        before, self._listener = self._listener, self._sink.has_listener()
        if self._start and self._listener and not before:
            self.tell("start", self._clock(), repeated=True, **self._start)

    def state(
        self, state: State, reason: str, message: str, sample: int | None = None, timestamp: float | None = None
    ) -> None:
        """Tell a change of state, or of the reason for it."""
        before, _ = self._state
        if (state, reason) == self._state:
            return
        self._state = state, reason
        self.summary.states[state, reason] += 1
        told = {"state": state, "from": before, "reason": reason, "message": message, "sample": sample}
        self.tell("state", self._clock() if timestamp is None else timestamp, **told)
        self._watcher.state(state, message)

    def news(self, event: str, message: str) -> None:
        """Tell what happened to the stream of events; the signal's state does not change with it."""
        self.tell(event, self._clock(), message=message)
        self._watcher.state(event.upper().replace("-", " "), message)

    def publish(
        self,
        prediction: Prediction,
        correction_s: float,
        arrived: float,
        out_of_date: bool = False,
        belated: bool = False,
    ) -> None:
        """Publish what a hop gave; what is out of date becomes an abstention, `skipped`.

        Parameters
        ----------
        prediction : Prediction
            With its raw stamp.
        correction_s : float
            To be added to the stamp.
        arrived : float
            When its newest sample arrived here.
        out_of_date : bool
            Something newer is there already.
        belated : bool
            A backlog gave it, and it is published all the same.
        """
        timestamp = self._local(prediction, correction_s)
        if prediction.reason is None and (out_of_date or self._is_old(timestamp)):
            self.summary.decisions_skipped += prediction.decision is not None
            prediction = replace(prediction, proba=None, values=None, label=-1, reason="skipped", decision=None)
        self._sink.publish(prediction, timestamp)
        now = self._clock()
        age, latency = now - timestamp, now - arrived
        if prediction.reason is None:
            self.summary.n_predictions += 1
            self.summary.n_belated += belated
            self.summary.n_decisions += prediction.decision is not None
            self.summary.ages.add(age)
            self.summary.latencies.add(latency)
        else:
            self.summary.abstained[prediction.reason] += 1
        self._tell_change(prediction, timestamp)
        self._watcher.prediction(prediction, age, latency)

    def mind_log(self) -> None:
        """Tell, once, that the log cannot be written."""
        if self._log and (problem := self._log.news()):
            self.news("not-logged", problem)

    def is_heard(self) -> bool:
        """Tell whether somebody listens to what is told."""
        return self._sink.has_listener()

    def incident(self, incident: Incident, timestamp: float | None) -> None:
        """Tell what the guard found, with the raw stamp of its sample; what it leads to is told with its message."""
        self.summary.incidents[incident.reason] += 1
        self._why[incident.reason] = incident.message
        self.tell("incident", self._clock(), **incident._asdict(), raw_timestamp=timestamp)

    def repeat(self, abstention: Prediction, correction_s: float) -> None:
        """Publish an abstention again while no data come, so that consumers know that we are there."""
        self._sink.publish(abstention, self._local(abstention, correction_s))
        self.summary.heartbeats += 1

    def _local(self, prediction: Prediction, correction_s: float) -> float:
        timestamp = prediction.timestamp + correction_s
        return timestamp if math.isfinite(timestamp) else self._clock()

    def _is_old(self, timestamp: float) -> bool:
        return self._max_age_s is not None and self._clock() - timestamp > self._max_age_s

    def _tell_change(self, prediction: Prediction, timestamp: float) -> None:
        """Tell every fault, every event without a result, and when abstaining begins or has another reason."""
        reason, sample, event = prediction.reason, prediction.sample, prediction.event
        if event is None:
            # Rows that repeat these are known by their stamp: every stall has one.
            changed = reason != self._abstaining or reason in ("stalled", "stream-lost")
            self._abstaining = reason
            if reason == "gap" or (changed and reason in ("clock", "non-finite", "stream-lost")):
                self.tell("gap" if reason == "gap" else "reset", timestamp, reason=reason, sample=sample)
            if changed and reason is not None:
                self.tell("abstain", timestamp, reason=reason, sample=sample)
        elif reason is not None:
            stamp = event.timestamp if math.isfinite(event.timestamp) else None
            about = {"reason": reason, "sample": sample, "label": event.label, "event_timestamp": stamp}
            self.tell("abstain", timestamp, **about)
            if reason in _OF_AN_EVENT:
                return
        if reason is None:
            self.state(State.RUNNING, "decoding", f"decoding from sample {sample} on", sample, timestamp)
        elif reason == "warming-up":
            self.state(State.WARMING, reason, f"the window fills; at sample {sample}", sample, timestamp)
        elif reason != "stream-lost":
            why = self._why.get(reason, f"{reason} at sample {sample}")
            self.state(State.HOLD, reason, f"{why}{self._advice(reason)}", sample, timestamp)

    def _advice(self, reason: str) -> str:
        if reason not in ("gap", "clock") or self._advised:
            return ""
        self._advised = True
        return ". If samples were not lost but this source's stamps jitter, see --gap-tolerance-ms"
