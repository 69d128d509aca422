"""Records a live stream while a subject is cued: the loop of `rtdecode collect`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from rtdecode import __version__
from rtdecode.contract import DEFAULT_UNITS, Amplitude
from rtdecode.cues import REST, Cue, CueSettings, Prompts, make_script
from rtdecode.errors import RecordingError, StreamError, StreamLostError
from rtdecode.guard import Guard, GuardSettings, Health
from rtdecode.interrupts import Interrupts
from rtdecode.lsl import LslNetwork, StreamChoice, StreamFound, local_clock
from rtdecode.network import EventSink, Inlet, Network, not_found
from rtdecode.pace import STALL_S, Correction, Pace
from rtdecode.recording import Event
from rtdecode.session import SessionWriter, refuse_unwritable

_ROUND_S = 1.0
# Short enough to end soon when that is asked for.
_PULL_S = 0.2
_CARE_EVERY_S = 1.0


class CollectSettings(BaseModel):
    """Everything about a cued recording.

    Attributes
    ----------
    stream : StreamChoice
        Which stream to record.
    ch_names, units
        For a stream that does not describe its channels.
    wait_s : float
        How long to look for the stream.
    check_s : float
        The first cue comes when nothing was wrong with the stream for so long.
    cues : CueSettings
        What the subject is asked to do.
    guard : GuardSettings
        What is told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: StreamChoice = StreamChoice()
    ch_names: tuple[str, ...] | None = None
    units: str | None = None
    wait_s: float = Field(default=30.0, gt=0)
    check_s: float = Field(default=10.0, ge=0)
    cues: CueSettings
    guard: GuardSettings = GuardSettings()


class Screen(Protocol):
    """What subject and experimenter see."""

    def show(self, label: str, trial: int) -> None:
        """Show what the subject is to do now; return when it can be seen."""

    def tell(self, message: str) -> None:
        """Tell the experimenter something, once."""


@dataclass(frozen=True)
class Collected:
    """What was recorded.

    Attributes
    ----------
    path : Path
        The .npz.
    stream : StreamFound
        Where it came from.
    n_samples : int
        How many.
    cued : Counter of str
        How often each class was cued.
    incidents : Counter of str
        What the guard found.
    complete : bool
        Whether it was not interrupted.
    """

    path: Path
    stream: StreamFound
    n_samples: int
    cued: Counter[str]
    incidents: Counter[str]
    complete: bool


