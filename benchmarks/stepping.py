"""What the incremental form saves: the time of a hop of one sample, windowed over incremental, one thread.

A window of so many samples is that of the features: the context, what they rest on before it, comes on top for both
forms. `python benchmarks/stepping.py` exports networks with random weights in both, each fused as far as it goes, and
runs them in turn, both fed from a ring as the decoder feeds them; turns are short, as a shared machine is fast for a
while and slow for another. It prints the medians of 5 repetitions, the ratio of each with its range beside the goal,
and what a window of four times the length costs: the front and the head of the graph, each in ONNX Runtime alone.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx.utils import Extractor

from offline.export import to_onnx
from offline.models import LFCNN, VARCNN, BrainModule, Deep4Net, EEGNet, FBLightConvNet, Network, ShallowFBCSPNet
from offline.survey import contract_of
from rtdecode.contract import Incremental
from rtdecode.engine import Engine
from rtdecode.model_file import ModelFile, read_model, write_model
from rtdecode.ring import Ring

N_REPETITIONS, N_TURNS = 5, 25
TURN_S = 0.02
# What a turn begins with finds the caches of the one before.
N_FORGOTTEN = 3
# Channels, samples of a window.
NETWORKS: dict[str, tuple[Callable[..., Network], int, int]] = {
    "lfcnn": (lambda c, t: LFCNN(c, t, 4, padding="valid", pool_padding="valid"), 306, 1000),
    "varcnn": (lambda c, t: VARCNN(c, t, 4, padding="valid"), 306, 1000),
    "eegnet": (lambda c, t: EEGNet(c, t, 4, padding="valid"), 22, 1000),
    "shallow": (lambda c, t: ShallowFBCSPNet(c, t, 4), 22, 1000),
    "deep4": (lambda c, t: Deep4Net(c, t, 4), 22, 1000),
    "fblightconvnet": (lambda c, t: FBLightConvNet(c, t, 4), 198, 1000),
    "brainmodule": (lambda c, t: BrainModule(c, t, 4, padding="valid"), 306, 360),
}

# How many times cheaper a hop is meant to be.
GOALS = {"lfcnn": 5, "eegnet": 5, "shallow": 8, "brainmodule": 25}

Turn = Callable[[], list[float]]


def files(network: Network, folder: Path) -> tuple[ModelFile, ModelFile]:
    """Return the windowed and the incremental form."""
    fused, contract, path = network.eval().fused(), contract_of(network, 250.0), folder / "model.onnx"
    write_model(to_onnx(fused), contract, path)
    windowed = read_model(path)
    parts = fused.stepping()
    form = Incremental(n_features=parts.n_features, stride=parts.stride, behind=parts.behind)
    write_model(to_onnx(fused, parts), contract.model_copy(update={"form": form}), path)
    return windowed, read_model(path)


def bare(model: ModelFile, inputs: list[str], outputs: list[str]) -> Turn:
    """Return what runs a part of a graph for a while, and gives the seconds of each run."""
    part = Extractor(onnx.load_from_string(model.graph)).extract_model(inputs, outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {name: rng.standard_normal(model.inputs[name]).astype(np.float32) for name in inputs}
    return lambda: timed(lambda: None, lambda _: session.run(outputs, feed))


def timed(prepare: Callable[[], Any], run: Callable[[Any], object], n_at_least: int = 2 * N_FORGOTTEN) -> list[float]:
    """Return the seconds of runs, each on what is prepared for it."""
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < n_at_least or time.perf_counter() - began < TURN_S:
        given = prepare()
        before = time.perf_counter()
        run(given)
        took.append(time.perf_counter() - before)
    return took[N_FORGOTTEN:]


def repetition(runs: Sequence[Turn]) -> list[float]:
    """Let each have its turns; return the median seconds of a run of each."""
    took: list[list[float]] = [[] for _ in runs]
    for _ in range(N_TURNS):
        for run, times in zip(runs, took, strict=True):
            times += run()
    return [float(np.median(times)) for times in took]


def fed(model: ModelFile, network: Network) -> Turn:
    """Return what runs a decoder file for a while, a sample at a time, and gives the seconds of each hop."""
    engine, ring = Engine(model), Ring(network.n_channels, network.n_times)
    samples = cycle(np.random.default_rng(0).standard_normal((64, 1, network.n_channels)))

    def window() -> NDArray[np.float32]:
        ring.write(next(samples))
        return ring.window(engine.n_times)

    ring.write(np.zeros((network.n_times, network.n_channels)))
    # Until a window is full there is nothing for the head to do.
    timed(window, engine.run, network.n_times)
    return lambda: timed(window, engine.run)


def parts(model: ModelFile) -> tuple[Turn, Turn]:
    """Return what times the front and the head of an incremental graph."""
    proba, *following = model.outputs
    given = [name for name in model.inputs if name != "features"]
    return bare(model, given, following), bare(model, ["features"], [proba])


def measured(name: str) -> NDArray[np.float64]:
    """Return seconds of a hop, one row a repetition.

    Windowed, incremental, front, head, and front and head of a window of four times the length.
    """
    make, n_channels, n_times = NETWORKS[name]
    context = (make(n_channels, n_times).receptive_field or 1) - 1
    network, longer = make(n_channels, n_times + context), make(n_channels, 4 * n_times + context)
    with tempfile.TemporaryDirectory() as folder:
        windowed, incremental = files(network, Path(folder))
        _, long = files(longer, Path(folder))
    runs = fed(windowed, network), fed(incremental, network), *parts(incremental), *parts(long)
    return np.array([repetition(runs) for _ in range(N_REPETITIONS)])


def row(name: str, times: NDArray[np.float64]) -> str:
    """Return what was measured of a network as a row of the table."""
    _, n_channels, n_times = NETWORKS[name]
    whole, new, *_ = 1e6 * np.median(times, axis=0)
    ratios, goal = times[:, 0] / times[:, 1], GOALS.get(name)
    told = f"{np.median(ratios):.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
    asked = "" if goal is None else f"{goal}: {'yes' if np.median(ratios) >= goal else 'no'}"
    grown = [
        f"{1e6 * np.median(times[:, k]):.1f} to {1e6 * np.median(times[:, k + 2]):.1f} "
        f"({np.median(times[:, k + 2] / times[:, k]):.2f} times)"
        for k in (2, 3)
    ]
    return (
        " | ".join([f"| {name}", f"{n_channels} x {n_times}", f"{whole:.0f}", f"{new:.1f}", told, asked, *grown])
        + " |"
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(NETWORKS)}; all when none are given")
    names = parser.parse_args().names or list(NETWORKS)
    torch.set_num_threads(1)
    print("Times in us; 4 x: from this window to one of four times the length.\n")
    print("| network | channels x window | windowed | incremental | ratio [range] | goal | front, 4 x | head, 4 x |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        print(row(name, measured(name)), flush=True)


if __name__ == "__main__":
    main()
