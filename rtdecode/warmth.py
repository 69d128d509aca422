"""Keeping what a graph is run on from falling asleep between two runs."""

import math
from collections.abc import Callable

from rtdecode.engine import Engine
from rtdecode.pace import Pace


class Warmth:
    """Runs an engine for nothing when it had nothing to do for long, in time in which the loop waits for data.

    Parameters
    ----------
    engine : Engine
        Its device says after how long.
    pace : Pace
        Knows when data are due: they come first.
    clock : callable
        Seconds in the loop's clock.
    """

    def __init__(self, engine: Engine, pace: Pace, clock: Callable[[], float]) -> None:
        self._engine, self._pace, self._clock = engine, pace, clock
        self._idle_s, self._since = engine.device.idle_s, clock()

    def used(self, now: float) -> None:
        """Take note that the engine has been run."""
        self._since = now

    def left_s(self, now: float) -> float:
        """Return for how many seconds the loop may wait for data; 0: it is time to `renew`."""
        if math.isinf(self._idle_s):
            return math.inf
        at = max(self._since + self._idle_s, now)
        begin, end = self._pace.due()
        return (end if begin - self._engine.run_s < at < end else at) - now

    def renew(self) -> None:
        """Run the engine for nothing."""
        self._engine.run_bare()
        # However long that took, data are waited for in between.
        self._since = self._clock()
