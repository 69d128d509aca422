"""Steps of a chain put together where they are linear: the same outputs but for rounding, for less work.

A filter is the same on every channel, and starts as if the first sample had been there for ever. So weighted sums of
what it gives are what it gives of weighted sums, from the first sample on: a mixing behind filters moves before them
where fewer channels are then filtered. What is added to each channel stays on its side of the filter, mixed: large
means are subtracted where they were, in float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.contract.arrays import FloatArray
from rtdecode.preprocessing.base import Samples, Step
from rtdecode.preprocessing.filters import Decimate, Filter, FilterBank
from rtdecode.preprocessing.resampling import Resample
from rtdecode.preprocessing.scaling import Scale, Standardize
from rtdecode.preprocessing.spatial import Linear, Pick, mix

# What a step costs besides its arithmetic, and a second-order section or a mode of one channel, in multiply-adds.
_CALL, _SECTION = 7000, 28
# So many multiply-adds more are worth one step less.
_SAVED = 2000
# Filters that a mixing may stay behind or go before: each doubles what is compared.
_MOST_CHOICES = 6
_MOVABLE = (Filter, Decimate, Resample)


class _Merged(Step):
    """Several linear steps as one; stands in no file."""

    of: tuple[str, ...]
    offset: FloatArray

    def output(self, signal: Signal) -> Signal:
        """See Step."""
        n = len(self.offset)
        return signal.with_channels([f"sum {i}" for i in range(n)], ["misc"] * n, ["none"] * n)

    def describe(self) -> str:
        """See Step."""
        return " + ".join(self.of)

    def _shifted(self, samples: Samples) -> Samples:
        """Add the offset to a new array."""
        if self.offset.any():
            samples += self.offset
        return samples


class Mixed(_Merged):
    """Weighted sums of the channels, and a constant added to each.

    Attributes
    ----------
    matrix : array of float64, (n_out, n_in)
        The weights.
    offset : array of float64, (n_out,)
        What is added.
    of : tuple of str
        What the steps in it are, for people.
    """

    step: Literal["mixed"] = "mixed"
    matrix: FloatArray

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return self._shifted(mix(samples, self.matrix))


class Scaled(_Merged):
    """Chosen channels, each multiplied, and a constant added to each.

    Attributes
    ----------
    indices : tuple of int, (n_out,)
        Which channels.
    factors, offset : array of float64, (n_out,)
        What they are multiplied with, and what is added.
    of : tuple of str
        What the steps in it are, for people.
    """

    step: Literal["scaled"] = "scaled"
    indices: tuple[int, ...]
    factors: FloatArray

    def start(self, n_channels: int) -> NDArray[np.intp] | slice:
        """See Step: to pick takes longer than to multiply."""
        return slice(None) if self.indices == tuple(range(n_channels)) else np.array(self.indices, np.intp)

    def process(self, samples: Samples, state: Any) -> Samples:
        """See Step."""
        return self._shifted(samples[:, state] * self.factors)


_LINEAR = (Linear, Pick, Scale, Standardize, _Merged)


@dataclass(frozen=True)
class _Operator:
    """What a linear step makes of a sample: weighted sums, and a constant added to each.

    Attributes
    ----------
    of : tuple of str
        What the steps in it are, for people.
    n_in : int
        Channels that enter.
    weights : array of float64, (n_out, n_in) or (n_out,)
        Of all channels; of a single one, if `indices` says which.
    offset : array of float64, (n_out,)
        What is added.
    indices : array of int, (n_out,), optional
        Which channel each output is.
    as_is : Step, optional
        The step that it is, if it is one.
    """

    of: tuple[str, ...]
    n_in: int
    weights: NDArray[np.float64]
    offset: NDArray[np.float64]
    indices: NDArray[np.intp] | None = None
    as_is: Step | None = None

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mix what has `n_in` rows, without the offset."""
        if self.indices is None:
            return np.asarray(self.weights @ values)
        return np.asarray((self.weights * values[self.indices].T).T)

    def after(self, first: "_Operator") -> "_Operator":
        """Return what `first` and then this one are together."""
        of, offset = (*first.of, *self.of), self(first.offset) + self.offset
        if self.indices is not None and first.indices is not None:
            weights, indices = self.weights * first.weights[self.indices], first.indices[self.indices]
            return _Operator(of, first.n_in, weights, offset, indices)
        matrix = first.weights if first.indices is None else first(np.eye(first.n_in))
        return _Operator(of, first.n_in, self(matrix), offset)

    def saves(self, first: "_Operator") -> bool:
        """Tell whether the two together are less work than one after the other, and can be told in numbers."""
        if not self.after(first).is_finite:
            return False
        if self.indices is not None:
            return True
        return len(self.offset) * first.n_in <= self.weights.size + first.weights.size + _SAVED

    @property
    def is_finite(self) -> bool:
        """Whether all its numbers are."""
        return bool(np.isfinite(self.weights).all() and np.isfinite(self.offset).all())

    def parts(self) -> tuple["_Operator", Step | None]:
        """Return it without what it adds, and what adds that."""
        if not self.offset.any():
            return self, None
        n, of = len(self.offset), (f"what is added by {' + '.join(self.of)}",)
        shift = Scaled(of=of, offset=self.offset, indices=tuple(range(n)), factors=np.ones(n))
        return replace(self, offset=np.zeros(n), as_is=None), shift

    def step(self) -> Step:
        """Return it as a step."""
        if self.as_is:
            return self.as_is
        if self.indices is None:
            return Mixed(of=self.of, offset=self.offset, matrix=self.weights)
        indices = tuple(int(i) for i in self.indices)
        return Scaled(of=self.of, offset=self.offset, indices=indices, factors=self.weights)


