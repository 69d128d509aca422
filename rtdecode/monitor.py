"""What a person sees of a live run: a status line on a terminal, plain lines elsewhere. ASCII only."""

import contextlib
import queue
import shutil
import threading
import time
from collections import deque
from typing import TextIO

from rtdecode.prediction import Prediction

_LINE_EVERY_S = 0.25
_PLAIN_EVERY_S = 5.0
_WIDTH = 100
# As many lines as a person may still want to read, of a console that takes them again after a while.
_MOST_WAITING = 1000
_PATIENCE_S = 1.0


class _Console:
    """Writes from a thread of its own: a console may take nothing for a while, and that must hold up nobody.

    Ctrl-S does that, text that is marked on Windows, and a pipe that nobody reads.
    """

    def __init__(self, stream: TextIO) -> None:
        # Not by way of the stream's own buffer: whoever is held up in it would keep the program from ending.
        with contextlib.suppress(OSError):
            stream.flush()
            stream = open(  # noqa: SIM115 - its descriptor stays the stream's
                stream.fileno(), "w", encoding=stream.encoding, errors="replace", closefd=False
            )
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="rtdecode-console", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether all was taken."""
        return self._waiting.empty()

    def write(self, text: str | None) -> None:
        """Have a text written; None ends it. Returns at once."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(text)

    def _work(self) -> None:
        # A console that is gone takes nothing any more; the rest is thrown away.
        with contextlib.suppress(OSError, ValueError):
            while (text := self._waiting.get()) is not None:
                self._stream.write(text)
                self._stream.flush()

    def close(self) -> None:
        """Wait until all is written, unless nobody takes it."""
        self.write(None)
        self._thread.join(_PATIENCE_S)


class StatusLine:
    """Tells rate, age of the data, our own latency, and the last decision.

    Parameters
    ----------
    stream : text file
        Where to write; a terminal gets one line that is rewritten.
    output_names : tuple of str
        Of the classes, by label, or of the targets.
    decision_names : tuple of str
        Of what a policy decides, by index.
    """

    def __init__(self, stream: TextIO, output_names: tuple[str, ...], decision_names: tuple[str, ...]) -> None:
        self._console, self._names, self._decision_names = _Console(stream), output_names, decision_names
        self._decided = ""
        self._terminal = stream.isatty()
        self._every_s = _LINE_EVERY_S if self._terminal else _PLAIN_EVERY_S
        self._told = time.monotonic()
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=512)
        self._on_line = False

    def state(self, state: str, message: str) -> None:
        """Write a change of state on a line of its own."""
        self._leave_line()
        self._console.write(f"{state:<10} {message}\n")

    def prediction(self, prediction: Prediction, age_s: float, latency_s: float) -> None:
        """Take note; write only a few times a second."""
        now = time.monotonic()
        self._recent.append((now, age_s, latency_s))
        if prediction.decision is not None and prediction.evidence is not None:
            self._decided = f"  decided {self._decision_names[prediction.decision]} {prediction.evidence:.2f}"
        if now - self._told >= self._every_s:
            self._told = now
            self._write(self._describe(prediction, now))

    def _describe(self, prediction: Prediction, now: float) -> str:
        recent = [row for row in self._recent if now - row[0] <= 5.0]
        span = now - recent[0][0]
        rate = f"{(len(recent) - 1) / span:5.1f}/s" if span > 0 else "   - /s"
        age, latency = (1e3 * sorted(column)[len(recent) // 2] for column in list(zip(*recent, strict=True))[1:])
        told = f"{rate}  age {age:6.2f} ms  latency {latency:5.2f} ms"
        if prediction.values is not None:
            return f"{told}  " + "  ".join(
                f"{name} {value:.4g}" for name, value in zip(self._names, prediction.values, strict=True)
            )
        if prediction.proba is None:
            return f"{told}  abstaining: {prediction.reason}"
        p = float(prediction.proba[prediction.label])
        return f"{told}  {self._names[prediction.label]} {p:.2f} |{'#' * round(20 * p):<20}|{self._decided}"

    def _write(self, text: str) -> None:
        if not self._console.idle:
            return
        if self._terminal:
            # Of a line that is full some terminals begin another.
            width = min(_WIDTH, shutil.get_terminal_size().columns - 1)
            self._console.write("\r" + text[:width].ljust(width))
            self._on_line = True
        else:
            self._console.write(f"{text}\n")

    def _leave_line(self) -> None:
        if self._on_line:
            self._console.write("\n")
            self._on_line = False

    def close(self) -> None:
        """Leave the status line; nothing is told any more."""
        self._leave_line()
        self._console.close()
