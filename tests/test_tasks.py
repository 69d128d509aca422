"""Folds that are fitted elsewhere: in two processes, on a Dask cluster, where workers die."""

import os

import numpy as np
import pytest
import torch

from offline.tasks import finished
from offline.workflow import carry_out, make_plans
from rtdecode.errors import ConfigurationError
from tests.processes import run_rtdecode
from tests.test_training import QUIET, configuration, data  # noqa: F401

BRIEF = {"training": {"max_epochs": 2}, "split": {"kind": "stratified-blocks", "n_folds": 2}}


def settings(name, **changes):
    return configuration(**BRIEF | changes).model_copy(update={"name": name})


def run_all(data, folder, workers, *configurations):  # noqa: F811
    """Cross-validate person `a` with each, and fit to all of that person's runs."""
    plans = make_plans(list(configurations), data, ["a"], ["a"], QUIET)
    return carry_out(plans, [folder / c.name for c in configurations], ["a"], workers, QUIET)


def content(run):
    """All that a run found, to the last bit."""
    found = {}
    for path in sorted(run.folder.glob("a/*")):
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                found |= {(path.name, key): arrays[key].tobytes() for key in ("truth", "network", "n_epochs")}
        else:
            weights = torch.load(path, weights_only=True)["weights"]
            found |= {(path.name, key): weight.numpy().tobytes() for key, weight in weights.items()}
    return found


NETWORKS = (settings("lfcnn"), settings("lda", model={"network": "lda", "settings": {}}))


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):  # noqa: F811
    """What one process finds."""
    return [content(run) for run in run_all(data, tmp_path_factory.mktemp("alone"), 1, *NETWORKS)]


def test_two_processes_find_what_one_finds(alone, data, tmp_path):  # noqa: F811
    assert [content(run) for run in run_all(data, tmp_path, 2, *NETWORKS)] == alone
    assert all(len([name for name in found if "truth" in name]) == 2 for found in alone)
