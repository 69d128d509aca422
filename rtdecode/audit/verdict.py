"""What an audit finds."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What became of one decision.

    CLOSE: equal within 1e-5, where other libraries, another processor or CUDA do not allow more. SKIPPED: out of
    date, as was told. PAUSE: repeated while no data came, as was told. UNKNOWN: what it rests on is not in the
    recording.
    """

    IDENTICAL = "identical"
    CLOSE = "within 1e-5"
    DIFFERING = "differing"
    MISSING = "missing"
    EXTRA = "extra"
    SKIPPED = "skipped"
    PAUSE = "pause"
    UNKNOWN = "not auditable"


WRONG = (Verdict.DIFFERING, Verdict.MISSING, Verdict.EXTRA)


@dataclass(frozen=True)
class Item:
    """One decision, marker, or difference of signal or model.

    Attributes
    ----------
    stream : str
        `predictions`, `markers`, `skips`, `signal` or `model`.
    verdict : Verdict
        What became of it.
    timestamp : float
        In LSL's clock of the decoder's host.
    sample : int or None
        The decoder's index of the newest sample it rests on.
    due, found : str
        What the decoder file says, and what was published; empty: nothing.
    message : str
        What differs, and by how much.
    """

    stream: str
    verdict: Verdict
    timestamp: float
    sample: int | None = None
    due: str = ""
    found: str = ""
    message: str = ""

    def __str__(self) -> str:
        where = f"LSL time {self.timestamp:.6f}" + ("" if self.sample is None else f", sample {self.sample}")
        values = (
            f" (due: {self.due or 'nothing'}; found: {self.found or 'nothing'})" if self.due or self.found else ""
        )
        return f"{self.stream}: {self.verdict} at {where}: {self.message}{values}"


@dataclass
class ConnectionAudit:
    """What was found out about one connection.

    Attributes
    ----------
    number : int
        Of the connection in its session, from 1.
    versions : dict of str to (str, str)
        What computes otherwise now: then and now; and the device, when one of the two is CUDA. Without any, results
        must be equal to the last bit.
    problem : str
        Why nothing of it can be audited; empty if it can.
    items : list of Item
        All that was compared.
    """

    number: int
    versions: dict[str, tuple[str, str]]
    problem: str = ""
    items: list[Item] = field(default_factory=list)

    def count(self, stream: str) -> Counter[Verdict]:
        """Count the verdicts of one stream."""
        return Counter(item.verdict for item in self.items if item.stream == stream)

    @property
    def wrong(self) -> list[Item]:
        """What is not as it must be."""
        return [item for item in self.items if item.verdict in WRONG]
