"""What would let a decoder be tested on what it learned from: looked for in a partition before anything is fitted."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from offline.dataset import Dataset, Trial
from rtdecode.errors import RecordingError

if TYPE_CHECKING:
    from offline.partition import Fold


class _Piece(NamedTuple):
    """Samples [start, stop) of a recording, known by its fingerprint: all that a trial's windows hold."""

    fingerprint: str
    start: int
    stop: int
    side: str
    trial: str
    source: int


def refuse_leaks(dataset: Dataset, folds: Iterable["Fold"]) -> None:
    """Refuse folds of which two sides (train, validation, test) share a trial, samples, an epoch or a recording.

    The samples of a trial are those that its windows hold, baseline and context included. What filters remember from
    before them is past that a live decoder has too, and is not counted. Recordings of one fingerprint are copies,
    whatever their paths.

    Raises
    ------
    RecordingError
        It says which fold leaks, and what stands on two sides of it.
    """
    trials, fingerprints = {trial.id: trial for trial in dataset.trials}, dataset.fingerprints
    for fold in folds:
        pieces = []
        for side, names in fold.sides.items():
            for name in names:
                trial = trials[name]
                source, begin, _ = dataset.stretches[trial.recording]
                samples = begin + trial.start, begin + trial.stop
                pieces.append(_Piece(fingerprints[source], *samples, side, name, source))
        for _, same in groupby(sorted(pieces), key=lambda piece: piece.fingerprint):
            of_recording = list(same)
            if leak := _copies(dataset, of_recording) or _shared(of_recording):
                raise RecordingError(f"Fold {fold.name!r} leaks: {leak}")
        if leak := _divided(dataset, fold):
            raise RecordingError(f"Fold {fold.name!r} leaks: {leak}")


def _copies(dataset: Dataset, pieces: list[_Piece]) -> str:
    """Say which copies of a recording stand on two sides; nothing if none do."""
    paths = [str(dataset.sources[number].path) for number in sorted({piece.source for piece in pieces})]
    sides = sorted({piece.side for piece in pieces})
    if len(paths) < 2 or len(sides) < 2:
        return ""
    return f"{' and '.join(paths)} are the same recording, and stand in {' and '.join(sides)}. Leave one out."


def _shared(pieces: list[_Piece]) -> str:
    """Say what samples of a recording stand on two sides; nothing if none do. Pieces come in order of their start."""
    furthest = pieces[0]
    for piece in pieces[1:]:
        # Whatever reaches less far, of the other side, was refused when it met this one.
        if piece.start < furthest.stop and piece.side != furthest.side:
            if piece.trial == furthest.trial:
                return f"trial {piece.trial} stands in both {furthest.side} and {piece.side}."
            shared = min(piece.stop, furthest.stop) - piece.start
            return (
                f"trials {furthest.trial} ({furthest.side}) and {piece.trial} ({piece.side}) share {shared} samples. "
                "Shorten the trials, or put both on one side."
            )
        furthest = max(furthest, piece, key=lambda p: p.stop)
    return ""


def _divided(dataset: Dataset, fold: "Fold") -> str:
    """Say which stretch with a single number as its target, as epochs are, stands on two sides; nothing if none does.

    The pieces of such a one are alike, and their truth is the same.
    """
    if not dataset.configuration.target_channels:
        return ""
    trials, pieces, sides = {t.id: t for t in dataset.trials}, defaultdict[int, list[Trial]](list), defaultdict(set)
    for side, names in fold.sides.items():
        for trial in (trials[name] for name in names):
            pieces[trial.recording].append(trial)
            sides[trial.recording].add(side)
    n_stretches = Counter(dataset.source_of)
    for number, of_stretch in pieces.items():
        source, begin, stop = dataset.stretches[number]
        if len(sides[number]) < 2 or n_stretches[source] < 2:
            continue
        values = np.concatenate([dataset.truth(trial, range(trial.start, trial.stop)) for trial in of_stretch])
        if (values == values[0]).all():
            epoch_s = (stop - begin) / dataset.signal.sfreq
            return (
                f"pieces of one epoch of {dataset.sources[source].path}, whose target is {values[0].tolist()} "
                f"throughout, stand in {' and '.join(sorted(sides[number]))}. Let targets.segment_s be the length of "
                f"an epoch: {epoch_s:g} s."
            )
    return ""
