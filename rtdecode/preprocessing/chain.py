"""Steps in order, with their states: what training and the live run both call."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from rtdecode.contract import Signal
from rtdecode.errors import ModelError
from rtdecode.preprocessing.base import Samples, Step
from rtdecode.preprocessing.filters import Decimate, Filter, FilterBank
from rtdecode.preprocessing.scaling import Clamp, Scale, Standardize
from rtdecode.preprocessing.spatial import Linear, Pick

_AnyStep = Annotated[
    Pick | Linear | Scale | Filter | FilterBank | Decimate | Standardize | Clamp, Field(discriminator="step")
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
    factor : int
        Input samples per output sample.
    settling : int
        Input samples until every filter has settled, one after the other.
    group_delay_s : float
        Sum of the steps' group delays in seconds. It is told to the user, never subtracted from a stamp.
    """

    def __init__(self, steps: Sequence[Step], signal: Signal) -> None:
        self.steps = tuple(steps)
        self._n_channels = []
        self.factor, self.group_delay_s, settling = 1, 0.0, 0
        rate = signal.sfreq
        for number, step in enumerate(self.steps, 1):
            self._n_channels.append(signal.n_channels)
            try:
                signal = step.output(signal)
            except ValueError as error:
                raise ModelError(f"Preprocessing step {number} ({step.step}) does not fit: {error}.") from None
            settling += step.settling() * self.factor
            self.group_delay_s += step.group_delay() * self.factor / rate
            self.factor *= step.factor
        self.settling = settling
        self.output = signal
        self._states: list[Any] = [None] * len(self.steps)
        for i in range(len(self.steps)):
            self._start(i)

    def _start(self, i: int) -> None:
        self._states[i] = self.steps[i].start(self._n_channels[i])

    def reset(self) -> None:
        """Void what a break in the stream voids; statistics are kept."""
        for i, step in enumerate(self.steps):
            if step.reset_voids == "filter":
                self._start(i)

    def process(self, samples: Samples) -> Samples:
        """Process samples (n_samples, n_channels) float64; the input is left as it is.

        Causality: output at sample n depends on samples up to n only.
        Determinism: bit-identical for any chunking.
        """
        for step, state in zip(self.steps, self._states, strict=True):
            samples = step.process(samples, state)
        return samples
