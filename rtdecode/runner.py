"""The only loop: finds the stream, connects to it, and again when it was lost. It owns the clock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rtdecode.connection import Connection, LagPolicy
from rtdecode.contract import Policy
from rtdecode.decoder import Decoder
from rtdecode.device import DeviceSettings
from rtdecode.errors import ConfigurationError, StreamError, StreamLostError
from rtdecode.guard import GuardSettings
from rtdecode.interrupts import Interrupts
from rtdecode.libraries import libraries
from rtdecode.log import LogFile
from rtdecode.lsl import (
    DecoderOutlets,
    LslNetwork,
    StreamChoice,
    StreamFound,
    local_clock,
    versions,
)
from rtdecode.marker import MarkerFormat
from rtdecode.model_file import ModelFile
from rtdecode.network import Inlet, Markers, Network, not_found
from rtdecode.prediction import Prediction
from rtdecode.realtime import Obtained, RealtimeSettings, on_cpu, quiet_collector, realtime, tidy
from rtdecode.reporter import Reporter, State, Watcher
from rtdecode.saving import Saving
from rtdecode.session import SessionWriter
from rtdecode.summary import Summary
from rtdecode.tracer import Tracer

_ROUND_S = 1.0
# Short enough to end soon when that is asked for.
_PULL_S = 0.2


class RunSettings(BaseModel):
    """Everything about a live run that is not in the decoder file.

    Attributes
    ----------
    stream : StreamChoice
        Which stream to decode.
    events : StreamChoice or None
        Which stream brings the events, for a decoder with windows at events.
    ch_names, units
        For a stream that does not describe its channels.
    name : str or None
        Of our marker stream; `rtdecode-<model>` when not given.
    marker_format : str
        `label`, `json` or `int32`.
    wait_s : float
        How long to look for the stream at the start.
    wait_listener : bool
        Connect to the stream when somebody listens to NAME-status: a recorder then has every sample and every row.
    duration_s : float or None
        End this long after the stream was first opened.
    once : bool
        End when the stream goes away, instead of waiting for it to come back.
    guard : GuardSettings
        What may pass.
    policy : Policy or None
        What decides, instead of the decoder file's own.
    max_age_s : float or None
        Decisions on older data are not published, only counted. None: only the newest result of a backlog is,
        whatever its age; by default no age is wrong, because some sources stamp late by a constant.
    lag_policy : str
        What is published of a backlog: its `newest` result, the others being skipped, or `every` one, late as it is.
    realtime : RealtimeSettings
        What is asked of the system for the loop.
    device : DeviceSettings
        What the decoder's graph is run on.
    strict : bool
        End with DeadlineError when the loop was not there for longer than a hop.
    save : Path or None
        Keep what the decoder saw in this .npz.
    log : Path or None
        Write what happens into this .jsonl.
    trace : bool
        Tell the stage times of every prediction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stream: StreamChoice = StreamChoice()
    events: StreamChoice | None = None
    ch_names: tuple[str, ...] | None = None
    units: str | None = None
    name: str | None = None
    marker_format: MarkerFormat = "label"
    wait_s: float = Field(default=30.0, gt=0)
    wait_listener: bool = False
    duration_s: float | None = Field(default=None, gt=0)
    once: bool = False
    guard: GuardSettings = GuardSettings()
    policy: Policy | None = None
    max_age_s: float | None = Field(default=None, gt=0)
    lag_policy: LagPolicy = "newest"
    realtime: RealtimeSettings = RealtimeSettings()
    device: DeviceSettings = DeviceSettings()
    strict: bool = False
    save: Path | None = None
    log: Path | None = None
    trace: bool = False


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
    network : Network
        Where streams are found and made; LSL when not given.
    clock : callable
        Seconds in the network's clock.
    interrupts : Interrupts, optional
        Who asks for the end: it comes between two chunks.

    Attributes
    ----------
    summary : Summary
        What happened so far.
    saving : Saving or None
        The files written for `settings.save`.
    """

    def __init__(
        self,
        model: ModelFile,
        settings: RunSettings,
        watcher: Watcher,
        network: Network | None = None,
        clock: Callable[[], float] = local_clock,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.model, self.settings = model, settings
        self._watcher, self._network, self._clock = watcher, network or LslNetwork(), clock
        self._interrupts = interrupts or Interrupts()
        self.name = settings.name or f"rtdecode-{Path(model.path).stem}"
        self.summary = Summary()
        self._choice = settings.stream
        self._first: StreamFound | None = None
        self._refused: set[str] = set()
        self._lost: tuple[Prediction, float] | None = None
        self._deadline = float("inf")
        self._start: dict[str, Any] = {}
        self._markers: Markers | None = None
        self._obtained: tuple[Obtained, ...] = ()
        self.saving: Saving | None = None

    def run(self) -> Summary:
        """Run until the stream ends (with `once`), the time is over, or somebody asks for the end."""
        # Proves the file itself, and where to save, before anything is opened. Streams are listened for meanwhile.
        with ThreadPoolExecutor(1) as beside:
            listening = beside.submit(self._network.streams, _ROUND_S, self._wanted)
            fresh = Decoder(self.model, policy=self.settings.policy, device=self.settings.device)
            self._policy, self._engine, settings = fresh.policy, fresh.engine, self.settings
            self._refuse_wrong_use_of_events()
            if settings.save:
                self.saving = Saving(settings.save, self.model.contract, self._interrupts)
            known = self._refuse_taken_names(listening.result())
        if settings.device.name != "cpu":
            self._watcher.state("DEVICE", str(settings.device))
        # Before liblsl starts the threads that bring data: a thread has the priority of the one that starts it.
        with realtime(settings.realtime) as self._obtained:
            for one in self._obtained:
                self._watcher.state("REALTIME" if one.obtained else "NOT REALTIME", f"{one.asked}: {one.told}")
            self._run(fresh, known)
        return self.summary

    def _run(self, fresh: Decoder, known: list[StreamFound]) -> None:
        settings, outputs = self.settings, self.model.contract.outputs
        sink = self._network.outlets(self.name, outputs, settings.marker_format, fresh.decision_names)
        self._tracer = Tracer(self._clock) if settings.trace else None
        if self._tracer:
            self._tracer.watch_sink(sink)
        log = LogFile(settings.log) if settings.log else None
        self._reporter = Reporter(sink, self._watcher, self._clock, self.summary, settings.max_age_s, log)
        if slowness := fresh.slowness:
            self._watcher.state("TOO SLOW", slowness)
            self._reporter.tell("warning", self._clock(), message=slowness)
        self._reporter.state(State.SEARCHING, "start", f"looking for {self._choice}")
        try:
            with quiet_collector():
                self._connect_again_and_again(self._wait_for_listener(known))
            if self._interrupts.asked:
                self._reporter.state(State.STOPPING, "interrupted", "interrupted")
        finally:
            if self._markers:
                self._markers.close()
            self._reporter.tell("end", self._clock(), **self.summary.figures())
            for problem in self.saving.wait() if self.saving else ():
                self._reporter.news("not-saved", problem)
            if log:
                log.close()
                self._reporter.mind_log()

    def _wait_for_listener(self, known: list[StreamFound]) -> list[StreamFound]:
        """Wait if that was asked for; return the streams that are there then."""
        while self.settings.wait_listener and not self._interrupts.asked and not self._reporter.is_heard():
            known = self._network.streams(_ROUND_S)
        return known

    def _refuse_wrong_use_of_events(self) -> None:
        at_events, given = self.model.contract.events is not None, self.settings.events is not None
        if at_events and not given:
            raise ConfigurationError(
                f"Model {self.model.name!r} predicts at events. Say which stream brings them with --events NAME."
            )
        if given and not at_events:
            raise ConfigurationError(
                f"Model {self.model.name!r} predicts at every hop and has no use for events. Leave --events out."
            )

    def _refuse_taken_names(self, known: list[StreamFound]) -> list[StreamFound]:
        names = self._output_names()
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
        while (found := self._search(known)) is not None:
            known = ()
            try:
                self._decode_connection(found)
                return
            except StreamLostError as lost:
                self._reporter.state(State.LOST, "stream-lost", str(lost))
                if self.settings.once and self.summary.n_samples:
                    return
                self._reporter.state(State.SEARCHING, "stream-lost", f"looking for {self._choice} again")
            except StreamError as mismatch:
                if self._first is None:
                    raise
                # An outlet cannot change what it describes: this one is not asked again.
                self._refused.add(found.uid)
                self._reporter.state(State.SEARCHING, "mismatch", str(mismatch))
            tidy()

    def _search(self, known: Sequence[StreamFound]) -> StreamFound | None:
        """Look for the one stream that is meant; None when the time is over, or somebody asks for the end.

        At the start what is wrong is raised. In the middle of an experiment it is told and waited out: a stream
        is looked for as long as it takes, and two that could be meant are none.
        """
        until = self._clock() + self.settings.wait_s
        while not self._is_over():
            everything = known or self._network.streams(_ROUND_S, self._wanted)
            known = ()
            if self._is_over():
                break
            try:
                if found := self._wanted(everything):
                    return found
            except StreamError as ambiguous:
                if self._first is None:
                    raise
                self._reporter.state(State.SEARCHING, "ambiguous", str(ambiguous))
            if self._first is None and self._clock() >= until:
                raise not_found(self._choice, everything, self._output_names(), self.settings.wait_s)
            if self._lost:
                self._reporter.repeat(*self._lost)
            self._reporter.greet()
        return None

    def _wanted(self, streams: Sequence[StreamFound]) -> StreamFound | None:
        """Return the one of these streams that is meant, unless it was refused; StreamError if it could be two."""
        found = self._choice.among(streams, self._output_names())
        return found if found and found.uid not in self._refused else None

    def _is_over(self) -> bool:
        return self._interrupts.asked or self._clock() >= self._deadline

    def _decode_connection(self, found: StreamFound) -> None:
        """Decode one connection until the end is asked for; StreamLostError when the source goes away."""
        self._reporter.state(State.HANDSHAKE, "found", f"stream {found}")
        self._refuse_another_format(found)
        inlet = self._network.connect(found, self.settings.ch_names, self.settings.units)
        saver = None
        try:
            decoder = Decoder(
                self.model,
                inlet.signal,
                self.settings.guard,
                f"Stream {found.name!r}",
                StreamError,
                inlet.speed,
                self._policy,
                engine=self._engine,
            )
            if self._tracer:
                self._tracer.watch(inlet, decoder, self._reporter.tell)
            self._wait_for_events()
            if self.saving:
                saver = self._open_session(self.saving, inlet)
            self._decode(found, inlet, decoder, saver)
        finally:
            try:
                inlet.close()
            finally:
                if saver:
                    # Waited for at the end: now the stream is looked for.
                    saver.end({**self._start, **self.summary.figures()})

    def _wait_for_events(self) -> None:
        """Have the stream of events read before the first sample is taken; later it may come and go."""
        if self.settings.events is None or self._markers:
            return
        self._markers = markers = self._network.markers(self.settings.events, self._output_names())
        until = self._clock() + self.settings.wait_s
        while not self._interrupts.asked and not markers.wait(_PULL_S):
            if self._clock() >= until:
                raise StreamError(
                    f"No stream of events found in {self.settings.wait_s:g} s; wanted: {self.settings.events}. "
                    f"{markers.problem}"
                )

    def _refuse_another_format(self, found: StreamFound) -> None:
        first = self._first
        if first and found.channel_format != first.channel_format:
            raise StreamError(
                f"Stream {found} came back with other values: {found.channel_format} instead of "
                f"{first.channel_format}. Start it as it was, or start `rtdecode run` anew."
            )

    def _open_session(self, saving: Saving, inlet: Inlet) -> SessionWriter | None:
        """Open a file for this connection: the source may have come back with another layout.

        In the middle of an experiment what is wrong is told, and decoding goes on without.
        """
        try:
            return saving.open(inlet.signal, inlet.speed)
        except ConfigurationError as error:
            if self._first is None:
                raise
            self._reporter.news("not-saved", str(error))
            return None

    def _decode(self, found: StreamFound, inlet: Inlet, decoder: Decoder, saver: SessionWriter | None) -> None:
        def started(timestamp: float, correction_s: float) -> None:
            self._tell_start(found, inlet, timestamp, correction_s)

        settings = self.settings
        connection = Connection(
            inlet,
            decoder,
            self._reporter,
            self._clock,
            settings.strict,
            settings.lag_policy,
            self._has("spin"),
            settings.realtime.rehearse,
            started,
            saver,
            self._markers,
        )
        inlet.open()
        self._keep_to(found)
        played = "" if inlet.speed == 1 else f"; it is a replay at {inlet.speed:g} times its speed"
        told = f"{decoder.warm_up_s:.1f} s until the first prediction{played}"
        self._reporter.state(State.WARMING, "warming-up", told)
        if settings.duration_s and self._deadline == float("inf"):
            self._deadline = self._clock() + settings.duration_s
        try:
            with on_cpu(settings.realtime.cpu if self._has("cpu") else None):
                connection.decode(self._is_over)
        finally:
            if connection.lost:
                self._lost = connection.lost, connection.correction.seconds

    def _has(self, asked: str) -> bool:
        """Tell whether the system gave what was asked for."""
        return any(one.asked == asked and one.obtained for one in self._obtained)

    def _keep_to(self, found: StreamFound) -> None:
        """From the first connection on only this source is looked for, whatever else there may be.

        Many sources have another source_id at every start: it is held to only if it was asked for.
        """
        if self._first is None:
            kept = {"name": found.name, "type": found.type, "host": found.host}
            self._first, self._choice = found, self._choice.model_copy(update=kept)

    def _tell_start(self, stream: StreamFound, inlet: Inlet, timestamp: float, correction_s: float) -> None:
        finite = bool(np.isfinite(timestamp))
        told: dict[str, Any] = {
            "model": self.model.name,
            "sha256": self.model.sha256,
            "first_sample": 0,
            "first_timestamp": timestamp if finite else None,
            "correction_s": correction_s,
            "stream": stream.identity,
            "events": self._markers.stream.identity if self._markers and self._markers.stream else None,
            "signal": inlet.signal.model_dump(),
            "speed": inlet.speed,
            "settings": self.settings.model_copy(update={"policy": self._policy}).model_dump(mode="json"),
            "realtime": [one._asdict() for one in self._obtained],
            "versions": {**libraries(), **versions()},
        }
        self._reporter.start(timestamp + correction_s if finite else self._clock(), **told)
        self._start = told
