"""Runs that go on where they were killed, and those that must not."""

import csv
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml

from offline import workflow
from offline.checkpoint import read_checkpoint
from offline.models import LFCNN
from offline.workflow import train
from rtdecode.errors import ConfigurationError
from rtdecode.recording import read_recording
from tests.processes import rtdecode
from tests.test_training import QUIET, configuration, data  # noqa: F401

BRIEF = {"model": {"network": "csp-lda", "settings": {}}, "baseline": None}


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):  # noqa: F811
    return train(configuration(**BRIEF), data, tmp_path_factory.mktemp("runs") / "run", ["a"], [], 1, QUIET)


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.npz")}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(data, tmp_path, eventually):  # noqa: F811
    settings = configuration(training={"max_epochs": 3})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    command = ("train", tmp_path / "c.yaml", "--data", data, "-o", tmp_path / "killed", "--only", "a")
    with rtdecode(*command) as program:
        eventually(lambda: program.saw("fold 1 of 3 done"), timeout_s=120, what="the first fold")
        program.kill()
        program.wait()
    before = files(tmp_path / "killed")
    assert 1 <= len(before) < 3 and not (tmp_path / "killed" / "scores.csv").exists()
    with rtdecode(*command) as program:
        assert program.wait() == 0, program.output
        assert program.saw(f"{len(before)} of 3 folds were done before")
    assert before.items() <= files(tmp_path / "killed").items()
    whole = train(settings, data, tmp_path / "whole", ["a"], [], 1, QUIET)
    assert (tmp_path / "killed" / "scores.csv").read_bytes() == (whole.folder / "scores.csv").read_bytes()
    for path in (whole.folder / "a").glob("*.pt"):
        some, other = (read_checkpoint(p).network.state_dict() for p in (path, tmp_path / "killed" / "a" / path.name))
        assert all(torch.equal(some[name], other[name]) for name in some)


def test_a_fold_that_was_killed_goes_on(data, tmp_path, monkeypatch):  # noqa: F811
    settings = configuration(training={"max_epochs": 4}, window={"stride_s": 0.5}, baseline=None)
    steps, constrain = [], LFCNN.constrain

    def killed(network):
        steps.append(constrain(network))
        if len(steps) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LFCNN, "constrain", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, data, tmp_path / "killed", ["a"], ["a"], 1, QUIET)
    (state,) = (tmp_path / "killed" / "a").iterdir()
    assert state.suffix == ".training"
    resumed, whole = (train(settings, data, tmp_path / name, ["a"], ["a"], 1, QUIET) for name in ("killed", "whole"))
    assert resumed.comparisons == whole.comparisons and not list((tmp_path / "killed").rglob("*.training"))
    some, other = (read_checkpoint(run.finals["a"]).network.state_dict() for run in (resumed, whole))
    assert all(torch.equal(some[name], other[name]) for name in some)


def test_a_decoder_of_all_runs_is_kept_before_the_folds_are_done(data, tmp_path, monkeypatch):  # noqa: F811
    def killed(*_):
        raise KeyboardInterrupt

    settings, finished = configuration(**BRIEF), workflow.finished
    with monkeypatch.context() as patch:
        # As several workers may end: that of all runs first.
        patch.setattr(workflow, "finished", lambda fit, work, workers: finished(fit, work[::-1], workers))
        patch.setattr(workflow, "run_fold", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, data, tmp_path / "run", ["a"], ["a"], 1, QUIET)
    assert not read_checkpoint(tmp_path / "run" / "a.pt").contract.provenance.scores
    monkeypatch.setattr(workflow, "fit_calibrated", killed)
    run = train(settings, data, tmp_path / "run", ["a"], ["a"], 1, QUIET)
    (score,) = read_checkpoint(run.finals["a"]).contract.provenance.scores
    assert score.value == run.comparisons["a"].network[0].value and "folds: 3" in score.split


def test_a_fold_may_be_called_what_it_likes(data, tmp_path):  # noqa: F811
    folds = {"final": ["sub-a_run-01"], "a": ["sub-a_run-02"]}
    settings = configuration(**BRIEF, split={"kind": "predefined", "folds": folds})
    run = train(settings, data, tmp_path / "run", ["a"], ["a"], 1, QUIET)
    trained_on = [
        set(read_checkpoint(run.folder / "a" / f"{name}.pt").contract.provenance.recordings) for name in folds
    ]
    assert not trained_on[0] & {"sub-a_run-01"} and not trained_on[1] & {"sub-a_run-02"}
    assert {"sub-a_run-01", "sub-a_run-02"} <= set(read_checkpoint(run.finals["a"]).contract.provenance.recordings)


def test_of_a_finished_run_nothing_is_fitted_again(finished, data, monkeypatch):  # noqa: F811
    def never(*_):
        raise AssertionError("this fold was done")

    monkeypatch.setattr(workflow, "run_fold", never)
    before = files(finished.folder)
    again = train(configuration(**BRIEF), data, finished.folder, ["a"], [], 1, QUIET)
    assert again.comparisons == finished.comparisons and files(finished.folder) == before
    for some, other in zip(finished.results["a"], again.results["a"], strict=True):
        assert np.array_equal(some.network, other.network) and len(some.fitted.steps) == len(other.fitted.steps)
        assert some.fitted.calibration == other.fitted.calibration


