"""From marks to stage times, and from times to figures.

The vocabulary is that of Wilson et al. 2010 (doi 10.1109/TBME.2010.2047259): ADC latency, from the acquisition of a
sample to the program that processes it; processing latency; output latency; their sum, the system latency; and
the jitter of each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.tracer import TRACE_FIELDS

Seconds = NDArray[np.float64]

_TOLERANCE, _TOLERANCE_S = 0.05, 20e-6
_WANTED = 0.99


@dataclass(frozen=True)
class Stage:
    """A part of the way from acquisition to reception: its name, the latency it belongs to, what happens in it."""

    name: str
    part: str
    text: str


STAGES = (
    Stage("chunk", "ADC", "the source waits for the rest of its chunk"),
    Stage("transport", "ADC", "from the end of the chunk to the decoder's process"),
    Stage("guard", "processing", "taken, checked, put in order, kept for the window"),
    Stage("preprocessing", "processing", "filters and all other steps"),
    Stage("graph", "processing", "ONNX Runtime"),
    Stage("policy", "processing", "what is decided; nothing without a policy"),
    Stage("publish", "processing", "handed to LSL, in turn"),
    Stage("reception", "output", "to a listener in another process"),
)


@dataclass(frozen=True)
class Timing:
    """Stage times of n predictions.

    Attributes
    ----------
    timestamps : array of float64, (n,)
        When the newest sample was acquired, in LSL's clock.
    stages : dict of str to array of float64, (n,)
        Seconds in each of STAGES, in that order; each is measured by itself.
    total : array of float64, (n,)
        Seconds from acquisition to reception.
    """

    timestamps: Seconds
    stages: dict[str, Seconds]
    total: Seconds

    @property
    def unaccounted(self) -> Seconds:
        """Seconds of the total that belong to no stage."""
        rest: Seconds = self.total - np.sum(list(self.stages.values()), axis=0)
        return rest

    @property
    def sums_up(self) -> NDArray[np.bool_]:
        """Tell of each prediction whether its stages sum to its total within 5 % or 20 us, and none is negative.

        A stage below zero tells that marks of different predictions were mixed up, that clocks disagree, or that
        the source's chunks are not what they were said to be.
        """
        allowed = np.maximum(_TOLERANCE * self.total, _TOLERANCE_S)
        least = np.min(list(self.stages.values()), axis=0)
        sound: NDArray[np.bool_] = (np.abs(self.unaccounted) <= allowed) & (least >= -_TOLERANCE_S)
        return sound


def timing(rows: list[list[float]], received: dict[float, float], chunk: int, sfreq: float) -> Timing:
    """Join what a decoder told with what a listener received.

    Parameters
    ----------
    rows : list of list of float
        Of `trace` events, in the order of TRACE_FIELDS.
    received : dict of float to float
        By the stamp of a prediction, when a listener had it. What it did not receive is left out.
    chunk : int
        Samples that the source pushes at a time, counted from its first one.
    sfreq : float
        Of the source, in Hz.
    """
    kept = [row for row in rows if row[1] in received]
    columns = np.array(kept, np.float64).reshape(len(kept), len(TRACE_FIELDS)).T
    mark = dict(zip(TRACE_FIELDS, columns, strict=True))
    reception = np.array([received[row[1]] for row in kept])
    # The listener may have it before push returns.
    handed = np.minimum(mark["published"], reception)
    waits = -(mark["sample"] + 1) % chunk / sfreq
    inner = mark["preprocessing_s"] + mark["graph_s"] + mark["policy_s"]
    stages = {
        "chunk": waits,
        "transport": mark["arrived"] - mark["timestamp"] - waits,
        "guard": mark["decoded"] - mark["arrived"] - inner,
        "preprocessing": mark["preprocessing_s"],
        "graph": mark["graph_s"],
        "policy": mark["policy_s"],
        "publish": handed - mark["decoded"],
        "reception": reception - handed,
    }
    return Timing(mark["timestamp"], stages, reception - mark["timestamp"])


def joined(blocks: list[Timing]) -> Timing:
    """Put blocks one after the other."""
    return Timing(
        np.concatenate([b.timestamps for b in blocks]),
        {stage.name: np.concatenate([b.stages[stage.name] for b in blocks]) for stage in STAGES},
        np.concatenate([b.total for b in blocks]),
    )


def figures_ms(seconds: Seconds) -> dict[str, float]:
    """Return percentiles in milliseconds; jitter as the standard deviation and as p99 - p50.

    A percentile is a time that was measured: p99 is the least within which 99 of 100 are.
    """
    p50, p95, p99, p999, worst = np.percentile(seconds, [50, 95, 99, 99.9, 100], method="inverted_cdf") * 1e3
    found = {
        "p50": p50, "p95": p95, "p99": p99, "p99.9": p999, "max": worst,
        "mean": 1e3 * seconds.mean(), "sd": 1e3 * seconds.std(), "p99-p50": p99 - p50,
    }  # fmt: skip
    return {name: float(value) for name, value in found.items()}


@dataclass(frozen=True)
class Verdict:
    """Whether a wanted budget is met: 99 of 100 predictions must be received within it.

    Attributes
    ----------
    budget_ms, p99_ms : float
        Wanted; and measured, of what was received.
    within : float
        The share of all predictions that were received within it.
    """

    budget_ms: float
    p99_ms: float
    within: float

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.within >= _WANTED


def verdict(total: Seconds, budget_ms: float, n_missing: int = 0) -> Verdict:
    """Judge totals (n,) in seconds by a budget in milliseconds; what was never received is late."""
    n_within = np.count_nonzero(total * 1e3 <= budget_ms)
    return Verdict(budget_ms, figures_ms(total)["p99"], float(n_within / (len(total) + n_missing)))


def ages_when_replaced(timestamps: Seconds, received: Seconds) -> Seconds:
    """Return how old each prediction's newest sample is when the next prediction takes its place.

    Parameters
    ----------
    timestamps, received : array of float64, (n,)
        Of predictions in a row.

    Returns
    -------
    array of float64, (n - 1,)
        Seconds.
    """
    return received[1:] - timestamps[:-1]


def columns(timing: Timing) -> dict[str, Any]:
    """Return every prediction's times in seconds as JSON can hold them."""
    return {
        "timestamp": timing.timestamps.tolist(),
        **{name: values.tolist() for name, values in timing.stages.items()},
        "total": timing.total.tolist(),
    }
