"""Evidence in a recording of LabRecorder: the signal and the decoder's three streams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rtdecode.audit.evidence import PAUSES, UNTIMELY, Document, Evidence, Row, Start, Stop, Told, parsed, valid
from rtdecode.contract import Event
from rtdecode.errors import RecordingError
from rtdecode.recording import Session, Stream, read_session

_T = TypeVar("_T")


class _Skipped(Document):
    count: int
    sample: int


class _Correction(Document):
    correction_s: float
    sample: int


class _Abstention(Document):
    reason: str
    event_timestamp: float | None = None
    label: str | None = None


def read_recorded(path: Path, name: str | None, column: str) -> list[Evidence]:
    """Read an XDF file, connection by connection; see `read_evidence`."""
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
        document = parsed(text, path)
        event = document.get("event")
        if event == "start":
            start = valid(Start, document, path)
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
            self.stop = valid(Stop, document, path)
        elif event == "incident":
            self.incidents.append(valid(Told, document, path))
        elif event == "skipped":
            skipped = valid(_Skipped, document, path)
            self.skips.append((skipped.sample, skipped.count))
        elif event == "correction":
            moved = valid(_Correction, document, path)
            self.corrections.append((moved.sample, moved.correction_s))
        elif event == "abstain":
            abstention = valid(_Abstention, document, path)
            if abstention.reason in PAUSES and abstention.label is None:
                self.pauses.append(stamp)
            elif abstention.reason in UNTIMELY and abstention.event_timestamp is not None:
                self.untimely.add(Event(abstention.event_timestamp, abstention.label or ""))


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
