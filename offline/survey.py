"""What each network costs: parameters, how far it looks, and its latency on this machine."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from offline.export import to_onnx
from offline.models import NETWORKS, Inputs, Network, make_network
from rtdecode.apart import run_apart
from rtdecode.contract import Amplitude, Classification, Contract, Provenance, Signal, Window
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.model_file import read_model, write_model
from rtdecode.runtime import runtime_version

_N_RUNS = 200
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Cost:
    """What was found out about a network.

    Attributes
    ----------
    name : str
        As in a configuration.
    network : Network or None
        None if it cannot be built for this window.
    latency_s : array, (n_runs,)
        Of ONNX Runtime on one thread, a window at a time; empty where it could not be measured.
    reason : str
        Why something is missing.
    """

    name: str
    network: Network | None
    latency_s: NDArray[np.float64]
    reason: str = ""


def survey(name: str, n_channels: int, n_times: int, n_outputs: int, sfreq: float) -> Cost:
    """Build a network with its default settings, export it, and time it.

    Behind a filter bank, `n_channels` enter the bank. What does not fit is told in the result.
    """
    nothing = np.empty(0)
    n_channels *= NETWORKS[name].n_bands if name in NETWORKS else 1
    names = tuple(f"{i}" for i in range(1, n_channels + 1))
    try:
        # Any places do: what it costs does not depend on them.
        places = tuple((i / n_channels, i / n_channels) for i in range(n_channels))
        network = make_network(name, Inputs(n_channels, n_times, n_outputs, sfreq, names, places), {}).eval()
    except ConfigurationError as error:
        return Cost(name, None, nothing, str(error))
    try:
        return Cost(name, network, run_apart(f"Exporting {name}", _TIMEOUT_S, _time, network, sfreq))
    except ModelError as error:
        return Cost(name, network, nothing, str(error))


def _time(network: Network, sfreq: float) -> NDArray[np.float64]:
    """Return how long each of many runs of the exported graph took, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model(to_onnx(network.fused()), contract_of(network, sfreq), path)
        engine = Engine(read_model(path))
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((8, network.n_channels, network.n_times)).astype(np.float32)
    times = np.empty(_N_RUNS)
    for i in range(_N_RUNS):
        start = time.perf_counter()
        engine.run(windows[i % len(windows)])
        times[i] = time.perf_counter() - start
    return times


def contract_of(network: Network, sfreq: float) -> Contract:
    """Describe a decoder that was trained on nothing, as the engine wants a description."""
    n = network.n_channels
    signal = Signal(
        ch_names=tuple(str(i) for i in range(n)), ch_types=("misc",) * n, units=("none",) * n, sfreq=sfreq
    )
    classes = tuple(str(i) for i in range(network.n_outputs))
    nothing = np.zeros(n)
    return Contract(
        name="survey",
        signal=signal,
        preprocessing=(),
        window=Window(n_times=network.n_times, hop=1),
        outputs=Classification(class_names=classes),
        amplitude=Amplitude(low=nothing, high=nothing, std=nothing),
        provenance=Provenance(
            created="", network="", data_fingerprint="", recordings=(), configuration={}, packages={}
        ),
    )


def table(costs: Sequence[Cost], n_channels: int, n_times: int, n_outputs: int, sfreq: float) -> Table:
    """Lay the costs out: a row per network; below, what is missing and why."""
    out = Table(
        title=f"{n_channels} channels, windows of {n_times} samples at {sfreq:g} Hz ({n_times / sfreq:.2f} s), "
        f"{n_outputs} classes",
        caption=f"Latency of one window here: ONNX Runtime {runtime_version()}, one thread, {_N_RUNS} runs, warmed "
        "up; the preprocessing is not in it.",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    out.add_column("network", no_wrap=True)
    for heading in ("takes", "parameters", "sees", "causal", "median ms", "p99 ms"):
        out.add_column(heading, justify="right", no_wrap=True)
    for cost in costs:
        if cost.network is not None:
            out.add_row(cost.name, *_described(cost.network, n_channels, sfreq), *_latency(cost.latency_s))
        else:
            out.add_row(cost.name, *["-"] * 6)
    return out


def _described(network: Network, n_channels: int, sfreq: float) -> tuple[str, ...]:
    field, n_bands = network.receptive_field, network.n_channels // n_channels
    return (
        f"{n_bands} bands x {n_channels}" if n_bands > 1 else str(network.n_channels),
        f"{sum(p.numel() for p in network.parameters()):,}",
        "whole window" if field is None else f"{field} ({field / sfreq:.3f} s)",
        "yes" if network.causal else "whole window" if field is None else "no",
    )


def _latency(times_s: NDArray[np.float64]) -> tuple[str, str]:
    if not len(times_s):
        return "-", "-"
    median, p99 = np.percentile(times_s, [50, 99]) * 1e3
    return f"{median:.3f}", f"{p99:.3f}"
