"""Every shipped network on the same people and folds: accuracy, differences, size, time to fit, latency.

`python benchmarks/networks.py --data DIR` trains what `runs/networks` does not hold yet, then takes a fold of each
network through export, verification and replay, and prints the tables of docs/evaluation.md. A network that pads as
published is trained without padding, too.
"""

import argparse
import csv
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import TrainingConfiguration, read_configuration, shipped
from offline.export import export
from offline.workflow import train
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.model_file import ModelFile
from rtdecode.proof import prove_chunking
from rtdecode.recording import read_recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import mean_interval

PERSON, RUN = "007", "12"
REFERENCES = ("eegmmidb-csp-lda", "eegmmidb-tangent")
# What makes a network one whose decoder file can be incremental; everything else stays as it is.
PADDING_FREE = {
    "eegmmidb-lfcnn": {"padding": "valid", "pool_padding": "valid"},
    "eegmmidb-varcnn": {"padding": "valid"},
    "eegmmidb-eegnet": {"padding": "valid"},
    "eegmmidb-brainmodule": {"padding": "valid"},
}


def configurations(names: list[str]) -> dict[str, TrainingConfiguration]:
    """Return the shipped configurations, each followed by the same without padding."""
    found = {}
    for name in names:
        found[name] = published = read_configuration(name)
        if name in PADDING_FREE:
            model = published.model.model_copy(
                update={"settings": {**published.model.settings, **PADDING_FREE[name]}}
            )
            free = f"{name}-padding-free"
            found[free] = published.model_copy(update={"name": free, "model": model})
    return found


def accuracies(folder: Path) -> dict[str, float]:
    """Return the network's accuracy by person."""
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        return {row["decoder"]: float(row["value"]) for row in csv.DictReader(file) if row["pipeline"] == "network"}


def seconds_per_fold(folder: Path) -> float:
    """Return the median over folds."""
    with (folder / "folds.csv").open(encoding="utf-8") as file:
        return float(np.median([float(row["seconds"]) for row in csv.DictReader(file)]))


def tested(folder: Path) -> dict[str, list[list[str]]]:
    """Return the trials each fold of each person is tested on."""
    partition = json.loads((folder / "partition.json").read_text(encoding="utf-8"))
    return {person: [fold["test"] for fold in folds] for person, folds in partition.items()}


def latency_ms(model: ModelFile, n_runs: int = 500) -> float:
    """Return the median time of the graph, a window at a time."""
    engine, times = Engine(model), []
    _, *shape = model.inputs["x"]
    window = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for _ in range(n_runs):
        start = time.perf_counter()
        engine.run(window)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def shown(values: list[float], sign: str = "") -> str:
    """Return a mean with its interval over people."""
    mean, low, high = mean_interval(values)
    return f"{mean:{sign}.3f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds eegmmidb_mi/")
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"), help="where the runs are kept")
    parser.add_argument("--jobs", type=int, default=1, help="folds fitted at once")
    eegmmidb = [name for name in shipped() if name.startswith("eegmmidb-")]
    every = [name for name in eegmmidb if read_configuration(name).split.kind == "leave-one-run-out"]
    parser.add_argument("--only", nargs="+", choices=every, default=every, help="networks, beside the references")
    arguments = parser.parse_args()
    settings = configurations(sorted({*arguments.only, *REFERENCES}))
    for name, each in settings.items():
        if not (arguments.runs / name / "folds.csv").exists():
            train(each, arguments.data, arguments.runs / name, [], [], arguments.jobs, Console(stderr=True))
    folds = tested(arguments.runs / REFERENCES[0])
    references = [accuracies(arguments.runs / name) for name in REFERENCES]
    print("| network | accuracy | over CSP+LDA | over tangent space | parameters | s/fold | ms/window | replayed |")
    print("|---|---|---|---|---|---|---|---|")
    held_out = f"eegmmidb_mi/sub-{PERSON}_task-imagery-lr_run-{RUN}_raw.fif.gz"
    recording = read_recording(arguments.data / held_out)
    for name in settings:
        folder = arguments.runs / name
        if tested(folder) != folds:
            raise SystemExit(f"{folder} was tested on other trials; remove it.")
        checkpoint = read_checkpoint(folder / PERSON / f"sub-{PERSON}_task-imagery-lr_run-{RUN}.pt")
        model = export(checkpoint, folder / f"{name}-{PERSON}.onnx")
        proof = prove_chunking(recording, partial(Decoder, model, recording.signal))
        if proof.differing or not proof.n_predictions:
            raise SystemExit(f"{model.path} depends on chunking: {proof.differing}")
        replayed = decode_recording(recording, Decoder(model, recording.signal)).trial_accuracy()
        assert replayed is not None
        values = accuracies(folder)
        over = [shown([values[p] - other[p] for p in values], "+") for other in references]
        n_parameters = sum(p.numel() for p in checkpoint.network.parameters())
        print(
            f"| {name.removeprefix('eegmmidb-')} | {shown(list(values.values()))} | {over[0]} | {over[1]} "
            f"| {n_parameters:,} | {seconds_per_fold(folder):.1f} | {latency_ms(model):.3f} "
            f"| {replayed.value:.2f} of {replayed.n} |",
            flush=True,
        )
    print("\n| network | as published | padding-free | difference |\n|---|---|---|---|")
    for name in sorted(settings.keys() & PADDING_FREE.keys()):
        published, free = accuracies(arguments.runs / name), accuracies(arguments.runs / f"{name}-padding-free")
        difference = shown([free[person] - value for person, value in published.items()], "+")
        told = (shown(list(values.values())) for values in (published, free))
        print(f"| {name.removeprefix('eegmmidb-')} | {' | '.join(told)} | {difference} |")


if __name__ == "__main__":
    main()
