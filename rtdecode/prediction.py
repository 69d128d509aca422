"""What a decoder gives: a prediction, or an abstention with its reason."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Event


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one hop or one event gave: probabilities, or values, or an abstention with its reason.

    Attributes
    ----------
    timestamp : float
        Raw stamp of the newest sample it rests on, in the source's clock; a wrong one is replaced by the fit
        through the others (see `Guard`). An abstention for an event has the event's own.
    sample : int
        Index of that sample, counted from the first one this decoder was given; of an abstention for an event, of
        the sample to which the event belongs (-1: none).
    proba : array of float32, (n_classes,), or None
        Class probabilities; None when the decoder abstained, or is a regression.
    label : int
        Index of the most probable class; -1 without `proba`.
    reason : str or None
        Why it abstained: `warming-up`, `gap`, `clock`, `rate`, `non-finite`, `amplitude`, `channels`, `bad-stamp`, or
        what `reset` or `finish` was given; for an event also `late`, `before-start`. None when it did not.
    values : array of float32, (n_targets,), or None
        What a regression gave; None when it abstained.
    imputed : int
        Samples in its window for which the last value stands in.
    event : Event or None
        At which its window stands; None if windows slide.
    decision : int or None
        Index into `Decoder.decision_names` of what is decided at this hop or event; None: nothing is. Without a
        policy it is the label.
    evidence, used_s : float or None
        What a policy's decision rests on: see `rtdecode.policy.Decision`.
    """

    timestamp: float
    sample: int
    proba: NDArray[np.float32] | None
    label: int
    reason: str | None
    values: NDArray[np.float32] | None = None
    imputed: int = 0
    event: Event | None = None
    decision: int | None = None
    evidence: float | None = None
    used_s: float | None = None

    @property
    def outputs(self) -> NDArray[np.float32] | None:
        """Probabilities or values, whichever the decoder gives; None when it abstained."""
        return self.values if self.proba is None else self.proba

    def same_as(self, other: "Prediction") -> bool:
        """Tell whether the other is the same to the last bit."""
        return self._bits() == other._bits()

    def _bits(self) -> tuple[Any, ...]:
        # As bytes: a stamp that is no number equals itself.
        outputs = None if self.outputs is None else self.outputs.tobytes()
        stamps = [self.timestamp, math.nan if self.event is None else self.event.timestamp]
        given = np.array(stamps).tobytes(), self.sample, self.label, self.reason, outputs, self.imputed
        return *given, self.event and self.event.label, self.decision, self.evidence, self.used_s
