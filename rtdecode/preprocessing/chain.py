"""Steps in order, with their states: what training and the live run both call."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from rtdecode.configuration import reason_of
from rtdecode.contract import Signal
from rtdecode.errors import ModelError
from rtdecode.preprocessing.base import Samples, Step
from rtdecode.preprocessing.filters import Decimate, Filter, FilterBank
from rtdecode.preprocessing.resampling import Resample
from rtdecode.preprocessing.running import RunningAlign, RunningStandardize
from rtdecode.preprocessing.scaling import Clamp, Scale, Standardize
from rtdecode.preprocessing.spatial import Linear, Pick

_AnyStep = Annotated[
    Pick
    | Linear
    | Scale
    | Filter
    | FilterBank
    | Decimate
    | Resample
    | Standardize
    | RunningStandardize
    | RunningAlign
    | Clamp,
    Field(discriminator="step"),
]
_STEP: TypeAdapter[Step] = TypeAdapter(_AnyStep)


def read_steps(records: Iterable[dict[str, Any]]) -> tuple[Step, ...]:
    """Read the steps of a decoder file; ModelError says which is wrong and why."""
    steps = []
    for number, record in enumerate(records, 1):
        try:
            steps.append(_STEP.validate_python(record))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:4])
            raise ModelError(f"Preprocessing step {number} is wrong: {wrong}.") from None
    return tuple(steps)


class Chain:
    """Runs steps one after the other on a signal, and keeps their states.

    Parameters
    ----------
    steps : sequence of Step
        In order.
    signal : Signal
        What enters; checked against every step.

    Attributes
    ----------
    output : Signal
        What leaves.
    factor : Fraction
        Input samples per output sample.
    settling : int
        Input samples until every filter has settled, one after the other.
    minimum : int
        Settled input samples until the statistics may be trusted, one after the other.
    group_delay_s : float
        Sum of the steps' group delays in seconds. It is told to the user, never subtracted from a stamp.
    """

    def __init__(self, steps: Sequence[Step], signal: Signal) -> None:
        self.steps = tuple(steps)
        self._n_channels = []
        self.factor, self.group_delay_s, settling, minimum = Fraction(1), 0.0, Fraction(0), Fraction(0)
        rate = signal.sfreq
        for number, step in enumerate(self.steps, 1):
            self._n_channels.append(signal.n_channels)
            try:
                signal = step.output(signal)
            except ValueError as error:
                raise ModelError(
                    f"Preprocessing step {number} ({step.step}) does not fit: {reason_of(error)}."
                ) from None
            settling += step.settling() * self.factor
            minimum += step.minimum() * self.factor
            self.group_delay_s += step.group_delay() * float(self.factor) / rate
            self.factor *= step.factor
        self.settling, self.minimum = math.ceil(settling), math.ceil(minimum)
        self.output = signal
        self._resampling = [step for step in self.steps if step.factor != 1]
        self._n_inputs, self._learned = 0, 0
        self._states: list[Any] = [None] * len(self.steps)
        for i in range(len(self.steps)):
            self._start(i)

    def _start(self, i: int) -> None:
        self._states[i] = self.steps[i].start(self._n_channels[i])

    def reset(self) -> None:
        """Void what a break in the stream voids; statistics are kept."""
        self._learned += max(0, self._n_inputs - self.settling)
        self._n_inputs = 0
        for i, step in enumerate(self.steps):
            if step.reset_voids == "filter":
                self._start(i)

    @property
    def warm_up(self) -> int:
        """Input samples since the last reset until what leaves may be trusted.

        All filters settle anew; of the statistics' minimum, what was learned before the reset counts.
        """
        return self.settling + max(0, self.minimum - self._learned)

    def newest_input(self, output: int) -> int:
        """Return the newest input, counted from the last reset, on which an output rests."""
        for step in reversed(self._resampling):
            output = step.newest_input(output)
        return output

    def n_outputs(self, n_inputs: int) -> int:
        """Return how many outputs exist `n_inputs` inputs after the last reset."""
        for step in self._resampling:
            n_inputs = step.n_outputs(n_inputs)
        return n_inputs

    def outputs_within(self, n_inputs: int) -> tuple[int, int]:
        """Return how many outputs any `n_inputs` inputs in a row bring, at least and at most."""
        fewest = most = n_inputs
        for step in self._resampling:
            fewest, most = math.floor(fewest / step.factor), math.ceil(most / step.factor)
        # The first input brings one output whatever the factors: there are none before it.
        return min(fewest, self.n_outputs(n_inputs)), most

    def process(self, samples: Samples) -> Samples:
        """Process samples (n_samples, n_channels) float64; the input is left as it is.

        Causality: output at sample n depends on samples up to n only.
        Determinism: bit-identical for any chunking.
        """
        self._n_inputs += len(samples)
        for step, state in zip(self.steps, self._states, strict=True):
            samples = step.process(samples, state)
        return samples
