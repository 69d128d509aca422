"""What is read out of trained networks, where it is known which sources tell the class."""

from dataclasses import dataclass
from functools import cached_property
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import TrainingConfiguration
from offline.dataset import Cutter, load_dataset
from offline.interpretation import (
    Readout,
    by_elimination,
    by_shapley,
    class_waveforms,
    component_spectra,
    evoked_patterns,
    filter_patterns,
    joint_filters,
    lagged_covariances,
    output_patterns,
    peak_latency,
    ranked,
    recursive_elimination,
)
from offline.partition import make_folds
from offline.sources import find_sources
from offline.workflow import train
from rtdecode.preprocessing import read_steps
from tests import dipoles

POWER = {"filter_length": 17, "nonlinearity": "square", "pooling": 50, "stride": 50, "pool_type": "avg"}
RESPONSE = {"filter_length": 7, "pooling": 5, "stride": 5}


@dataclass(frozen=True)
class Explained:
    """A network that was trained on two runs, and the third of the same head.

    Attributes: fields (n_sources, n_sensors), windows (n, n_sensors, n_times) in fT, the network's filters on these,
    its kernels, what it makes of the windows.
    """

    fields: np.ndarray
    windows: np.ndarray
    filters: np.ndarray
    kernels: np.ndarray
    latent: np.ndarray
    filtered: np.ndarray
    readout: Readout

    @property
    def joint(self):
        return joint_filters(self.filters, self.kernels)

    @cached_property
    def patterns(self):
        return filter_patterns(self.joint, lagged_covariances(self.windows, self.kernels.shape[-1])).spatial

    def alike(self, patterns):
        """Return how patterns (n, n_sensors) correlate with the topographies: (n, n_sources)."""
        return np.abs(np.corrcoef(patterns, self.fields)[: len(patterns), len(patterns) :])


def configuration(network, settings):
    return TrainingConfiguration.model_validate(
        {
            "name": "dipoles",
            "recordings": {"pattern": "run-{run}.npz"},
            "channels": {"types": ["mag"]},
            "trials": {"classes": {name: [name] for name in dipoles.CLASSES}, "tmin_s": 0.0, "tmax_s": 1.0},
            "window": {"length_s": 1.0, "stride_s": 1.0, "hop_s": 0.5},
            "preprocessing": [{"step": "standardize"}],
            "model": {"network": network, "settings": {"n_latent": 6, "dropout": 0.3, "l1": 1e-3, **settings}},
            "training": {"learning_rate": 0.01, "batch_size": 32, "max_epochs": 15, "patience": None, "seed": 0},
            "split": {"kind": "held-out-runs", "held_out": {"run": ["3"]}},
        }
    )


def explained(folder, record, network, settings, seed):
    fields = dipoles.topographies(seed)
    # Filters over all components have more weights to find.
    to_learn = 300 if network == "varcnn" else 150
    for run, n_trials in ((1, to_learn), (2, to_learn), (3, 300)):
        record(fields, 10 * seed + run, n_trials).save(folder / f"run-{run}.npz")
    settings = configuration(network, settings)
    train(settings, folder, folder / "kept", [], [], 1, Console(file=StringIO()))
    checkpoint = read_checkpoint(next((folder / "kept").glob("all/*.pt")))
    network, (standardize,) = checkpoint.network, read_steps(checkpoint.contract.preprocessing)
    dataset = load_dataset(settings, find_sources(settings, folder)["all"])
    (fold,) = make_folds(dataset)
    unseen = [trial for trial in dataset.trials if trial.id in fold.test]
    assert len(unseen) == 300
    seen, sensors = (Cutter(dataset, steps).cut(unseen, dipoles.N_TRIAL, 1) for steps in ((standardize,), ()))
    with torch.no_grad():
        latent, filtered, pooled = (stage.numpy() for stage in network.stages(torch.from_numpy(seen.x[:])))
    weights = {name: weight.detach().numpy() for name, weight in network.named_parameters()}
    # The sensors are divided by their deviations first.
    filters, kernels = weights["demix.weight"][:, :, 0] / standardize.std, weights["temporal.weight"]
    kernels = kernels[:, 0] if network.temporal.groups > 1 else kernels
    dense = weights["fc.weight"].reshape(3, *pooled.shape[1:])
    readout = Readout(pooled, dense, weights["fc.bias"], seen.y)
    return Explained(fields, sensors.x[:], filters, kernels, latent, filtered, readout)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(
    scope="module", params=[("lfcnn", 0), *(slow((name, seed)) for name in ("lfcnn", "varcnn") for seed in (1, 2))]
)
def power(request, tmp_path_factory):
    """A class shows in the power of its source."""
    network, seed = request.param
    return explained(tmp_path_factory.mktemp("power"), dipoles.induced, network, POWER, seed)


