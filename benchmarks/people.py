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

from offline.checkpoint import read_checkpoint
from offline.configuration import TrainingConfiguration, read_configuration
from offline.dataset import Cutter, Dataset, load_dataset
from offline.evaluation import decode
from offline.models import TangentSpace
from offline.partition import Fold, make_folds
from offline.sources import find_sources
from offline.training import Fitted, build, fit_network
from offline.workflow import train
from rtdecode.preprocessing import read_steps

ACROSS, ADDED = read_configuration("eegmmidb-across"), read_configuration("eegmmidb-pooled")
TANGENT, CSP_LDA, EEGNET = (read_configuration(f"eegmmidb-{name}") for name in ("tangent", "csp-lda", "eegnet"))
# Learning rate of fine-tuning, relative to that of training: as in `rtdecode adapt`.
RATE = 0.1


def with_csp_lda(of: TrainingConfiguration) -> TrainingConfiguration:
    """Return a configuration with CSP+LDA in the place of its network."""
    return of.model_copy(update={"name": f"{of.name}-csp-lda", "model": CSP_LDA.model})


def eegnet_across() -> TrainingConfiguration:
    """Return EEGNet across people: aligned in the place of whitened; fewer epochs, as there is more to learn from."""
    band, decimate, _, clamp = EEGNET.preprocessing
    training = EEGNET.training.model_copy(update={"batch_size": 64, "max_epochs": 30, "patience": 5})
    return ACROSS.model_copy(
        update={
            "name": "eegmmidb-across-eegnet",
            "window": EEGNET.window,
            "preprocessing": (band, decimate, ACROSS.preprocessing[1], clamp),
            "model": EEGNET.model,
            "training": training,
        }
    )


def datasets(settings: TrainingConfiguration, data: Path) -> dict[str, tuple[Dataset, list[Fold]]]:
    """Return the recordings of each person's decoder, and their folds."""
    found = {person: load_dataset(settings, sources) for person, sources in find_sources(settings, data).items()}
    return {person: (dataset, make_folds(dataset)) for person, dataset in found.items()}


def fine_tuned(across: TrainingConfiguration, run: Path, data: Path) -> dict[str, float]:
    """Go on from what was trained on others with the person's other runs; accuracy by person."""
    training = across.training.model_copy(update={"learning_rate": RATE * across.training.learning_rate})
    own = {"recordings": EEGNET.recordings, "split": EEGNET.split, "training": training}
    found = {}
    for person, (dataset, folds) in datasets(across.model_copy(update=own), data).items():
        checkpoint = read_checkpoint(run / person / f"subject-{person}.pt")
        contract = checkpoint.contract
        steps, window = read_steps(contract.preprocessing), contract.window
        start = Fitted(checkpoint.network, steps, window.n_times, window.hop, 0)
        by_id, right = {t.id: t for t in dataset.trials}, []
        for fold in folds:
            learned, watched, tested = ([by_id[i] for i in ids] for ids in fold.sides.values())
            fitted = fit_network(dataset, learned, watched, start=start)
            truth, evidence = decode(dataset, fitted, tested)
            right.extend(evidence.argmax(axis=1) == truth)
        found[person] = float(np.mean(right))
    return found


def recentred(of: TrainingConfiguration, data: Path) -> dict[str, float]:
    """Recentre each trial by the mean over its whole run, which no live decoder could do; accuracy by person."""
    settings, found = of.model_copy(update={"preprocessing": of.preprocessing[:1]}), {}
    for person, (dataset, folds) in datasets(settings, data).items():
        steps, network, n_times = build(dataset, dataset.trials)
        assert isinstance(network, TangentSpace)
        windows = Cutter(dataset, steps).cut(dataset.trials, n_times, n_times)
        x, run_of = np.asarray(windows.x), np.array([t.recording for t in dataset.trials])
        for run in np.unique(run_of):
            covariances = network.covariance(torch.from_numpy(x[run_of == run])).numpy()
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
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds eegmmidb_mi/")
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"), help="where the runs are kept")
    parser.add_argument("--jobs", type=int, default=1, help="folds fitted at once")
    arguments = parser.parse_args()

    def accuracy(settings: TrainingConfiguration) -> dict[str, float]:
        folder = arguments.runs / settings.name
        if not (folder / "folds.csv").exists():
            train(settings, arguments.data, folder, [], [], arguments.jobs, Console(stderr=True))
        return accuracies(folder)

    eegnet = eegnet_across()
    within = {settings.name: accuracy(settings) for settings in (TANGENT, CSP_LDA, EEGNET)}
    rows = [
        ("tangent space", "own", TANGENT, within[TANGENT.name]),
        ("tangent space", "others", TANGENT, accuracy(ACROSS)),
        ("tangent space", "others and own", TANGENT, accuracy(ADDED)),
        ("CSP+LDA", "own", CSP_LDA, within[CSP_LDA.name]),
        ("CSP+LDA", "others", CSP_LDA, accuracy(with_csp_lda(ACROSS))),
        ("CSP+LDA", "others and own", CSP_LDA, accuracy(with_csp_lda(ADDED))),
        ("EEGNet", "own", EEGNET, within[EEGNET.name]),
        ("EEGNet", "others", EEGNET, accuracy(eegnet)),
        ("EEGNet", "others, then own", EEGNET, fine_tuned(eegnet, arguments.runs / eegnet.name, arguments.data)),
        ("tangent space, not causal", "others", TANGENT, recentred(ACROSS, arguments.data)),
        ("tangent space, not causal", "others and own", TANGENT, recentred(ADDED, arguments.data)),
    ]
    print(f"| | learned from | accuracy | over its own | {' | '.join(within[TANGENT.name])} |")
    print("|---" * (4 + len(within[TANGENT.name])) + "|")
    for name, learned_from, reference, by_person in rows:
        differences = [value - within[reference.name][person] for person, value in by_person.items()]
        over = "" if learned_from == "own" else shown(differences, "+")
        each = " | ".join(f"{value:.2f}".lstrip("0") for value in by_person.values())
        print(f"| {name} | {learned_from} | {shown(list(by_person.values()))} | {over} | {each} |")


if __name__ == "__main__":
    main()
