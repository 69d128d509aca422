"""What a running decoder says, for programs that must never wait for it: feedback loops, games, stimulation."""

import json
import math
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from rtdecode.errors import DeadlineError
from rtdecode.lsl import OutputFeed, OutputRow, local_clock

_MOST_DECISIONS = 100_000


@dataclass(frozen=True, slots=True)
class Output:
    """What a decoder said about the data up to one moment.

    Attributes
    ----------
    timestamp : float
        Time of the newest sample it rests on, in LSL's clock on this host, in seconds.
    received : float
        When it arrived here, in the same clock.
    label : str, optional
        The class, or the item of repeated events that is decided; None of an abstention, and of a decoder of
        continuous targets.
    proba : mapping of str to float, optional
        Probability by class. A decision has it only if markers are JSON (`run --marker-format json`).
    values : mapping of str to float, optional
        Value by target, of a decoder of continuous targets.
    """

    timestamp: float
    received: float
    label: str | None = None
    proba: Mapping[str, float] | None = None
    values: Mapping[str, float] | None = None

    @property
    def abstained(self) -> bool:
        """Whether the decoder saw no data that it could decode."""
        return self.label is None and self.proba is None and self.values is None

    @property
    def age_s(self) -> float:
        """Seconds from the newest sample that it rests on to now."""
        return local_clock() - self.timestamp


class Listener:
    """Listens to a running decoder; no method waits.

    Two threads receive; the caller takes what is there. When the decoder goes away, there is nothing to take and
    `connected` is false; when it is started anew, on whichever host, the listener finds it by itself.

    Parameters
    ----------
    name : str
        The decoder's: `rtdecode run --name NAME`, or `rtdecode-<model>`.
    wait_s : float
        How long to wait for it here; with 0 it may come later.

    Raises
    ------
    DeadlineError
        It is not there.
    StreamError
        A stream of that name is no decoder's.
    ConfigurationError
        A name that cannot be looked for.

    Examples
    --------
    >>> with rtdecode.Listener("rtdecode-lfcnn") as listener:
    ...     while True:  # a frame
    ...         newest = listener.poll()
    ...         if newest and not newest.abstained:
    ...             print(newest.label, newest.proba, newest.age_s)
    """

    def __init__(self, name: str, wait_s: float = 30.0) -> None:
        newest: deque[Output] = deque(maxlen=1)
        decisions: deque[Output] = deque(maxlen=_MOST_DECISIONS)
        # Filled in the feeds' threads, emptied in the caller's: both ends of a deque are safe for that.
        feeds = (
            OutputFeed((name,), lambda row: decisions.append(_decision(row))),
            OutputFeed((f"{name}-proba", f"{name}-values"), lambda row: newest.append(_prediction(row))),
        )
        self._newest, self._decisions, self._feeds = newest, decisions, feeds
        # Also when the program ends or forgets the listener: liblsl may not be left running.
        self._closing = weakref.finalize(self, _close, feeds)
        deadline = time.monotonic() + wait_s
        try:
            there = all(feed.wait(deadline) for feed in feeds)
        except BaseException:
            self.close()
            raise
        if wait_s and not there:
            self.close()
            raise DeadlineError(f"No decoder {name!r} within {wait_s:g} s. Is `rtdecode run --name {name}` running?")

    @property
    def connected(self) -> bool:
        """Whether the decoder is there and answers."""
        return all(feed.connected for feed in self._feeds)

    def poll(self) -> Output | None:
        """Return the newest prediction or abstention if there was one since the last call, at once.

        One for each row of NAME-proba or NAME-values: of every hop, or of every event.
        """
        return self._newest.pop() if self._newest else None

    def decisions(self) -> list[Output]:
        """Return the decisions since the last call, in order, at once.

        One for each marker of NAME. Until they are taken, the last 100,000 are kept.
        """
        return [self._decisions.popleft() for _ in range(len(self._decisions))]

    def close(self) -> None:
        """Let go of the decoder. May take 0.2 s."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(feeds: tuple[OutputFeed, ...]) -> None:
    for feed in feeds:
        feed.close()


def _prediction(row: OutputRow) -> Output:
    """Return what a row of NAME-proba or NAME-values says."""
    names = row.reader.output_names
    # The row of a classification ends in the label's index.
    outputs = None if math.isnan(row.values[0]) else dict(zip(names, row.values, strict=False))
    if not row.reader.classifies:
        return Output(row.timestamp, row.received, values=outputs)
    index = int(row.values[-1])
    return Output(row.timestamp, row.received, names[index] if index >= 0 else None, outputs)


def _decision(row: OutputRow) -> Output:
    """Return what a marker of NAME says."""
    (marker,), reader = row.values, row.reader
    if reader.marker_format == "json":
        said = json.loads(marker)
        return Output(row.timestamp, row.received, said.get("label"), said.get("proba"), said.get("values"))
    if reader.marker_format == "int32":
        return Output(row.timestamp, row.received, reader.decision_names[marker])
    if not reader.classifies:
        values = dict(zip(reader.output_names, map(float, marker.split()), strict=True))
        return Output(row.timestamp, row.received, values=values)
    return Output(row.timestamp, row.received, marker)
