"""Events, and windows at a fixed place relative to them."""

from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Event(NamedTuple):
    """A marker: its stamp in seconds, in the clock of the samples, and its label."""

    timestamp: float
    label: str


class EventWindow(BaseModel):
    """Where the window stands relative to an event; a decoder without it predicts at every hop.

    An event belongs to the sample whose stamp is nearest (of two equally near ones the earlier).

    Attributes
    ----------
    first : int
        Samples of the signal, at its own rate, from the event's sample to what is looked at (before it: below 0).
        That begins with the first output that rests on this sample or a later one.
    before : int
        Outputs from there to the window.
    labels : tuple of str
        Labels that are events besides those of the trials' classes, with `*`, `?` and `[...]` as in file names.
    baseline : tuple of (int, int) or None
        Outputs [start, stop), counted from the first that is looked at, whose mean is subtracted from the window,
        channel by channel; at most up to the window's end.
    max_event_lag_s : float
        How long after its window was complete an event may come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    first: Annotated[int, Field(ge=-10_000_000, le=10_000_000)]
    before: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    labels: tuple[str, ...] = ()
    baseline: tuple[Annotated[int, Field(ge=0)], int] | None = None
    max_event_lag_s: Annotated[float, Field(ge=0, le=3600)] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.baseline and self.baseline[0] >= self.baseline[1]:
            raise ValueError("baseline needs a start before its stop")
        return self

    def corrected(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the window (n_channels, n_times) in outputs (n_channels, before + n_times), less its baseline.

        Determinism: sums are taken in float64 in the same order wherever the outputs lie in memory.
        """
        window = outputs[:, self.before :]
        if self.baseline is None:
            return window
        level = np.array(outputs[:, slice(*self.baseline)], np.float64, order="C").mean(axis=1, keepdims=True)
        corrected: NDArray[np.float32] = (window - level).astype(np.float32)
        return corrected