class Collector:
    """Records one stream raw, shows cues, publishes them as `STREAM-cues`, and keeps them with the samples.

    A cue's marker is stamped when it is seen, in this host's clock; its event in the recording has the same time in
    the clock of the source. While no sample comes no cue is given.

    Parameters
    ----------
    path : Path
        The .npz to write. While it is recorded, everything is in `FILE.partial/` (see SessionWriter).
    settings : CollectSettings
        What is recorded.
    screen : Screen
        Who is told.
    network : Network
        Where streams are found and made; LSL when not given.
    clock : callable
        Seconds in the network's clock.
    interrupts : Interrupts, optional
        Who asks for the end: it comes between two chunks.
    """

    def __init__(
        self,
        path: Path,
        settings: CollectSettings,
        screen: Screen,
        network: Network | None = None,
        clock: Callable[[], float] = local_clock,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.path, self.settings, self._screen = path, settings, screen
        self._network, self._clock = network or LslNetwork(), clock
        self._interrupts = interrupts or Interrupts()
        self._prompts = Prompts(make_script(settings.cues))
        self._cued: Counter[str] = Counter()
        self._cued.update(dict.fromkeys(settings.cues.classes, 0))

    def run(self) -> Collected:
        """Record until the last cue had its time, or somebody asks for the end.

        Raises
        ------
        ConfigurationError
            The file cannot be written.
        StreamError
            The stream is absent, ambiguous, or does not describe itself.
        StreamLostError
            It went away. What came before is saved.
        RecordingError
            No sample came, or not all could be saved.
        KeyboardInterrupt
            The end was asked for before there was a stream.
        """
        refuse_unwritable(self.path)
        found = self._find()
        self._screen.tell(f"stream {found}")
        inlet = self._network.connect(found, self.settings.ch_names, self.settings.units)
        try:
            outlet = self._network.event_outlet(_cue_name(found))
            writer = SessionWriter(self.path, inlet.signal, speed=inlet.speed, interrupts=self._interrupts)
            watch = _Watch(inlet, self.settings, self._screen, self._clock())
            lost = None
            try:
                inlet.open()
                self._record(inlet, outlet, writer, watch)
            except StreamLostError as error:
                lost = error
            finally:
                # Before anything is told: where nobody reads any more, telling fails.
                n_samples = writer.close(self._about(found, watch, self._prompts.over))
            if self._interrupts.asked:
                self._screen.tell("interrupted")
        finally:
            inlet.close()
        if writer.problem:
            raise RecordingError(f"Recording {self.path} was not written: {writer.problem}.")
        if not n_samples:
            raise RecordingError(f"Recording {self.path} was not written: not one sample came from {found}.")
        if lost:
            raise StreamLostError(f"{lost} {n_samples} samples were saved to {self.path}.") from None
        complete = self._prompts.over and not self._interrupts.asked
        return Collected(self.path, found, n_samples, self._cued, watch.guard.incidents, complete)

    def _find(self) -> StreamFound:
        choice, wait_s = self.settings.stream, self.settings.wait_s
        until = self._clock() + wait_s
        while True:
            streams = self._network.streams(_ROUND_S)
            found = choice.among(streams)
            if found:
                break
            if self._interrupts.asked:
                raise KeyboardInterrupt
            if self._clock() >= until:
                raise not_found(choice, streams, (), wait_s)
        taken = [s for s in streams if s.name == _cue_name(found)]
        if taken:
            raise StreamError(f"A stream of our cues' name is there already: {taken[0]}. Stop the other recording.")
        return found

    def _record(self, inlet: Inlet, outlet: EventSink, writer: SessionWriter, watch: "_Watch") -> None:
        correction, cared_at = Correction(inlet.correction()[0]), self._clock()
        self._screen.tell(f"watching the stream; the first cue comes after {self.settings.check_s:g} s without fault")
        while not self._prompts.over and not self._interrupts.asked:
            now = self._clock()
            due_s = self._prompts.left_s(now) if watch.sound(now) else _PULL_S
            samples, timestamps = inlet.pull(min(due_s, _PULL_S))
            now = self._clock()
            watch.take(samples, timestamps, now)
            cue = self._prompts.take(now) if watch.sound(now) else None
            cues = [] if cue is None else [self._give(cue, outlet, correction.seconds)]
            writer.add(samples, timestamps, events=cues)
            if writer.problem:
                return
            if now - cared_at >= _CARE_EVERY_S:
                cared_at = now
                correction.offer(*inlet.correction())

    def _give(self, cue: Cue, outlet: EventSink, correction_s: float) -> Event:
        self._screen.show(cue.label, cue.trial)
        seen_at = self._clock()
        outlet.push(np.array([[cue.label]], object), np.array([seen_at]))
        self._prompts.shown(cue, seen_at)
        if cue.label != REST:
            self._cued[cue.label] += 1
        return Event(seen_at - correction_s, cue.label)

    def _about(self, found: StreamFound, watch: "_Watch", complete: bool) -> dict[str, Any]:
        return {
            "rtdecode": __version__,
            "stream": {"name": found.name, "type": found.type, "source_id": found.source_id, "host": found.host},
            "settings": self.settings.model_dump(mode="json"),
            "cued": self._cued,
            "incidents": watch.guard.incidents,
            "complete": complete,
        }


def _cue_name(stream: StreamFound) -> str:
    return f"{stream.name}-cues"


class _Watch:
    """Tells what is wrong with a stream: as the decoder's guard sees it, but for ranges that only training knows."""

    def __init__(self, inlet: Inlet, settings: CollectSettings, screen: Screen, now: float) -> None:
        signal = inlet.signal
        self._check_s, self._screen, self._pace = (
            settings.check_s,
            screen,
            Pace(signal.sfreq * inlet.speed, STALL_S / min(inlet.speed, 1.0)),
        )
        # Channels of other types, such as triggers, may well be flat.
        lively = np.array([float(t in DEFAULT_UNITS) for t in signal.ch_types])
        unknown = Amplitude(low=-lively, high=lively, std=lively)
        judging = settings.guard.model_copy(update={"max_factor": float("inf")})
        self._health = Health(signal, unknown, judging)
        self.guard = Guard(signal.sfreq, judging, self._health, inlet.speed)
        self._sound_since, self._checked, self._silent, self._wrong = now, False, False, False
        self._pace.stalls_at(now)

    def take(self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], now: float) -> None:
        """Judge what came; nothing is a chunk of no samples."""
        if len(timestamps):
            self._silent = False
            self._pace.arrive(len(timestamps), now)
            for _ in self.guard.check(samples, timestamps):
                pass
        elif not self._silent and now >= self._pace.stalls_at(now):
            self._silent = True
            self._screen.tell("no sample comes; cues wait until one does")
        incidents = self.guard.drain()
        for incident in incidents:
            self._screen.tell(f"{incident.reason} at sample {incident.sample}: {incident.message}")
        wrong = self.guard.clock.refusal is not None or bool(self._health.message)
        if self._wrong and not wrong:
            self._screen.tell("channels and rate are sound again")
        self._wrong = wrong
        if incidents or self._silent or wrong:
            self._sound_since = now

    def sound(self, now: float) -> bool:
        """Tell whether a cue may be given: samples come, and once nothing was wrong for long enough."""
        self._checked = self._checked or (self.guard.unjudged == 0 and now - self._sound_since >= self._check_s)
        return self._checked and not self._silent
