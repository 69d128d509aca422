"""Which recorded samples the decoder saw, and what it must have made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtdecode.audit.evidence import Evidence, Told
from rtdecode.contract import Event
from rtdecode.decoder import Decoder
from rtdecode.prediction import Prediction

_CHUNK = 512
# Told by the guard of a sample, whatever the chunks were; its warnings come at a chunk's end.
_OF_A_SAMPLE = ("gap", "clock", "non-finite", "imputed", "bad-stamp", "rate", "amplitude", "channels")
_OF_TIME = ("gap", "clock", "imputed", "bad-stamp")


@dataclass(frozen=True)
class Difference:
    """A difference between signal or verdicts as recorded and as the decoder had them: at a sample, a raw stamp."""

    sample: int
    raw_timestamp: float
    message: str


@dataclass
class Followed:
    """What the decoder saw, as far as the recording holds it.

    Attributes
    ----------
    predictions : list of Prediction
        What the decoder file makes of it.
    seen : array of int, (n_samples,)
        Indices into the recording of the samples that the decoder saw.
    due : int
        How many of them it saw for certain.
    until : int or None
        The sample from which on the recording lacks what the decoder saw.
    differences : list of Difference
        Where recording and decoder had other samples or verdicts.
    """

    predictions: list[Prediction]
    seen: NDArray[np.intp]
    due: int
    until: int | None = None
    differences: list[Difference] = field(default_factory=list)


def follow(evidence: Evidence, make: Callable[[], Decoder], origin: int, newest: float) -> Followed:
    """Decode the recorded signal again, from the decoder's first sample on, along what the guard told.

    Where the guard told a loss that is not in the recording, the samples that did not reach the decoder are left
    out; where the recording lacks what the decoder saw, nothing after it can be known.

    Parameters
    ----------
    evidence : Evidence
        Of a connection.
    make : callable
        Makes a fresh decoder.
    origin : int
        Index of the decoder's first sample in the recording.
    newest : float
        Raw stamp of the newest row.
    """
    stamps, stop = evidence.timestamps, evidence.stop
    last = _index(stamps, stop.last_timestamp, origin, newest=True) if stop else None
    # A run that was interrupted may have published more than its stop tells.
    reached = np.flatnonzero(stamps[origin:] <= newest + 1e-9)
    end = origin + int(reached[-1]) + 1 if len(reached) else origin + 1
    end = max(end, last + 1) if last is not None else end if stop is None else len(stamps)
    followed = Followed([], np.arange(origin, end), 0)
    while True:
        followed.due = len(followed.seen) if last is None else int(np.searchsorted(followed.seen, last)) + 1
        followed.predictions, found = _decode(evidence, make(), followed.seen)
        if not _mend(followed, evidence, found):
            break
    if stop and last is not None and followed.until is None and followed.due != stop.samples:
        lost = stop.samples - followed.due
        more = f"{lost} fewer" if lost > 0 else f"{-lost} more"
        message = f"up to here the decoder saw {stop.samples} samples; the recording holds {more}"
        at = float(stamps[last])
        followed.differences.append(Difference(followed.due - 1, at, message))
    return followed


def _index(stamps: NDArray[np.float64], stamp: float | None, start: int, newest: bool = False) -> int | None:
    """Return the first, or newest, index from `start` on with exactly this stamp."""
    found = np.flatnonzero(stamps[start:] == stamp) if stamp is not None else ()
    return start + int(found[-1 if newest else 0]) if len(found) else None


def _decode(evidence: Evidence, decoder: Decoder, seen: NDArray[np.intp]) -> tuple[list[Prediction], list[Told]]:
    predictions: list[Prediction] = []
    told = []
    events: Sequence[Event] = evidence.events or ()
    for start in range(0, len(seen), _CHUNK):
        chunk = seen[start : start + _CHUNK]
        stamps = evidence.timestamps[chunk]
        predictions += decoder.push(evidence.samples[chunk], stamps, events)
        events = ()
        for incident in decoder.guard.drain():
            if incident.reason in _OF_A_SAMPLE:
                stamp = float(stamps[incident.sample - start])
                known = stamp if np.isfinite(stamp) else None
                told.append(Told(sample=incident.sample, reason=incident.reason, raw_timestamp=known))
    return predictions + decoder.finish(), told


def _mend(followed: Followed, evidence: Evidence, found: list[Told]) -> bool:
    """Compare the guard's incidents with those told, note the first difference; tell whether to decode anew."""
    if evidence.incidents is None:
        return False
    due = followed.due
    told = [i for i in evidence.incidents if i.reason in _OF_A_SAMPLE and i.sample < due]
    found = [i for i in found if i.sample < due]
    at = next((k for k, (a, b) in enumerate(zip(told, found, strict=False)) if a != b), min(len(told), len(found)))
    live, again = (some[at] if at < len(some) else None for some in (told, found))
    if live is None and again is None:
        return False
    sample = min(i.sample for i in (live, again) if i)
    stamps, here = evidence.timestamps, int(followed.seen[sample])
    reason = (live if live and live.sample == sample else again).reason  # type: ignore[union-attr]
    note = followed.differences.append
    if reason not in _OF_TIME:
        who = "the decoder told" if live and live.sample == sample else "the recorded samples give"
        note(Difference(sample, float(stamps[here]), f"only {who} {reason!r}"))
        return False
    there = _index(stamps, live.raw_timestamp, here) if live and live.sample == sample else None
    if there is not None and there > here:
        message = f"{there - here} recorded samples did not reach the decoder"
        note(Difference(sample, float(stamps[here]), message))
        followed.seen = np.concatenate([followed.seen[:sample], np.arange(there, followed.seen[-1] + 1)])
        return True
    if there == here:
        note(Difference(sample, float(stamps[here]), f"only the decoder told {reason!r}"))
        return False
    start = evidence.start
    before_s = stamps[here] - stamps[followed.seen[sample - 1]] if sample else np.nan
    lost = before_s * start.signal.sfreq * start.speed - 1
    many = f"{round(lost)}" if np.isfinite(lost) and lost > 0.5 else "some"
    message = f"before this sample {many} are missing in the recording that reached the decoder"
    note(Difference(sample, float(stamps[here]), message))
    followed.until = sample
    return False
