"""The listener: receives what a decoder, or the echo, publishes, in the process that measures."""

import json
from collections.abc import Callable

import numpy as np

from rtdecode.errors import DeadlineError
from rtdecode.lsl import OutputReader, local_clock
from rtdecode.realtime import quiet_collector

_WAIT_S = 60.0
_STATUS_EVERY_S = 0.5


class Listener:
    """Waits for the streams of one publisher and listens until its process has ended.

    Parameters
    ----------
    name, column : str
        Of the publisher's streams: NAME-COLUMN carries the predictions, NAME-status the marks.
    alive : callable
        Whether its process is there.

    Attributes
    ----------
    received : dict of float to float
        By the stamp of each prediction, when it was here, in LSL's clock.
    rows : list of list of float
        What `trace` events told.
    n_skipped : int
        Results that the publisher held back as out of date.

    Raises
    ------
    DeadlineError
        There are no such streams.
    """

    def __init__(self, name: str, column: str, alive: Callable[[], bool]) -> None:
        self._alive = alive
        self._outputs, self._status = (self._reader(f"{name}-{kind}") for kind in (column, "status"))
        self.received: dict[float, float] = {}
        self.rows: list[list[float]] = []
        self.n_skipped = 0

    def _reader(self, name: str) -> OutputReader:
        until = local_clock() + _WAIT_S
        while True:
            try:
                return OutputReader(name, 1.0)
            except DeadlineError:
                if not self._alive() or local_clock() > until:
                    raise

    def listen(self) -> None:
        """Receive everything; abstentions are passed over."""
        asked = local_clock()
        with quiet_collector():
            while self._alive():
                self._take()
                if local_clock() - asked >= _STATUS_EVERY_S:
                    asked = local_clock()
                    self._take_marks()
            self._take()
            self._take_marks()
        self._outputs.close()
        self._status.close()

    def _take(self) -> None:
        values, stamps, now = self._outputs.pull(0.2)
        for row, stamp in zip(values, stamps, strict=True):
            if not np.isnan(row[0]):
                self.received[float(stamp)] = now

    def _take_marks(self) -> None:
        for (text,) in self._status.pull(0.0)[0]:
            document = json.loads(text)
            if document["event"] == "trace":
                self.rows += document["rows"]
            elif document["event"] == "skipped":
                self.n_skipped += document["count"]
