"""What was published, row by row, beside what is due."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtdecode.audit.evidence import Row
from rtdecode.audit.pairing import pair
from rtdecode.audit.verdict import Item, Verdict
from rtdecode.contract import Classification, Regression
from rtdecode.marker import MarkerFormat, marker_of
from rtdecode.prediction import Prediction

_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
_NOT_TOLD = "abstained, and no skip is told"


@dataclass(frozen=True)
class Due:
    """What must have been published: a prediction, with its stamp in the clock of the decoder's host.

    `certain` is False where it may not have come to that: the end of the run cut it off.
    """

    prediction: Prediction
    timestamp: float
    certain: bool = True


@dataclass(frozen=True)
class Comparison:
    """How exactly is compared, and up to when.

    Attributes
    ----------
    outputs : Classification or Regression
        What the decoder gives.
    decision_names : tuple of str
        What it decides, by index.
    tolerance : float
        Of probabilities and values; 0: equal to the last bit.
    tolerance_s : float
        Of stamps.
    end : float
        What is stamped later rests on what was not recorded.
    """

    outputs: Classification | Regression
    decision_names: tuple[str, ...]
    tolerance: float
    tolerance_s: float
    end: float

    def rows(
        self, due: Sequence[Due], rows: Sequence[Row], pauses: frozenset[int], skips: Sequence[tuple[int, int]]
    ) -> tuple[list[Item], list[Due]]:
        """Compare rows of NAME-proba or NAME-values.

        Parameters
        ----------
        due : sequence of Due
            In order.
        rows : sequence of Row
            In order.
        pauses : frozenset of int
            Which rows may be repetitions while no data came.
        skips : sequence of (int, int)
            Up to which sample how many results were skipped.

        Returns
        -------
        items : list of Item
            One for each row, published or due.
        published : list of Due
            What was not skipped, with the stamp of its row: what markers must be of.
        """
        items: list[Item] = []
        published: list[Due] = []
        withheld: list[Due] = []
        stamps = [d.timestamp for d in due]
        for i, j in pair(stamps, [row.timestamp for row in rows], self.tolerance_s, pauses):
            if i is None:
                assert j is not None
                items.append(self._alone("predictions", rows[j].timestamp, self._shown(rows[j]), j in pauses))
                continue
            one = due[i]
            if j is None:
                if one.certain:
                    items.append(self._missing("predictions", one, self._shown(one.prediction)))
                    (withheld if _is_skipped(one, skips) else published).append(one)
                continue
            verdict, message = self._judge(one, rows[j])
            item = Item(
                "predictions", verdict, rows[j].timestamp, one.prediction.sample, self._shown(one.prediction),
                self._shown(rows[j]), message,
            )  # fmt: skip
            if one.prediction.reason is None and rows[j].outputs is None and _is_skipped(one, skips):
                item = _skipped(item)
                withheld.append(one)
            else:
                published.append(Due(one.prediction, rows[j].timestamp))
            items.append(item)
        return items + self._wrong_skips(withheld, skips), published

    def markers(
        self, published: Sequence[Due], markers: Sequence[tuple[float, str | int]], marker_format: MarkerFormat
    ) -> list[Item]:
        """Compare markers of NAME with what was published beside them."""
        due = []
        for one in published:
            marker = marker_of(one.prediction, one.timestamp, self.outputs, self.decision_names, marker_format)
            if marker is not None:
                due.append((one, marker))
        items = []
        for i, j in pair([one.timestamp for one, _ in due], [t for t, _ in markers], 0.0, frozenset()):
            if i is None:
                assert j is not None
                items.append(self._alone("markers", markers[j][0], str(markers[j][1])))
                continue
            one, marker = due[i]
            if j is None:
                items.append(self._missing("markers", one, str(marker)))
                continue
            stamp, found = markers[j]
            verdict, message = Verdict.DIFFERING, "says something else"
            if stamp != one.timestamp:
                message = _off(stamp - one.timestamp)
            elif found == marker:
                verdict, message = Verdict.IDENTICAL, ""
            elif self.tolerance and _alike(str(marker), str(found), self.tolerance):
                verdict, message = Verdict.CLOSE, "numbers differ"
            items.append(Item("markers", verdict, stamp, one.prediction.sample, str(marker), str(found), message))
        return items

    def _alone(self, stream: str, timestamp: float, shown: str, pause: bool = False) -> Item:
        if pause:
            return Item(stream, Verdict.PAUSE, timestamp, found=shown)
        if timestamp > self.end:
            return Item(stream, Verdict.UNKNOWN, timestamp, found=shown)
        return Item(stream, Verdict.EXTRA, timestamp, found=shown, message="nothing is due at this time")

    @staticmethod
    def _missing(stream: str, one: Due, shown: str) -> Item:
        return Item(stream, Verdict.MISSING, one.timestamp, one.prediction.sample, shown, "", "was not published")

    def _judge(self, one: Due, row: Row) -> tuple[Verdict, str]:
        due, late = one.prediction, row.timestamp - one.timestamp
        if abs(late) > self.tolerance_s:
            return Verdict.DIFFERING, _off(late)
        if row.reason is not None and row.reason != due.reason:
            return Verdict.DIFFERING, f"abstained for another reason: {row.reason}"
        if row.outputs is None and due.outputs is not None:
            return Verdict.DIFFERING, _NOT_TOLD
        if row.outputs is not None and due.outputs is None:
            return Verdict.DIFFERING, f"must abstain: {due.reason}"
        off = 0.0
        if row.outputs is not None and due.outputs is not None:
            each = np.abs(row.outputs.astype(np.float64) - due.outputs)
            allowed = self.tolerance * np.maximum(1.0, np.abs(due.outputs))
            off, at = float(each.max()), int(np.argmax(np.nan_to_num(each, nan=np.inf)))
            if not (each <= allowed).all():
                return Verdict.DIFFERING, f"{self.outputs.names[at]} is off by {each[at]:.3g}"
        if row.label != due.label:
            return Verdict.DIFFERING, f"label {row.label} instead of {due.label}"
        return (Verdict.CLOSE, f"off by {off:.3g}") if off else (Verdict.IDENTICAL, "")

    def _wrong_skips(self, withheld: Sequence[Due], skips: Sequence[tuple[int, int]]) -> list[Item]:
        """Hold what was not published to what was told, from one telling to the next."""
        items, before = [], -1
        for sample, count in skips:
            some = [one for one in withheld if before < one.prediction.sample <= sample]
            if len(some) != count:
                stamp = some[0].timestamp if some else self.end
                message = f"{len(some)} results were not published; {count} skipped ones are told, up to this sample"
                items.append(Item("skips", Verdict.DIFFERING, stamp, sample, str(count), str(len(some)), message))
            before = sample
        return items

    def _shown(self, row: Row | Prediction) -> str:
        if row.outputs is None:
            return f"abstained: {row.reason}" if row.reason else "abstained"
        named = zip(self.outputs.names, row.outputs, strict=True)
        return " ".join(f"{name} {value:.7g}" for name, value in named)


def _is_skipped(one: Due, skips: Sequence[tuple[int, int]]) -> bool:
    """Tell whether results were skipped when this one was given."""
    return one.prediction.reason is None and next((n > 0 for s, n in skips if one.prediction.sample <= s), False)


def _skipped(item: Item) -> Item:
    if item.message != _NOT_TOLD:
        return item
    return Item(item.stream, Verdict.SKIPPED, item.timestamp, item.sample, item.due, item.found)


def _off(late_s: float) -> str:
    return f"its stamp is {1e3 * late_s:+.6g} ms off"


def _alike(one: str, other: str, tolerance: float) -> bool:
    """Tell whether two texts are the same but for small differences of their numbers."""
    numbers = [np.array([float(n) for n in _NUMBER.findall(text)]) for text in (one, other)]
    if _NUMBER.sub("", one) != _NUMBER.sub("", other):
        return False
    return bool((np.abs(numbers[0] - numbers[1]) <= tolerance * np.maximum(1.0, np.abs(numbers[0]))).all())
