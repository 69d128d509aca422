"""Keeping what a prediction needs from falling asleep between two of them."""

import math
from collections import deque
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.pace import Pace

# Below, a loop has no time to grow cold.
_COLD_S = 5e-3
# From the end of a rehearsal to the earliest chunk.
_ROOM_S = 3e-4
# Of noise, before the same comes again: no channel is to seem saturated.
_ROUND = 64
# Rehearsals that tell how long the next one takes.
_FEW = 5


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


class Rehearsal:
    """Decodes a hop of noise just before a chunk is due that completes a hop, and keeps nothing of it.

    Who slept finds a processor that sleeps, and its caches full of other things: the first pass through the code
    takes several times as long as one right after another. A decoder of its own, for the same file, makes that pass:
    guard, preprocessing, ring, graph and policy. Only the graph is shared, and run for nothing.

    Parameters
    ----------
    decoder : Decoder
        The one whose hops are rehearsed; nothing is pushed to it.
    pace : Pace
        Knows when a chunk comes at the earliest: it does not wait for a rehearsal.
    clock : callable
        Seconds in the loop's clock.
    """

    def __init__(self, decoder: Decoder, pace: Pace, clock: Callable[[], float]) -> None:
        self._decoder, self._pace, self._clock = decoder, pace, clock
        contract, window = decoder.contract, decoder.contract.window
        self._engine = _Unheard(decoder.engine, len(contract.outputs.names))
        self._twin = Decoder(decoder.model, guard=decoder.guard.settings.model_copy(update={"counter": None}),
                             policy=decoder.policy, engine=self._engine)  # fmt: skip
        n = _ROUND + max(decoder.end_of(0), decoder.chain.newest_input(window.hop))
        drawn = np.random.default_rng(0).standard_normal((n, contract.signal.n_channels))
        self._noise = (drawn * contract.amplitude.typical).astype(np.float32)
        self._n, self._is_next = 0, False
        self._took = deque[float](maxlen=_FEW)
        for _ in range(self._twin.warm_up // window.hop + 1):
            self._play()
        self._engine.is_idle = False
        self.go()

    def arrived(self, n_samples: int) -> None:
        """Take note that so many samples were decoded: whether as many will complete the next hop."""
        self._is_next = n_samples >= self._decoder.n_missing and not self._pace.backlog

    def left_s(self, now: float) -> float:
        """Return for how many seconds the loop may wait for data; 0: it is time to `go`."""
        since, earliest = self._pace.earliest()
        if not self._is_next or earliest - since < _COLD_S:
            return math.inf
        # The usual one: that one was held up is no reason to leave out the next.
        took_s = min(median(self._took), (earliest - since) / 2)
        at = earliest - took_s - _ROOM_S
        return at - now if now < at else 0.0 if now < earliest - took_s else math.inf

    def go(self) -> None:
        """Rehearse."""
        began = self._clock()
        self._play()
        self._took.append(self._clock() - began)
        self._is_next = False

    def _play(self) -> None:
        begin, n = self._n % _ROUND, self._twin.n_missing
        stamps = np.arange(self._n, self._n + n) / self._twin.source.sfreq
        self._n += n
        self._twin.push(self._noise[begin : begin + n], stamps)


class _Unheard(Engine):
    """Runs the graph of another engine for nothing, or not at all while it `is_idle`; always says the same."""

    def __init__(self, engine: Engine, n_outputs: int) -> None:
        self.device, self.n_times, self.run_s = engine.device, engine.n_times, engine.run_s
        self._engine, self._outputs, self.is_idle = engine, np.full(n_outputs, 1 / n_outputs, np.float32), True

    def reset(self) -> None:
        """There is nothing to void."""

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run it on what lies there."""
        if not self.is_idle:
            np.array(samples)
            self._engine.run_bare()
        return self._outputs