@pytest.fixture(
    scope="module", params=[("lfcnn", 0), *(slow((name, seed)) for name in ("lfcnn", "varcnn") for seed in (1, 2))]
)
def response(request, tmp_path_factory):
    """A class shows in a response of its source."""
    network, seed = request.param
    return explained(tmp_path_factory.mktemp("response"), dipoles.evoked, network, RESPONSE, seed)


def best_of_sources(told, ranking):
    """Return the sources that components show, in the order of their ranking, and the best component of each."""
    shown = told.alike(told.patterns).argmax(axis=1)
    sources = list(dict.fromkeys(shown[ranking]))
    return sources, [next(k for k in ranking if shown[k] == source) for source in sources]


def eliminated_last(told):
    return recursive_elimination(told.readout.centred).order[::-1]


def test_elimination_ranks_the_sources_first_and_their_components_have_the_topographies(power):
    sources, best = best_of_sources(power, eliminated_last(power))
    assert set(sources[:2]) == {0, 1}
    alike = power.alike(power.patterns)
    assert min(alike[best[i], sources[i]] for i in (0, 1)) > 0.95


def test_what_each_component_is_worth_ranks_the_sources_first_too(power):
    worth = by_shapley(power.readout.centred, 50, np.random.default_rng(0)).mean(axis=0)
    sources, _ = best_of_sources(power, worth.argsort()[::-1])
    assert set(sources[:2]) == {0, 1}


def test_behind_their_filters_they_have_the_rhythms_of_the_sources(power):
    spectra = component_spectra(power.latent, power.kernels, dipoles.SFREQ)
    sources, best = best_of_sources(power, eliminated_last(power))
    peaks = spectra.freqs[spectra.filtered[best[:2]].argmax(axis=1)]
    assert np.abs(peaks - dipoles.RHYTHMS_HZ[sources[:2]]).max() < 2


def test_the_power_that_goes_along_with_an_output_is_that_of_its_source(power):
    powers = np.einsum("nct,ndt->ncd", power.windows, power.windows) / dipoles.N_TRIAL
    patterns = output_patterns(powers, power.readout.contrasted.outputs())[:2]
    strongest = np.linalg.eigh(patterns)[1][:, :, -1]
    assert np.diag(power.alike(strongest)).min() > 0.95


def test_components_have_the_topographies_of_responses_in_what_goes_along_with_an_output(response):
    readout = response.readout.centred.contrasted
    best = ranked(by_elimination(readout))[0]
    patterns = evoked_patterns(response.joint, response.windows, readout.outputs()).spatial
    for c in (0, 1):
        assert response.alike(patterns[c, best[c], None])[0, c] > 0.95


def test_waveforms_peak_when_the_sources_respond(response):
    classes = response.readout.targets
    best = ranked(by_elimination(response.readout.centred.contrasted))[0]
    others = class_waveforms(response.filtered, classes // 2, 2).mean[1]
    for c, latency_s in enumerate(dipoles.LATENCY_S):
        waves = (response.filtered[classes == c] - others)[:, best[c], None]
        times = np.arange(waves.shape[2]) / dipoles.SFREQ
        told = peak_latency(waves, times, np.arange(len(waves)), 200, np.random.default_rng(0))
        # Half of the kernel may move it.
        reach = response.kernels.shape[-1] / 2 / dipoles.SFREQ
        assert abs(told.peak[0] - latency_s) < reach
        assert told.low[0] - reach < latency_s < told.high[0] + reach
