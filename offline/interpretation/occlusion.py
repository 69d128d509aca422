"""What a decoder rests on: what is lost when a part of its signals is that of other trials.

Breiman 2001, Random forests, doi 10.1023/A:1010933404324: what is permuted keeps its distribution, so that a decoder
sees nothing it has never seen, only what tells nothing of the truth. A trial never stands in for itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from offline.interpretation.judging import Judged, judge
from offline.interpretation.parts import Part, band_name, mixed
from rtdecode.errors import RecordingError
from rtdecode.scoring import DRAWS, Figure, interval, mean_of

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
Predict = Callable[[NDArray[Any], _Ints], NDArray[np.floating]]
Tell = Callable[[int, int], None]

BANDS_HZ = ((0.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, np.inf))
# Values of windows that are changed at once: beside the windows there are only a few copies of these.
_AT_ONCE = 1 << 22
# Values that are looked at in all, which takes minutes: of more, fewer trials.
_MOST = 1 << 34


def channel_parts(ch_names: Sequence[str]) -> list[Part]:
    """Return each channel as a part."""
    return [Part(name, channels=(i,)) for i, name in enumerate(ch_names)]


def group_parts(groups: Mapping[str, Sequence[int]]) -> list[Part]:
    """Return groups of channels, given by their indices, as parts."""
    return [Part(name, channels=tuple(group)) for name, group in groups.items()]


def time_parts(n_times: int, n_segments: int, sfreq: float, first_s: float = 0.0) -> list[Part]:
    """Return a window cut into so many segments; `first_s`: where it begins, in seconds."""
    edges = np.linspace(0, n_times, min(n_segments, n_times) + 1).round().astype(int).tolist()
    return [
        Part(f"{first_s + start / sfreq:.3g} to {first_s + stop / sfreq:.3g} s", span=(start, stop))
        for start, stop in pairwise(edges)
    ]


def band_parts(sfreq: float, bands_hz: Sequence[tuple[float, float]] = BANDS_HZ) -> list[Part]:
    """Return bands as parts, as far as there are any below half the rate."""
    return [Part(band_name(band), band_hz=band) for band in bands_hz if band[0] < sfreq / 2]


@dataclass(frozen=True)
class Signals:
    """Stretches of signal, what their windows stand for, and who decodes them.

    Attributes
    ----------
    x : array, (n_stretches, n_channels, n_times)
        Windows as a network sees them, or stretches at the sensors; may be mapped, and is left as it is.
    trial : array of int, (n_stretches,)
        Which trial, or segment, each is of; those of one stand together.
    block : array of int, (n_stretches,)
        Which recording each is of: trials stand in for others of theirs only.
    window : array of int, (n_windows,)
        Which stretch each window is of, in order.
    truth : array of int, (n_windows,), or of float, (n_windows, n_targets)
        Class indices, or values.
    sfreq : float
        Rate of the samples in Hz.
    ch_names : tuple of str
        Names of the channels.
    predict : callable
        Takes stretches of whole trials that stand in the place of some, and the numbers of those; returns class
        probabilities, or values, of their windows (n, n_outputs).
    """

    x: NDArray[Any]
    trial: _Ints
    block: _Ints
    window: _Ints
    truth: NDArray[Any]
    sfreq: float
    ch_names: tuple[str, ...]
    predict: Predict

    @property
    def classifies(self) -> bool:
        """Whether the outputs are probabilities of classes; otherwise they are values."""
        return self.truth.ndim == 1


@dataclass(frozen=True)
class Occlusion:
    """What a decoder was worth as it is, and with each part of its signals exchanged.

    Attributes
    ----------
    parts : tuple of Part
        What was exchanged, each by itself.
    whole : Judged
        With nothing exchanged.
    without : tuple of Judged
        With each part as in other trials, mean over the repeats.
    alone : tuple of Judged
        With all but that part as in other trials; none if it was not asked for.
    nothing : Judged or None
        With everything as in other trials; None if `alone` was not asked for.
    n_repeats : int
        How many orders of the trials.
    n_left_out : int
        Trials that were not looked at: no other one of their recording could stand in for them, all others have
        the same truth, or there are more than can be looked at within minutes.
    truth : array of int, (n_trials,), or None
        The class of each trial; None of values.
    """

    parts: tuple[Part, ...]
    whole: Judged
    without: tuple[Judged, ...]
    alone: tuple[Judged, ...]
    nothing: Judged | None
    n_repeats: int
    n_left_out: int
    truth: _Ints | None

    @property
    def n_trials(self) -> int:
        """How many trials were looked at."""
        return len(self.whole.loss)

    @property
    def loss_unit(self) -> str:
        """What losses are measured in."""
        return "variances of the truth" if self.truth is None else "nats"

    @property
    def chance(self) -> float:
        """Accuracy of always saying the most frequent class; NaN of values."""
        return float("nan") if self.truth is None else float(np.bincount(self.truth).max() / len(self.truth))

    @property
    def accuracy(self) -> Figure | None:
        """Accuracy over trials with nothing exchanged; None of values."""
        return self.accuracy_of(self.whole)

    def accuracy_of(self, judged: Judged) -> Figure | None:
        """Return the accuracy of all trials, mean over the repeats, with a 95 % interval (bootstrap over trials)."""
        return None if self.truth is None else mean_of(judged.right, "accuracy", self.chance)

    @property
    def grown(self) -> list[Figure]:
        """How much the loss grows without each part, with 95 % intervals (bootstrap over trials)."""
        return [mean_of(judged.loss - self.whole.loss, "growth of the loss", 0.0) for judged in self.without]

    @property
    def lost(self) -> list[Figure]:
        """How much accuracy is lost without each part; nothing of values."""
        if self.truth is None:
            return []
        return [mean_of(self.whole.right - judged.right, "accuracy lost", 0.0) for judged in self.without]

    @property
    def shares(self) -> list[Figure]:
        """Which share of the covariance of truth and output each part gives alone; 0: none, 1: all of it.

        What the same other trials give by themselves is taken off both. Intervals are a bootstrap over trials.
        Nothing if `alone` was not asked for. NaN where the whole is not surely different from what the other trials
        give (95 % interval): there is nothing to share.
        """
        if self.nothing is None:
            return []
        n, base = self.n_trials, self.nothing.evidence
        drawn = np.random.default_rng(0).integers(n, size=(DRAWS, n))
        whole = self.whole.evidence - base
        wholes = whole[drawn].mean(axis=1)
        low, high = interval(wholes)
        if not (low > 0 or high < 0):
            return [Figure("share", np.nan, np.nan, np.nan, 0.0, n) for _ in self.alone]
        figures = []
        # Now and then a draw of trials has nothing to share.
        with np.errstate(divide="ignore", invalid="ignore"):
            for judged in self.alone:
                part = judged.evidence - base
                draws = part[drawn].mean(axis=1) / wholes
                figures.append(Figure("share", float(part.mean() / whole.mean()), *interval(draws), 0.0, n))
        return figures


def occlude(
    signals: Signals,
    parts: Sequence[Part],
    n_repeats: int = 5,
    seed: int = 0,
    alone: bool = False,
    removed: bool = False,
    tell: Tell | None = None,
) -> Occlusion:
    """Measure what is lost without each part of the signals.

    Parameters
    ----------
    signals : Signals
        What is looked at.
    parts : sequence of Part
        What to exchange, each by itself.
    n_repeats : int
        Orders of the trials that each part is exchanged by; all parts by the same ones.
    seed : int
        Of these orders.
    alone : bool
        Whether to measure as well what is left with everything else exchanged.
    removed : bool
        Zeros stand in for a part rather than other trials: of a band, a band-stop. What is lost then is also what a
        decoder loses that sees what it has never seen.
    tell : callable, optional
        Called with how many of how many predictions of all windows are done.

    Raises
    ------
    RecordingError
        There are too few trials to exchange, or nothing to be right or wrong about: in no recording does the truth
        change.

    Notes
    -----
    Determinism: the same seed gives the same figures, to the last bit on one machine with one set of libraries.
    """
    n_orders, modes = 1 if removed else n_repeats, (False, True) if alone else (False,)
    n_all, n_done = 1 + (len(parts) * len(modes) + alone) * n_orders, 0
    numbers = _fewer(signals, _exchangeable(signals), n_all)
    n_left_out = len(np.unique(signals.trial)) - len(np.unique(signals.trial[numbers]))
    windows = np.flatnonzero(np.isin(signals.window, numbers))
    truth, of_trial = signals.truth[windows], signals.trial[signals.window[windows]]
    orders = [donors(signals.trial[numbers], signals.block[numbers], rng) for rng in _generators(seed, n_orders)]

    def judged(part: Part | None, order: _Ints, of_part: bool) -> Judged:
        nonlocal n_done
        outputs = _outputs(signals, numbers, part, None if removed else order, of_part)
        n_done += 1
        if tell:
            tell(n_done, n_all)
        return judge(truth, outputs, of_trial)

    whole = judged(None, orders[0], False)
    found = [[_mean([judged(part, order, mode) for order in orders]) for mode in modes] for part in parts]
    return Occlusion(
        tuple(parts),
        whole,
        tuple(each[0] for each in found),
        tuple(each[1] for each in found if alone),
        _mean([judged(Part("everything"), order, False) for order in orders]) if alone else None,
        len(orders),
        n_left_out,
        truth[np.unique(of_trial, return_index=True)[1]] if signals.classifies else None,
    )


def donors(trial: _Ints, block: _Ints, rng: Generator) -> _Ints:
    """Return which stretch stands in for each: one of another trial of the same block, trials exchanged whole.

    All trials of a block stand in a random circle, and each is replaced by the next: every other one is equally
    probable, and none is its own. Of trials with unequally many stretches the longer one's rest begins anew.
    """
    chosen = np.empty(len(trial), np.int64)
    names, counts = np.unique(trial, return_counts=True)
    members = dict(zip(names, np.split(np.argsort(trial, kind="stable"), np.cumsum(counts)[:-1]), strict=True))
    for one in np.unique(block):
        circle = rng.permutation(np.unique(trial[block == one]))
        for own, other in zip(circle, np.roll(circle, -1), strict=True):
            there = members[other]
            chosen[members[own]] = there[np.arange(len(members[own])) % len(there)]
    return chosen


def _mean(judged: Sequence[Judged]) -> Judged:
    return Judged(*(np.mean([getattr(j, name) for j in judged], axis=0) for name in ("right", "loss", "evidence")))


def _generators(seed: int, n: int) -> list[Generator]:
    return [np.random.default_rng([seed, number]) for number in range(n)]


def _fewer(signals: Signals, numbers: _Ints, n_times: int) -> _Ints:
    """Return those of some stretches that are looked at, when all are looked at so often.

    Of more than can be, every n-th trial of each recording and class, and two of a recording at least.
    """
    every = -(-n_times * len(numbers) * signals.x.shape[1] * signals.x.shape[2] // _MOST)
    if every <= 1:
        return numbers
    trials, first = np.unique(signals.trial[numbers], return_index=True)
    if signals.classifies:
        kind = signals.truth[np.searchsorted(signals.window, numbers[first])]
    else:
        kind = np.zeros(len(trials), np.int64)
    groups = np.stack([signals.block[numbers[first]], kind])
    kept = []
    for group in np.unique(groups, axis=1).T:
        members = trials[(groups == group[:, None]).all(axis=0)]
        n = max(1 if signals.classifies else 2, -(-len(members) // every))
        kept.append(members[np.unique(np.linspace(0, len(members) - 1, n).round().astype(np.int64))])
    return numbers[np.isin(signals.trial[numbers], np.concatenate(kept))]


def _exchangeable(signals: Signals) -> _Ints:
    """Return the stretches whose trials others of another truth can stand in for.

    They are those of recordings in which the truth changes: elsewhere what is exchanged tells the same as before.
    """
    n_of = {block: len(np.unique(signals.trial[signals.block == block])) for block in np.unique(signals.block)}
    numbers = np.flatnonzero([n_of[block] > 1 for block in signals.block])
    n_trials, n_kept = len(np.unique(signals.trial)), len(np.unique(signals.trial[numbers]))
    if n_kept == 0:
        raise RecordingError(
            f"{n_trials} trials in {len(n_of)} recordings: none has another one of its recording to stand in for it. "
            "Give recordings with at least two trials each."
        )
    truth = signals.truth[np.isin(signals.window, numbers)]
    if not _varies(truth):
        what = "are of one class" if signals.classifies else "have the same value of a target"
        raise RecordingError(
            f"All {n_kept} trials that can be exchanged {what}: nothing tells what being right rests on. Give "
            "recordings in which the truth changes."
        )
    block = signals.block[signals.window]
    varied = [one for one in np.unique(signals.block[numbers]) if _varies(signals.truth[block == one])]
    if not varied:
        what = "all trials are of one class" if signals.classifies else "a target has the same value throughout"
        raise RecordingError(
            f"In each recording {what} ({n_kept} trials, {len(np.unique(signals.block[numbers]))} recordings), so "
            "that what stands in for a trial tells the same. Give recordings within which the truth changes."
        )
    return numbers[np.isin(signals.block[numbers], varied)]


def _varies(truth: NDArray[Any]) -> bool:
    """Tell whether the class, or every target, changes."""
    return len(truth) > 0 and not bool((truth == truth[0]).all(axis=0).any())


def _batches(trial: _Ints, size: int) -> Iterator[slice]:
    """Give slices of about `size` stretches that hold trials whole."""
    first = np.flatnonzero(np.diff(trial, prepend=trial[0] - 1))
    start = 0
    for stop in [*first[1:].tolist(), len(trial)]:
        if stop - start >= size or stop == len(trial):
            yield slice(start, stop)
            start = stop


def _outputs(signals: Signals, numbers: _Ints, part: Part | None, order: _Ints | None, of_part: bool) -> _Floats:
    """Predict with a part exchanged, or with all but it (`of_part`); without an order, by zeros."""
    size = max(1, _AT_ONCE // (signals.x.shape[1] * signals.x.shape[2]))
    outputs = []
    for batch in _batches(signals.trial[numbers], size):
        x = signals.x[numbers[batch]]
        if part is not None:
            other = np.zeros_like(x) if order is None else signals.x[numbers[order[batch]]]
            x = mixed(other, x, part, signals.sfreq) if of_part else mixed(x, other, part, signals.sfreq)
        outputs.append(signals.predict(x, numbers[batch]))
    return np.concatenate(outputs).astype(np.float64)
