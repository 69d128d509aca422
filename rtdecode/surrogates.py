"""Orders of segments that follow each other in time: shifted for a null, drawn in blocks for an interval."""

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
# What is left of the autocorrelation of segments that no longer depend on each other.
_LEFT = 0.05
# With fewer shifts a p cannot be 0.05; with fewer blocks both null and interval rest on next to nothing.
_FEWEST_SHIFTS, _FEWEST_BLOCKS = 20, 5


def members(recordings: ArrayLike) -> list[_Ints]:
    """Return where the segments of each recording stand, of the recording of each (n_segments,)."""
    numbers = np.asarray(recordings)
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def shifts(recordings: ArrayLike, n: int, random: Generator, least: int = 0) -> Iterator[_Ints]:
    """Give `n` random orders (n_segments,), in each of which every recording is turned round by a stretch of its own.

    Neighbours stay neighbours but for one seam, so that what is shifted has the autocorrelation that it had, and
    nothing to do with what happened at the time. Every shift is as likely as any other, none at all among them: then
    a rank among them is valid as it is among the elements of a group (Hemerik, Goeman 2018, doi
    10.1007/s11749-017-0571-1), but for the seam. To leave out those that are nearly none makes too many small p.

    Parameters
    ----------
    recordings : array of int, (n_segments,)
        Of each segment, those of one in order of time.
    n : int
        How many.
    random : Generator
        Draws the shifts.
    least : int
        By how many segments a recording is shifted at least, either way round; half of it where it is shorter.
    """
    parts = members(recordings)
    for shares in random.random((n, len(parts))):
        order = np.arange(sum(map(len, parts)))
        for own, share in zip(parts, shares, strict=True):
            near = min(least, len(own) // 2)
            order[own] = np.roll(own, near + round(share * (len(own) - 2 * near)))
        yield order


def redraws(recordings: ArrayLike, length: int, n: int, random: Generator) -> Iterator[_Ints]:
    """Give `n` draws (n_segments,) of blocks of `length` segments that follow each other in a recording.

    The block bootstrap (Künsch 1989, doi 10.1214/aos/1176347265), a recording's end followed by its beginning, so
    that every segment is as likely as any other (Politis, Romano 1992, in: Exploring the Limits of Bootstrap). With
    blocks of one it is the ordinary one, of segments that are independent.
    """
    parts = members(recordings)
    following = np.empty(sum(map(len, parts)), np.int64)
    for own in parts:
        following[own] = np.roll(own, -1)
    blocks = [np.arange(len(following))]
    for _ in range(length - 1):
        blocks.append(following[blocks[-1]])
    block = np.stack(blocks, axis=1)
    for _ in range(n):
        starts = random.integers(len(following), size=-(-len(following) // length))
        yield block[starts].ravel()[: len(following)]


def dependence(truth: _Floats, recordings: ArrayLike) -> int:
    """Return the length of blocks for a truth (n_segments, n_windows): how many segments on it knows of itself.

    That is the first lag at which the autocorrelation of the segments' means, about the mean of their recording, is
    below 0.05. Predictions are not looked at. What intervals are worth then, was simulated (docs/evaluation.md).
    """
    means = truth.mean(axis=1)
    parts = [means[own] - means[own].mean() for own in members(recordings)]
    longest = max(map(len, parts))
    products = np.zeros(longest)
    for part in parts:
        products[: len(part)] += np.correlate(part, part, "full")[len(part) - 1 :]
    below = np.flatnonzero(products[1:] <= _LEFT * products[0])
    return int(below[0]) + 1 if len(below) else longest


def enough(recordings: ArrayLike, length: int) -> bool:
    """Tell whether there are segments enough for a null and an interval: 20 shifts, and 5 blocks of that length."""
    sizes = [len(own) for own in members(recordings)]
    return prod(sizes) >= _FEWEST_SHIFTS and sum(sizes) >= _FEWEST_BLOCKS * length
