"""What a run did, in numbers."""

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

# Two neighbouring bins differ by so much, beyond a microsecond.
_STEP, _FINEST_S = math.log(1.01), 1e-6


class Durations:
    """Counts durations in bins 1 % apart, so that a long run keeps no more than a short one."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._most = -math.inf

    def add(self, seconds: float) -> None:
        """Count one; it may be negative."""
        self._bins[round(math.copysign(math.log1p(abs(seconds) / _FINEST_S) / _STEP, seconds))] += 1
        self._most = max(self._most, seconds)

    def figures(self) -> dict[str, float]:
        """Return p50, p95, p99 and the largest in milliseconds, the percentiles to 0.5 %; nothing of nothing."""
        bins = sorted(self._bins)
        up_to = list(accumulate(self._bins[b] for b in bins))
        if not bins:
            return {}
        told = {}
        for p in (50, 95, 99):
            at = next(b for b, n in zip(bins, up_to, strict=True) if n >= p / 100 * up_to[-1])
            told[f"p{p}"] = 1e3 * math.copysign(_FINEST_S * math.expm1(abs(at) * _STEP), at)
        return {**told, "max": 1e3 * self._most}


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    n_samples, n_predictions : int
        Samples received, predictions published.
    n_decisions, decisions_skipped : int
        Decisions published, and those that never were because their hop was out of date.
    n_belated : int
        Predictions of a backlog that were published all the same.
    abstained : Counter of str
        Abstentions by reason; `skipped` are results that were out of date.
    incidents : Counter of str
        What the guard found, by reason.
    heartbeats : int
        Abstentions repeated while no data came; they belong to no hop.
    overruns : int
        Times the loop was not there for longer than a hop.
    states : Counter of (str, str)
        How often each state was entered, by state and reason.
    ages : Durations
        Of the newest sample when its prediction had been published.
    latencies : Durations
        Our own part of it: from the arrival of the chunk to the publication.
    """

    n_samples: int = 0
    n_predictions: int = 0
    n_decisions: int = 0
    decisions_skipped: int = 0
    n_belated: int = 0
    abstained: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    overruns: int = 0
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    ages: Durations = field(default_factory=Durations)
    latencies: Durations = field(default_factory=Durations)

    def figures(self) -> dict[str, Any]:
        """Return the counts, and the percentiles of age and latency in milliseconds, as JSON can hold them."""
        states: dict[str, dict[str, int]] = {}
        for (state, reason), n in self.states.items():
            states.setdefault(state, {})[reason] = n
        told: dict[str, Any] = {
            "samples": self.n_samples,
            "predictions": self.n_predictions,
            "decisions": self.n_decisions,
            "decisions_skipped": self.decisions_skipped,
            "belated": self.n_belated,
            "abstained": dict(self.abstained),
            "incidents": dict(self.incidents),
            "heartbeats": self.heartbeats,
            "overruns": self.overruns,
            "states": states,
        }
        durations = {"age_ms": self.ages.figures(), "latency_ms": self.latencies.figures()}
        return told | {name: figures for name, figures in durations.items() if figures}
