"""Which trials train and which are tested on; stored, and shared by all that is compared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, StratifiedShuffleSplit

from offline.dataset import Dataset, Trial
from rtdecode.errors import RecordingError


@dataclass(frozen=True)
class Fold:
    """One division of the trials, by their ids. No sample stands on two sides.

    Attributes
    ----------
    name : str
        What is held out.
    train, validation, test : tuple of str
        Fitted on; watched by early stopping; reported.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """Return the fold as JSON can hold it."""
        return asdict(self)


def make_folds(dataset: Dataset) -> list[Fold]:
    """Divide a data set as its configuration says."""
    split, trials = dataset.configuration.split, dataset.trials
    testable = [i for i, s in enumerate(dataset.sources) if s.own and s.has(split.test_on)]
    if split.kind == "held-out-runs":
        held_out = {i for i in testable if dataset.sources[i].has(split.held_out)}
        groups = [("held-out", [t for t in trials if dataset.source_of[t.recording] in held_out])]
    elif split.kind == "leave-one-run-out":
        groups = [
            (dataset.sources[i].name, [t for t in trials if dataset.source_of[t.recording] == i]) for i in testable
        ]
    else:
        candidates = [t for t in trials if dataset.source_of[t.recording] in testable]
        # Not shuffled: each fold takes neighbouring trials (of each class), so that few trials have a neighbour
        # in time on the other side.
        stratified = split.kind == "stratified-blocks"
        counts = Counter(t.truth for t in candidates) if stratified else {0: len(candidates)}
        fewest = min(counts.values(), default=0)
        if fewest < split.n_folds:
            what = "a class has" if stratified else "there are"
            raise RecordingError(f"{split.n_folds} blocks of trials are asked for, but {what} {fewest} trials.")
        splitter = (StratifiedKFold if stratified else KFold)(split.n_folds)
        divided = splitter.split(candidates, [t.truth for t in candidates])
        groups = [(f"block-{n}", [candidates[i] for i in test]) for n, (_, test) in enumerate(divided, 1)]
    folds = []
    for name, test in groups:
        rest = _apart(trials, test)
        if not test or not rest or len({t.truth for t in rest}) < len(dataset.configuration.class_names):
            raise RecordingError(
                f"Split {split.kind!r}: fold {name!r} has {len(test)} trials to test, "
                f"{len(rest)} to train on; every class is needed for training. Give more runs, or "
                "another split."
            )
        train, validation = divide_for_stopping(dataset, rest)
        folds.append(Fold(name, _ids(train), _ids(validation), _ids(test)))
    return folds


def divide_for_stopping(dataset: Dataset, trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Set some whole trials apart for early stopping: stratified by class, seeded.

    Of trials that overlap a block of neighbours is taken, so that few are lost between the two parts.
    """
    training = dataset.configuration.training
    truth = np.array([t.truth for t in trials])
    n_validation = max(round(training.validation * len(trials)), len(np.unique(truth)))
    try:
        if _overlapping(trials):
            splitter = StratifiedKFold(max(2, round(len(trials) / n_validation)))
        elif dataset.configuration.class_names:
            splitter = StratifiedShuffleSplit(1, test_size=n_validation, random_state=training.seed)
        else:
            splitter = ShuffleSplit(1, test_size=n_validation, random_state=training.seed)
        _, chosen = next(splitter.split(truth, truth))
    except ValueError as error:
        raise RecordingError(f"{len(trials)} trials are too few to train on: {error}.") from None
    validation = [trials[i] for i in sorted(chosen)]
    train = _apart(trials, validation)
    if len({t.truth for t in train}) < len(set(truth)):
        raise RecordingError(
            f"{len(trials)} trials are too few to train on: with {len(validation)} set apart for stopping, what is "
            "left shares samples with them. Shorten the trials, or lower training.validation."
        )
    return train, validation


def blocks(trials: Sequence[Trial], n: int) -> Iterator[tuple[list[Trial], list[Trial]]]:
    """Give each of `n` blocks of neighbouring trials of each class: (the others that share no sample, the block).

    RecordingError if a class has fewer trials.
    """
    ordered = sorted(trials, key=lambda t: (t.recording, t.start))
    truth = np.array([t.truth for t in ordered])
    if np.bincount(truth).min() < n:
        raise RecordingError(
            f"{n} blocks of trials are asked for, but a class has {np.bincount(truth).min()} trials."
        )
    for _, chosen in StratifiedKFold(n).split(truth, truth):
        held_out = [ordered[i] for i in chosen]
        yield _apart(ordered, held_out), held_out


def _overlapping(trials: Sequence[Trial]) -> bool:
    by_start = sorted(trials, key=lambda t: (t.recording, t.start))
    return any(a.recording == b.recording and b.start < a.stop for a, b in pairwise(by_start))


def _apart(trials: Sequence[Trial], held_out: Sequence[Trial]) -> list[Trial]:
    """Return the trials that share no sample with those held out."""
    taken: dict[int, list[tuple[int, int]]] = {}
    for trial in held_out:
        taken.setdefault(trial.recording, []).append((trial.start, trial.stop))
    return [
        trial
        for trial in trials
        if not any(trial.start < stop and start < trial.stop for start, stop in taken.get(trial.recording, ()))
    ]


def _ids(trials: Sequence[Trial]) -> tuple[str, ...]:
    return tuple(t.id for t in trials)
