"""One stream of a decoder, kept connected by a thread of its own."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pylsl

from rtdecode.errors import ConfigurationError, StreamError, StreamLostError
from rtdecode.lsl.reader import OutputReader

_PULL_S = 0.2
_LOOK_EVERY_S = 0.05
_FORGET_S = 2.0
_ANSWER_S = 2.0


@dataclass(frozen=True, slots=True)
class OutputRow:
    """A sample of a decoder's output.

    Attributes
    ----------
    timestamp, received : float
        Time of the data it rests on, and of its reception; both in LSL's clock on this host, in seconds.
    values : list
        One for each channel.
    reader : OutputReader
        Tells what they mean.
    """

    timestamp: float
    received: float
    values: list[Any]
    reader: OutputReader


class OutputFeed:
    """Hands over the rows of a stream as they come, and finds it again when its decoder was started anew.

    liblsl's own recovery is not used: it takes whatever has the name for what was there before.

    Parameters
    ----------
    names : tuple of str
        The stream's; several when it is whichever of them is there.
    take : callable
        Gets every row, in the feed's thread.

    Attributes
    ----------
    connected : bool
        The outlet is there and answers. False at the latest 2 s after it fell silent without a farewell (its process
        was stopped, its cable drawn); rows that come late are handed over all the same.

    Raises
    ------
    ConfigurationError
        A name that liblsl cannot look for.
    """

    def __init__(self, names: tuple[str, ...], take: Callable[[OutputRow], None]) -> None:
        if any("'" in name for name in names):
            raise ConfigurationError(f"Stream name {names[0]!r} cannot be looked for: it holds a quotation mark.")
        self.connected = False
        self._take = take
        wanted = " or ".join(f"name='{name}'" for name in names)
        self._resolver = pylsl.ContinuousResolver(pred=wanted, forget_after=_FORGET_S)
        self._reader: OutputReader | None = None
        self._error: StreamError | None = None
        # Streams that ended, and until when: still listed for a while, and liblsl floods its log when one is tried.
        self._gone: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listening to {names[0]}", daemon=True)
        self._thread.start()

    def wait(self, deadline: float) -> bool:
        """Wait until it is connected, or time.monotonic() reaches `deadline`.

        Raises
        ------
        StreamError
            A stream of the name is no decoder's output.
        """
        while not self.connected and time.monotonic() < deadline:
            if self._error:
                raise self._error
            time.sleep(_LOOK_EVERY_S)
        return self.connected

    def close(self) -> None:
        """Let go of the stream and end the thread."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            if self._reader is None:
                self._look()
            else:
                self._read(self._reader)
        if self._reader is not None:
            self._reader.close()

    def _look(self) -> None:
        now = time.monotonic()
        self._gone = {uid: until for uid, until in self._gone.items() if until > now}
        fitting = [s for s in self._resolver.results() if s.uid() not in self._gone]
        if not fitting:
            self._over.wait(_LOOK_EVERY_S)
            return
        try:
            reader = OutputReader(fitting[0].name(), handle=fitting[0], timeout_s=_ANSWER_S, corrected=True)
        except StreamError as error:
            self._error = None if isinstance(error, StreamLostError) else error
            self._avoid(fitting[0].uid())
            return
        self._reader, self._error, self.connected = reader, None, True

    def _read(self, reader: OutputReader) -> None:
        values, stamps, received = reader.pull(_PULL_S)
        for row, stamp in zip(values, stamps.tolist(), strict=True):
            self._take(OutputRow(stamp, received, row, reader))
        listed = [s.uid() for s in self._resolver.results()]
        answers = bool(values) or reader.uid in listed
        self.connected = answers and not reader.lost
        # Another outlet of the name, while ours does not answer: started anew after its host vanished.
        if reader.lost or (listed and not answers):
            self._reader = None
            reader.close()
            self._avoid(reader.uid)

    def _avoid(self, uid: str) -> None:
        self._gone[uid] = time.monotonic() + 2 * _FORGET_S
