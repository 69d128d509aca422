"""From files to windows: recordings run through the online preprocessing whole, and only then are cut."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offline.configuration import Channels, TrainingConfiguration
from offline.sources import Source
from rtdecode.contract import Classification, EventWindow, Regression, Signal
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.preprocessing import Chain, Step
from rtdecode.preprocessing.base import Samples
from rtdecode.recording import Positions, Recording, read_recording
from rtdecode.truth import channel_values, spans, unbroken


@dataclass(frozen=True)
class Trial:
    """A stretch of a recording in which the truth is known; it is never divided by a split.

    Attributes
    ----------
    id : str
        Recording and number of the event: the same for every network.
    recording : int
        Index into the data set's recordings.
    truth : int
        Class index; 0 where target channels tell the truth.
    start, stop : int
        Input samples [start, stop).
    """

    id: str
    recording: int
    truth: int
    start: int
    stop: int


@dataclass
class Dataset:
    """Recordings of one decoder, with their trials.

    Attributes
    ----------
    signal : Signal
        What the decoder will need.
    sources : list of Source
        The files.
    recordings : list of Recording
        What they hold, cut where samples are missing: live, the decoder starts anew there too.
    source_of : list of int
        Which source each recording is from.
    trials : list of Trial
        In order of recording and time.
    values : list of arrays, (n_samples, n_targets)
        Truth by target channels of each recording, by the newest sample of a window; empty without any.
    fingerprints : list of str
        Of the files.
    """

    configuration: TrainingConfiguration
    signal: Signal
    sources: list[Source]
    recordings: list[Recording]
    source_of: list[int]
    trials: list[Trial]
    values: list[NDArray[np.float64]]
    fingerprints: list[str]

    @property
    def outputs(self) -> Classification | Regression:
        """What a decoder of this data set gives."""
        targets = self.configuration.targets
        channels = targets.channels if targets else ()
        return self.configuration.outputs(self.recordings[0].signal.pick(channels).units if channels else ())

    def truth(self, trial: Trial, newest: int) -> int | NDArray[np.float64]:
        """Return the class of a trial, or the values (n_targets,) that belong to its input sample `newest`."""
        targets = self.configuration.targets
        if targets is None:
            return trial.truth
        if targets.values:
            return np.array(targets.values[self.configuration.class_names[trial.truth]])
        truth: NDArray[np.float64] = self.values[trial.recording][newest]
        return truth

    @property
    def trial_length(self) -> int:
        """Input samples of a trial; all are equally long."""
        return self.trials[0].stop - self.trials[0].start

    @property
    def subjects(self) -> tuple[str, ...]:
        """The people, in the order of their indices; none if the configuration does not tell who is who."""
        part = self.configuration.recordings.subject
        return tuple(sorted({source.parts[part] for source in self.sources})) if part else ()

    def source(self, trial: Trial) -> Source:
        """Return the file a trial is from."""
        return self.sources[self.source_of[trial.recording]]

    def subject(self, trial: Trial) -> int:
        """Return the index of the person a trial is of; 0 if nobody knows."""
        part = self.configuration.recordings.subject
        return self.subjects.index(self.source(trial).parts[part]) if part else 0

    @property
    def positions(self) -> Positions:
        """Where the sensors are on a plane: as the first recording says that tells of them."""
        return {name: at for recording in reversed(self.recordings) for name, at in recording.positions.items()}

    def preprocess(self, steps: Sequence[Step], recording: int) -> dict[int, Samples]:
        """Run a recording through the steps, and all others of its file: (n_samples', n_channels') of each.

        As the live decoder does: from the first sample of the file, anew after every gap, statistics kept.
        """
        chain, features = Chain(steps, self.signal), {}
        for number, part in enumerate(self.recordings):
            if self.source_of[number] == self.source_of[recording]:
                adapt = self.signal.adapt(part.signal, f"Recording {part.path}", "the decoder", RecordingError)
                adapted = np.empty((len(part.samples), self.signal.n_channels))
                adapt(part.samples, adapted)
                chain.reset()
                features[number] = chain.process(adapted)
        return features

    def samples_of(self, steps: Sequence[Step], trials: Iterable[Trial]) -> Samples:
        """Return the preprocessed samples of these trials, recording after recording."""
        chain = Chain(steps, self.signal)
        features: dict[int, Samples] = {}
        parts = []
        for trial in sorted(trials, key=lambda t: t.recording):
            if trial.recording not in features:
                features = self.preprocess(steps, trial.recording)
            parts.append(features[trial.recording][slice(*_outputs(trial, chain))])
        return np.concatenate(parts)


def _outputs(trial: Trial, chain: Chain) -> tuple[int, int]:
    """Return the range of outputs whose newest input lies within a trial."""
    return chain.n_outputs(trial.start), chain.n_outputs(trial.stop)


@dataclass(frozen=True)
class Windows:
    """Windows cut out of trials.

    Attributes
    ----------
    x : array of float32, (n_windows, n_channels, n_times)
    y : array of int64, (n_windows,), or of float32, (n_windows, n_targets)
        Class indices, or values.
    trial : array of int64, (n_windows,)
        Position of each window's trial in the list they were cut from.
    subject : array of int64, (n_windows,)
        Index of the person each is of.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64] | NDArray[np.float32]
    trial: NDArray[np.int64]
    subject: NDArray[np.int64]


