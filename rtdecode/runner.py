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
from rtdecode.engine import ModelFile, read_model, runtime_version
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
from rtdecode.session import SessionWriter

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
        End after this much time with the stream.
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
        self._saver: SessionWriter | None = None
        self._first: tuple[int, float] | None = None

    def run(self) -> Summary:
        """Run until the stream ends (with `once`), the time is over, or KeyboardInterrupt."""
        # Proves the file itself before anything is opened.
        Decoder(self.model)
        known = self._refuse_taken_names()
        self._outlets = DecoderOutlets(
            self.name, self.model.contract.outputs.class_names, self.settings.marker_format
        )
        self._state("SEARCHING", f"looking for {self.settings.stream}")
        try:
            with quiet_collector():
                self._connect_again_and_again(known)
        except KeyboardInterrupt:
            self._state("STOPPING", "interrupted")
        finally:
            self._end()
        return self.summary

    def _refuse_taken_names(self) -> list[StreamFound]:
        names = DecoderOutlets.names(self.name)
        known = list_streams()
        taken = [s for s in known if s.name in names]
        if taken:
            raise StreamError(
                f"A stream of our output's name is there already: {taken[0]}. Stop the other decoder, or "
                "choose a name with --name."
            )
        return known

    def _connect_again_and_again(self, known: Sequence[StreamFound]) -> None:
        wait_s = self.settings.wait_s
        while True:
            found = find_stream(self.settings.stream, wait_s, DecoderOutlets.names(self.name), known)
            try:
                inlet, decoder = self._handshake(found)
                try:
                    if self._decode(inlet, decoder):
                        return
                finally:
                    inlet.close()
            except StreamLostError as lost:
                self._state("LOST", str(lost))
                if self.settings.once and self.summary.n_samples:
                    return
            # Lost in the middle of an experiment: it is looked for as long as it takes.
            wait_s, known = float("inf"), ()
            self._state("SEARCHING", f"looking for {self.settings.stream} again")

    def _handshake(self, found: StreamFound) -> tuple[SignalInlet, Decoder]:
        self._state("HANDSHAKE", f"stream {found}")
        inlet = SignalInlet(found, self.settings.ch_names, self.settings.units)
        decoder = Decoder(
            self.model,
            inlet.signal,
            self.settings.gap_tolerance_ms / 1e3,
            f"Stream {found.name!r}",
            StreamError,
        )
        if self.settings.save and self._saver is None:
            n_classes = len(self.model.contract.outputs.class_names)
            self._saver = SessionWriter(self.settings.save, inlet.signal, n_classes)
        return inlet, decoder

    def _decode(self, inlet: SignalInlet, decoder: Decoder) -> bool:
        """Decode until the stream is lost (raises) or the time is over (returns True)."""
        correction, corrected_at = inlet.correction(), self._clock()
        inlet.open()
        self._state("WARMING", f"{decoder.warm_up_s:.1f} s until the first prediction")
        running, last_timestamp = False, float("nan")
        end = self._clock() + (self.settings.duration_s or float("inf"))
        while True:
            try:
                samples, timestamps = inlet.pull()
                arrived = self._clock()
                if self._clock() - corrected_at > _CORRECTION_EVERY_S:
                    correction, corrected_at = inlet.correction(), self._clock()
            except StreamLostError:
                self._publish(decoder.reset("stream-lost", last_timestamp), correction, self._clock())
                raise
            if len(timestamps):
                last_timestamp = float(timestamps[-1])
                if self._first is None:
                    self._first = (0, float(timestamps[0]))
                    self._tell_start(inlet, float(timestamps[0]), correction)
                predictions = decoder.push(samples, timestamps)
                for prediction in predictions:
                    self._publish(prediction, correction, arrived)
                    if not running and prediction.proba is not None:
                        running = True
                        self._state("RUNNING", f"decoding every {self._hop_s(decoder):.3g} s")
                self.summary.n_samples += len(timestamps)
                if self._saver:
                    self._saver.add(samples, timestamps, predictions)
            if self._clock() >= end:
                return True

    @staticmethod
    def _hop_s(decoder: Decoder) -> float:
        return decoder.contract.window.hop / decoder.chain.output.sfreq

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
        if prediction.reason != self._abstaining:
            self._tell_change(prediction, timestamp)
        self._watcher.prediction(prediction, age, latency)

    def _tell_change(self, prediction: Prediction, timestamp: float) -> None:
        """Tell when abstaining begins, ends, or goes on for another reason; not at every hop."""
        self._abstaining = reason = prediction.reason
        if reason is None:
            self._outlets.status("state", timestamp, state="RUNNING", sample=prediction.sample)
            return
        if reason in ("gap", "clock", "non-finite", "stream-lost"):
            event = "gap" if reason == "gap" else "reset"
            self._outlets.status(event, timestamp, reason=reason, sample=prediction.sample)
            if reason != "stream-lost":
                self._watcher.state("WARMING", f"{reason} at sample {prediction.sample}: starting anew")
        self._outlets.status("abstain", timestamp, reason=reason, sample=prediction.sample)

    def _state(self, state: str, message: str) -> None:
        self._watcher.state(state, message)
        self._outlets.status("state", self._clock(), state=state, message=message)

    def _tell_start(self, inlet: SignalInlet, timestamp: float, correction: float) -> None:
        stream = inlet.stream
        self._outlets.status(
            "start",
            timestamp + correction,
            model=self.model.name,
            sha256=self.model.sha256,
            first_sample=0,
            first_timestamp=timestamp,
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

    def _end(self) -> None:
        figures = self.summary.figures()
        self._outlets.status("end", self._clock(), **figures)
        if self._saver:
            first = {"first_sample": 0, "first_timestamp": self._first[1]} if self._first else {}
            about = {"model": self.model.name, "sha256": self.model.sha256, **first, **figures}
            self._saver.close(about)


def run_decoder(path: str | Path, settings: RunSettings, watcher: Watcher) -> Summary:
    """Run a decoder file live; see `Runner`."""
    return Runner(read_model(path), settings, watcher).run()
