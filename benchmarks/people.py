"""Decoders for people nobody learned from, then with their own other runs added or fine-tuned on: what each is worth.

`python benchmarks/people.py --data DIR` trains what `runs/networks` does not hold yet (`networks.py` keeps its runs
there too), and prints the table of docs/evaluation.md: the accuracy by person, its mean, and the paired difference to
training within the person.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from networks import accuracies, shown
from pyriemann.geometry.base import invsqrtm
from pyriemann.geometry.mean import mean_riemann
from rich.console import Console

from offline.configuration import TrainingConfiguration, read_configuration
from offline.dataset import Cutter, Dataset, load_dataset
from offline.evaluation import decode
from offline.models import TangentSpace
from offline.partition import Fold, make_folds
from offline.recipes import RunningAlignRecipe
from offline.sources import find_sources
from offline.training import Fitted, build, fit_network
from offline.workflow import train

ACROSS, ADDED = read_configuration("eegmmidb-across"), read_configuration("eegmmidb-pooled")
TANGENT, CSP_LDA, EEGNET = (read_configuration(f"eegmmidb-{name}") for name in ("tangent", "csp-lda", "eegnet"))
# Learning rate of fine-tuning, relative to that of training: as in `rtdecode adapt`.
RATE = 0.1


def eegnet_across() -> TrainingConfiguration:
    """Return EEGNet across people: aligned in the place of whitened; fewer epochs, as there is more to learn from."""
    band, decimate, _, clamp = EEGNET.preprocessing
    training = EEGNET.training.model_copy(update={"batch_size": 64, "max_epochs": 30, "patience": 5})
    return ACROSS.model_copy(
        update={
            "window": EEGNET.window,
            "preprocessing": (band, decimate, ACROSS.preprocessing[1], clamp),
            "model": EEGNET.model,
            "training": training,
        }
    )


def fine_tuning(across: TrainingConfiguration) -> TrainingConfiguration:
    """Return how a decoder that others made goes on with the person's own other runs."""
    training = across.training.model_copy(update={"learning_rate": RATE * across.training.learning_rate})
    return across.model_copy(update={"recordings": EEGNET.recordings, "split": EEGNET.split, "training": training})


def datasets(settings: TrainingConfiguration, data: Path) -> dict[str, tuple[Dataset, list[Fold]]]:
    """Return the recordings of each person's decoder, and their folds."""
    found = {person: load_dataset(settings, sources) for person, sources in find_sources(settings, data).items()}
    return {person: (dataset, make_folds(dataset)) for person, dataset in found.items()}


def fitted(
    settings: TrainingConfiguration, data: Path, starts: dict[str, Fitted]
) -> tuple[dict[str, float], dict[str, Fitted]]:
    """Fit each person's decoders, from `starts` on where there are; accuracy by person, and the last one of each.

    Not calibrated: a temperature changes no decision.
    """
    accuracy, last = {}, {}
    for person, (dataset, folds) in datasets(settings, data).items():
        by_id, right = {t.id: t for t in dataset.trials}, []
        for fold in folds:
            learned, watched, tested = ([by_id[i] for i in ids] for ids in fold.sides.values())
            last[person] = fit_network(dataset, learned, watched, start=starts.get(person))
            truth, evidence = decode(dataset, last[person], tested)
            right.extend(evidence.argmax(axis=1) == truth)
        accuracy[person] = float(np.mean(right))
    return accuracy, last


def recentred(of: TrainingConfiguration, data: Path) -> dict[str, float]:
    """Recentre each trial by the mean over its whole run, which no live decoder could do; accuracy by person.

    That mean is of covariances shrunk as little as those of the running alignment: the classifier's shrinkage, before
    channels are alike in power, would leave of the weaker half of the signal's directions next to nothing.
    """
    band, align = of.preprocessing
    settings, found = of.model_copy(update={"preprocessing": (band,)}), {}
    for person, (dataset, folds) in datasets(settings, data).items():
        steps, network, n_times = build(dataset, dataset.trials)
        assert isinstance(network, TangentSpace) and isinstance(align, RunningAlignRecipe)
        aligning = TangentSpace(network.n_channels, n_times, network.n_outputs, shrinkage=align.shrinkage)
        windows = Cutter(dataset, steps).cut(dataset.trials, n_times, n_times)
        x, run_of = np.asarray(windows.x), np.array([t.recording for t in dataset.trials])
        for run in np.unique(run_of):
            covariances = aligning.covariance(torch.from_numpy(x[run_of == run])).numpy()
            x[run_of == run] = invsqrtm(mean_riemann(covariances)) @ x[run_of == run]
        number, right = {t.id: i for i, t in enumerate(dataset.trials)}, []
        own = np.array([dataset.source(t).own for t in dataset.trials])
        for fold in folds:
            learned = np.array([number[i] for i in fold.train + fold.validation])
            learned = np.repeat(learned, np.where(own[learned], settings.training.own_weight, 1))
            network.fit(x[learned], windows.y[learned])
            tested = [number[i] for i in fold.test]
            with torch.no_grad():
                right.extend(network(torch.from_numpy(x[tested])).argmax(dim=1).numpy() == windows.y[tested])
        found[person] = float(np.mean(right))
    return found


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds eegmmidb_mi/")
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"), help="where the runs are kept")
    arguments = parser.parse_args()

    def trained(settings: TrainingConfiguration) -> dict[str, float]:
        folder = arguments.runs / settings.name
        if not (folder / "folds.csv").exists():
            train(settings, arguments.data, folder, [], [], 1, Console(stderr=True))
        return accuracies(folder)

    def tell(name: str, learned_from: str, by_person: dict[str, float], own: dict[str, float]) -> None:
        over = "" if own is by_person else shown([value - own[p] for p, value in by_person.items()], "+")
        each = " | ".join(f"{value:.2f}".removeprefix("0") for value in by_person.values())
        print(f"| {name} | {learned_from} | {shown(list(by_person.values()))} | {over} | {each} |", flush=True)

    tangent, csp_lda, eegnet = (trained(settings) for settings in (TANGENT, CSP_LDA, EEGNET))
    print(f"| | learned from | accuracy | over its own | {' | '.join(tangent)} |")
    print("|---" * (4 + len(tangent)) + "|")
    tell("tangent space", "own", tangent, tangent)
    tell("tangent space", "others", trained(ACROSS), tangent)
    tell("tangent space", "others and own", trained(ADDED), tangent)
    tell("tangent space, not causal", "others", recentred(ACROSS, arguments.data), tangent)
    tell("tangent space, not causal", "others and own", recentred(ADDED, arguments.data), tangent)
    tell("CSP+LDA", "own", csp_lda, csp_lda)
    for settings, learned_from in ((ACROSS, "others"), (ADDED, "others and own")):
        by_person, _ = fitted(settings.model_copy(update={"model": CSP_LDA.model}), arguments.data, {})
        tell("CSP+LDA", learned_from, by_person, csp_lda)
    tell("EEGNet", "own", eegnet, eegnet)
    by_person, starts = fitted(eegnet_across(), arguments.data, {})
    tell("EEGNet", "others", by_person, eegnet)
    by_person, _ = fitted(fine_tuning(eegnet_across()), arguments.data, starts)
    tell("EEGNet", "others, then own", by_person, eegnet)


if __name__ == "__main__":
    main()
