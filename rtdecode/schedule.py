"""What a session becomes when it is played: what is pushed when, and what is done to its outlets. No LSL, no clock.

Samples are counted as in the recording. Every one has a time at which it is *taken*, the *stamp* it carries, and
a later sample with which it is *released*: pushed together with all others that wait. Times are in seconds of the
recording after its begin; a player divides them by its speed.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.recording import Layout, Session, Stream

# Between one part or round and the next: a gap for every decoder, whatever its source's jitter.
_PAUSE_S, _PAUSE_SAMPLES = 1.0, 8
# A chunk does not wait for what comes after such a silence.
_SILENCE_S, _SILENCE_SAMPLES = 0.25, 1.5


@dataclass(frozen=True, slots=True)
class Push:
    """Samples to push at once.

    Attributes
    ----------
    due_s : float
        When.
    stream : int
        To which stream of the session.
    values : array, (n_samples, n_channels)
        In the layout of the outlet that is open.
    timestamps : array of float64, (n_samples,)
        Their stamps.
    """

    due_s: float
    stream: int
    values: NDArray[Any]
    timestamps: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Close:
    """The outlet of a stream goes away."""

    due_s: float
    stream: int


@dataclass(frozen=True, slots=True)
class Open:
    """The outlet of a stream comes back: with which layout, and with which `source_id` if with another."""

    due_s: float
    stream: int
    layout: Layout
    source_id: str | None


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault begins.

    Attributes
    ----------
    due_s : float
        When its first sample is taken.
    fault, text : str
        Its name, and what it does.
    sample, n_samples : int
        Which samples of the recording it concerns.
    pushed : int
        How many samples this outlet has handed over before that one: its index where a consumer counts.
    """

    due_s: float
    fault: str
    text: str
    sample: int
    n_samples: int
    pushed: int


Action = Push | Close | Open | Incident
_Placed = tuple[int, int, Action]


@dataclass(frozen=True, slots=True)
class _Absence:
    start: int
    stop: int
    layout: Layout
    columns: NDArray[np.intp] | None
    source_id: str | None


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    stop: int
    columns: NDArray[np.intp]
    change: Callable[[NDArray[Any]], Any]