@pytest.mark.parametrize(
    ("changes", "only", "told"),
    [
        ({"training": {"seed": 7}}, ["a"], "another configuration: training.seed is 0 there, not 7"),
        ({"split": {"kind": "stratified-blocks"}}, ["a"], "another configuration: split.kind is"),
        ({}, ["b"], "another partition: a is"),
    ],
    ids=["setting", "split", "people"],
)
def test_a_run_of_something_else_does_not_go_on_here(finished, data, changes, only, told):  # noqa: F811
    before = files(finished.folder)
    with pytest.raises(ConfigurationError, match=f"{told}.*Nothing is overwritten"):
        train(configuration(**BRIEF | changes), data, finished.folder, only, [], 1, QUIET)
    assert files(finished.folder) == before


def test_a_run_of_other_recordings_does_not_go_on_here(finished, data, tmp_path):  # noqa: F811
    for path in data.glob("sub-a_*"):
        recording = read_recording(path)
        louder = 1 + (path.name == "sub-a_run-02.npz")
        replace(recording, samples=louder * recording.samples).save(tmp_path / path.name)
    with pytest.raises(ConfigurationError, match=r"another origin: recordings\.sub-a_run-02 is"):
        train(configuration(**BRIEF), tmp_path, finished.folder, ["a"], [], 1, QUIET)


NET = """
from torch import nn
from {layers} import width

class Net(nn.Sequential):
    def __init__(self, n_chans, n_times, n_outputs):
        hidden = nn.Linear(n_chans, width)
        super().__init__(nn.AvgPool1d(n_times), nn.Flatten(), hidden, nn.Linear(width, n_outputs))
"""


@pytest.mark.parametrize("package", ["", "lab."], ids=["module", "package"])
def test_a_run_of_a_network_whose_code_changed_does_not_go_on(data, tmp_path, monkeypatch, package):  # noqa: F811
    monkeypatch.syspath_prepend(tmp_path)
    layers = f"{package}{'layers_of_a_package' if package else 'layers'}"
    net = layers.replace("layers", "net")
    (tmp_path / "lab").mkdir()
    for name, text in ((net, NET.format(layers=layers)), (layers, "width = 3")):
        (tmp_path / f"{name.replace('.', '/')}.py").write_text(text)
    settings = configuration(
        model={"network": f"{net}:Net", "settings": {}}, training={"max_epochs": 1}, baseline=None
    )
    for _ in range(2):
        train(settings, data, tmp_path / "run", ["a"], [], 1, QUIET)
    (tmp_path / f"{layers.replace('.', '/')}.py").write_text("width = 4")
    with pytest.raises(ConfigurationError, match=rf"another origin: code\.{net}:Net is"):
        train(settings, data, tmp_path / "run", ["a"], [], 1, QUIET)


def test_a_network_that_is_in_no_file_goes_on(data, tmp_path, monkeypatch):  # noqa: F811
    typed = ModuleType("typed")
    exec(NET.format(layers="typed").replace("from typed import width", "width = 3"), typed.__dict__)
    monkeypatch.setitem(sys.modules, "typed", typed)
    settings = configuration(
        model={"network": "typed:Net", "settings": {}}, training={"max_epochs": 1}, baseline=None
    )
    some, again = (train(settings, data, tmp_path / "run", ["a"], [], 1, QUIET) for _ in range(2))
    assert some.comparisons == again.comparisons


def test_a_folder_of_something_else_is_left_alone(data, tmp_path):  # noqa: F811
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigurationError, match="exists already and holds no training run"):
        train(configuration(**BRIEF), data, tmp_path / "mine", ["a"], [], 1, QUIET)
    assert not list((tmp_path / "mine").iterdir())


def test_what_a_fold_gave_and_is_damaged_is_told(finished, data, tmp_path):  # noqa: F811
    run = train(configuration(**BRIEF), data, tmp_path / "run", ["a"], [], 1, QUIET)
    first = sorted((run.folder / "a").glob("*.npz"))[0]
    first.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match="is damaged; remove it, and its fold is fitted again"):
        train(configuration(**BRIEF), data, run.folder, ["a"], [], 1, QUIET)
    first.unlink()
    again = train(configuration(**BRIEF), data, run.folder, ["a"], [], 1, QUIET)
    assert again.comparisons == finished.comparisons


def test_what_the_folds_gave_is_kept(finished):
    (row,) = csv.DictReader((finished.folder / "scores.csv").read_text().splitlines())
    right = []
    for path in (finished.folder / "a").glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            right += (arrays["network"].argmax(axis=1) == arrays["truth"]).tolist()
    assert len(right) == 48 and np.mean(right) == float(row["value"])
