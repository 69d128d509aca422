"""What a person sees of a live run: a status line on a terminal, plain lines elsewhere. ASCII only."""

import time
from collections import deque
from typing import TextIO

from rtdecode.prediction import Prediction

_LINE_EVERY_S = 0.25
_PLAIN_EVERY_S = 5.0
_WIDTH = 100


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
        self._stream, self._names, self._decision_names = stream, output_names, decision_names
        self._decided = ""
        self._terminal = stream.isatty()
        self._every_s = _LINE_EVERY_S if self._terminal else _PLAIN_EVERY_S
        self._told = time.monotonic()
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=512)
        self._on_line = False

    def state(self, state: str, message: str) -> None:
        """Write a change of state on a line of its own."""
        self.finish()
        print(f"{state:<10} {message}", file=self._stream, flush=True)

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
        if self._terminal:
            self._stream.write("\r" + text[:_WIDTH].ljust(_WIDTH))
            self._stream.flush()
            self._on_line = True
        else:
            print(text, file=self._stream, flush=True)

    def finish(self) -> None:
        """Leave the status line."""
        if self._on_line:
            self._stream.write("\n")
            self._on_line = False
