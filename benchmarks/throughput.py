"""What an epoch of our training takes beside a bare torch loop on the same network and windows.

`python benchmarks/throughput.py` fits each network in turns with a loop that has all windows in memory and does only
what has to be done: batches in random order, loss, gradient, Adam, and the loss of the validation windows. Ours cuts
windows out of mapped trials, watches the validation part, tells, and keeps how far it is. Of every turn the median
epoch counts, of all turns the median ratio; at most 1.25 is wanted.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.configuration import TrainingConfiguration, read_configuration
from offline.dataset import Cutter, Dataset, Trial, load_dataset
from offline.models import Network
from offline.partition import divide_for_stopping
from offline.simulation import simulate
from offline.sources import find_sources
from offline.store import PLACE
from offline.training import build, fit_network, n_samples
from rtdecode.preprocessing import Chain

MOST = 1.25
SETTINGS = {"lfcnn": read_configuration("demo").model.settings, "eegnet": {}, "shallow": {}}


def dataset_of(folder: Path, network: str, n_epochs: int) -> Dataset:
    """Return the demo's simulated subject, to be decoded by this network."""
    document = read_configuration("demo").model_dump(mode="json")
    document["model"] = {"network": network, "settings": SETTINGS[network]}
    document["training"] |= {"max_epochs": n_epochs + 1, "patience": None}
    configuration = TrainingConfiguration.model_validate(document)
    return load_dataset(configuration, find_sources(configuration, folder)["all"])


def ours(dataset: Dataset, train: list[Trial], validation: list[Trial], state: Path) -> NDArray[np.float64]:
    """Return the seconds of each epoch (wall clock and processor) but the first."""
    stamps: list[tuple[float, float]] = []
    fit_network(dataset, train, validation, lambda _: stamps.append(now()), state=state)
    state.unlink()
    return np.diff(stamps, axis=0)


def bare(dataset: Dataset, train: list[Trial], validation: list[Trial]) -> NDArray[np.float64]:
    """Return the same of a loop as short as can be."""
    training, (steps, network, n_times) = dataset.configuration.training, build(dataset, train)
    stride = n_samples(dataset.configuration.stride_s, Chain(steps, dataset.signal).output.sfreq)
    cutter = Cutter(dataset, steps)
    (x, y), (x_watched, y_watched) = (
        (torch.from_numpy(windows.x[:]), torch.from_numpy(windows.y))
        for windows in (cutter.cut(part, n_times, stride) for part in (train, validation))
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    stamps, size = [], training.batch_size
    for _ in range(training.max_epochs):
        order = torch.randperm(len(x))
        network.train()
        for batch in (order[i : i + size] for i in range(0, len(x), size)):
            optimizer.zero_grad()
            loss(network, x[batch], y[batch], network.penalty()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            network.constrain()
        network.eval()
        with torch.no_grad():
            for part in (slice(i, i + size) for i in range(0, len(x_watched), size)):
                loss(network, x_watched[part], y_watched[part], None)
        stamps.append(now())
    return np.diff(stamps, axis=0)


def loss(network: Network, x: Tensor, y: Tensor, penalty: Tensor | None) -> Tensor:
    """Return what is made small, and have its value as anyone would who prints it."""
    value = nn.functional.cross_entropy(network(x), y)
    value = value if penalty is None else value + penalty
    value.item()
    return value


def now() -> tuple[float, float]:
    """Return wall clock and processor time in seconds."""
    return time.perf_counter(), time.process_time()


def turns(dataset: Dataset, n_turns: int, state: Path) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Give the median epoch of ours and of the bare loop, each (wall clock, processor), as often as told."""
    parts = divide_for_stopping(dataset, dataset.trials)
    for _ in range(n_turns):
        yield np.median(ours(dataset, *parts, state), axis=0), np.median(bare(dataset, *parts), axis=0)


def main() -> None:
    """Measure, and print the table; exit 1 if a ratio is larger than wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--turns", type=int, default=5, help="of each network")
    parser.add_argument("--epochs", type=int, default=5, help="of each turn")
    arguments, worst = parser.parse_args(), 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ[PLACE] = str(folder / "store")
        for run in range(1, 6):
            simulate(20, run).save(folder / f"simulated_run-{run:02d}.npz")
        print("| network | ours, ms/epoch | bare, ms/epoch | ratio | of processor time |\n|---|---|---|---|---|")
        for network in arguments.networks:
            dataset = dataset_of(folder, network, arguments.epochs)
            measured = np.array(list(turns(dataset, arguments.turns, folder / "fold.training")))
            own, other = 1e3 * np.median(measured, axis=0)[:, 0]
            wall, processor = np.median(measured[:, 0] / measured[:, 1], axis=0)
            print(f"| {network} | {own:.0f} | {other:.0f} | {wall:.2f} | {processor:.2f} |", flush=True)
            worst = max(worst, wall)
    if worst > MOST:
        raise SystemExit(f"The largest ratio, {worst:.2f}, is more than {MOST}.")


if __name__ == "__main__":
    main()
