"""Times the stages of every prediction, where they meet; nothing of it is there unless it was asked for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.decoder import Decoder
from rtdecode.network import Inlet, Sink
from rtdecode.prediction import Prediction

# All in seconds of LSL's clock, but for `sample`, and `*_s` which are durations.
TRACE_FIELDS = ("sample", "timestamp", "arrived", "preprocessing_s", "graph_s", "policy_s", "decoded", "published")
_TELL_EVERY_S = 1.0


class Tracer:
    """Puts marks around a sink's `publish`, an inlet's `pull`, a decoder's `push_each` and three parts of it.

    These methods are replaced on the objects it is given: the loop and the decoder know nothing of it. What it
    has is told once a second, before the loop waits for data, so that telling delays no prediction.

    Parameters
    ----------
    clock : callable
        Seconds in LSL's clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: list[tuple[float, ...]] = []
        self._told = clock()

    def watch_sink(self, sink: Sink) -> None:
        """Mark when each prediction was handed to the sink; abstentions are not traced."""

        def published(_: float, end: float, __: None, prediction: Prediction, timestamp: float) -> None:
            if prediction.reason is None:
                self._rows.append((prediction.sample, timestamp, *self._push, end))

        self._around(sink, "publish", published)

    def watch(self, inlet: Inlet, decoder: Decoder, tell: Callable[..., None]) -> None:
        """Mark what happens to the samples of one connection; `tell` is the reporter's."""
        self._arrived = self._preprocessing_s = self._graph_s = self._policy_s = 0.0
        self._push = (0.0,) * (len(TRACE_FIELDS) - 3)

        def arrived(_: float, end: float, pulled: tuple[Any, NDArray[np.float64]], *__: Any) -> None:
            if len(pulled[1]):
                self._arrived, self._preprocessing_s, self._graph_s, self._policy_s = end, 0.0, 0.0, 0.0

        def processed(begin: float, end: float, *_: Any) -> None:
            self._preprocessing_s += end - begin

        def ran(begin: float, end: float, *_: Any) -> None:
            self._graph_s += end - begin

        def decided(begin: float, end: float, *_: Any) -> None:
            self._policy_s += end - begin

        push_each = decoder.push_each

        def pushed(*arguments: Any) -> Iterator[Prediction]:
            for prediction in push_each(*arguments):
                # A result that is held back keeps the marks of the push that gave it.
                marks = self._arrived, self._preprocessing_s, self._graph_s, self._policy_s
                self._push = *marks, self._clock()
                yield prediction

        self._around(inlet, "pull", arrived, lambda: self._tell(tell))
        self._around(decoder.fused.chain, "process", processed)
        self._around(decoder.engine, "run", ran)
        if decoder.policy:
            self._around(decoder, "decide", decided)
        vars(decoder)["push_each"] = pushed
        self._around(inlet, "close", lambda *_: self._tell(tell, last=True))

    def _around(
        self, owner: object, name: str, after: Callable[..., None], before: Callable[[], None] | None = None
    ) -> None:
        # An engine outlives a connection: no marks around marks.
        vars(owner).pop(name, None)
        call = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            if before:
                before()
            begin = self._clock()
            result = call(*arguments, **named)
            after(begin, self._clock(), result, *arguments)
            return result

        setattr(owner, name, timed)

    def _tell(self, tell: Callable[..., None], last: bool = False) -> None:
        now = self._clock()
        if self._rows and (last or now - self._told >= _TELL_EVERY_S):
            rows, self._rows, self._told = self._rows, [], now
            tell("trace", now, fields=TRACE_FIELDS, rows=rows)
