"""Which samples an event's window rests on, and when they are there: time only, no signal.

Everything that came is counted: *entries*, of which each has a stamp. A *stretch* is a run of entries that nothing
breaks; only sound ones give outputs, and a window lies in one stretch whole. Stamps and stretches are kept for as
long as an event may be late, over every break: what an event gives does not depend on when it comes.
"""

from bisect import insort
from collections import OrderedDict, deque
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Event
from rtdecode.errors import ModelError
from rtdecode.preprocessing import Chain

_REMEMBERED = 10_000
_MAX_KEPT = 1 << 27


class Due(NamedTuple):
    """What became of an event: a window that is complete, or a reason.

    Attributes
    ----------
    event : Event
        As it was given.
    timestamp : float
        Stamp of the newest sample of its window; its own stamp if it has no window.
    sample : int
        Index of that sample; if it has no window, of the sample to which the event belongs (-1: none).
    reason : str or None
        Why it has no window.
    stop : int
        Outputs written, over all stretches, up to the end of its window.
    imputed : int
        Samples of its window for which the last value stands in.
    """

    event: Event
    timestamp: float
    sample: int
    reason: str | None = None
    stop: int = 0
    imputed: int = 0


@dataclass(eq=False)
class _Stretch:
    """Entries from `first` on; unsound for a `reason`; `ended` says what broke it after `stop` outputs in all."""

    first: int
    outputs: int
    warm_up: int
    reason: str | None
    ended: str | None = None
    stop: int = 0


class _Waiting(NamedTuple):
    """An event whose window rests on entries `oldest` to `newest`, and ends with output `stop` (over all).

    `known` is the entry with which it could be decoded first: the newest one, or that of an event after its window.
    """

    stop: int
    event: Event
    stretch: _Stretch
    oldest: int
    newest: int
    known: int
    sample: int

    @property
    def void(self) -> str | None:
        """Why its window cannot be decoded any more: what came since decides, and not when the event came."""
        if self.stop - self.stretch.outputs < self.stretch.warm_up:
            return "warming-up"
        return self.stretch.ended if self.stop > self.stretch.stop else None


