"""The only loop: finds the stream, feeds the decoder, publishes. It owns the clock and the reconnecting."""

import platform
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rtdecode import __version__
from rtdecode.decoder import Decoder, Prediction
from rtdecode.engine import ModelFile, runtime_version
from rtdecode.errors import StreamError, StreamLostError
from rtdecode.lsl import (
    DecoderOutlets,
    SignalInlet,
    StreamChoice,
    StreamFound,
    find_stream,
    list_streams,
    local_clock,
    versions,
)
from rtdecode.lsl.outlets import MarkerFormat
from rtdecode.realtime import quiet_collector
from rtdecode.session import SessionWriter, refuse_unwritable

_CORRECTION_EVERY_S = 1.0


class RunSettings(BaseModel):
    """Everything about a live run that is not in the decoder file.

    Attributes
    ----------
    stream : StreamChoice
        Which stream to decode.
    ch_names, units
        For a stream that does not describe its channels.
    name : str or None
        Of our marker stream; `rtdecode-<model>` when not given.
    marker_format : str
        `label`, `json` or `int32`.
    wait_s : float
        How long to look for the stream at the start.
    duration_s : float or None
        End this long after the stream was first opened.
    once : bool
        End when the stream goes away, instead of waiting for it to come back.
    gap_tolerance_ms : float
        How far a step between stamps may be from one sample (at least half a sample).
    save : Path or None
        Keep what the decoder saw in this .npz.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: StreamChoice = StreamChoice()
    ch_names: tuple[str, ...] | None = None
    units: str | None = None
    name: str | None = None
    marker_format: MarkerFormat = "label"
    wait_s: float = Field(default=30.0, gt=0)
    duration_s: float | None = Field(default=None, gt=0)
    once: bool = False
    gap_tolerance_ms: float = Field(default=0.0, ge=0)
    save: Path | None = None


class Watcher(Protocol):
    """Who is told what happens (a status line, a test)."""

    def state(self, state: str, message: str) -> None:
        """Take note of a change of state."""

    def prediction(self, prediction: Prediction, age_s: float, latency_s: float) -> None:
        """Take note of a published prediction, how old its newest sample is, and what we added to that."""


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    n_samples, n_predictions : int
        Samples received, hops decoded.
    abstained : Counter of str
        Abstentions by reason.
    ages_s : array of float
        Age of the newest sample when its prediction had been published.
    latencies_s : array of float
        Our own part of it: from the arrival of the chunk to the publication.
    """

    n_samples: int = 0
    n_predictions: int = 0
    abstained: Counter[str] = field(default_factory=Counter)
    ages_s: "array[float]" = field(default_factory=lambda: array("d"))
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))

    def figures(self) -> dict[str, Any]:
        """Return the counts, and the percentiles of age and latency in milliseconds, as JSON can hold them."""
        told: dict[str, Any] = {
            "samples": self.n_samples,
            "predictions": self.n_predictions,
            "abstained": dict(self.abstained),
        }
        for name, values in (("age_ms", self.ages_s), ("latency_ms", self.latencies_s)):
            if len(values):
                p50, p95, p99, worst = np.percentile(np.asarray(values), [50, 95, 99, 100]) * 1e3
                told[name] = {"p50": p50, "p95": p95, "p99": p99, "max": worst}
        return told


