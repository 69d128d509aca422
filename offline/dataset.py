"""From files to windows: recordings run through the online preprocessing whole, and only then are cut."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.channels import channel_notes, choose_signal, some
from offline.configuration import Arrays, TrainingConfiguration
from offline.moments import Moments
from offline.refusals import refuse_absent_classes, refuse_values
from offline.sources import Source
from offline.store import scratch
from offline.stored import (
    StoredRecording,
    sensor_blocks,
    sensor_samples,
    store_amplitude,
    store_features,
    store_recording,
    store_truth,
)
from offline.windows import Cuts, Windows
from rtdecode.contract import Amplitude, Classification, EventWindow, Regression, Signal
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Chain, Step
from rtdecode.preprocessing.base import Samples
from rtdecode.recording import Positions, Recording

# Gives the preprocessed samples (n_samples', n_channels') of each recording of a source, by its number.
Preprocess = Callable[[int], dict[int, Samples]]
# Values that a step learns from as they are.
_MOST = 1 << 22


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
    stored : list of StoredRecording
        What each of them holds.
    stretches : list of (int, int, int)
        What is called a recording here: the source it is from, and its samples [start, stop) there. Files are cut
        where samples are missing: live, the decoder starts anew there too.
    trials : list of Trial
        In order of recording and time.
    values : list of callables, or empty
        Each maps the truth by target channels of a source, (n_samples, n_targets), by the newest sample of a window.
    marked : list of Trial
        Those that are none, as samples of them are marked bad.
    """

    configuration: TrainingConfiguration
    signal: Signal
    sources: list[Source]
    stored: list[StoredRecording]
    stretches: list[tuple[int, int, int]]
    trials: list[Trial]
    values: list[Callable[[], NDArray[np.float64]]]
    marked: list[Trial] = field(default_factory=list)

    @property
    def source_of(self) -> list[int]:
        """Which source each recording is from."""
        return [source for source, _, _ in self.stretches]

    @property
    def notes(self) -> list[str]:
        """What of the recordings was wanted, but left out, and what is marked bad, but taken: sentences."""
        channels, targets = self.configuration.channels, self.configuration.target_channels
        notes = channel_notes(self.stored, channels, targets, self.signal)
        if self.marked:
            n, where = len(self.marked), dict.fromkeys(self.source(trial).path.name for trial in self.marked)
            what = "trials" if self.configuration.trials else "segments"
            of = f"{n} of {n + len(self.trials)} (in {some([*where])})"
            notes.append(f"{what} left out, as samples of them are marked bad: {of}")
        return notes

    @property
    def fingerprints(self) -> list[str]:
        """What tells each source from others."""
        return [stored.fingerprint for stored in self.stored]

    def length(self, number: int) -> int:
        """Return the samples of a recording."""
        _, start, stop = self.stretches[number]
        return stop - start

    def recording(self, number: int) -> Recording:
        """Return a recording; its samples are mapped as long as it is held."""
        source, start, stop = self.stretches[number]
        return self.stored[source].part(start, stop)

    def amplitude(self, numbers: Iterable[int]) -> Amplitude:
        """Return how large the recordings of these numbers are, all together; kept in the store."""
        stretches = [self.stretches[number] for number in sorted(numbers)]
        return store_amplitude([(self.stored[source], start, stop) for source, start, stop in stretches], self.signal)

    @property
    def outputs(self) -> Classification | Regression:
        """What a decoder of this data set gives."""
        channels = self.configuration.target_channels
        return self.configuration.outputs(self.stored[0].signal.pick(channels).units if channels else ())

    def truth(self, trial: Trial, newest: Sequence[int]) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return the class (n,) of a trial, or the values (n, n_targets) at its input samples `newest`."""
        targets = self.configuration.targets
        if targets is None:
            return np.full(len(newest), trial.truth, np.int64)
        if targets.values:
            values = targets.values[self.configuration.class_names[trial.truth]]
            return np.tile(np.array(values, np.float32), (len(newest), 1))
        source, start, _ = self.stretches[trial.recording]
        before = sum(stop - first for first, stop in self.stored[source].unbroken if stop <= start)
        chosen: NDArray[np.float32] = self.values[source]()[before + np.asarray(newest)].astype(np.float32)
        return chosen

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
        return self.sources[self.stretches[trial.recording][0]]

    def subject(self, trial: Trial) -> int:
        """Return the index of the person a trial is of; 0 if nobody knows."""
        part = self.configuration.recordings.subject
        return self.subjects.index(self.source(trial).parts[part]) if part else 0

    @property
    def positions(self) -> Positions:
        """Where the sensors are on a plane: as the first recording says that tells of them."""
        return {name: at for stored in reversed(self.stored) for name, at in stored.positions.items()}

    def before_learning(self, steps: Sequence[Step]) -> Chain:
        """Return the steps before the first that learns: what they give is the same for every fold, and is kept."""
        learned = [recipe.fitted for recipe in self.configuration.preprocessing]
        return Chain(steps[: learned.index(True)] if True in learned else steps, self.signal)

    def preprocessor(self, steps: Sequence[Step]) -> Preprocess:
        """Return what runs all recordings of a source through the steps.

        It takes the source's number and gives (n_samples', n_channels') of each recording, by its number.
        """
        before = self.before_learning(steps)
        rest = steps[len(before.steps) :]

        def preprocess(source: int) -> dict[int, Samples]:
            features = store_features(self.stored[source], self.signal, before)
            if rest:
                chain = Chain(rest, before.output)
                features = [_anew(chain, part) for part in features]
            numbers = [i for i, (of, _, _) in enumerate(self.stretches) if of == source]
            return dict(zip(numbers, features, strict=True))

        return preprocess

    def samples_of(self, steps: Sequence[Step], trials: Iterable[Trial]) -> Samples:
        """Return the preprocessed samples of these trials, recording after recording: what a step may learn from.

        Where they are more than should be in memory, fewer stand in for them, of the same mean and covariance.
        """
        chain = Chain(steps, self.signal)
        moments, n, n_most = Moments(chain.output.n_channels), 0, _MOST // chain.output.n_channels
        preprocess, features = self.preprocessor(steps), dict[int, Samples]()
        parts: list[Samples] = []
        for trial in sorted(trials, key=lambda t: t.recording):
            if trial.recording not in features:
                features = preprocess(self.stretches[trial.recording][0])
            parts.append(np.array(features[trial.recording][slice(*outputs_of(trial, chain))]))
            n += len(parts[-1])
            if n > n_most:
                for part in parts:
                    moments.add(part)
                parts.clear()
        for part in parts if n > n_most else ():
            moments.add(part)
        return moments.alike() if n > n_most else np.concatenate(parts)


def _anew(chain: Chain, samples: Samples) -> Samples:
    chain.reset()
    return chain.process(samples)


def outputs_of(trial: Trial, chain: Chain) -> tuple[int, int]:
    """Return the range of outputs whose newest input lies within a trial."""
    return chain.n_outputs(trial.start), chain.n_outputs(trial.stop)


def from_sensors(
    dataset: Dataset, steps: Sequence[Step], change: Callable[[Samples], Samples] | None = None
) -> Preprocess:
    """Return what runs a source's recordings through steps; nothing of it is kept in the store.

    As the live decoder does: from the first sample of the file, anew after every gap, statistics kept. What is given
    goes with the arrays, which are in a file. What is to be changed before is in memory whole.
    """

    def preprocess(source: int) -> dict[int, Samples]:
        chain, given = Chain(steps, dataset.signal), dict[int, Samples]()
        for number, (of, _, _) in enumerate(dataset.stretches):
            if of == source:
                chain.reset()
                recording = dataset.recording(number)
                if change is not None:
                    given[number] = chain.process(change(sensor_samples(recording, dataset.signal)))
                else:
                    given[number] = _streamed(chain, recording, dataset.signal)
        return given

    return preprocess


def _streamed(chain: Chain, recording: Recording, signal: Signal) -> Samples:
    out, done = scratch((chain.n_outputs(len(recording.samples)), chain.output.n_channels), np.float64), 0
    for samples in sensor_blocks(recording, signal):
        given = chain.process(samples)
        out[done : done + len(given)] = given
        done += len(given)
    return out


class Cutter:
    """Cuts windows out of trials; keeps what was preprocessed for the next call, in a file that goes with it.

    Parameters
    ----------
    dataset : Dataset
        Whose trials they are.
    steps : sequence of Step
        The preprocessing.
    preprocess : callable, optional
        What gives the preprocessed samples, in the place of the data set's own `preprocessor`.

    Attributes
    ----------
    longest : int
        Samples of the longest window that fits into every trial.
    before : int
        Preprocessed samples that a window at an event needs before its own, for its baseline.
    """

    def __init__(self, dataset: Dataset, steps: Sequence[Step], preprocess: Preprocess | None = None) -> None:
        self._dataset, self._preprocess = dataset, preprocess or dataset.preprocessor(steps)
        self._chain = Chain(steps, dataset.signal)
        self._at_events = event_window(dataset.configuration, self._chain, dataset.signal.sfreq)
        self.before = self._at_events.before if self._at_events else 0
        self.longest = self._chain.outputs_within(dataset.trial_length)[0] - self.before
        self._numbers = {trial: number for number, trial in enumerate(dataset.trials)}
        self._of: defaultdict[int, list[Trial]] = defaultdict(list)
        for trial in dataset.trials:
            self._of[trial.recording].append(trial)
        self._filled: set[int] = set()

    @cached_property
    def _features(self) -> NDArray[np.float32]:
        """What was preprocessed of each trial: (n_trials, n_channels', n_samples')."""
        most = self._chain.outputs_within(self._dataset.trial_length)[1]
        return scratch((len(self._numbers), self._chain.output.n_channels, most), np.float32)

    def _fill(self, source: int) -> None:
        for recording, features in self._preprocess(source).items():
            for trial in self._of[recording]:
                first, stop = outputs_of(trial, self._chain)
                self._features[self._numbers[trial], :, : stop - first] = features[first:stop].T
        self._filled.add(source)

    def cut(self, trials: Sequence[Trial], n_times: int, stride: int) -> Windows:
        """Cut windows of `n_times` every `stride` outputs of each trial, each whole in its trial."""
        reach = self.before + n_times
        y, at, last, numbers, subjects = [], [], [], [], []
        for number, trial in enumerate(trials):
            source = self._dataset.stretches[trial.recording][0]
            if source not in self._filled:
                self._fill(source)
            first, stop = outputs_of(trial, self._chain)
            starts = range(0, stop - first - reach + 1, stride)
            y.append(self._dataset.truth(trial, [self._chain.newest_input(first + s + reach - 1) for s in starts]))
            at += [(self._numbers[trial], start) for start in starts]
            last += [stop - first - reach] * len(starts)
            numbers += [number] * len(starts)
            subjects += [self._dataset.subject(trial)] * len(starts)
        truth: NDArray[Any] = np.concatenate(y)
        x = Cuts(self._features, np.array(at, np.int64), np.array(last, np.int64), reach, self._at_events)
        return Windows(x, truth, np.array(numbers, np.int64), np.array(subjects, np.int64))


def event_window(configuration: TrainingConfiguration, chain: Chain, sfreq: float) -> EventWindow | None:
    """Return where the window stands relative to an event, in samples; None if it slides."""
    events, trials, looked_at = configuration.events, configuration.trials, configuration.looked_at
    if events is None or trials is None or looked_at is None:
        return None

    def output(seconds: float) -> int:
        return round((seconds - looked_at.tmin_s) * chain.output.sfreq)

    first, baseline = round(looked_at.tmin_s * sfreq), None
    if events.baseline_s:
        if output(events.baseline_s[1]) <= output(events.baseline_s[0]):
            raise ConfigurationError(
                f"events.baseline_s: from {events.baseline_s[0]:g} to {events.baseline_s[1]:g} s there is no sample "
                f"at {chain.output.sfreq:g} Hz. Give it in seconds, and longer."
            )
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
    configuration: TrainingConfiguration,
    sources: list[Source],
    read: Callable[[Path, Arrays], StoredRecording] = store_recording,
    every_class: bool = True,
) -> Dataset:
    """Read the recordings of one decoder with `read`, and find their trials.

    RecordingError if there are none, or none of a class where `every_class` is to have some.
    """
    stored = [read(source.path, configuration.recordings.arrays) for source in sources]
    targets = configuration.target_channels
    signal = choose_signal(stored, configuration.channels, targets)
    unit_of = dict(zip(stored[0].signal.ch_names, stored[0].signal.units, strict=True))
    target_units = tuple(unit_of.get(name, "none") for name in targets)
    dataset = Dataset(configuration, signal, sources, stored, [], [], [])
    for number, (source, recording) in enumerate(zip(sources, stored, strict=True)):
        found, values = store_truth(recording, configuration, target_units)
        # By what they are called whatever is marked.
        ids = (f"{source.name}#{n}" for n in itertools.count())
        for (start, stop), trials in zip(recording.unbroken, found, strict=True):
            for *trial, marked in trials:
                kept = dataset.marked if marked else dataset.trials
                kept.append(Trial(next(ids), len(dataset.stretches), *trial))
            dataset.stretches.append((number, start, stop))
        dataset.values.append(values)
    if every_class or not dataset.trials:
        refuse_absent_classes(dataset)
    if targets:
        refuse_values(dataset)
    return dataset
