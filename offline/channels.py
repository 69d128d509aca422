"""Which channels a decoder takes of its recordings, whatever else each of them has."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from offline.configuration import Channels
from offline.stored import StoredRecording
from rtdecode.contract import Signal
from rtdecode.errors import ConfigurationError, RecordingError


def choose_signal(recordings: Sequence[StoredRecording], channels: Channels, targets: tuple[str, ...]) -> Signal:
    """Return the signal of a decoder that all of the recordings can give.

    Parameters
    ----------
    recordings : sequence of StoredRecording
        What it learns from. The first one's order, types, units and rate are its own.
    channels : Channels
        What is wanted. By type, that is none that is marked bad.
    targets : tuple of str
        Channels that it is to tell: never what it is told.

    Raises
    ------
    ConfigurationError
        A channel is wanted as input and as target.
    RecordingError
        A recording lacks a channel, or has another rate, or channels of another type or unit.
    """
    first = recordings[0]
    for other in recordings:
        if not math.isclose(other.signal.sfreq, first.signal.sfreq, rel_tol=1e-4):
            raise RecordingError(
                f"Recording {other.path} runs at {other.signal.sfreq:g} Hz, {first.path} at {first.signal.sfreq:g} "
                "Hz. Train on those of one rate, or resample the others before."
            )
    wanted = [_wanted(recording, channels, targets) for recording in recordings]
    names = wanted[0]
    if channels.align == "intersection":
        in_all = set(names).intersection(*wanted)
        names = tuple(name for name in names if name in in_all)
        if not names:
            raise RecordingError(
                f"No channel of type {', '.join(channels.types or ())} is in all of {len(recordings)} recordings, so "
                "channels.align: intersection leaves none."
            )
    else:
        for other, theirs in zip(recordings, wanted, strict=True):
            if set(theirs) != set(names):
                marked = bool((set(names) ^ set(theirs)) & {*first.bad_channels, *other.bad_channels})
                raise RecordingError(
                    f"Recordings {first.path} and {other.path} differ in their channels: {_only(names, theirs)} "
                    f"only in the first, {_only(theirs, names)} only in the second"
                    f"{' (what is marked bad does not count)' if marked else ''}. Choose some that all have "
                    "(channels.names), or all that all have (channels.align: intersection)."
                )
    signal = first.signal.pick(names)
    for other in recordings:
        signal.adapt(other.signal, f"Recording {other.path}", "the decoder", RecordingError)
    return signal


def channel_notes(
    recordings: Sequence[StoredRecording], channels: Channels, targets: tuple[str, ...], signal: Signal
) -> list[str]:
    """Tell which channels were left out, and which were taken though they are marked bad: sentences."""
    named = (*(channels.names or ()), *targets)

    def bad(recording: StoredRecording) -> list[str]:
        types = dict(zip(recording.signal.ch_names, recording.signal.ch_types, strict=True))
        return [n for n in recording.bad_channels if types.get(n) in (channels.types or ()) and n not in named]

    def elsewhere(recording: StoredRecording) -> list[str]:
        return [n for n in _wanted(recording, channels, targets) if n not in signal.ch_names]

    def bad_but_named(recording: StoredRecording) -> list[str]:
        return [n for n in recording.bad_channels if n in named]

    return [
        *_told("left out, as they are marked bad", recordings, bad),
        *_told("left out, as not all recordings have them", recordings, elsewhere),
        *_told("taken, as they are asked for by name, though they are marked bad", recordings, bad_but_named),
    ]


def _told(
    what: str, recordings: Sequence[StoredRecording], names_of: Callable[[StoredRecording], Sequence[str]]
) -> list[str]:
    """Tell of channels of some recordings: a sentence for each set of them."""
    of: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for recording in recordings:
        if names := tuple(names_of(recording)):
            of[names].append(recording.path.name)
    return [f"channels {what}: {some(names)} (of {some(paths)})" for names, paths in of.items()]


def _wanted(recording: StoredRecording, channels: Channels, targets: tuple[str, ...]) -> tuple[str, ...]:
    signal = recording.signal
    if channels.names is not None:
        both = [name for name in targets if name in channels.names]
        if both:
            raise ConfigurationError(f"channels.names holds target channels: {', '.join(both)}.")
        missing = [name for name in channels.names if name not in signal.ch_names]
        if missing:
            there = some(signal.ch_names)
            raise RecordingError(
                f"Recording {recording.path} lacks the channels {', '.join(missing)}; it has {there}."
            )
        return channels.names
    types = channels.types or ()
    described = zip(signal.ch_names, signal.ch_types, strict=True)
    unwanted = {*targets, *recording.bad_channels}
    names = tuple(name for name, ch_type in described if ch_type in types and name not in unwanted)
    if not names:
        marked = f" that is not marked bad ({some(recording.bad_channels)})" if recording.bad_channels else ""
        raise RecordingError(
            f"Recording {recording.path} has no channel of type {', '.join(types)}{marked}; "
            f"it has {', '.join(sorted(set(signal.ch_types)))}."
        )
    return names


def _only(names: Sequence[str], others: Sequence[str]) -> str:
    return some([name for name in names if name not in others]) or "none"


def some(names: Sequence[str], most: int = 30) -> str:
    """List names, but not more of them than anybody reads."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
