"""What the temperature does on held-out runs: the negative log likelihood of their windows without and with it.

`python benchmarks/calibration.py --data DIR` (minutes) prints the figures of docs/evaluation.md.
"""

import argparse
from pathlib import Path

import numpy as np

from offline.calibration import fit_calibrated
from offline.configuration import read_configuration
from offline.dataset import Cutter, Dataset, load_dataset
from offline.partition import Fold, make_folds
from offline.sources import find_sources
from offline.training import n_samples
from rtdecode.preprocessing import Chain
from rtdecode.scoring import mean_interval

CONFIGURATIONS = ("eegmmidb-tangent", "ssvep-tangent")


def held_out(dataset: Dataset, fold: Fold) -> tuple[float, float, float]:
    """Return the mean NLL of a fold's tested windows without and with the temperature, and the temperature."""
    by_id = {t.id: t for t in dataset.trials}
    train, validation, test = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation, fold.test))
    fitted = fit_calibrated(dataset, train, validation)
    assert fitted.calibration is not None
    stride = n_samples(dataset.configuration.stride_s, Chain(fitted.steps, dataset.signal).output.sfreq)
    windows = Cutter(dataset, fitted.steps).cut(test, fitted.n_times, stride)
    temperature, losses = fitted.calibration.temperature, []
    for told in (1.0, temperature):
        fitted.network.set_temperature(told)
        log_p = np.log(np.maximum(fitted.outputs(windows).astype(np.float64), 1e-12))
        losses.append(-float(log_p[np.arange(len(log_p)), windows.y].mean()))
    return losses[0], losses[1], temperature


def main() -> None:
    """Print a line per configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    for name in CONFIGURATIONS:
        configuration, rows = read_configuration(name), []
        for person, sources in find_sources(configuration, data).items():
            dataset = load_dataset(configuration, sources)
            rows.append(np.mean([held_out(dataset, fold) for fold in make_folds(dataset)], axis=0))
            print(
                f"  {person}: NLL {rows[-1][0]:.3f} to {rows[-1][1]:.3f}, temperature {rows[-1][2]:.2f}", flush=True
            )
        before, after, _ = np.transpose(rows)
        low, high = (f"{value:.3f}" for value in mean_interval(list(after - before))[1:])
        print(f"{name}: {before.mean():.3f} to {after.mean():.3f}, difference [{low}, {high}]", flush=True)


if __name__ == "__main__":
    main()
