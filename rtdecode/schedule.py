"""What a recording becomes when it is played: what is pushed when, and what is done to the outlet. No LSL, no clock.

Samples are counted as in the recording. Every one has a time at which it is *taken*, the *stamp* it carries, and
a later sample with which it is *released*: pushed together with all others that wait. Times are in seconds after
sample 0.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.recording import Recording


@dataclass(frozen=True, slots=True)
class Push:
    """Samples to push at once.

    Attributes
    ----------
    due_s : float
        When.
    samples : array of float32, (n_samples, n_channels)
        In the layout of the outlet that is open.
    timestamps : array of float64, (n_samples,)
        Their stamps.
    """

    due_s: float
    samples: NDArray[np.float32]
    timestamps: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mark:
    """An event to push."""

    due_s: float
    label: str
    timestamp: float


@dataclass(frozen=True, slots=True)
class Close:
    """The outlet goes away."""

    due_s: float


@dataclass(frozen=True, slots=True)
class Open:
    """An outlet comes back: with which layout, and with which `source_id` if with another."""

    due_s: float
    signal: Signal
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


Action = Push | Mark | Close | Open | Incident
_Placed = tuple[int, int, Action]


@dataclass(frozen=True, slots=True)
class _Absence:
    start: int
    stop: int
    signal: Signal
    columns: NDArray[np.intp] | None
    source_id: str | None


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    stop: int
    columns: NDArray[np.intp]
    change: Callable[[NDArray[np.float32]], Any]


class Timeline:
    """When each sample of a recording is taken, how it is stamped, and with which later one it is released.

    Without further calls it is the recording as it is: every chunk due when its last sample is.

    Parameters
    ----------
    recording : Recording
        What is played.
    sizes : sequence of int
        Samples of each push, one after the other.
    """

    def __init__(self, recording: Recording, sizes: Sequence[int]) -> None:
        self.recording = recording
        self.n_samples = n = len(recording.samples)
        self._since_start = recording.timestamps - recording.timestamps[0]
        self._kept = np.ones(n, bool)
        self._longer = np.zeros(n)
        self._stamp_error = np.zeros(n)
        self._release = np.repeat(np.cumsum(sizes) - 1, sizes)
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
        self._longer[start:stop] += 1 / sfreq - 1 / self.recording.signal.sfreq

    def misstamp(self, start: int, stop: int, error_s: NDArray[np.float64], after_s: float = 0.0) -> None:
        """Add `error_s` (n,) to the stamps of samples [start, stop), and `after_s` to all that follow."""
        self._stamp_error[start:stop] += error_s
        self._stamp_error[stop:] += after_s

    def edit(
        self, start: int, stop: int, columns: NDArray[np.intp], change: Callable[[NDArray[np.float32]], Any]
    ) -> None:
        """Change the values of some channels in samples [start, stop): `change` gets (n, n_columns)."""
        self._edits.append(_Edit(start, stop, columns, change))

    def is_away(self, sample: int) -> bool:
        """Tell whether the outlet is away when this sample is taken."""
        return any(a.start <= sample <= a.stop for a in self._absences)

    def restart(
        self, start: int, stop: int, signal: Signal, columns: NDArray[np.intp] | None, source_id: str | None
    ) -> None:
        """Close the outlet at sample `start`, lose what is taken until `stop`, and open it again.

        From then on it has `columns` of the recording, and the rate of `signal`.
        """
        self.lose(start, stop)
        self._longer[stop:] = 0.0
        self.retime(stop, self.n_samples, signal.sfreq)
        self._absences.append(_Absence(start, stop, signal, columns, source_id))

    def note(self, start: int, stop: int, fault: str, text: str) -> None:
        """Tell at sample `start` that a fault begins."""
        self._incidents.append((start, stop, fault, text))

    def actions(self) -> Iterator[Action]:
        """Return everything to do, in order; samples are copied, where they must be, one push ahead."""
        late = np.cumsum(self._longer)
        taken = self._since_start + late
        release = np.maximum.accumulate(self._release)
        for absence in self._absences:
            # What was held back is handed over before the outlet goes away.
            np.minimum(release[: absence.start], absence.start - 1, out=release[: absence.start])
        pushes = self._pushes(release, taken, taken + self._stamp_error)
        others = [*self._told(taken), *self._outlets(taken), *self._marks(release, taken, late)]
        others.sort(key=_by_sample)
        return (action for _, _, action in heapq.merge(others, pushes, key=_by_sample))

    def _told(self, taken: NDArray[np.float64]) -> Iterator[_Placed]:
        for start, stop, fault, text in self._incidents:
            opened = max((a.stop for a in self._absences if a.stop <= start), default=0)
            pushed = int(np.count_nonzero(self._kept[opened:start]))
            yield start, 0, Incident(float(taken[start]), fault, text, start, stop - start, pushed)

    def _outlets(self, taken: NDArray[np.float64]) -> Iterator[_Placed]:
        for absence in self._absences:
            yield absence.start, 1, Close(float(taken[absence.start]))
            if absence.stop < self.n_samples:
                opened = Open(float(taken[absence.stop]), absence.signal, absence.source_id)
                yield absence.stop, 2, opened

    def _pushes(
        self, release: NDArray[np.int_], taken: NDArray[np.float64], stamps: NDArray[np.float64]
    ) -> Iterator[_Placed]:
        starts = np.concatenate([[0], np.flatnonzero(np.diff(release)) + 1, [self.n_samples]])
        for start, stop in pairwise(starts.tolist()):
            kept = self._kept[start:stop]
            if kept.any():
                at = int(release[start])
                samples = self._samples(start, stop)
                if not kept.all():
                    samples = samples[kept]
                yield at, 3, Push(float(taken[at]), samples, stamps[start:stop][kept])

    def _marks(
        self, release: NDArray[np.int_], taken: NDArray[np.float64], late: NDArray[np.float64]
    ) -> Iterator[_Placed]:
        for event in self.recording.events:
            sample = self.recording.sample_at(event.timestamp)
            at = int(release[sample])
            since_start = event.timestamp - self.recording.timestamps[0] + late[sample]
            yield at, 4, Mark(float(taken[at]), event.label, float(since_start))

    def _samples(self, start: int, stop: int) -> NDArray[np.float32]:
        samples = self.recording.samples[start:stop]
        for edit in self._edits:
            first, last = max(start, edit.start), min(stop, edit.stop)
            if first < last:
                samples = samples.copy()
                place = np.ix_(np.arange(first - start, last - start), edit.columns)
                samples[place] = edit.change(samples[place])
        columns = next((a.columns for a in reversed(self._absences) if a.stop <= start), None)
        return samples if columns is None else samples[:, columns]


def _by_sample(placed: _Placed) -> tuple[int, int]:
    """Order by the sample that is waited for, and then: told, closed, opened, pushed, marked."""
    return placed[:2]
