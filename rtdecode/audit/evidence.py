"""What a recorded session says of a live run: its signal, what was published, what was told."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtdecode.contract import Event, Policy, Signal
from rtdecode.device import DeviceSettings
from rtdecode.errors import RecordingError
from rtdecode.guard import GuardSettings
from rtdecode.marker import MarkerFormat

# Abstentions that time makes, and no sample.
PAUSES = ("stalled", "stream-lost")
# Abstentions of events because of when they, or the end, came.
UNTIMELY = ("late", "end", *PAUSES)


class Document(BaseModel):
    """Of what is told, the part that an audit needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Identity(Document):
    name: str
    host: str


class _Choice(Document):
    name: str | None


class _Settings(Document):
    events: _Choice | None = None
    guard: GuardSettings
    policy: Policy | None
    marker_format: MarkerFormat
    device: DeviceSettings = DeviceSettings()


class Start(Document):
    """The `start` of a connection, as far as an audit needs it (docs/outputs.md)."""

    model: str
    sha256: str
    first_timestamp: float | None
    correction_s: float
    stream: _Identity
    events: _Identity | None
    signal: Signal
    speed: Annotated[float, Field(gt=0)]
    settings: _Settings
    versions: dict[str, str]

    @property
    def one_clock(self) -> bool:
        """Whether signal and events come from one host."""
        return self.events is None or self.events.host == self.stream.host


class Stop(Document):
    """How many samples a connection gave, and the raw stamp of the last."""

    samples: int
    last_timestamp: float | None


class Told(Document):
    """What the guard found, and when."""

    sample: int
    reason: str
    raw_timestamp: float | None


@dataclass(frozen=True, eq=False)
class Row:
    """A row of NAME-proba or NAME-values.

    Attributes
    ----------
    timestamp : float
        As it was published.
    outputs : array of float32, (n_outputs,), or None
        Probabilities or values; None of an abstention.
    label : int
        Index of the class; -1 without.
    reason : str or None
        Why it abstains, where that was kept.
    """

    timestamp: float
    outputs: NDArray[np.float32] | None
    label: int
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one connection.

    Attributes
    ----------
    start : Start
        How it began.
    samples, timestamps : arrays, (n_samples, n_channels) and (n_samples,)
        All that was recorded of the source, with raw stamps.
    rows : tuple of Row
        What was published for hops or events, and repeated.
    markers : tuple of (float, str or int), or None
        Stamps and markers of NAME; None if it was not recorded.
    events : tuple of Event, or None
        Of the stream of events, in the clock of the samples; None if it was not recorded.
    stop : Stop or None
        How it ended; None if the recorder had ended before.
    incidents : tuple of Told, or None
        What the guard told; None if that was not kept.
    skips : tuple of (int, int)
        Up to which sample how many results were skipped.
    corrections : tuple of (int, float)
        From which sample on, at the latest, what was added to raw stamps.
    pauses : tuple of float
        Stamps of abstentions that are repeated while no data come.
    untimely : frozenset of Event
        Events that got an abstention because of when they came; stamped in the clock of the samples.
    """

    start: Start
    samples: NDArray[np.float32]
    timestamps: NDArray[np.float64]
    rows: tuple[Row, ...]
    markers: tuple[tuple[float, str | int], ...] | None
    events: tuple[Event, ...] | None = None
    stop: Stop | None = None
    incidents: tuple[Told, ...] | None = None
    skips: tuple[tuple[int, int], ...] = ()
    corrections: tuple[tuple[int, float], ...] = ()
    pauses: tuple[float, ...] = ()
    untimely: frozenset[Event] = frozenset()


_D = TypeVar("_D", bound=Document)


def parsed(text: str, path: str) -> dict[str, Any]:
    """Read a JSON object; RecordingError if it is none."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RecordingError(f"Recording {path}: the status stream holds what is no JSON object: {text[:60]!r}.")
    return document


def valid(kind: type[_D], document: dict[str, Any], where: str) -> _D:
    """Read what was told; RecordingError if anything is missing or wrong."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        wrong = error.errors()[0]
        at = ".".join(map(str, wrong["loc"]))
        raise RecordingError(
            f"Recording {where}: event {document.get('event')!r} cannot be audited: {at}: {wrong['msg']}. Was it "
            "recorded with an older rtdecode?"
        ) from None
