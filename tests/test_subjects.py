"""A network that tells people apart, trained on all of them and exported for one."""

from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.dataset import Cutter, load_dataset
from offline.export import export
from offline.simulation import simulate
from offline.sources import find_sources
from offline.workflow import train
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError
from tests.processes import run_rtdecode
from tests.test_training import configuration

NETWORK = {
    "network": "brainmodule",
    "settings": {"hidden": 8, "depth": 2, "subject_layers": True, "subject_dim": 3, "subject_layers_identity": True},
}
SETTINGS = {
    "model": NETWORK,
    "training": {"max_epochs": 2},
    "split": {"kind": "held-out-runs", "held_out": {"run": ["02"]}},
    "baseline": None,
}


def told_apart(**changes):
    pattern = {"pattern": "sub-{subject}_run-{run}.npz", "decoder_per": None, "subject": "subject"}
    return configuration(**{**SETTINGS, "recordings": pattern, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for subject in ("anna", "bert"):
        for run in (1, 2):
            seed = run + 10 * (subject == "bert")
            simulate(12, seed).save(folder / f"sub-{subject}_run-{run:02d}.npz")
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    console = Console(file=StringIO())
    return train(told_apart(), data, tmp_path_factory.mktemp("runs") / "run", [], ["all"], 1, console)


@pytest.fixture(scope="module")
def checkpoint(run):
    return read_checkpoint(run.finals["all"])


def test_the_checkpoint_knows_the_people(checkpoint):
    assert checkpoint.subjects == ("anna", "bert") and checkpoint.network.conditioned


@pytest.mark.parametrize("subject", ["anna", "bert"])
def test_the_file_of_one_person_gives_what_the_network_gives_them(checkpoint, tmp_path, subject):
    model = export(checkpoint.for_subject(subject), tmp_path / "m.onnx")
    assert model.contract.provenance.subject == subject
    x = torch.randn(checkpoint.network.n_channels, checkpoint.network.n_times)
    index = torch.tensor([checkpoint.subjects.index(subject)])
    with torch.no_grad():
        expected = checkpoint.network.outputs(x[None], subject=index)[0].numpy()
    assert np.abs(Engine(model).run(x.numpy()) - expected).max() < 1e-5


def test_windows_are_told_whose_they_are(data):
    settings = told_apart()
    dataset = load_dataset(settings, find_sources(settings, data)["all"])
    windows = Cutter(dataset, ()).cut(dataset.trials, 100, 100)
    names = [dataset.subjects[i] for i in windows.subject]
    files = [dataset.trials[i].id for i in windows.trial]
    assert set(names) == {"anna", "bert"}
    assert all(name in file for name, file in zip(names, files, strict=True))


def test_without_a_person_nothing_is_written(run, tmp_path):
    code, output = run_rtdecode("export", run.finals["all"], "-o", tmp_path / "m.onnx")
    assert code == 2 and "Say whose it is (--subject): anna, bert" in " ".join(output.split())
    assert not (tmp_path / "m.onnx").exists()


def test_an_unknown_person_is_told(checkpoint):
    with pytest.raises(ConfigurationError, match="not trained on a subject 'carl'; known: anna, bert"):
        checkpoint.for_subject("carl")


def test_a_conditioned_network_must_be_told_who_is_who(data, tmp_path):
    settings = told_apart(recordings={"pattern": "sub-{subject}_run-{run}.npz", "decoder_per": None})
    with pytest.raises(ConfigurationError, match=r"recordings\.subject names the part of the pattern"):
        train(settings, data, tmp_path / "run", [], [], 1, Console(file=StringIO()))
