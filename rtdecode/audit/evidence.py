"""What a recorded session says of a live run: its signal, what was published, what was told."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtdecode.contract import Event, Policy, Signal
from rtdecode.errors import RecordingError
from rtdecode.guard import GuardSettings
from rtdecode.marker import MarkerFormat
from rtdecode.recording import Session, Stream, read_recording, read_session

# Abstentions that time makes, and no sample.
PAUSES = ("stalled", "stream-lost")
# Abstentions of events because of when they, or the end, came.
_UNTIMELY = ("late", "end", *PAUSES)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Identity(_Document):
    name: str
    host: str


class _Choice(_Document):
    name: str | None


class _Settings(_Document):
    events: _Choice | None = None
    guard: GuardSettings
    policy: Policy | None
    marker_format: MarkerFormat


class Start(_Document):
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


class Stop(_Document):
    """How many samples a connection gave, and the raw stamp of the last."""

    samples: int
    last_timestamp: float | None


class Told(_Document):
    """What the guard found, and when."""

    sample: int
    reason: str
    raw_timestamp: float | None


class _Skipped(_Document):
    count: int
    sample: int


class _Correction(_Document):
    correction_s: float
    sample: int


class _Abstention(_Document):
    reason: str
    event_timestamp: float | None = None
    label: str | None = None


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


def read_evidence(path: Path, name: str | None = None, column: str = "proba") -> list[Evidence]:
    """Read a session, connection by connection.

    Parameters
    ----------
    path : Path
        An XDF file with the signal and the three streams of a decoder, or what `run --save` wrote.
    name : str, optional
        Of the decoder (NAME), if several were recorded.
    column : str
        `proba` or `values`: what it gives.

    Raises
    ------
    RecordingError
        It cannot be read, or something that an audit needs is not in it.
    """
    if path.suffix == ".npz":
        return [_saved(path, column)]
    session = read_session(path, one_clock=False)
    status = _status_stream(session, name)
    name = status.layout.name.removesuffix("-status")
    rows = _rows(_alone(session, f"{name}-{column}"), column)
    markers = _markers([s for s in session.streams if s.layout.name == name])
    connections = list(_connections(status, session.path))
    firsts = [stamp for stamp, _ in connections[1:]]
    found = []
    for number, (_, told) in enumerate(connections):
        found.append(
            replace(
                _of_source(session, told),
                rows=_part(rows, [row.timestamp for row in rows], firsts, number),
                markers=None if markers is None else _part(markers, [m[0] for m in markers], firsts, number),
            )
        )
    return found


_T = TypeVar("_T")
_D = TypeVar("_D", bound=_Document)


def _part(items: Sequence[_T], stamps: Sequence[float], firsts: Sequence[float], number: int) -> tuple[_T, ...]:
    """Return what belongs to a connection: from the first stamp at its begin or later to that of the next one."""
    cuts = [0]
    for first in firsts:
        later = (i for i in range(cuts[-1], len(stamps)) if stamps[i] >= first)
        cuts.append(next(later, len(stamps)))
    return tuple(items[cuts[number] : [*cuts, len(stamps)][number + 1]])


def _status_stream(session: Session, name: str | None) -> Stream:
    found = [s for s in session.streams if s.layout.name.endswith("-status") and s.layout.channel_format == "string"]
    there = ", ".join(repr(s.layout.name.removesuffix("-status")) for s in found) or "none"
    if name is not None:
        found = [s for s in found if s.layout.name == f"{name}-status"]
    if len(found) != 1:
        raise RecordingError(
            f"Recording {session.path}: the status stream of exactly one decoder{f' {name!r}' if name else ''} is "
            f"needed; recorded: {there}. Record NAME-status with the signal, or choose a decoder with --name."
        )
    return found[0]


def _alone(session: Session, name: str) -> Stream:
    found = [s for s in session.streams if s.layout.name == name]
    if len(found) != 1:
        raise RecordingError(f"Recording {session.path} holds {len(found)} streams {name!r}; one is needed.")
    return found[0]


def _rows(stream: Stream, column: str) -> list[Row]:
    rows = []
    for stamp, values in zip(stream.timestamps, stream.values.astype(np.float32), strict=True):
        # The row of a classification ends in the label's index.
        outputs, label = (values[:-1], int(values[-1])) if column == "proba" else (values, -1)
        rows.append(Row(float(stamp), None if np.isnan(outputs).all() else outputs, label))
    return rows


def _markers(streams: Sequence[Stream]) -> list[tuple[float, str | int]] | None:
    if not streams:
        return None
    pairs = [pair for s in streams for pair in zip(s.timestamps, s.values[:, 0], strict=True)]
    return [(float(t), value if isinstance(value, str) else int(value)) for t, value in pairs]


def _connections(status: Stream, path: str) -> Iterator[tuple[float, "_Telling"]]:
    """Cut what was told at every `start` that is not the one before told again."""
    telling: _Telling | None = None
    since = 0.0
    for stamp, (text,) in zip(status.timestamps, status.values, strict=True):
        document = _parsed(text, path)
        event = document.get("event")
        if event == "start":
            start = _valid(Start, document, path)
            if telling is None or start != telling.start:
                if telling:
                    yield since, telling
                telling, since = _Telling(start), float(stamp)
        elif telling:
            telling.take(str(event), document, float(stamp), path)
    if telling is None:
        raise RecordingError(
            f"Recording {path}: {status.layout.name!r} tells no start of a decoder. Record it from the begin: "
            "`rtdecode run --wait-listener` waits for the recorder."
        )
    yield since, telling


@dataclass
class _Telling:
    """What was told of one connection, so far."""

    start: Start
    stop: Stop | None = None
    incidents: list[Told] = field(default_factory=list)
    skips: list[tuple[int, int]] = field(default_factory=list)
    corrections: list[tuple[int, float]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    untimely: set[Event] = field(default_factory=set)

    def take(self, event: str, document: dict[str, Any], stamp: float, path: str) -> None:
        if event == "stop":
            self.stop = _valid(Stop, document, path)
        elif event == "incident":
            self.incidents.append(_valid(Told, document, path))
        elif event == "skipped":
            skipped = _valid(_Skipped, document, path)
            self.skips.append((skipped.sample, skipped.count))
        elif event == "correction":
            moved = _valid(_Correction, document, path)
            self.corrections.append((moved.sample, moved.correction_s))
        elif event == "abstain":
            abstention = _valid(_Abstention, document, path)
            if abstention.reason in PAUSES and abstention.label is None:
                self.pauses.append(stamp)
            elif abstention.reason in _UNTIMELY and abstention.event_timestamp is not None:
                self.untimely.add(Event(abstention.event_timestamp, abstention.label or ""))


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RecordingError(f"Recording {path}: the status stream holds what is no JSON object: {text[:60]!r}.")
    return document


def _valid(kind: type[_D], document: dict[str, Any], where: str) -> _D:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        wrong = error.errors()[0]
        at = ".".join(map(str, wrong["loc"]))
        raise RecordingError(
            f"Recording {where}: event {document.get('event')!r} cannot be audited: {at}: {wrong['msg']}. Was it "
            "recorded with an older rtdecode?"
        ) from None


def _of_source(session: Session, told: _Telling) -> Evidence:
    """Put what was told beside the recorded signal: of streams of that name the one with the first stamp."""
    start = told.start
    named = [s for s in session.streams if s.layout.name == start.stream.name and s.layout.is_signal]
    if not named:
        raise RecordingError(f"Recording {session.path} lacks the decoder's source {start.stream.name!r}.")
    source = next((s for s in named if start.first_timestamp in s.timestamps), named[0])
    if source.layout.n_channels != start.signal.n_channels:
        raise RecordingError(
            f"Recording {session.path}: {source.layout} was recorded; the decoder's source had "
            f"{start.signal.n_channels} channels."
        )
    return Evidence(
        start=start,
        samples=source.values.astype(np.float32, copy=False),
        timestamps=source.timestamps,
        rows=(),
        markers=None,
        events=_events(session, start, source),
        stop=told.stop,
        incidents=tuple(told.incidents),
        skips=tuple(told.skips),
        corrections=tuple(told.corrections),
        pauses=tuple(told.pauses),
        untimely=frozenset(told.untimely),
    )


def _events(session: Session, start: Start, source: Stream) -> tuple[Event, ...] | None:
    """Return the events that were recorded, in the source's clock; None without their stream."""
    name = start.events.name if start.events else start.settings.events.name if start.settings.events else None
    streams = [s for s in session.streams if s.layout.name == name and s.layout.sfreq == 0]
    events = []
    for stream in streams:
        stamps = stream.timestamps
        if not start.one_clock:
            # Into the recorder's clock by the events' own offsets, out of it again by the source's.
            stamps = stamps + stream.offset(stamps)
            stamps = stamps - source.offset(stamps - source.offset(stamps))
        events += [Event(float(t), str(v)) for t, v in zip(stamps, stream.values[:, 0], strict=True)]
    return tuple(events) if streams else None


