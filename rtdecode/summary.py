"""What a run did, in numbers."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    n_samples, n_predictions : int
        Samples received, predictions published.
    n_decisions, decisions_skipped : int
        Decisions published, and those that never were because their hop was out of date.
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
    ages_s : array of float
        Age of the newest sample when its prediction had been published.
    latencies_s : array of float
        Our own part of it: from the arrival of the chunk to the publication.
    """

    n_samples: int = 0
    n_predictions: int = 0
    n_decisions: int = 0
    decisions_skipped: int = 0
    abstained: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    heartbeats: int = 0
    overruns: int = 0
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    ages_s: "array[float]" = field(default_factory=lambda: array("d"))
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))

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
            "abstained": dict(self.abstained),
            "incidents": dict(self.incidents),
            "heartbeats": self.heartbeats,
            "overruns": self.overruns,
            "states": states,
        }
        for name, values in (("age_ms", self.ages_s), ("latency_ms", self.latencies_s)):
            if len(values):
                p50, p95, p99, worst = np.percentile(np.asarray(values), [50, 95, 99, 100]) * 1e3
                told[name] = {"p50": p50, "p95": p95, "p99": p99, "max": worst}
        return told
