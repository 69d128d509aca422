"""Which trials train and which are tested on; stored, and shared by all that is compared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from offline.dataset import Dataset, Trial
from offline.leaks import refuse_leaks
from rtdecode.errors import RecordingError

# What a fold is called, what it tests on, what it may train on.
_Division = tuple[str, list[Trial], list[Trial]]


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

    @property
    def sides(self) -> dict[str, tuple[str, ...]]:
        """The trials by what is done with them."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def document(self) -> dict[str, object]:
        """Return the fold as JSON can hold it."""
        return asdict(self)


def make_folds(dataset: Dataset) -> list[Fold]:
    """Divide a data set as its configuration says; RecordingError if that cannot be, or would leak."""
    split, folds = dataset.configuration.split, []
    testable = [t for t in dataset.trials if dataset.source(t).own and dataset.source(t).has(split.test_on)]
    if not testable:
        raise RecordingError(f"None of the {len(dataset.trials)} trials may be tested on: see split.test_on.")
    try:
        divisions = list(_DIVIDED[split.kind](dataset, testable))
    except ValueError as error:
        raise RecordingError(f"Split {split.kind!r} cannot be made: {error}") from None
    for name, test, rest in divisions:
        if not test or not rest or len({t.truth for t in rest}) < len(dataset.configuration.class_names):
            raise RecordingError(
                f"Split {split.kind!r}: fold {name!r} has {len(test)} trials to test, "
                f"{len(rest)} to train on; every class is needed for training. Give more runs, or "
                "another split."
            )
        train, validation = divide_for_stopping(dataset, rest)
        folds.append(Fold(name, _ids(train), _ids(validation), _ids(test)))
    refuse_leaks(dataset, folds)
    _refuse_without_figures(dataset, folds)
    return folds


def _refuse_without_figures(dataset: Dataset, folds: Sequence[Fold]) -> None:
    """Refuse what could be trained, but not told the worth of."""
    configuration, tested = dataset.configuration, {i for fold in folds for i in fold.test}
    told = f"Split {configuration.split.kind!r}"
    if configuration.targets is not None and len(tested) < 2:
        raise RecordingError(f"{told}: 1 trial or segment is tested; a correlation needs two. Test on more.")
    classes = {t.truth for t in dataset.trials if t.id in tested}
    if configuration.measure == "auc" and len(classes) < len(configuration.class_names):
        missing = next(name for i, name in enumerate(configuration.class_names) if i not in classes)
        raise RecordingError(
            f"{told}: no trial of class {missing!r} is tested, and an AUC needs both. Test on more, or take "
            "`measure: accuracy`."
        )


def _whole_groups(dataset: Dataset, testable: list[Trial]) -> Iterator[_Division]:
    """Hold out groups of recordings; each is one by itself where the split names no groups."""
    split, trials, chosen = dataset.configuration.split, dataset.trials, set(testable)
    sources = [dataset.source(t) for t in trials]
    groups = ["_".join(f"{part}-{s.parts[part]}" for part in split.groups) or s.name for s in sources]
    splitter = GroupKFold(split.n_folds) if split.kind == "group-k-fold" else LeaveOneGroupOut()
    for n, (rest, held_out) in enumerate(splitter.split(trials, groups=groups), 1):
        test = [trials[i] for i in held_out if trials[i] in chosen]
        # What only ever trains needs no fold.
        if test:
            name = f"fold-{n}" if split.kind == "group-k-fold" else groups[held_out[0]]
            yield name, test, [trials[i] for i in rest]


def _held_out(dataset: Dataset, testable: list[Trial]) -> Iterator[_Division]:
    """Hold out what the split names; what of it is not tested on does not train either."""
    wanted, chosen = dataset.configuration.split.held_out, set(testable)
    held_out = [t for t in dataset.trials if dataset.source(t).own and dataset.source(t).has(wanted)]
    yield "held-out", [t for t in held_out if t in chosen], _apart(dataset.trials, held_out)


def _neighbours(dataset: Dataset, testable: list[Trial]) -> Iterator[_Division]:
    """Hold out blocks of neighbouring trials, not shuffled: few then have a neighbour in time on the other side."""
    split = dataset.configuration.split
    stratified = split.kind == "stratified-blocks"
    counts = Counter(t.truth for t in testable) if stratified else {0: len(testable)}
    fewest = min(counts.values(), default=0)
    if fewest < split.n_folds:
        what = "a class has" if stratified else "there are"
        raise RecordingError(f"{split.n_folds} blocks of trials are asked for, but {what} {fewest} trials.")
    splitter = (StratifiedKFold if stratified else KFold)(split.n_folds)
    for n, (_, held_out) in enumerate(splitter.split(testable, [t.truth for t in testable]), 1):
        test = [testable[i] for i in held_out]
        yield f"block-{n}", test, _apart(dataset.trials, test)


def _predefined(dataset: Dataset, testable: list[Trial]) -> Iterator[_Division]:
    """Hold out what the configuration names, and train on all else: what would leak is not left out but refused."""
    folds = dataset.configuration.split.folds
    numbers = dict.fromkeys(dataset.trials, -1)
    for number, (name, patterns) in enumerate(folds.items()):
        for pattern in patterns:
            named = [
                t for t in testable if fnmatchcase(t.id, pattern) or fnmatchcase(dataset.source(t).name, pattern)
            ]
            if not named:
                raise RecordingError(f"split.folds.{name}: {pattern!r} names no trial that may be tested on.")
            for trial in named:
                if numbers[trial] not in (-1, number):
                    other = list(folds)[numbers[trial]]
                    raise RecordingError(f"split.folds: {trial.id} is in {other} and in {name}.")
                numbers[trial] = number
    divided = PredefinedSplit(list(numbers.values())).split()
    for name, (rest, held_out) in zip(folds, divided, strict=True):
        test, others = ([dataset.trials[i] for i in part] for part in (held_out, rest))
        yield name, test, others


_DIVIDED = {
    "leave-one-run-out": _whole_groups,
    "leave-one-group-out": _whole_groups,
    "group-k-fold": _whole_groups,
    "held-out-runs": _held_out,
    "blocks": _neighbours,
    "stratified-blocks": _neighbours,
    "predefined": _predefined,
}


def divide_for_stopping(dataset: Dataset, trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Set some whole trials apart for early stopping: stratified by class, seeded.

    Of trials that overlap a block of neighbours is taken, so that few are lost between the two parts.
    """
    training = dataset.configuration.training
    truth = np.array([t.truth for t in trials])
    counts = list(Counter(t.truth for t in trials).values())
    n_validation = max(round(training.validation * len(trials)), len(counts))
    try:
        if min(counts) < 2:
            raise ValueError("of a class there is one only")
        if _overlapping(trials):
            splitter = StratifiedKFold(max(2, min(round(len(trials) / n_validation), *counts)))
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


def own_trials(dataset: Dataset, trials: Sequence[Trial]) -> list[Trial]:
    """Return those of the decoder's own recordings; all of them where a decoder learns from others alone."""
    return [t for t in trials if dataset.source(t).own] or list(trials)


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
