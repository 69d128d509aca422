"""How many samples are missing between raw stamps, at whatever rate the source runs and however its stamps jitter.

A lost sample makes all stamps after it late; a stamp that jitters is late by itself, or with its packet. So stamps
are taken as stretches of one common rate, each later than the one before by what was lost between them.
"""

import math

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]
# So many standard deviations two stretches must be apart to prove a loss, as stamps must for the guard to see a gap;
# where one is proven, so many tell others. What is left out is taken for jitter, and would hide them.
_PROOF, _TOLD = 6.0, 4.0
# So many stamps, each with a jitter of its own, tell it well; of fewer more is asked.
_WELL = 16
# Further from its nominal rate no source runs: stamps that repeat for all samples of a packet look like it.
_MOST_OFF = 0.1
# Stamps jitter together for this share of all at most: no packet is longer.
_TOGETHER = 0.125
_TINY = 1e-30


def count_lost(timestamps: _Values, sfreq: float) -> int:
    """Return how many samples are missing between raw stamps (n_samples,), three of which at least are numbers."""
    count = np.flatnonzero(np.isfinite(timestamps)).astype(np.float64)
    stamps = timestamps[np.isfinite(timestamps)]
    # Where most steps are those of several samples, it is the rate that is wrong.
    period = max(1, round(float(np.median(np.diff(stamps))) * sfreq)) / sfreq
    late = _without_outliers((stamps - stamps[0]) / period - count)
    steps = np.diff(late)
    # Jitter goes back as far as it goes forward, and what is lost goes forward only.
    starts = np.flatnonzero(steps > max(0.5, -0.5 * np.min(steps))) + 1
    while len(starts):
        jumps, sigmas = _jumps(count, late, starts)
        doubtful = (sigmas < _TOLD) | (jumps < 0.5)
        if not doubtful.any():
            return int(np.rint(jumps).sum()) if sigmas.max() >= _PROOF else 0
        # Without the most doubtful ones more is known of the others.
        worst = np.argsort(np.where(doubtful, sigmas, np.inf))
        starts = np.delete(starts, worst[: math.ceil(doubtful.sum() / 4)])
    return 0


def _without_outliers(values: _Values) -> _Values:
    """Put single values right that are far from both their neighbours."""
    inner = np.median([values[:-2], values[1:-1], values[2:]], axis=0)
    return np.concatenate([inner[:1], inner, inner[-1:]])


def _jumps(count: _Values, late: _Values, starts: NDArray[np.int_]) -> tuple[_Values, _Values]:
    """Return by how much each stretch is later than the one before, in samples and in standard deviations."""
    first = np.concatenate([[0], starts])
    n = np.diff(first, append=len(late))
    centre, height = np.add.reduceat(count, first) / n, np.add.reduceat(late, first) / n
    run, rise = count - np.repeat(centre, n), late - np.repeat(height, n)
    spread = max(float(run @ run), _TINY)
    slope = np.clip(run @ rise / spread, -_MOST_OFF, _MOST_OFF)
    rest = rise - slope * run
    apart = np.diff(centre)
    jumps = np.diff(height) - slope * apart
    # Samples whose stamps jitter together tell no more than one of them.
    square, changes = rest @ rest / len(rest), np.delete(np.diff(rest), starts - 1)
    together = np.clip(2 * square / max(float(np.mean(changes**2)), _TINY), 1, max(1, _TOGETHER * len(rest)))
    n_free = np.maximum(len(rest) / together - len(n) - 1, _TINY)
    variance = square * len(rest) / n_free * (1 + _WELL / n_free) ** 2
    errors = np.sqrt(variance * (1 / n[1:] + 1 / n[:-1] + apart**2 / spread))
    return jumps, jumps / np.maximum(errors, _TINY)