def _operator(step: Step, n_in: int) -> _Operator | None:
    """Return a step as an operator; None if it is not linear, or looks at more than one sample."""
    of, every, zero = (step.describe(),), np.arange(n_in), np.zeros(n_in)
    match step:
        case Linear() | Mixed():
            offset = step.offset if isinstance(step, Mixed) else np.zeros(len(step.matrix))
            return _Operator(of, n_in, step.matrix, offset, as_is=step)
        case Pick():
            n_out = len(step.indices)
            return _Operator(of, n_in, np.ones(n_out), np.zeros(n_out), np.array(step.indices, np.intp), step)
        case Scale():
            return _Operator(of, n_in, step.factors, zero, every, step)
        case Standardize():
            return _Operator(of, n_in, 1 / step.std, -step.mean / step.std, every, step)
    return None


def merge(steps: Sequence[Step], signal: Signal, hop: int) -> tuple[tuple[Step, ...], float]:
    """Return steps that give what `steps` give but for rounding, at the least cost, and that cost.

    Determinism: as the steps'; sums are taken in float64.

    Parameters
    ----------
    steps : sequence of Step
        In order.
    signal : Signal
        What enters.
    hop : int
        Outputs for which they are called.

    Returns
    -------
    steps : tuple of Step
        Those given, where nothing is gained.
    cost : float
        Of a hop, in multiply-adds.
    """
    entering = []
    for step in steps:
        entering.append(signal)
        signal = step.output(signal)
    # Products that are too large are not made use of.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        plans = _plans(list(steps), [s.n_channels for s in entering], None, _MOST_CHOICES)
    n_in = entering[0].n_channels if entering else signal.n_channels
    costs = [_cost(plan, n_in, hop) for plan in plans]
    best = int(np.argmin(costs))
    return _by_place(plans[best]), costs[best]


def _by_place(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Let channels be picked by where they stand: behind what was merged they have no names."""
    first = next((i for i, step in enumerate(steps) if isinstance(step, _Merged)), len(steps))
    return tuple(
        Scaled(of=(step.describe(),), offset=np.zeros(n), indices=step.indices, factors=np.ones(n))
        if isinstance(step, Pick) and i > first and (n := len(step.indices))
        else step
        for i, step in enumerate(steps)
    )


def stops(step: Step) -> bool:
    """Tell whether a mixing of what leaves a step is none of what enters it."""
    return not isinstance(step, (*_MOVABLE, *_LINEAR))


def _plans(steps: list[Step], n_channels: list[int], after: _Operator | None, n_choices: int) -> list[list[Step]]:
    """Return ways to do `steps` and then `after`, of which the first moves nothing."""
    end: list[Step] = []
    while steps:
        step, n_in = steps[-1], n_channels[-1]
        operator = _operator(step, n_in)
        if operator is not None and not operator.is_finite:
            operator = None
        if operator is None and after is not None:
            choose = n_choices > 0 and isinstance(step, _MOVABLE)
            plans = [[*plan, after.step(), *end] for plan in _plans(steps, n_channels, None, n_choices - choose)]
            if choose:
                plans += [[*plan, *end] for plan in _moved(steps, n_channels, after, n_choices - 1)]
            return plans
        if operator is None:
            end.insert(0, step)
        elif after is None:
            after = operator
        elif after.saves(operator):
            after = after.after(operator)
        else:
            end.insert(0, after.step())
            after = operator
        steps, n_channels = steps[:-1], n_channels[:-1]
    return [[*([after.step()] if after else []), *end]]


def _moved(steps: list[Step], n_channels: list[int], after: _Operator, n_choices: int) -> list[list[Step]]:
    """Return ways to do it with `after` before the filters with which `steps` end."""
    first = len(steps)
    while first and isinstance(steps[first - 1], _MOVABLE):
        first -= 1
    mixing, shift = after.parts()
    end = [*steps[first:], *([shift] if shift else [])]
    return [[*plan, *end] for plan in _plans(steps[:first], n_channels[:first], mixing, n_choices)]


def _cost(steps: Sequence[Step], n_channels: int, hop: int) -> float:
    """Return what a hop costs, in multiply-adds."""
    factor, cost = math.prod((step.factor for step in steps), start=Fraction(1)), 0.0
    n_samples = hop * factor
    for step in steps:
        each, n_out = _work(step, n_channels)
        cost += _CALL + float(n_samples) * each
        n_samples, n_channels = n_samples / step.factor, n_out
    return cost


def _work(step: Step, n_in: int) -> tuple[float, int]:
    """Return the multiply-adds of a sample, and how many channels leave."""
    match step:
        case Linear() | Mixed():
            return step.matrix.size, len(step.matrix)
        case Pick() | Scaled():
            return len(step.indices), len(step.indices)
        case Filter() | Decimate():
            return _SECTION * len(step.sos) * n_in, n_in
        case FilterBank():
            return _SECTION * sum(map(len, step.sos)) * n_in, n_in * len(step.sos)
        case Resample():
            return _SECTION * len(step.poles) * n_in, n_in
    return n_in, n_in