class Runner:
    """Runs one decoder file on a live stream until told to stop.

    Parameters
    ----------
    model : ModelFile
        What to run.
    settings : RunSettings
        Where and how.
    watcher : Watcher
        Who is told.
    clock : callable
        Seconds in LSL's clock.

    Attributes
    ----------
    summary : Summary
        What happened so far.
    saved : list of Path
        Files written for `settings.save`: one, and a further one for each time the stream came back.
    """

    def __init__(
        self,
        model: ModelFile,
        settings: RunSettings,
        watcher: Watcher,
        clock: Callable[[], float] = local_clock,
    ) -> None:
        self.model, self.settings = model, settings
        self._watcher, self._clock = watcher, clock
        self.name = settings.name or f"rtdecode-{Path(model.path).stem}"
        self.summary = Summary()
        self._abstaining: str | None = None
        self._advised = False
        self._deadline = float("inf")
        self.saved: list[Path] = []

    def run(self) -> Summary:
        """Run until the stream ends (with `once`), the time is over, or KeyboardInterrupt."""
        # Proves the file itself, and where to save, before anything is opened.
        slowness = Decoder(self.model).slowness
        if self.settings.save:
            refuse_unwritable(self.settings.save)
        known = self._refuse_taken_names()
        self._outlets = DecoderOutlets(self.name, self.model.contract.outputs, self.settings.marker_format)
        if slowness:
            self._state("TOO SLOW", slowness)
        self._state("SEARCHING", f"looking for {self.settings.stream}")
        try:
            with quiet_collector():
                self._connect_again_and_again(known)
        except KeyboardInterrupt:
            self._state("STOPPING", "interrupted")
        finally:
            self._outlets.status("end", self._clock(), **self.summary.figures())
        return self.summary

    def _refuse_taken_names(self) -> list[StreamFound]:
        names = self._output_names()
        known = list_streams()
        taken = [s for s in known if s.name in names]
        if taken:
            raise StreamError(
                f"A stream of our output's name is there already: {taken[0]}. Stop the other decoder, or "
                "choose a name with --name."
            )
        return known

    def _output_names(self) -> tuple[str, str, str]:
        return DecoderOutlets.names(self.name, self.model.contract.outputs)

    def _connect_again_and_again(self, known: Sequence[StreamFound]) -> None:
        wait_s, ours = self.settings.wait_s, self._output_names()
        while True:
            try:
                self._decode_connection(find_stream(self.settings.stream, wait_s, ours, known))
                return
            except StreamLostError as lost:
                self._state("LOST", str(lost))
                if self.settings.once and self.summary.n_samples:
                    return
            except StreamError:
                if not self._is_over():
                    raise
                return
            # Lost in the middle of an experiment: it is looked for as long as it takes.
            wait_s, known = max(self._deadline - self._clock(), 0.0), ()
            self._state("SEARCHING", f"looking for {self.settings.stream} again")

    def _is_over(self) -> bool:
        return self._clock() >= self._deadline

    def _decode_connection(self, found: StreamFound) -> None:
        """Decode one connection until the time is over; StreamLostError when the source goes away."""
        self._state("HANDSHAKE", f"stream {found}")
        inlet = SignalInlet(found, self.settings.ch_names, self.settings.units)
        saver = None
        try:
            decoder = Decoder(
                self.model,
                inlet.signal,
                self.settings.gap_tolerance_ms / 1e3,
                f"Stream {found.name!r}",
                StreamError,
            )
            if self.settings.save:
                saver = self._open_session(inlet)
            self._decode(inlet, decoder, saver)
        finally:
            inlet.close()
            if saver:
                self._close_session(saver)

    def _open_session(self, inlet: SignalInlet) -> SessionWriter:
        """Open a file for this connection: the source may have come back with another layout."""
        assert self.settings.save is not None
        path, number = self.settings.save, len(self.saved) + 1
        path = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        self.saved.append(path)
        return SessionWriter(path, inlet.signal, self.model.contract.outputs)

    def _close_session(self, saver: SessionWriter) -> None:
        about = {"model": self.model.name, "sha256": self.model.sha256, **self.summary.figures()}
        if not saver.close(about):
            self.saved.remove(saver.path)
        if saver.problem:
            self._state("NOT SAVED", saver.problem)

    def _decode(self, inlet: SignalInlet, decoder: Decoder, saver: SessionWriter | None) -> None:
        correction, corrected_at = inlet.correction(), self._clock()
        inlet.open()
        self._state("WARMING", f"{decoder.warm_up_s:.1f} s until the first prediction")
        if self.settings.duration_s and self._deadline == float("inf"):
            self._deadline = self._clock() + self.settings.duration_s
        running, started, last_timestamp = False, False, float("nan")
        while not self._is_over():
            try:
                samples, timestamps = inlet.pull()
            except StreamLostError:
                lost = decoder.reset("stream-lost", last_timestamp)
                self._publish(lost, correction, self._clock())
                if saver:
                    saver.add(np.empty((0, inlet.signal.n_channels), np.float32), np.empty(0), [lost])
                raise
            arrived = self._clock()
            if len(timestamps):
                last_timestamp = float(timestamps[-1])
                if not started:
                    started = True
                    self._tell_start(inlet, float(timestamps[0]), correction)
                predictions = decoder.push(samples, timestamps)
                for prediction in predictions:
                    self._publish(prediction, correction, arrived)
                    if not running and prediction.reason is None:
                        running = True
                        # NAME-status was told already, with the prediction's own stamp.
                        self._watcher.state("RUNNING", f"decoding every {decoder.hop_s:.3g} s")
                self.summary.n_samples += len(timestamps)
                if saver:
                    saver.add(samples, timestamps, predictions)
            if arrived - corrected_at > _CORRECTION_EVERY_S:
                correction, corrected_at = inlet.correction(), arrived

    def _publish(self, prediction: Prediction, correction: float, arrived: float) -> None:
        timestamp = prediction.timestamp + correction
        if not np.isfinite(timestamp):
            timestamp = self._clock()
        self._outlets.publish(prediction, timestamp)
        now = self._clock()
        age, latency = now - timestamp, now - arrived
        if prediction.reason is None:
            self.summary.n_predictions += 1
            self.summary.ages_s.append(age)
            self.summary.latencies_s.append(latency)
        else:
            self.summary.abstained[prediction.reason] += 1
        self._tell_change(prediction, timestamp)
        self._watcher.prediction(prediction, age, latency)

    def _tell_change(self, prediction: Prediction, timestamp: float) -> None:
        """Tell every fault, and when abstaining begins, ends, or goes on for another reason; not every hop."""
        reason, sample = prediction.reason, prediction.sample
        changed, self._abstaining = reason != self._abstaining, reason
        if reason in ("gap", "clock") or (changed and reason in ("non-finite", "stream-lost")):
            self._outlets.status("gap" if reason == "gap" else "reset", timestamp, reason=reason, sample=sample)
            if reason != "stream-lost":
                advice = ""
                if reason != "non-finite" and not self._advised:
                    self._advised = True
                    advice = ". If samples were not lost but this source's stamps jitter, see --gap-tolerance-ms"
                self._watcher.state("WARMING", f"{reason} at sample {sample}: starting anew{advice}")
        if changed and reason is None:
            self._outlets.status("state", timestamp, state="RUNNING", sample=sample)
        elif changed:
            self._outlets.status("abstain", timestamp, reason=reason, sample=sample)

    def _state(self, state: str, message: str) -> None:
        self._watcher.state(state, message)
        self._outlets.status("state", self._clock(), state=state, message=message)

    def _tell_start(self, inlet: SignalInlet, timestamp: float, correction: float) -> None:
        stream = inlet.stream
        self._outlets.status(
            "start",
            timestamp + correction if np.isfinite(timestamp) else self._clock(),
            model=self.model.name,
            sha256=self.model.sha256,
            first_sample=0,
            first_timestamp=timestamp if np.isfinite(timestamp) else None,
            correction_s=correction,
            stream={
                "name": stream.name, "type": stream.type, "source_id": stream.source_id,
                "uid": stream.uid, "host": stream.host,
            },
            signal=inlet.signal.model_dump(),
            settings=self.settings.model_dump(mode="json"),
            versions={
                "rtdecode": __version__, "python": platform.python_version(), "numpy": np.__version__,
                "onnxruntime": runtime_version(), **versions(),
            },
        )  # fmt: skip
