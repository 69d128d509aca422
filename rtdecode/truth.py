"""Where a recording tells what a decoder should have said."""

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Trials
from rtdecode.errors import RecordingError
from rtdecode.recording import Recording


def spans(recording: Recording, trials: Trials, class_names: tuple[str, ...]) -> list[tuple[float, int, int, int]]:
    """Return (event stamp, class index, first, stop sample) of every trial inside the recording."""
    found, sfreq = [], recording.signal.sfreq
    for event in recording.events:
        name = trials.class_of(event.label)
        if name is None or not recording.covers(event.timestamp):
            continue
        at = recording.sample_at(event.timestamp)
        start, stop = at + round(trials.tmin_s * sfreq), at + round(trials.tmax_s * sfreq)
        if start >= 0 and stop <= len(recording.samples):
            found.append((event.timestamp, class_names.index(name), start, stop))
    return found


def channel_values(
    recording: Recording, channels: tuple[str, ...], units: tuple[str, ...] | None = None
) -> NDArray[np.float64]:
    """Return the values (n_samples, n_targets) of target channels, in `units` or as they are recorded.

    RecordingError names the channels that the recording lacks.
    """
    signal = recording.signal
    missing = [name for name in channels if name not in signal.ch_names]
    if missing:
        raise RecordingError(f"Recording {recording.path} lacks the target channels {', '.join(missing)}.")
    picked = signal.pick(channels)
    wanted = picked.with_channels(picked.ch_names, picked.ch_types, units or picked.units)
    adapt = wanted.adapt(signal, f"Recording {recording.path}", "the targets", RecordingError)
    values = np.empty((len(recording.samples), len(channels)))
    adapt(recording.samples, values)
    return values
