"""How well windows are decoded, by how long after the cue they end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.decisions import NOT_COUNTED, Course
from rtdecode.scoring import Figure, accuracy

BEFORE_S = 1.0
_MOST_BINS = 120


@dataclass(frozen=True)
class OverTime:
    """Accuracy over time.

    Attributes
    ----------
    time_s : array of float64, (n_bins,)
        From the event to the newest sample of a window: the middle of each bin.
    figures : list of Figure
        Accuracy of the newest window in each bin: each trial counts once, so that Wilson's interval holds.
    """

    time_s: NDArray[np.float64]
    figures: list[Figure]


def over_time(courses: Sequence[Course], stop_s: float) -> OverTime:
    """Judge windows that end from a second before the event to `stop_s` after it, or to the next event of a class.

    Bins are as long as a hop, or longer where there would be too many. Told are those to which at least half of the
    trials give a window.
    """
    hop_s = courses[0].hop_s
    width_s = hop_s * np.ceil((BEFORE_S + stop_s) / hop_s / _MOST_BINS)
    n_bins = int(np.ceil((BEFORE_S + stop_s) / width_s))
    said = np.concatenate([_said(course, n_bins, width_s) for course in courses])
    truth = np.concatenate([course.truth for course in courses])
    n = (said >= 0).sum(axis=0)
    told = np.flatnonzero((n > 0) & (2 * n >= len(truth)))
    figures = [accuracy(truth[said[:, i] >= 0], said[said[:, i] >= 0, i]) for i in told]
    return OverTime((told + 0.5) * width_s - BEFORE_S, figures)


def _said(course: Course, n_bins: int, width_s: float) -> NDArray[np.int64]:
    """Return the most probable class (n_trials, n_bins) of each trial's newest window in each bin; -1: none."""
    said = np.full((len(course.truth), n_bins), -1, np.int64)
    decoded = np.flatnonzero(course.decoded & (course.trial != NOT_COUNTED))
    samples, labels = course.samples[decoded], course.proba[decoded].argmax(axis=1)
    nexts = [*course.events[1:], np.iinfo(np.int64).max]
    for row, event, after in zip(said, course.events, nexts, strict=True):
        first = event - round(BEFORE_S * course.sfreq)
        inside = slice(*np.searchsorted(samples, [first, after]))
        at = ((samples[inside] - first) / (width_s * course.sfreq) + 1e-9).astype(np.int64)
        near = at < n_bins
        row[at[near]] = labels[inside][near]
    return said