class Cutter:
    """Cuts windows out of trials; keeps each preprocessed recording for the next call with the same steps.

    Attributes
    ----------
    longest : int
        Samples of the longest window that fits into every trial.
    """

    def __init__(self, dataset: Dataset, steps: Sequence[Step]) -> None:
        self._dataset, self._steps = dataset, tuple(steps)
        self._chain = Chain(steps, dataset.signal)
        self._at_events = event_window(dataset.configuration, self._chain, dataset.signal.sfreq)
        self._before = self._at_events.before if self._at_events else 0
        self.longest = self._chain.outputs_within(dataset.trial_length)[0] - self._before
        self._features: dict[int, Samples] = {}

    def cut(self, trials: Sequence[Trial], n_times: int, stride: int) -> Windows:
        """Cut windows of `n_times` every `stride` outputs of each trial, each whole in its trial."""
        x, y, numbers, subjects = [], [], [], []
        reach = self._before + n_times
        for number, trial in enumerate(trials):
            if trial.recording not in self._features:
                self._features |= self._dataset.preprocess(self._steps, trial.recording)
            features = self._features[trial.recording]
            first, stop = _outputs(trial, self._chain)
            subject = self._dataset.subject(trial)
            for start in range(first, stop - reach + 1, stride):
                window = features[start : start + reach].T.astype(np.float32)
                x.append(self._at_events.corrected(window) if self._at_events else window)
                y.append(self._dataset.truth(trial, self._chain.newest_input(start + reach - 1)))
                numbers.append(number)
                subjects.append(subject)
        classes = self._dataset.configuration.targets is None
        truth = np.array(y, np.int64) if classes else np.array(y, np.float32)
        return Windows(np.stack(x), truth, np.array(numbers, np.int64), np.array(subjects, np.int64))


def event_window(configuration: TrainingConfiguration, chain: Chain, sfreq: float) -> EventWindow | None:
    """Return where the window stands relative to an event, in samples; None if it slides."""
    events, trials, looked_at = configuration.events, configuration.trials, configuration.looked_at
    if events is None or trials is None or looked_at is None:
        return None

    def output(seconds: float) -> int:
        return round((seconds - looked_at.tmin_s) * chain.output.sfreq)

    first, baseline = round(looked_at.tmin_s * sfreq), None
    if events.baseline_s:
        fewest, _ = chain.outputs_within(round(looked_at.tmax_s * sfreq) - first)
        stop = min(output(events.baseline_s[1]), fewest)
        baseline = min(output(events.baseline_s[0]), stop - 1), stop
    return EventWindow(
        first=first,
        before=output(trials.tmin_s),
        labels=events.labels,
        baseline=baseline,
        max_event_lag_s=events.max_event_lag_s,
    )


