"""What was found out, with everything that is needed to believe it."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from rtdecode import __version__
from rtdecode.decoder import Decoder
from rtdecode.latency.measure import Block
from rtdecode.latency.stages import (
    Seconds,
    Timing,
    Verdict,
    ages_when_replaced,
    columns,
    figures_ms,
    joined,
    verdict,
)
from rtdecode.libraries import processor
from rtdecode.lsl import versions
from rtdecode.runtime import runtime_version

_SCHEMA = 1


@dataclass(frozen=True)
class Design:
    """Delays that a decoder has by design, on every machine, in milliseconds."""

    window: float
    hop: float
    group_delay: float
    chunk: float


@dataclass(frozen=True)
class Report:
    """A measurement of one decoder on one machine.

    Attributes
    ----------
    model : dict of str to str
        Which decoder.
    asked, machine : dict of str to str
        What was to be measured, and on what; words for people.
    design : Design
        What no machine can make faster.
    blocks : tuple of Block
        What was measured.
    budget_ms : float or None
        What was wanted.
    created : str
        When, ISO 8601.
    """

    model: dict[str, str]
    asked: dict[str, str]
    machine: dict[str, str]
    design: Design
    blocks: tuple[Block, ...]
    budget_ms: float | None
    created: str

    @cached_property
    def timing(self) -> Timing:
        """Of all blocks."""
        return joined([block.timing for block in self.blocks])

    @cached_property
    def echo(self) -> Seconds:
        """Totals of all echoes."""
        return np.concatenate([block.echo_total for block in self.blocks])

    @property
    def verdict(self) -> Verdict | None:
        """Whether the budget is met; None when none was given."""
        if self.budget_ms is None:
            return None
        return verdict(self.timing.total, self.budget_ms, self.n_unheard + self.n_skipped)

    @cached_property
    def figures_ms(self) -> dict[str, dict[str, float]]:
        """Figures of each stage, of `total`, of `echo`, and of the age of what a consumer holds (`replaced`)."""
        timings = [block.timing for block in self.blocks]
        replaced = [ages_when_replaced(t.timestamps, t.timestamps + t.total) for t in timings]
        measured = {**self.timing.stages, "total": self.timing.total, "echo": self.echo}
        if any(len(ages) for ages in replaced):
            measured["replaced"] = np.concatenate(replaced)
        return {name: figures_ms(seconds) for name, seconds in measured.items()}

    @property
    def ratio(self) -> float:
        """Median of the total to that of the bare echo."""
        return self.figures_ms["total"]["p50"] / self.figures_ms["echo"]["p50"]

    @property
    def n_summed_up(self) -> int:
        """Predictions whose stages sum to their total within 5 % or 20 us."""
        return int(np.count_nonzero(self.timing.sums_up))

    @property
    def n_unheard(self) -> int:
        """Predictions that were published but not received."""
        return sum(block.n_unheard for block in self.blocks)

    @property
    def n_skipped(self) -> int:
        """Results that the decoder held back as out of date."""
        return sum(block.n_skipped for block in self.blocks)

    def as_json(self) -> str:
        """Return everything, with every prediction's times."""
        judged = self.verdict
        document: dict[str, Any] = {
            "schema": _SCHEMA,
            "created": self.created,
            "model": self.model,
            "asked": self.asked,
            "machine": self.machine,
            "design_ms": asdict(self.design),
            "figures_ms": self.figures_ms,
            "echo_ratio": self.ratio,
            "verdict": None if judged is None else {**asdict(judged), "met": judged.met},
            "received": len(self.timing.total),
            "unheard": self.n_unheard,
            "skipped": self.n_skipped,
            "summed_up": self.n_summed_up,
            "predictions_s": columns(self.timing),
            "echo_s": self.echo.tolist(),
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False)


def report(
    decoder: Decoder, blocks: list[Block], asked: dict[str, str], chunk: int, budget_ms: float | None
) -> Report:
    """Put together what was measured; `chunk` samples are pushed at a time."""
    window, sfreq = decoder.contract.window, decoder.chain.output.sfreq
    design = Design(
        1e3 * window.n_times / sfreq,
        1e3 * decoder.hop_s,
        1e3 * decoder.chain.group_delay_s,
        1e3 * chunk / decoder.source.sfreq,
    )
    model = {
        "name": decoder.model.name,
        "sha256": decoder.model.sha256,
        "network": decoder.contract.provenance.network,
        "channels": f"{decoder.source.n_channels} channels at {decoder.source.sfreq:g} Hz",
        "gives": ", ".join(decoder.output_names),
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(model, asked, describe_machine(), design, tuple(blocks), budget_ms, created)


def describe_machine() -> dict[str, str]:
    """Tell processor, system and versions; not whose machine it is."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = {
        "processor": f"{processor()}, {n} cores for this process",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "rtdecode": __version__,
        "numpy": np.__version__,
        "ONNX Runtime": runtime_version(),
        **versions(),
    }
    if hasattr(os, "getloadavg"):
        told["load average"] = f"{os.getloadavg()[0]:.2f} over the last minute, this measurement included"
    return told
