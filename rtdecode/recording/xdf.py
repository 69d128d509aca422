"""XDF files: one signal with its markers as a recording, or all streams as a session."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Event, Signal, canonical_unit
from rtdecode.errors import RecordingError
from rtdecode.recording.positions import on_plane
from rtdecode.recording.recording import Recording, at_nominal_rate
from rtdecode.recording.session import NUMBERS, Layout, Session, Stream, the_signal
from rtdecode.recording.xdf_chunks import whole_chunks


def read_xdf(path: Path, stream: str | None) -> Recording:
    """Read the signal, with raw stamps, and every marker as an event in the signal's clock."""
    layouts, streams = _load(path, one_clock=False)
    index = _choose(layouts, path, stream)
    layout, chosen = layouts[index], streams[index]
    stamps = np.asarray(chosen["time_stamps"], np.float64)
    samples = np.ascontiguousarray(chosen["time_series"], np.float32)
    if len(samples) == 0:
        raise RecordingError(f"Recording {path}: stream {layout.name!r} holds no samples.")
    signal = _signal(layout)
    positions = on_plane({n: _place(channel) for n, channel in zip(signal.ch_names, layout.channels, strict=True)})
    events = []
    for other, its_layout in zip(streams, layouts, strict=True):
        if not _holds_markers(its_layout):
            continue
        at = np.asarray(other["time_stamps"], np.float64)
        # Into the recorder's clock by the markers' own offsets, out of it again by the signal's.
        at = at + _clock_offset(other, at)
        at = at - _clock_offset(chosen, at - _clock_offset(chosen, at))
        at = at_nominal_rate(at, layout.speed, stamps)
        events += [Event(float(t), str(v[0])) for t, v in zip(at, other["time_series"], strict=True)]
    stamps = at_nominal_rate(stamps, layout.speed)
    return Recording(signal, samples, stamps, tuple(sorted(events)), str(path), positions)


def read_xdf_session(path: Path, one_clock: bool) -> Session:
    """Read every stream, its stamps as they are, or brought into the recorder's clock by pyxdf.

    pyxdf leaves out one thing: the sample after the last that an outlet's end made up (pylsl issue 67).
    """
    layouts, streams = _load(path, one_clock)
    read = []
    for layout, found in zip(layouts, streams, strict=True):
        shape = len(found["time_stamps"]), layout.n_channels
        values = np.empty(shape, NUMBERS.get(layout.channel_format, object))
        if len(values):
            values[:] = found["time_series"]
        stamps, offsets = np.asarray(found["time_stamps"], np.float64), np.empty((0, 2))
        if not one_clock and "clock_values" in found:
            offsets = np.column_stack([found["clock_times"], found["clock_values"]])
        read.append(Stream(layout, stamps, values, clock_offsets=offsets))
    if not read:
        raise RecordingError(f"Recording {path} holds no stream.")
    return Session(tuple(read), str(path))


def _load(path: Path, one_clock: bool) -> tuple[list[Layout], list[dict[str, Any]]]:
    import pyxdf

    file, infos = whole_chunks(path)
    with file, _Errors("pyxdf") as errors:
        # Never dejittered: that hides gaps.
        streams, _ = pyxdf.load_xdf(file, synchronize_clocks=one_clock, dejitter_timestamps=False)
    if errors.told:
        raise RecordingError(f"Recording {path} is damaged: {errors.told[0].strip().rstrip('.')}.")
    return [_layout(infos[s["info"]["stream_id"]], s["info"]["stream_id"]) for s in streams], streams


class _Errors(logging.Handler):
    """What a library logs as errors, and goes on."""

    def __init__(self, logger: str) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []
        self._logger = logging.getLogger(logger)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is told."""
        self.told.append(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


def _layout(info: ElementTree.Element, number: int) -> Layout:
    desc = info.find("desc")
    return Layout(
        # LSL knows no stream without a name.
        info.findtext("name") or f"stream-{number}",
        info.findtext("type") or "",
        int(info.findtext("channel_count") or 0),
        float(info.findtext("nominal_srate") or 0),
        info.findtext("channel_format") or "",
        "<desc />" if desc is None else ElementTree.tostring(desc, "unicode").strip(),
    )


def _choose(layouts: Sequence[Layout], path: Path, name: str | None) -> int:
    named = [i for i, layout in enumerate(layouts) if layout.name == name and layout.is_signal]
    index = the_signal(layouts) if name is None else named[0] if len(named) == 1 else None
    if index is not None:
        return index
    listed = ", ".join(f"{layout.name!r} ({layout.type or None})" for layout in layouts) or "none"
    wanted = f"named {name!r}" if name else "of type EEG or MEG"
    raise RecordingError(
        f"Recording {path}: exactly one signal stream {wanted} is needed; streams in the file: {listed}."
    )


def _place(channel: ElementTree.Element) -> list[float]:
    """Return right, front and up, in millimetres (github.com/sccn/xdf/wiki/EEG-Meta-Data)."""
    try:
        return [float(channel.findtext(f"location/{axis}") or "") for axis in "XYZ"]
    except ValueError:
        return [np.nan] * 3


def _signal(layout: Layout) -> Signal:
    types = tuple(re.sub(r"\W", "", c.findtext("type") or layout.type).lower() for c in layout.channels)
    told = tuple(c.findtext("unit") or "none" for c in layout.channels)
    units = tuple(canonical_unit(unit, ch_type) or "none" for unit, ch_type in zip(told, types, strict=True))
    return Signal(ch_names=layout.ch_names, ch_types=types, units=units, sfreq=layout.sfreq)


def _holds_markers(layout: Layout) -> bool:
    """Tell whether a stream holds events: irregular, one channel, and not what a decoder made of the signal."""
    ours = layout.root.findtext("rtdecode/role") == "output"
    irregular = layout.sfreq == 0 and layout.n_channels == 1
    return not ours and irregular and (layout.channel_format == "string" or layout.type.lower() == "markers")


def _clock_offset(stream: dict[str, Any], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what must be added to stamps of a stream to bring them into the recorder's clock."""
    values = np.asarray(stream.get("clock_values", []), np.float64)
    if len(values) == 0:
        return np.zeros_like(at)
    return np.interp(at, np.asarray(stream["clock_times"], np.float64), values)
