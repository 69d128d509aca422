"""The decider: probabilities in, decisions out, a hop at a time.

Classes are few: lists of plain floats are several times as fast as arrays.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Accumulated, Exponential, Mean, Policy
from rtdecode.errors import ConfigurationError

_Floats = list[float]
# A probability of 0 would outweigh everything else for ever.
LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided at a hop, or an event.

    Attributes
    ----------
    index : int
        Of the class, or of the item.
    evidence : float
        The probability that reached the threshold; that of the item.
    used_s : float
        Seconds of predictions it rests on (of exponential smoothing, its time constant; of repeated events, from the
        first one to the newest sample).
    """

    index: int
    evidence: float
    used_s: float


class Decider:
    """Decides by a policy, hop by hop.

    Parameters
    ----------
    policy : Policy
        What to do.
    class_names : tuple of str
        Of the classes, by index.
    hop_s : float
        Seconds from one prediction to the next.
    sfreq : float
        Rate in Hz at which the `sample` of `decide` counts.

    Attributes
    ----------
    probabilities : list of float, (n_classes,), or None
        What was compared with the thresholds at the last hop; None without evidence.

    Raises
    ------
    ConfigurationError
        The policy speaks of classes that are none.

    Notes
    -----
    An abstention says that the data are broken: evidence, dwell and hysteresis begin anew with the next prediction.
    Only the refractory time goes on. It is counted in samples, so that a gap never shortens it.

    Causality and determinism: a decision rests on the predictions given so far, and on nothing else.
    """

    def __init__(self, policy: Policy, class_names: tuple[str, ...], hop_s: float, sfreq: float) -> None:
        if problem := policy.problem(class_names):
            raise ConfigurationError(f"Policy: {problem}.")
        n = len(class_names)
        self._evidence: _Evidence = _MAKERS[policy.evidence.kind](policy.evidence, n, hop_s)
        self._thresholds = [policy.thresholds.get(name, policy.threshold) for name in class_names]
        self._rest = frozenset(class_names.index(name) for name in policy.rest)
        self._hysteresis = policy.hysteresis
        self._dwell = max(1, round(policy.dwell_s / hop_s))
        self._refractory = math.ceil(policy.refractory_s * sfreq - 1e-6)
        self.reset()

    def reset(self) -> None:
        """Forget everything, as if nothing had ever been decided."""
        self._free_at: int | None = None
        self._void()

    def _void(self) -> None:
        self._evidence.restart()
        self._candidate, self._held_for = -1, 0
        self._active = -1
        self.probabilities: _Floats | None = None

    def decide(self, proba: NDArray[np.float32] | None, sample: int) -> Decision | None:
        """Take what a hop gave; return what is decided there, if anything.

        Parameters
        ----------
        proba : array of float32, (n_classes,), or None
            Probabilities; None: the decoder abstained.
        sample : int
            Index of the newest sample they rest on.
        """
        if proba is None:
            self._void()
            return None
        free = self._free_at is None or sample >= self._free_at
        if not free and self._evidence.starts_over:
            self.probabilities = None
            return None
        self.probabilities = p = self._evidence.add([math.log(max(value, LEAST)) for value in proba.tolist()])
        if p is None:
            return None
        candidate = self._candidate_at(p)
        if candidate < 0:
            if self._evidence.is_over:
                self._start_over()
            return None
        if not free or candidate == self._active:
            return None
        used_s = self._evidence.used_s
        if self._evidence.starts_over:
            self._start_over()
        if candidate in self._rest:
            return None
        self._free_at = sample + self._refractory
        self._active = -1 if self._hysteresis is None else candidate
        return Decision(candidate, p[candidate], used_s)

    def _start_over(self) -> None:
        self._evidence.restart()
        self._candidate, self._held_for = -1, 0

    def _candidate_at(self, p: _Floats) -> int:
        """Return the class that has been the candidate for long enough; -1: none."""
        if self._active >= 0 and p[self._active] < self._thresholds[self._active] - (self._hysteresis or 0.0):
            self._active = -1
        candidate = self._most_probable(p)
        self._held_for = self._held_for + 1 if candidate == self._candidate else 1
        self._candidate = candidate
        return candidate if self._held_for >= self._dwell else -1

    def _most_probable(self, p: _Floats) -> int:
        best, most = -1, -1.0
        for index, (value, threshold) in enumerate(zip(p, self._thresholds, strict=True)):
            if value >= threshold and value > most:
                best, most = index, value
        return best


def _normalised(log_p: _Floats) -> _Floats:
    """Return the probabilities (n_classes,) of log probabilities that are known up to a constant."""
    highest = max(log_p)
    p = [math.exp(value - highest) for value in log_p]
    total = sum(p)
    return [value / total for value in p]


class _Evidence(Protocol):
    """How log probabilities (n_classes,) of hops become evidence.

    `starts_over`: it begins anew after a decision. `is_over`: it has been gathered for too long.
    """

    starts_over: bool

    @property
    def is_over(self) -> bool: ...

    @property
    def used_s(self) -> float: ...

    def restart(self) -> None: ...

    def add(self, log_p: _Floats) -> _Floats | None: ...


class _Mean:
    starts_over = is_over = False

    def __init__(self, settings: Mean, n_classes: int, hop_s: float) -> None:
        self._n = max(1, round(settings.over_s / hop_s))
        self.used_s = self._n * hop_s
        self.restart()

    def restart(self) -> None:
        self._last = deque[_Floats](maxlen=self._n)

    def add(self, log_p: _Floats) -> _Floats | None:
        self._last.append(log_p)
        if len(self._last) < self._n:
            return None
        # Summed afresh: what is added and taken away again drifts.
        return _normalised([sum(of_class) / self._n for of_class in zip(*self._last, strict=True)])


class _Exponential:
    starts_over = is_over = False

    def __init__(self, settings: Exponential, n_classes: int, hop_s: float) -> None:
        self._gain, self.used_s, self._n_classes = -math.expm1(-hop_s / settings.tau_s), settings.tau_s, n_classes
        self.restart()

    def restart(self) -> None:
        self._state = [-math.log(self._n_classes)] * self._n_classes

    def add(self, log_p: _Floats) -> _Floats | None:
        self._state = [was + self._gain * (new - was) for was, new in zip(self._state, log_p, strict=True)]
        return _normalised(self._state)


class _Accumulated:
    starts_over = True

    def __init__(self, settings: Accumulated, n_classes: int, hop_s: float) -> None:
        self._share = min(1.0, hop_s / settings.independent_s) if settings.independent_s else 1.0
        self._longest = None if settings.timeout_s is None else max(1, round(settings.timeout_s / hop_s))
        self._n_classes, self._hop_s = n_classes, hop_s
        self.restart()

    def restart(self) -> None:
        self._sum, self._n = [0.0] * self._n_classes, 0

    @property
    def is_over(self) -> bool:
        return self._n == self._longest

    @property
    def used_s(self) -> float:
        return self._n * self._hop_s

    def add(self, log_p: _Floats) -> _Floats | None:
        self._sum = [was + self._share * new for was, new in zip(self._sum, log_p, strict=True)]
        self._n += 1
        return _normalised(self._sum)


_MAKERS = {"mean": _Mean, "exponential": _Exponential, "accumulated": _Accumulated}
