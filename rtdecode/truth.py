"""Where a recording tells what a decoder should have said."""

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Targets, Trials
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.preprocessing import Filter
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


def channel_values(recording: Recording, targets: Targets, units: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the values (n_samples, n_targets) of target channels, filtered as `targets` says.

    RecordingError names the channels that the recording lacks.
    """
    signal, channels = recording.signal, targets.channels
    missing = [name for name in channels if name not in signal.ch_names]
    if missing:
        raise RecordingError(f"Recording {recording.path} lacks the target channels {', '.join(missing)}.")
    picked = signal.pick(channels)
    wanted = picked.with_channels(picked.ch_names, picked.ch_types, units)
    adapt = wanted.adapt(signal, f"Recording {recording.path}", "the targets", RecordingError)
    values = np.empty((len(recording.samples), len(channels)))
    adapt(recording.samples, values)
    if targets.l_freq is None and targets.h_freq is None:
        return values
    try:
        band = Filter.butterworth(signal.sfreq, targets.l_freq, targets.h_freq, order=2)
    except ValueError as error:
        raise ConfigurationError(f"targets.l_freq and h_freq: {error}.") from None
    return band.process(values, band.start(len(channels)))
