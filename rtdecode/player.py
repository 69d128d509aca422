"""Recordings as LSL sources: all their streams, in time."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.errors import DeadlineError
from rtdecode.faults import FaultSettings, schedule
from rtdecode.interrupts import Interrupts
from rtdecode.lsl import Outlet, local_clock
from rtdecode.realtime import quiet_collector, sleep_until
from rtdecode.recording import Session
from rtdecode.schedule import Close, Incident, Open, Push, in_turn

# Time for consumers to fetch what was pushed last, before the outlets go away.
_LINGER_S = 1.0
_LEAD_S = 0.2
# Short enough to end soon when that is asked for.
_HEAR_S = 0.2
# As many of the newest pushes are remembered: hours.
_REMEMBERED = 1_000_000

_Seconds = Annotated[float, Field(ge=0)]


class PlayerSettings(BaseModel):
    """How a session is played.

    Attributes
    ----------
    source_id : str
        Of the signal; made of its name if empty, as those of all others are.
    chunk : int
        Samples in a push of the fastest stream; of a slower one as many as come in the same time. 0: irregular,
        1 to 64, by `seed`.
    speed : float
        How many times faster than it was recorded. Nominal rates stay; `desc/rtdecode/speed` tells.
    loop : int
        How many times; 0: for ever.
    start : int
        The first sample of the signal to play.
    parts : tuple of (float, float)
        Parts to play instead of all, one after the other: from when until when, in seconds of the recording.
    wait_s : float
        How long to wait for a consumer before sample 0.
    for_all : bool
        Wait until every stream has one, instead of the signal (or, where there is no one signal, any).
    faults : FaultSettings
        What goes wrong with the signal on purpose, in each part anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source_id: str = ""
    chunk: int = Field(default=8, ge=0)
    seed: int = Field(default=0, ge=0)
    speed: float = Field(default=1.0, ge=0.1, le=10)
    loop: int = Field(default=1, ge=0)
    start: int = Field(default=0, ge=0)
    parts: tuple[tuple[_Seconds, _Seconds], ...] = ()
    wait_s: float = Field(default=60.0, gt=0)
    for_all: bool = False
    faults: FaultSettings = FaultSettings()

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> Self:
        if self.start and self.parts:
            raise ValueError("start and parts both say where to begin; give one of them")
        return self

    def cut(self, session: Session) -> list[Session]:
        """Return what is to be played of a session; RecordingError where there is nothing."""
        whole = session.since(self.start) if self.start else session
        return [whole.crop(*part) for part in self.parts] or [whole]


@dataclass(frozen=True)
class Played:
    """What was played.

    Attributes
    ----------
    n_samples : tuple of int
        Of each stream.
    first_timestamp : float
        Stamp of the signal's first sample; without a signal, of the first of any stream.
    lateness_s : array, (n_pushes,)
        How long after it was due each push was done, the newest million of them.
    """

    n_samples: tuple[int, ...]
    first_timestamp: float
    lateness_s: np.ndarray


def play(
    session: Session,
    settings: PlayerSettings,
    ready: Callable[[], None] | None = None,
    tell: Callable[[Incident, float], None] | None = None,
    interrupts: Interrupts | None = None,
) -> Played:
    """Play a session: all its streams, each chunk pushed when its last sample is due; ends early when asked to.

    A sample is stamped t0 + (its stamp in the recording - the first of any stream) / speed: the time at which a
    device would have taken it. A chunk is pushed when its last sample was there, so no stamp lies in the future and
    what a consumer measures is its own latency. Nothing is pushed before a consumer is there.
    Faults change that as they say; `tell` hears of each when it begins, with the LSL time of its first sample.

    Raises
    ------
    ConfigurationError
        A fault does not fit the recording.
    DeadlineError
        No consumer came in time.
    RecordingError
        There is nothing to play in a part.
    """
    parts = [schedule(part, settings.faults, settings.chunk, settings.seed) for part in settings.cut(session)]
    ids = session.source_ids()
    if settings.source_id and session.signal is not None:
        ids[session.signal] = settings.source_id
    outlets = _Outlets(session, ids, settings.speed)
    if ready:
        ready()
    interrupts = interrupts or Interrupts()
    outlets.wait_for_consumers(None if settings.for_all else session.signal, settings, interrupts)
    t0 = local_clock() + _LEAD_S
    lateness: deque[float] = deque(maxlen=_REMEMBERED)
    with quiet_collector():
        for action in in_turn(parts, settings.loop):
            due = t0 + action.due_s / settings.speed
            if not _await(due, interrupts):
                break
            if isinstance(action, Incident):
                if tell:
                    tell(action, due)
            else:
                outlets.do(action, t0)
                if isinstance(action, Push):
                    lateness.append(local_clock() - due)
    _await(local_clock() + _LINGER_S, interrupts)
    return Played(tuple(outlets.n_samples), t0 + parts[0].first_s / settings.speed, np.array(lateness))


def _await(due: float, interrupts: Interrupts) -> bool:
    """Wait until the clock has reached `due`; return whether it did before the end was asked for."""
    while not interrupts.asked and (left := due - local_clock()) > _HEAR_S:
        time.sleep(min(left - _HEAR_S, _HEAR_S))
    if not interrupts.asked:
        sleep_until(due, local_clock)
    return not interrupts.asked


class _Outlets:
    """The outlets of a session, by the number of their stream."""

    def __init__(self, session: Session, source_ids: list[str], speed: float) -> None:
        self._names = [stream.layout.name for stream in session.streams]
        self._ids, self._speed = source_ids, speed
        self._open = {
            index: Outlet(stream.layout, source_id, speed)
            for index, (stream, source_id) in enumerate(zip(session.streams, source_ids, strict=True))
        }
        self.n_samples = [0] * len(self._names)

    def wait_for_consumers(self, signal: int | None, settings: PlayerSettings, interrupts: Interrupts) -> None:
        deadline = local_clock() + settings.wait_s
        awaited = set(self._open) if signal is None else {signal}
        enough = len(awaited) if settings.for_all else 1
        while sum(self._open[i].wait_for_consumers(_HEAR_S / len(awaited)) for i in awaited) < enough:
            if interrupts.asked:
                return
            if local_clock() > deadline:
                names = ", ".join(repr(self._names[i]) for i in sorted(awaited))
                raise DeadlineError(
                    f"Nobody listened to stream {names} for {settings.wait_s:g} s. Start `rtdecode run`, or wait "
                    "longer with --wait."
                )

    def do(self, action: Push | Close | Open, t0: float) -> None:
        index = action.stream
        match action:
            case Push():
                self._open[index].push(action.values, t0 + action.timestamps / self._speed)
                self.n_samples[index] += len(action.timestamps)
            case Close():
                # The last reference to it: this ends the stream.
                del self._open[index]
            case Open():
                self._open[index] = Outlet(action.layout, action.source_id or self._ids[index], self._speed)
