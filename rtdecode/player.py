"""A recording as an LSL source, in real time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rtdecode.errors import DeadlineError
from rtdecode.faults import FaultSettings, schedule
from rtdecode.lsl import EventOutlet, SignalOutlet, local_clock
from rtdecode.realtime import sleep_until
from rtdecode.recording import Recording
from rtdecode.schedule import Close, Incident, Mark, Open, Push

# Time for consumers to fetch what was pushed last, before the outlet goes away.
_LINGER_S = 1.0
_LEAD_S = 0.2


class PlayerSettings(BaseModel):
    """How a recording is played.

    Attributes
    ----------
    name : str
        Of the signal stream; the marker stream is called `<name>-events`.
    chunk : int
        Samples in a push; 0: irregular, 1 to 64, by `seed`.
    wait_s : float
        How long to wait for a consumer before sample 0.
    faults : FaultSettings
        What goes wrong on purpose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "rtdecode-play"
    source_id: str = ""
    chunk: int = Field(default=8, ge=0)
    seed: int = 0
    wait_s: float = Field(default=60.0, gt=0)
    faults: FaultSettings = FaultSettings()


@dataclass(frozen=True)
class Played:
    """What was played: number of samples and events, stamp of sample 0, and schedule errors in seconds."""

    n_samples: int
    n_events: int
    first_timestamp: float
    lateness_s: np.ndarray


def chunk_sizes(n_samples: int, chunk: int, seed: int) -> list[int]:
    """Return the sizes of the pushes: all `chunk`, or irregular ones when `chunk` is 0."""
    if chunk:
        sizes = [chunk] * (n_samples // chunk)
    else:
        drawn = np.random.default_rng(seed).integers(1, 65, size=n_samples)
        sizes = [int(s) for s in drawn[: int(np.searchsorted(np.cumsum(drawn), n_samples, "right"))]]
    rest = n_samples - sum(sizes)
    return [*sizes, rest] if rest else sizes


def play(
    recording: Recording,
    settings: PlayerSettings,
    ready: Callable[[], None] | None = None,
    tell: Callable[[Incident, float], None] | None = None,
) -> Played:
    """Play a recording once: signal and events, each chunk pushed when its last sample is due.

    Sample i is stamped t0 + (its stamp in the recording - that of sample 0): the time at which an amplifier
    would have taken it. A chunk is pushed at the stamp of its last sample, so no stamp lies in the future and
    what a consumer measures is its own latency. Nothing is pushed before a consumer is there.
    Faults change that as they say; `tell` hears of each when it begins, with the LSL time of its first sample.

    Raises
    ------
    ConfigurationError
        A fault does not fit the recording.
    DeadlineError
        No consumer came in time.
    """
    sizes = chunk_sizes(len(recording.samples), settings.chunk, settings.seed)
    actions = schedule(recording, sizes, settings.faults).actions()
    source_id = settings.source_id or f"rtdecode-play-{settings.name}"
    outlet = SignalOutlet(settings.name, source_id, recording.signal)
    events_outlet = EventOutlet(f"{settings.name}-events", f"{source_id}-events")
    if ready:
        ready()
    deadline = local_clock() + settings.wait_s
    # In short waits, so that Ctrl-C is heard.
    while not outlet.wait_for_consumers(0.2):
        if local_clock() > deadline:
            raise DeadlineError(
                f"Nobody listened to stream {settings.name!r} for {settings.wait_s:g} s. Start "
                "`rtdecode run`, or wait longer with --wait."
            )
    t0 = local_clock() + _LEAD_S
    lateness, n_samples, n_events = [], 0, 0
    for action in actions:
        due = t0 + action.due_s
        sleep_until(due, local_clock)
        match action:
            case Push():
                outlet.push(action.samples, t0 + action.timestamps)
                lateness.append(local_clock() - due)
                n_samples += len(action.timestamps)
            case Mark():
                events_outlet.push(action.label, t0 + action.timestamp)
                n_events += 1
            case Close():
                # The last reference to it: this ends the stream.
                del outlet
            case Open():
                outlet = SignalOutlet(settings.name, action.source_id or source_id, action.signal)
            case Incident() if tell:
                tell(action, due)
    time.sleep(_LINGER_S)
    return Played(n_samples, n_events, t0, np.array(lateness))
