"""Ctrl-C and its like, heard between two pieces of work: none is left half done."""

import signal
import time
from collections.abc import Callable
from typing import Any, Self

_BURST_S = 1.0
_PATIENCE = 4
# Windows has Ctrl-Break, which other programs can send; elsewhere a terminal that is closed sends SIGHUP.
_NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


class Interrupts:
    """How often somebody asked for the end.

    An exception that comes from nowhere could leave a chunk decoded and not kept, and in a finaliser nobody can
    catch it: its traceback is printed, and it is forgotten. Instead, whoever works on looks here in between.

    Attributes
    ----------
    n : int
        Times; what comes within a second of the last is the same one: a key that is held down asks on and on. After
        four, the next one ends the program wherever it is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self.n = clock, 0
        self._asked_at = -float("inf")
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether anybody did."""
        return self.n > 0

    def ask(self, *_: object) -> None:
        """Ask for the end."""
        now = self._clock()
        if now - self._asked_at >= _BURST_S:
            self.n += 1
        self._asked_at = now
        if self.n >= _PATIENCE:
            # Something does not come to an end.
            self.leave()

    def listen(self) -> Self:
        """From here on Ctrl-C, Ctrl-Break, SIGTERM and SIGHUP only ask; what was ignored is so still."""
        for number in _NUMBERS:
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self.ask)
        return self

    def ignore(self) -> None:
        """From here on nobody is heard: the program ends by itself, with what it has to tidy up."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def leave(self) -> None:
        """From here on they do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
