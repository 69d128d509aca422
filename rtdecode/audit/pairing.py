"""Which published row belongs to which that is due, by their stamps."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

Pair = tuple[int | None, int | None]


def pair(due: Sequence[float], found: Sequence[float], tolerance_s: float, alone: frozenset[int]) -> list[Pair]:
    """Pair two sequences in order.

    What has the same stamp belongs together. One that has no partner stands alone, unless one of the other sequence
    has none either at the same place: then the stamp of one was changed, and they are a pair.

    Parameters
    ----------
    due, found : sequence of float
        Stamps in seconds.
    tolerance_s : float
        By how much equal ones may differ.
    alone : frozenset of int
        Indices into `found` of those that may be without a partner: the stamp of none of them was changed.

    Returns
    -------
    list of (int or None, int or None)
        Indices into both, every one of them once; None: missing there.
    """
    of_due, of_found = _Stamps(due, tolerance_s), _Stamps(found, tolerance_s)
    pairs: list[Pair] = []
    i = j = 0
    while i < len(due) and j < len(found):
        if abs(due[i] - found[j]) <= tolerance_s:
            i, j = i + 1, j + 1
            pairs.append((i - 1, j - 1))
            continue
        partner_i, partner_j = of_found.next(due[i], j), of_due.next(found[j], i)
        if partner_i is None and partner_j is None and j not in alone:
            i, j = i + 1, j + 1
            pairs.append((i - 1, j - 1))
        elif partner_j is None or (partner_i is not None and partner_i - j <= partner_j - i):
            j += 1
            pairs.append((None, j - 1))
        else:
            i += 1
            pairs.append((i - 1, None))
    return [*pairs, *((k, None) for k in range(i, len(due))), *((None, k) for k in range(j, len(found)))]


class _Stamps:
    """Finds the next of a sequence with a given stamp."""

    def __init__(self, stamps: Sequence[float], tolerance_s: float) -> None:
        self._order = np.argsort(stamps, kind="stable").tolist()
        self._sorted = [stamps[i] for i in self._order]
        self._tolerance_s = tolerance_s

    def next(self, stamp: float, start: int) -> int | None:
        """Return the first index from `start` on with this stamp; what has no time has no partner."""
        if np.isnan(stamp):
            return None
        low = bisect_left(self._sorted, stamp - self._tolerance_s)
        high = bisect_right(self._sorted, stamp + self._tolerance_s)
        return min((i for i in self._order[low:high] if i >= start), default=None)
