"""Reading a stream of markers in a thread of its own: found, read, lost and found again, and nobody waits for it."""

import queue
import threading
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import pylsl

from rtdecode.errors import StreamError, StreamLostError
from rtdecode.lsl.discovery import StreamChoice, StreamFound, list_streams
from rtdecode.lsl.inlet import StreamInlet

_FORMATS = ("string", "int8", "int16", "int32", "int64")
_ROUND_S, _PULL_S, _MOST = 1.0, 0.2, 1024
_T = TypeVar("_T")


class Marker(NamedTuple):
    """A marker as it came.

    Attributes
    ----------
    timestamp : float
        Raw stamp, in the clock of its source.
    label : str
        An integer as text.
    correction_s, uncertainty_s : float
        The newest reading of what to add to the stamp to bring it into this host's clock.
    """

    timestamp: float
    label: str
    correction_s: float
    uncertainty_s: float


class MarkerInlet(StreamInlet):
    """A connection to one stream of markers: irregular, one channel, strings or integers.

    Attributes
    ----------
    unreadable : int
        Markers that were left out because they are no UTF-8.
    """

    def __init__(self, stream: StreamFound, timeout_s: float = 5.0) -> None:
        if not is_marker_stream(stream):
            raise StreamError(
                f"Stream {stream} holds no markers: one irregular channel of text or integers is needed."
            )
        super().__init__(stream, timeout_s)
        self._reading, self.unreadable = self.correction(), 0

    def pull(self, timeout_s: float) -> list[Marker]:
        """Wait for at least one marker; return what is there, or nothing after `timeout_s`.

        Raises
        ------
        StreamLostError
            The source went away.
        """
        stamps: list[float] = []
        values: list[Any] = []
        try:
            # One at a time: `pull_chunk` loses what it has when the outlet ends, or one of them is no text.
            while len(stamps) < _MOST and (came := self._pull(timeout_s if not stamps else 0.0)):
                values.append(came[0])
                stamps.append(came[1])
        except pylsl.util.LostError:
            if not stamps:
                raise StreamLostError(f"Stream {self.stream.name!r} is lost: its outlet went away.") from None
        if stamps:
            # Lost meanwhile: the next pull says so; these markers are here.
            with suppress(StreamLostError):
                self._reading = self.correction()
        return [Marker(t, str(v), *self._reading) for t, v in zip(stamps, values, strict=True)]

    def _pull(self, timeout_s: float) -> tuple[Any, float] | None:
        while True:
            try:
                row, stamp = self._inlet.pull_sample(timeout_s)
            except UnicodeDecodeError:
                self.unreadable += 1
                continue
            return None if row is None else (row[0], float(stamp))


def is_marker_stream(stream: StreamFound) -> bool:
    """Tell whether a stream may hold markers."""
    return stream.sfreq == 0 and stream.n_channels == 1 and stream.channel_format in _FORMATS


class MarkerReader:
    """Looks for a stream of markers and reads it, for as long as it takes and again when it was lost.

    Parameters
    ----------
    choice : StreamChoice
        Which stream.
    exclude : tuple of str
        Names of our own streams.

    Attributes
    ----------
    stream : StreamFound or None
        What is read now.
    problem : str
        Why nothing is read, for the user.
    """

    def __init__(self, choice: StreamChoice, exclude: tuple[str, ...]) -> None:
        self._choice, self._exclude = choice, exclude
        self.stream: StreamFound | None = None
        self.problem = ""
        self._markers: queue.SimpleQueue[Marker] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._found, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="rtdecode-events", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the stream is read for the first time; False if it is not."""
        return self._found.wait(timeout_s)

    def pull(self) -> list[Marker]:
        """Return what came since the last call; never waits."""
        return _drain(self._markers)

    def news(self) -> list[tuple[str, str]]:
        """Return what happened since the last call: `events-found` or `events-lost`, with a message each."""
        return _drain(self._news)

    def close(self) -> None:
        """Let go of the stream."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                if found := self._search():
                    self._read(MarkerInlet(found))
            except StreamError as error:
                self.problem = str(error)

    def _search(self) -> StreamFound | None:
        there = [s for s in list_streams(_ROUND_S) if s.name not in self._exclude and is_marker_stream(s)]
        fitting = [s for s in there if self._choice.fits(s)]
        if len(fitting) == 1:
            return fitting[0]
        found = "; ".join(map(str, there)) or "none"
        self.problem = f"{len(fitting)} streams of markers could be meant by {self._choice}; there is: {found}."
        return None

    def _read(self, inlet: MarkerInlet) -> None:
        try:
            inlet.open()
            self.stream = inlet.stream
            self._news.put(("events-found", f"events are read from {inlet.stream}"))
            self._found.set()
            while not self._closing.is_set():
                before = inlet.unreadable
                for marker in inlet.pull(_PULL_S):
                    self._markers.put(marker)
                if inlet.unreadable > before:
                    n = inlet.unreadable - before
                    self._news.put(("event-unreadable", f"{n} markers are no UTF-8 text and left out"))
        except StreamLostError as lost:
            if self.stream is not None:
                self._news.put(("events-lost", str(lost)))
            raise
        finally:
            self.stream = None
            inlet.close()


def _drain(waiting: "queue.SimpleQueue[_T]") -> list[_T]:
    # Only one reads: what is counted is there.
    return [waiting.get_nowait() for _ in range(waiting.qsize())]