def _saved(path: Path, column: str) -> Evidence:
    """Read what `run --save` wrote: one connection, as the decoder saw it."""
    recording = read_recording(path)
    with np.load(path, allow_pickle=False) as arrays:
        names = ("timestamps", "prediction_samples", f"prediction_{column}", "prediction_reasons", "about")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise RecordingError(
                f"Recording {path} was not written by `run --save`, or by another decoder: {missing}."
            )
        about = _parsed(str(arrays["about"]), str(path))
        stamps = np.asarray(arrays["timestamps"], np.float64)
        columns = ("prediction_timestamps", f"prediction_{column}", "prediction_labels", "prediction_reasons")
        kept = list(zip(*(arrays[name] for name in columns), strict=True))
        events = _pairs(arrays["event_timestamps"], arrays["event_labels"])
        at_events = "prediction_events" in arrays
        of_rows = _pairs(arrays["prediction_event_timestamps"], arrays["prediction_events"]) if at_events else ()
    rows = [
        Row(float(t), None if np.isnan(v).all() else np.asarray(v, np.float32), int(label), str(reason) or None)
        for t, v, label, reason in kept
    ]
    start = _valid(Start, {**about, "correction_s": 0.0, "signal": recording.signal.model_dump()}, str(path))
    return Evidence(
        start=start,
        samples=recording.samples,
        timestamps=stamps,
        rows=tuple(rows),
        markers=None,
        events=events,
        stop=Stop(samples=len(stamps), last_timestamp=float(stamps[-1])),
        pauses=tuple(row.timestamp for row in rows if row.reason in PAUSES),
        untimely=frozenset(e for e, row in zip(of_rows, rows, strict=False) if e.label and row.reason in _UNTIMELY),
    )


def _pairs(stamps: NDArray[np.float64], labels: NDArray[np.str_]) -> tuple[Event, ...]:
    return tuple(Event(float(t), str(label)) for t, label in zip(stamps, labels, strict=True))
