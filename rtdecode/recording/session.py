"""Whole sessions: every stream as it was recorded, all of them in one clock."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.errors import RecordingError
from rtdecode.recording.recording import Recording

NUMBERS = {
    "float32": np.float32, "double64": np.float64,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
}  # fmt: skip
"""The formats of LSL and XDF that are numbers; the other one is `string`."""

# As the XDF specification spells them.
_SPOKEN = {"V": "volts", "mV": "millivolts", "uV": "microvolts", "nV": "nanovolts"}

# No jitter sets a stamp back so far: the clock was set, and the samples came one after the other all the same.
_SET_BACK_S = 1.0


@dataclass(frozen=True)
class Layout:
    """What a stream tells of itself.

    Attributes
    ----------
    name, type : str
        As in LSL.
    n_channels : int
        Values of one sample.
    sfreq : float
        Nominal rate in Hz; 0 for an irregular stream.
    channel_format : str
        One of `NUMBERS`, or `string`.
    desc : str
        Its own description: XML, with `desc` as its root.
    """

    name: str
    type: str
    n_channels: int
    sfreq: float
    channel_format: str
    desc: str = "<desc />"

    @classmethod
    def of_signal(cls, name: str, signal: Signal) -> "Layout":
        """Describe a signal (float32) so that any reader knows its channels."""
        kind = "MEG" if {"mag", "grad"} & set(signal.ch_types) else "EEG"
        desc = ElementTree.Element("desc")
        channels = ElementTree.SubElement(desc, "channels")
        for label, ch_type, unit in zip(signal.ch_names, signal.ch_types, signal.units, strict=True):
            channel = ElementTree.SubElement(channels, "channel")
            for tag, text in (("label", label), ("unit", _SPOKEN.get(unit, unit)), ("type", ch_type.upper())):
                ElementTree.SubElement(channel, tag).text = text
        return cls(name, kind, signal.n_channels, signal.sfreq, "float32", ElementTree.tostring(desc, "unicode"))

    @classmethod
    def of_markers(cls, name: str) -> "Layout":
        """Describe a stream of markers (strings)."""
        return cls(name, "Markers", 1, 0.0, "string")

    @cached_property
    def root(self) -> ElementTree.Element:
        """The description, parsed; not to be changed."""
        return ElementTree.fromstring(self.desc)

    @property
    def is_signal(self) -> bool:
        """Whether it carries numbers at a regular rate."""
        return self.channel_format in NUMBERS and self.sfreq > 0

    @property
    def channels(self) -> list[ElementTree.Element]:
        """What is said of each channel; nothing if it does not speak of as many."""
        channels = self.root.find("channels")
        found = [] if channels is None else channels.findall("channel")
        return found if len(found) == self.n_channels else [ElementTree.Element("channel")] * self.n_channels

    @property
    def ch_names(self) -> tuple[str, ...]:
        """The labels; channels without one are numbered."""
        return tuple(c.findtext("label") or f"ch{i}" for i, c in enumerate(self.channels, 1))

    @property
    def speed(self) -> float:
        """How many times faster than at its nominal rate its samples were stamped: more than 1 in a replay."""
        try:
            speed = float(self.root.findtext("rtdecode/speed") or 1.0)
        except ValueError:
            return 1.0
        return speed if 0 < speed < np.inf else 1.0

    def at_speed(self, speed: float) -> "Layout":
        """Return it with a description that tells this speed."""
        root = ElementTree.fromstring(self.desc)
        ours = root.find("rtdecode")
        ours = ElementTree.SubElement(root, "rtdecode") if ours is None else ours
        told = ours.find("speed")
        told = ElementTree.SubElement(ours, "speed") if told is None else told
        told.text = repr(float(speed))
        return replace(self, desc=ElementTree.tostring(root, "unicode"))

    def pick(self, columns: Sequence[int] | NDArray[np.intp]) -> "Layout":
        """Return it with some of its channels, in this order."""
        root = ElementTree.fromstring(self.desc)
        channels = root.find("channels")
        described = [] if channels is None else channels.findall("channel")
        if channels is not None and len(described) == self.n_channels:
            for channel in described:
                channels.remove(channel)
            channels.extend(described[i] for i in columns)
        return replace(self, n_channels=len(columns), desc=ElementTree.tostring(root, "unicode"))

    def __str__(self) -> str:
        rate = f"at {self.sfreq:g} Hz" if self.sfreq else "irregular"
        return f"{self.name!r} ({self.type or 'no type'}): {self.n_channels} x {self.channel_format}, {rate}"


@dataclass(frozen=True, eq=False)
class Stream:
    """What was recorded of a stream.

    Attributes
    ----------
    layout : Layout
        What it tells of itself.
    timestamps : array of float64, (n_samples,)
        In seconds, in the session's clock; as they are: they may jitter, repeat, go back, or be no numbers.
    values : array, (n_samples, n_channels)
        In the layout's format; of str (dtype object) for strings.
    first : int
        The number of its first sample in the recording.
    clock_offsets : array of float64, (n_offsets, 2)
        If the stamps are in its source's clock: pairs of such a stamp and what brings it into the recorder's.
    """

    layout: Layout
    timestamps: NDArray[np.float64]
    values: NDArray[Any]
    first: int = 0
    clock_offsets: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        if len(self.timestamps) and not np.isfinite(self.timestamps).any():
            raise RecordingError(f"Stream {self.layout.name!r} has no stamp that is a number.")

    @cached_property
    def arrivals(self) -> NDArray[np.float64]:
        """When each sample was there, by its stamp: never before an earlier one.

        Where the clock was set back, samples went on coming: the next one, one interval later.
        """
        there = np.flatnonzero(np.isfinite(self.timestamps))
        if len(there) == 0:
            return np.empty(0)
        stamps = np.interp(np.arange(len(self.timestamps)), there, self.timestamps[there])
        steps = np.diff(stamps)
        interval = 1 / self.layout.sfreq if self.layout.sfreq else 0.0
        set_back = np.where(steps < -_SET_BACK_S, interval - steps, 0.0)
        arrivals: NDArray[np.float64] = np.maximum.accumulate(stamps + np.concatenate([[0.0], np.cumsum(set_back)]))
        return arrivals

    def offset(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what must be added to stamps to bring them into the recorder's clock."""
        times, values = self.clock_offsets.T
        return np.interp(at, times, values) if len(values) else np.zeros_like(at)

    def cut(self, start: int, stop: int | None = None) -> "Stream":
        """Return samples [start, stop)."""
        part = slice(start, stop)
        return Stream(self.layout, self.timestamps[part], self.values[part], self.first + start)

    def __str__(self) -> str:
        n = len(self.timestamps)
        return f"{self.layout}, {n} samples" + (f" in {self.arrivals[-1] - self.arrivals[0]:.1f} s" if n else "")


