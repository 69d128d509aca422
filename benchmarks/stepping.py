"""What the incremental form saves: the time of a hop of one sample, windowed over incremental, one thread.

A window of so many samples is that of the features: the context, what they rest on before it, comes on top for both
forms. `python benchmarks/stepping.py` exports networks with random weights in both, each fused as far as it goes, and
runs them in turn, both fed from a ring as the decoder feeds them. It prints the medians of 5 repetitions, the ratio
of each with its range, and what a window of four times the length costs the incremental form.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from offline.export import to_onnx
from offline.models import LFCNN, VARCNN, BrainModule, Deep4Net, EEGNet, FBLightConvNet, Network, ShallowFBCSPNet
from offline.survey import contract_of
from rtdecode.contract import Incremental
from rtdecode.engine import Engine
from rtdecode.model_file import read_model, write_model
from rtdecode.ring import Ring

N_REPETITIONS = 5
SECONDS = 0.5
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


def engines(network: Network, folder: Path) -> tuple[Engine, Engine]:
    """Return the windowed and the incremental form."""
    fused, contract, path = network.eval().fused(), contract_of(network, 250.0), folder / "model.onnx"
    write_model(to_onnx(fused), contract, path)
    windowed = Engine(read_model(path))
    parts = fused.stepping()
    form = Incremental(n_features=parts.n_features, stride=parts.stride, behind=parts.behind)
    write_model(to_onnx(fused, parts), contract.model_copy(update={"form": form}), path)
    return windowed, Engine(read_model(path))


def fed(engine: Engine, network: Network) -> Callable[[], float]:
    """Return what runs an engine for a while, a sample at a time, and gives the median seconds of a hop."""
    samples = np.random.default_rng(0).standard_normal((64, 1, network.n_channels))
    ring = Ring(network.n_channels, network.n_times)

    def run(n_at_least: int = 20) -> float:
        took: list[float] = []
        began = time.perf_counter()
        while len(took) < n_at_least or time.perf_counter() - began < SECONDS:
            ring.write(samples[len(took) % len(samples)])
            window = ring.window(engine.n_times)
            before = time.perf_counter()
            engine.run(window)
            took.append(time.perf_counter() - before)
        return float(np.median(took))

    ring.write(np.zeros((network.n_times, network.n_channels)))
    # Until a window is full there is nothing for the head to do.
    run(network.n_times)
    return run


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(NETWORKS)}; all when none are given")
    names = parser.parse_args().names or list(NETWORKS)
    torch.set_num_threads(1)
    print("| network | channels x window | windowed ms | incremental ms | ratio [range] | 4 x window, incremental |")
    print("|---|---|---|---|---|---|")
    for name in names:
        make, n_channels, n_times = NETWORKS[name]
        context = (make(n_channels, n_times).receptive_field or 1) - 1
        network, longer = make(n_channels, n_times + context), make(n_channels, 4 * n_times + context)
        with tempfile.TemporaryDirectory() as folder:
            windowed, incremental = engines(network, Path(folder))
            _, long = engines(longer, Path(folder))
        runs = fed(windowed, network), fed(incremental, network), fed(long, longer)
        times = np.array([[run() for run in runs] for _ in range(N_REPETITIONS)])
        whole, new, _ = 1e3 * np.median(times, axis=0)
        ratios, growth = times[:, 0] / times[:, 1], np.median(times[:, 2] / times[:, 1])
        print(
            f"| {name} | {n_channels} x {n_times} | {whole:.3f} | {new:.3f} "
            f"| {np.median(ratios):.1f} [{ratios.min():.1f}, {ratios.max():.1f}] | {growth:.2f} times |",
            flush=True,
        )


if __name__ == "__main__":
    main()