def chunk_sizes(n_samples: int, chunk: int, seed: int) -> list[int]:
    """Return the sizes of the pushes: all `chunk`, or irregular ones, 1 to 64, when `chunk` is 0."""
    if chunk:
        sizes = [chunk] * (n_samples // chunk)
    else:
        drawn = np.random.default_rng(seed).integers(1, 65, size=n_samples)
        sizes = [int(s) for s in drawn[: int(np.searchsorted(np.cumsum(drawn), n_samples, "right"))]]
    rest = n_samples - sum(sizes)
    return [*sizes, rest] if rest else sizes


class Timeline:
    """When each sample of a stream is taken, how it is stamped, and with which later one it is released.

    Without further calls it is the stream as it is: every chunk due when its last sample is, or the last one before
    the stream falls silent.

    Parameters
    ----------
    stream : Stream
        What is played.
    sizes : sequence of int
        Samples of each push, one after the other.
    begin : float
        The time of the recording from which is counted; that of the first sample when not given.
    index : int
        Which stream of the session it is.
    """

    def __init__(self, stream: Stream, sizes: Sequence[int], begin: float | None = None, index: int = 0) -> None:
        self.stream, self._index = stream, index
        self.n_samples = n = len(stream.timestamps)
        if begin is None:
            begin = float(stream.arrivals[0]) if n else 0.0
        self._arrivals, self._stamps = stream.arrivals - begin, stream.timestamps - begin
        self._kept = np.ones(n, bool)
        self._longer = np.zeros(n)
        self._stamp_error = np.zeros(n)
        self._release = np.repeat(np.cumsum(sizes, dtype=int) - 1, sizes)
        silence = max(_SILENCE_S, _SILENCE_SAMPLES / stream.layout.sfreq if stream.layout.sfreq else 0.0)
        before = np.append(np.flatnonzero(np.diff(self._arrivals) > silence), n - 1)
        np.minimum(self._release, before[np.searchsorted(before, np.arange(n))], out=self._release)
        self._edits: list[_Edit] = []
        self._absences: list[_Absence] = []
        self._incidents: list[tuple[int, int, str, str]] = []

    def lose(self, start: int, stop: int) -> None:
        """Never push samples [start, stop)."""
        self._kept[start:stop] = False

    def hold(self, start: int, stop: int, every: int) -> None:
        """Release samples [start, stop) no earlier than `every` of them are there."""
        last = start + (np.arange(stop - start) // every + 1) * every - 1
        self._later(start, stop, np.minimum(last, stop - 1))

    def stall(self, start: int, stop: int) -> None:
        """Release nothing of [start, stop) before sample `stop` is there."""
        self._later(start, stop, np.full(stop - start, min(stop, self.n_samples - 1)))

    def _later(self, start: int, stop: int, release: NDArray[np.int_]) -> None:
        np.maximum(self._release[start:stop], release, out=self._release[start:stop])

    def retime(self, start: int, stop: int, sfreq: float) -> None:
        """Take samples [start, stop) at another rate; all that follow move with them."""
        self._longer[start:stop] += 1 / sfreq - 1 / self.stream.layout.sfreq

    def misstamp(self, start: int, stop: int, error_s: NDArray[np.float64], after_s: float = 0.0) -> None:
        """Add `error_s` (n,) to the stamps of samples [start, stop), and `after_s` to all that follow."""
        self._stamp_error[start:stop] += error_s
        self._stamp_error[stop:] += after_s

    def edit(self, start: int, stop: int, columns: NDArray[np.intp], change: Callable[[NDArray[Any]], Any]) -> None:
        """Change the values of some channels in samples [start, stop): `change` gets (n, n_columns)."""
        self._edits.append(_Edit(start, stop, columns, change))

    def is_away(self, sample: int) -> bool:
        """Tell whether the outlet is away when this sample is taken."""
        return any(a.start <= sample <= a.stop for a in self._absences)

    def restart(
        self, start: int, stop: int, layout: Layout, columns: NDArray[np.intp] | None, source_id: str | None
    ) -> None:
        """Close the outlet at sample `start`, lose what is taken until `stop`, and open it again.

        From then on it has `columns` of the recording, and the rate of `layout`.
        """
        self.lose(start, stop)
        self._longer[stop:] = 0.0
        self.retime(stop, self.n_samples, layout.sfreq)
        self._absences.append(_Absence(start, stop, layout, columns, source_id))

    def note(self, start: int, stop: int, fault: str, text: str) -> None:
        """Tell at sample `start` that a fault begins."""
        self._incidents.append((start, stop, fault, text))

    @property
    def _late(self) -> NDArray[np.float64]:
        return np.cumsum(self._longer)

    @property
    def first_s(self) -> float:
        """When the first sample is taken in the recording."""
        return float(self._arrivals[0]) if self.n_samples else 0.0

    @property
    def last_s(self) -> float:
        """When the last sample is taken."""
        return float(self._arrivals[-1] + self._late[-1]) if self.n_samples else 0.0

    def follow(self, other: "Timeline") -> None:
        """Move with the samples of another stream where these are taken at another rate."""
        if self.n_samples and other.n_samples:
            late = np.interp(self._arrivals, other._arrivals, other._late)
            self._longer += np.diff(late, prepend=0.0)

    def actions(self, after_s: float = 0.0) -> Iterator[Action]:
        """Return everything to do, `after_s` later, in order; samples are copied, if they must be, one push ahead."""
        late = self._late + after_s
        taken = self._arrivals + late
        release = np.maximum.accumulate(self._release)
        for absence in self._absences:
            # What was held back is handed over before the outlet goes away.
            np.minimum(release[: absence.start], absence.start - 1, out=release[: absence.start])
        pushes = self._pushes(release, taken, self._stamps + late + self._stamp_error)
        others = [*self._told(taken), *self._outlets(taken)]
        others.sort(key=_by_sample)
        return (action for _, _, action in heapq.merge(others, pushes, key=_by_sample))

    def _told(self, taken: NDArray[np.float64]) -> Iterator[_Placed]:
        for start, stop, fault, text in self._incidents:
            opened = max((a.stop for a in self._absences if a.stop <= start), default=0)
            pushed = int(np.count_nonzero(self._kept[opened:start]))
            sample = self.stream.first + start
            yield start, 0, Incident(float(taken[start]), fault, text, sample, stop - start, pushed)

    def restored(self, due_s: float) -> Iterator[Action]:
        """Return what makes the outlet what it was before all this was done."""
        if self._absences:
            if self._absences[-1].stop < self.n_samples:
                yield Close(due_s, self._index)
            yield Open(due_s, self._index, self.stream.layout, None)

    def _outlets(self, taken: NDArray[np.float64]) -> Iterator[_Placed]:
        for absence in self._absences:
            yield absence.start, 1, Close(float(taken[absence.start]), self._index)
            if absence.stop < self.n_samples:
                opened = Open(float(taken[absence.stop]), self._index, absence.layout, absence.source_id)
                yield absence.stop, 2, opened

    def _pushes(
        self, release: NDArray[np.int_], taken: NDArray[np.float64], stamps: NDArray[np.float64]
    ) -> Iterator[_Placed]:
        starts = np.concatenate([[0], np.flatnonzero(np.diff(release)) + 1, [self.n_samples]])
        for start, stop in pairwise(starts.tolist()):
            kept = self._kept[start:stop]
            if kept.any():
                at = int(release[start])
                values = self._values(start, stop)
                if not kept.all():
                    values = values[kept]
                yield at, 3, Push(float(taken[at]), self._index, values, stamps[start:stop][kept])

    def _values(self, start: int, stop: int) -> NDArray[Any]:
        values = self.stream.values[start:stop]
        for edit in self._edits:
            first, last = max(start, edit.start), min(stop, edit.stop)
            if first < last:
                values = values.copy()
                place = np.ix_(np.arange(first - start, last - start), edit.columns)
                values[place] = edit.change(values[place])
        columns = next((a.columns for a in reversed(self._absences) if a.stop <= start), None)
        return values if columns is None else values[:, columns]


def _by_sample(placed: _Placed) -> tuple[int, int]:
    """Order by the sample that is waited for, and then: told, closed, opened, pushed."""
    return placed[:2]


class Schedule:
    """All streams of a session, each chunked on its own, in order of time.

    Parameters
    ----------
    session : Session
        What is played.
    chunk : int
        Samples in a push of the fastest stream; of a slower one what comes in the same time, at least one; one of
        an irregular stream. 0: 1 to 64 of each regular stream, by `seed`.
    seed : int
        Of irregular chunks.
    """

    def __init__(self, session: Session, chunk: int = 8, seed: int = 0) -> None:
        rates = [stream.layout.sfreq for stream in session.streams if stream.layout.sfreq]
        self.timelines = []
        for index, stream in enumerate(session.streams):
            size = _in_the_same_time(chunk, stream.layout.sfreq, max(rates, default=0.0))
            sizes = chunk_sizes(len(stream.timestamps), size, seed + index)
            self.timelines.append(Timeline(stream, sizes, session.begin, index))
        self.signal = None if session.signal is None else self.timelines[session.signal]
        self._pause_s = max([_PAUSE_S, *(_PAUSE_SAMPLES / rate for rate in rates)])

    @property
    def first_s(self) -> float:
        """When the first sample of the signal is taken; of a session without one, that of any stream."""
        return self.signal.first_s if self.signal else 0.0

    @property
    def length_s(self) -> float:
        """From the begin until the next part may begin."""
        return max(t.last_s for t in self.timelines) + self._pause_s

    def actions(self, after_s: float = 0.0) -> Iterator[Action]:
        """Return everything to do, `after_s` later, in order of time."""
        return heapq.merge(*(t.actions(after_s) for t in self.timelines), key=lambda action: action.due_s)


def _in_the_same_time(chunk: int, sfreq: float, fastest: float) -> int:
    """Return how large the chunks of a stream are where those of the fastest have `chunk` samples (0: irregular)."""
    if sfreq == 0:
        return 1
    return max(1, round(chunk * sfreq / fastest)) if chunk else 0


def in_turn(parts: Sequence[Schedule], rounds: int = 1) -> Iterator[Action]:
    """Return everything to do to play one part after the other, `rounds` times over (0: for ever).

    Stamps go on from one to the next; between them is a gap, at which every decoder begins anew.
    """
    turns = itertools.chain.from_iterable(itertools.repeat(parts, rounds) if rounds else itertools.repeat(parts))
    after_s, before = 0.0, None
    for part in turns:
        if before:
            yield from itertools.chain.from_iterable(t.restored(after_s) for t in before.timelines)
        yield from part.actions(after_s)
        before = part
        after_s += part.length_s