class EventQueue:
    """Events on their way to their windows.

    Parameters
    ----------
    contract : Contract
        With `events`.
    chain : Chain
        Tells which output rests on which input.
    speed : float
        How many times faster than at its nominal rate the stream is stamped.

    Attributes
    ----------
    n_outputs : int
        Newest outputs that must be kept for windows still to come.

    Raises
    ------
    ModelError
        More would have to be kept than a decoder may.
    """

    def __init__(self, contract: Contract, chain: Chain, speed: float = 1.0) -> None:
        assert contract.events is not None
        self._contract, self._window, self._chain = contract, contract.events, chain
        self._period = 1 / (contract.signal.sfreq * speed)
        self._lag = round(self._window.max_event_lag_s * contract.signal.sfreq)
        n_times, hop = contract.window.n_times, contract.window.hop
        reach = self._window.before + n_times
        most = chain.outputs_within(self._lag + abs(self._window.first) + 1)[1]
        self.n_outputs = reach + most + hop
        # From the earlier of event and window to the later one, and the block that is worked off.
        self._kept = self._lag + abs(self._window.first) + chain.newest_input(reach + hop + 2) + 2
        n_channels = chain.output.n_channels
        if max(self._kept, self.n_outputs * n_channels) > _MAX_KEPT:
            raise ModelError(
                f"Windows at events need {self.n_outputs} samples of {n_channels} channels to be kept; at most "
                f"{_MAX_KEPT} values are. Retrain with a shorter window, or a shorter max_event_lag_s."
            )
        self._stamps, self._samples = np.empty(self._kept), np.empty(self._kept, np.int64)
        self._imputed, self._doubted = np.empty(self._kept, bool), np.empty(self._kept, bool)
        self._n, self._checked = 0, 0
        self._stretches: deque[_Stretch] = deque()
        self._open: _Stretch | None = None
        self._written, self._warm_up = 0, 0
        self._pending: list[Event] = []
        self._waiting: list[_Waiting] = []
        self._accepted: OrderedDict[tuple[str, int], float] = OrderedDict()

    def cut(self, fault: str, written: int, warm_up: int) -> None:
        """End a stretch. The next entry begins one, after `written` outputs in all; it warms up for `warm_up`."""
        self._close(fault, written)
        self._written, self._warm_up = written, warm_up

    def warm_for(self, warm_up: int) -> None:
        """Let the stretch that is open warm up for so many outputs."""
        if self._open:
            self._open.warm_up = warm_up

    def _close(self, fault: str, written: int) -> None:
        if self._open:
            self._open.ended, self._open.stop = fault, written
            self._open = None

    def add(
        self,
        timestamps: NDArray[np.float64],
        samples: NDArray[np.int_],
        imputed: bool,
        reason: str | None = None,
        doubted: bool = False,
    ) -> None:
        """Take entries, at most as many as a block has.

        Parameters
        ----------
        timestamps : array of float64, (n_entries,)
            Finite.
        samples : array of int, (n_entries,)
            Indices of their samples; those that are stood in for have that of the last real one before.
        imputed : bool
            Whether the last value stands in for them.
        reason : str, optional
            Why they give no output.
        doubted : bool
            Whether nobody knows yet if samples are missing before them.
        """
        if self._open and self._open.reason != reason:
            self._close(self._open.reason or "", self._written)
        if self._open is None:
            self._open = _Stretch(self._n, self._written, self._warm_up, reason)
            self._stretches.append(self._open)
            while len(self._stretches) > 1 and self._stretches[1].first <= self._n - self._kept:
                self._stretches.popleft()
        at = np.arange(self._n, self._n + len(timestamps)) % self._kept
        self._stamps[at], self._samples[at] = timestamps, samples
        self._imputed[at], self._doubted[at] = imputed, doubted
        self._n += len(timestamps)

    def is_new(self, event: Event) -> bool:
        """Tell whether an event of this label and, within a sample, of this stamp was not there before."""
        if not isfinite(event.timestamp / self._period):
            return True
        count = round(event.timestamp / self._period)
        for near in (count - 1, count, count + 1):
            known = self._accepted.get((event.label, near))
            if known is not None and abs(known - event.timestamp) <= self._period:
                return False
        self._accepted[event.label, count] = event.timestamp
        if len(self._accepted) > _REMEMBERED:
            self._accepted.popitem(last=False)
        return True

    def offer(self, event: Event) -> list[Due]:
        """Take an event; return its refusal if it cannot have a window, or comes too late for it."""
        if not isfinite(event.timestamp / self._period):
            return [Due(event, event.timestamp, -1, "bad-stamp")]
        if self._n == 0 or not (placed := self._place(event, 0)):
            insort(self._pending, event)
            return []
        if isinstance(placed, Due):
            return [placed]
        if self._n - 1 - placed.known > self._lag:
            return [Due(event, event.timestamp, placed.sample, "late")]
        insort(self._waiting, placed)
        return []

    def due(self, written: int) -> list[Due]:
        """Return what has come of events; `written` outputs are there in all."""
        found = self._locate()
        found += [Due(w.event, w.event.timestamp, w.sample, w.void) for w in self._waiting if w.void]
        whole = [w for w in self._waiting if not w.void]
        self._waiting = [w for w in whole if w.stop > written]
        return found + [self._complete(w) for w in whole if w.stop <= written]

    def finish(self, reason: str) -> list[Due]:
        """Refuse every event that still has no window."""
        found = self._locate()
        found += [Due(w.event, w.event.timestamp, w.sample, reason) for w in self._waiting]
        found += [Due(event, event.timestamp, -1, reason) for event in self._pending]
        self._waiting, self._pending = [], []
        return found

    def _complete(self, waiting: _Waiting) -> Due:
        at = waiting.newest % self._kept
        if self._doubted[at]:
            return Due(waiting.event, waiting.event.timestamp, waiting.sample, "bad-stamp")
        entries = np.arange(waiting.oldest, waiting.newest + 1) % self._kept
        imputed = int(self._imputed[entries].sum())
        return Due(waiting.event, float(self._stamps[at]), int(self._samples[at]), None, waiting.stop, imputed)

    def _locate(self) -> list[Due]:
        """Find the samples of events that were ahead of the newest entry."""
        refused, since = [], self._checked
        self._checked = self._n
        if self._pending and since < self._n:
            newest = self._stamps[np.arange(since, self._n) % self._kept].max()
            while self._pending and self._pending[0].timestamp <= newest:
                placed = self._place(self._pending.pop(0), since - 1)
                assert placed is not None
                if isinstance(placed, Due):
                    refused.append(placed)
                else:
                    insort(self._waiting, placed)
        return refused

    def _place(self, event: Event, since: int) -> _Waiting | Due | None:
        """Find an event's sample among the entries from `since` on, and its window; None if it is ahead of them.

        The sample is that nearest among the two between which stamps pass the event's for the first time.
        """
        oldest = max(since, self._n - self._kept, 0)
        entries = np.arange(oldest, self._n)
        stamps = self._stamps[entries % self._kept]
        passed = np.flatnonzero((stamps[1:] >= event.timestamp) & (stamps[:-1] < event.timestamp))
        if not len(passed) and stamps[-1] < event.timestamp:
            return None
        if not len(passed):
            if oldest == 0 and stamps[0] - event.timestamp <= self._period:
                return self._window_of(event, 0)
            return Due(event, event.timestamp, -1, "before-start" if oldest == 0 else "late")
        before = int(passed[0])
        sooner, later = event.timestamp - stamps[before], stamps[before + 1] - event.timestamp
        entry = oldest + before + bool(later < sooner)
        broken = self._stretch_of(oldest + before)
        if broken is not self._stretch_of(oldest + before + 1) and min(sooner, later) > self._period:
            return Due(event, event.timestamp, -1, broken.ended)
        return self._window_of(event, entry)

    def _stretch_of(self, entry: int) -> _Stretch:
        return next(s for s in reversed(self._stretches) if s.first <= entry)

    def _window_of(self, event: Event, entry: int) -> _Waiting | Due:
        stretch, chain = self._stretch_of(entry), self._chain
        sample = int(self._samples[entry % self._kept])
        first = entry - stretch.first + self._window.first
        begin = chain.n_outputs(max(first, 0))
        stop = begin + self._window.before + self._contract.window.n_times
        if stretch.reason or first < 0 or stop < stretch.warm_up:
            return Due(event, event.timestamp, sample, stretch.reason or "warming-up")
        oldest = stretch.first + (chain.newest_input(begin - 1) + 1 if begin else 0)
        newest = stretch.first + chain.newest_input(stop - 1)
        return _Waiting(stretch.outputs + stop, event, stretch, oldest, newest, max(newest, entry), sample)