@dataclass(frozen=True, eq=False)
class Session:
    """All streams of a recording.

    Attributes
    ----------
    streams : tuple of Stream
        In the order of the file.
    path : str
        Where it came from.
    """

    streams: tuple[Stream, ...]
    path: str = ""

    @classmethod
    def of_recording(cls, recording: Recording, name: str) -> "Session":
        """Return the streams that carry a recording: its signal, called `name`, and its events, `<name>-events`."""
        signal = Stream(Layout.of_signal(name, recording.signal), recording.timestamps, recording.samples)
        stamps = np.array([event.timestamp for event in recording.events], np.float64)
        labels = np.array([[event.label] for event in recording.events], object).reshape(-1, 1)
        events = Stream(Layout.of_markers(f"{name}-events"), stamps, labels)
        return cls((signal, events), recording.path)

    @cached_property
    def signal(self) -> int | None:
        """Which stream is the signal: the only one of type EEG or MEG, or the only one; None if none is alone."""
        return the_signal([stream.layout for stream in self.streams])

    @cached_property
    def begin(self) -> float:
        """When the first sample of any stream was there."""
        return min((float(s.arrivals[0]) for s in self.streams if len(s.arrivals)), default=0.0)

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the last."""
        return max((float(s.arrivals[-1]) - self.begin for s in self.streams if len(s.arrivals)), default=0.0)

    def chosen(self, names: Sequence[str]) -> "Session":
        """Return only the streams of these names; RecordingError if one is not there."""
        there = {s.layout.name for s in self.streams}
        for name in names:
            if name not in there:
                raise RecordingError(
                    f"Recording {self.path} has no stream {name!r}; it has {', '.join(map(repr, sorted(there)))}."
                )
        return replace(self, streams=tuple(s for s in self.streams if s.layout.name in names))

    def renamed(self, prefix: str) -> "Session":
        """Return it with a prefix before each stream's name."""
        return replace(
            self,
            streams=tuple(replace(s, layout=replace(s.layout, name=prefix + s.layout.name)) for s in self.streams),
        )

    def crop(self, start_s: float, stop_s: float) -> "Session":
        """Return what was there from `start_s` until before `stop_s`, in seconds after the begin.

        Raises
        ------
        RecordingError
            Nothing was.
        """
        bounds = self.begin + np.array([start_s, stop_s])
        cut = tuple(s.cut(*map(int, np.searchsorted(s.arrivals, bounds))) for s in self.streams)
        if not any(len(s.timestamps) for s in cut):
            raise RecordingError(
                f"Recording {self.path} has no sample from {start_s:g} to {stop_s:g} s of its "
                f"{self.duration_s:.1f} s."
            )
        return replace(self, streams=cut)

    def since(self, sample: int) -> "Session":
        """Return what was there from this sample of the signal on.

        Raises
        ------
        RecordingError
            It has no such sample, or no signal.
        """
        if self.signal is None:
            raise RecordingError(
                f"Recording {self.path} has no one signal whose samples could be counted: choose streams with "
                "--stream, or begin with --part SECONDS:."
            )
        signal = self.streams[self.signal]
        if not 0 <= sample < len(signal.timestamps):
            raise RecordingError(f"Recording {self.path} has {len(signal.timestamps)} samples; none at {sample}.")
        # An event belongs to the sample nearest to it.
        bound = signal.arrivals[sample] - 0.5 / signal.layout.sfreq
        cut = [s.cut(int(np.searchsorted(s.arrivals, bound))) for s in self.streams]
        cut[self.signal] = signal.cut(sample)
        return replace(self, streams=tuple(cut))

    def source_ids(self) -> list[str]:
        """Return an identity for each stream: of its name, and numbered where several have one name."""
        seen: Counter[str] = Counter()
        found = []
        for stream in self.streams:
            name = stream.layout.name
            seen[name] += 1
            found.append(f"rtdecode-play-{name}" + (f"-{seen[name]}" if seen[name] > 1 else ""))
        return found


def the_signal(layouts: Sequence[Layout]) -> int | None:
    """Return which one is the signal: the only one of type EEG or MEG, or the only one; None if none is alone."""
    signals = [i for i, layout in enumerate(layouts) if layout.is_signal]
    typed = [i for i in signals if layouts[i].type.upper() in ("EEG", "MEG")]
    found = typed or signals
    return found[0] if len(found) == 1 else None