def load_dataset(
    configuration: TrainingConfiguration, sources: list[Source], read: Callable[[Path], Recording] = read_recording
) -> Dataset:
    """Read the recordings of one decoder with `read`, and find their trials."""
    whole = [read(source.path) for source in sources]
    targets = configuration.targets
    target_channels = targets.channels if targets else ()
    signal = _choose_channels(whole[0], configuration.channels, target_channels)
    unit_of = dict(zip(whole[0].signal.ch_names, whole[0].signal.units, strict=True))
    target_units = tuple(unit_of.get(name, "none") for name in target_channels)
    recordings: list[Recording] = []
    source_of: list[int] = []
    trials: list[Trial] = []
    values: list[NDArray[np.float64]] = []
    for number, recording in enumerate(whole):
        signal.adapt(recording.signal, f"Recording {recording.path}", "the decoder", RecordingError)
        bad = np.flatnonzero(~np.isfinite(recording.samples).all(axis=1))
        if len(bad):
            raise RecordingError(
                f"Recording {recording.path} holds values that are not finite, first at sample {bad[0]}."
            )
        first = len(trials)
        for start, stop in unbroken(recording):
            part = recording.crop(start, stop)
            for found in _stretches(part, configuration):
                trial_id = f"{sources[number].name}#{len(trials) - first}"
                trials.append(Trial(trial_id, len(recordings), *found))
            if targets and target_channels:
                values.append(channel_values(part, targets, target_units))
            recordings.append(part)
            source_of.append(number)
    _refuse_absent_classes(configuration, whole, trials)
    fingerprints = [recording.fingerprint() for recording in whole]
    return Dataset(configuration, signal, sources, recordings, source_of, trials, values, fingerprints)


def _stretches(recording: Recording, configuration: TrainingConfiguration) -> list[tuple[int, int, int]]:
    """Return (class index, first, stop sample) of every trial, or of every segment for target channels."""
    if configuration.looked_at is not None:
        return [found[1:] for found in spans(recording, configuration.looked_at, configuration.class_names)]
    targets, sfreq = configuration.targets, recording.signal.sfreq
    assert targets is not None
    length = round(targets.segment_s * sfreq)
    starts = range(targets.lag(sfreq), len(recording.samples) - length + 1, length)
    return [(0, start, start + length) for start in starts]


def _refuse_absent_classes(configuration: TrainingConfiguration, whole: list[Recording], trials: list[Trial]) -> None:
    looked_at = configuration.looked_at
    if configuration.trials is None or looked_at is None:
        if not trials:
            raise RecordingError(
                f"No recording holds an unbroken segment of {configuration.span_s:g} s (targets.segment_s)."
            )
        return
    missing = [name for i, name in enumerate(configuration.class_names) if all(t.truth != i for t in trials)]
    if missing:
        labels = [e.label for r in whole for e in r.events]
        wanted = {label for name in missing for label in configuration.trials.classes[name]}
        n = sum(label in wanted for label in labels)
        if n:
            raise RecordingError(
                f"{n} events of class {', '.join(missing)} are there, but none has unbroken data from "
                f"{looked_at.tmin_s:g} to {looked_at.tmax_s:g} s after it (trials.tmin_s, "
                f"tmax_s; {whole[0].path} lasts {whole[0].duration_s:.0f} s)."
            )
        there = sorted(set(labels))
        raise RecordingError(
            f"No trial of class {', '.join(missing)} in {whole[0].path} and {len(whole) - 1} more; "
            f"event labels there: {', '.join(there[:12]) or 'none'}."
        )


def _choose_channels(recording: Recording, channels: Channels, targets: tuple[str, ...]) -> Signal:
    """Return the decoder's signal: never with a channel that is its target."""
    signal = recording.signal
    if channels.names is not None:
        both = [name for name in targets if name in channels.names]
        if both:
            raise ConfigurationError(f"channels.names holds target channels: {', '.join(both)}.")
        missing = [name for name in channels.names if name not in signal.ch_names]
        if missing:
            raise RecordingError(
                f"Recording {recording.path} lacks the channels {', '.join(missing)}; it has "
                f"{', '.join(signal.ch_names[:30])}{' ...' if signal.n_channels > 30 else ''}."
            )
        return signal.pick(channels.names)
    types = channels.types or ()
    described = zip(signal.ch_names, signal.ch_types, strict=True)
    names = tuple(name for name, ch_type in described if ch_type in types and name not in targets)
    if not names:
        raise RecordingError(
            f"Recording {recording.path} has no channel of type {', '.join(types)}; "
            f"it has {', '.join(sorted(set(signal.ch_types)))}."
        )
    return signal.pick(names)
