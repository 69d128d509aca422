"""Where a recording tells what a decoder should have said."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Targets, Trials
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.guard import Guard
from rtdecode.guard import unbroken as sound_stretches
from rtdecode.preprocessing import Filter
from rtdecode.recording import Recording


def unbroken(recording: Recording) -> list[tuple[int, int]]:
    """Return the stretches [start, stop) that the live decoder takes as one: without gaps, all values finite."""
    segments = Guard(recording.signal.sfreq).check(recording.samples, recording.timestamps)
    return list(sound_stretches(segments))


def trial_span(trials: Trials, at: int, sfreq: float) -> tuple[int, int]:
    """Return the samples [start, stop) of the trial whose event is at a sample."""
    return at + round(trials.tmin_s * sfreq), at + round(trials.tmax_s * sfreq)


def spans(recording: Recording, trials: Trials, class_names: tuple[str, ...]) -> list[tuple[float, int, int, int]]:
    """Return (event stamp, class index, first, stop sample) of every trial whose samples are unbroken.

    Which of them are marked bad, `Recording.is_bad` tells: those are neither learned from nor tested.
    """
    found, sfreq, stretches = [], recording.signal.sfreq, unbroken(recording)
    for event in recording.events:
        name = trials.class_of(event.label)
        if name is None or not recording.covers(event.timestamp):
            continue
        start, stop = trial_span(trials, recording.sample_at(event.timestamp), sfreq)
        if any(first <= start and stop <= last for first, last in stretches):
            found.append((event.timestamp, class_names.index(name), start, stop))
    return found


def responses(
    recording: Recording, trials: Trials, class_names: tuple[str, ...], late_s: float, rest: Collection[str] = ()
) -> list[tuple[int, int, int]]:
    """Return (class index, first, stop sample) of the stretches in which a decision belongs to a trial.

    From its event until `late_s` after its end (half a window: until then at least half of a window is of the trial),
    or until the next event of a class. Classes of `rest` have no trials: in them nothing is to be decided.
    """
    sfreq, found = recording.signal.sfreq, []
    for event in recording.events:
        name = trials.class_of(event.label)
        if name is not None and name not in rest and recording.covers(event.timestamp):
            at = recording.sample_at(event.timestamp)
            found.append((class_names.index(name), at, at + round((trials.tmax_s + late_s) * sfreq)))
    found.sort(key=lambda trial: trial[1])
    nexts = [*(start for _, start, _ in found), len(recording.samples)][1:]
    return [(truth, start, min(stop, after)) for (truth, start, stop), after in zip(found, nexts, strict=True)]


def channel_values(recording: Recording, targets: Targets, units: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the truth (n_samples, n_targets) of a window whose newest sample it is.

    That is the value of the target channels, filtered as `targets` says, so much earlier as `targets` says; NaN
    where that is before a gap, or before the recording. RecordingError names the channels that it lacks.
    """
    signal, channels = recording.signal, targets.channels
    missing = [name for name in channels if name not in signal.ch_names]
    if missing:
        raise RecordingError(
            f"Recording {recording.path} lacks the target channels {', '.join(missing)}; it has "
            f"{', '.join(signal.ch_names[:30])}{' ...' if signal.n_channels > 30 else ''}."
        )
    picked = signal.pick(channels)
    wanted = picked.with_channels(picked.ch_names, picked.ch_types, units)
    adapt = wanted.adapt(signal, f"Recording {recording.path}", "the targets", RecordingError)
    values = np.empty((len(recording.samples), len(channels)))
    adapt(recording.samples, values)
    truth, lag = np.full(values.shape, np.nan), targets.lag(signal.sfreq)
    for start, stop in unbroken(recording):
        filtered = _filtered(values[start:stop], targets, signal.sfreq)
        truth[start + lag : stop] = filtered[: max(stop - start - lag, 0)]
    return truth


def _filtered(values: NDArray[np.float64], targets: Targets, sfreq: float) -> NDArray[np.float64]:
    if targets.l_freq is None and targets.h_freq is None:
        return values
    try:
        band = Filter.butterworth(sfreq, targets.l_freq, targets.h_freq, order=2)
    except ValueError as error:
        raise ConfigurationError(f"targets.l_freq and h_freq: {error}.") from None
    return band.process(values, band.start(values.shape[1]))
