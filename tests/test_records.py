"""What runs leave: tables, a page, their list, and what MLflow is told."""

import csv
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from offline.catalogue import find_runs, matching
from offline.comparison import compare
from offline.tracking import Tracker
from offline.workflow import make_plans, train
from rtdecode.errors import ConfigurationError
from rtdecode.scoring import mean_interval
from tests.test_comparison import FORCE, named
from tests.test_latency import Page
from tests.test_training import QUIET, data  # noqa: F401


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("records") / "two"
    plans = make_plans([named("closed"), named("slow", "lfcnn")], data, [], [], QUIET)
    return compare(plans, folder, [], 1, QUIET)


@pytest.fixture(scope="module")
def closed(compared):
    return compared.runs["closed"]


@pytest.fixture(scope="module")
def slow(compared):
    return compared.runs["slow"]


def rows(run, name):
    return list(csv.DictReader((run.folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()))


def page_of(run):
    return (run.folder / "run.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_epoch_of_every_fold_is_kept(closed, slow):
    kept, folds = rows(slow, "curves"), rows(slow, "folds")
    assert len(kept) == sum(int(fold["n_epochs"]) for fold in folds) == 2 * 6
    for row in kept:
        fold = next(r for r in slow.results[row["decoder"]] if r.fold.name == row["fold"])
        assert float(row["valid_loss"]) == fold.fitted.curves[int(row["epoch"]) - 1]["valid_loss"]
    assert rows(closed, "curves") == []


def test_curves_are_those_of_a_run_that_went_on(slow, data):  # noqa: F811
    before = rows(slow, "curves")
    train(named("slow", "lfcnn"), data, slow.folder, [], [], 1, QUIET)
    assert rows(slow, "curves") == before


def test_every_tested_trial_is_kept_with_what_was_decided(slow):
    kept, partition = rows(slow, "predictions"), json.loads((slow.folder / "partition.json").read_text())
    assert [(row["decoder"], row["fold"], row["trial"]) for row in kept] == [
        (group, fold["name"], trial) for group, folds in partition.items() for fold in folds for trial in fold["test"]
    ]
    for score in rows(slow, "scores"):
        right = [row["truth"] == row["decided"] for row in kept if row["decoder"] == score["decoder"]]
        assert np.mean(right) == float(score["value"])


def test_values_are_kept_window_by_window(data, tmp_path):  # noqa: F811
    run = train(named("values", "lda", **FORCE), data, tmp_path / "run", ["a"], [], 1, QUIET)
    truth = np.concatenate([r.truth.reshape(-1) for r in run.results["a"]])
    assert [float(row["true C3"]) for row in rows(run, "predictions")] == truth.tolist()
    assert "Confusion matrix" not in page_of(run)


def test_the_page_of_a_run_needs_nothing_but_itself(closed, slow):
    text = page_of(slow)
    assert [outside for outside in ("://", "url(", "@import", " src=", " href=", "<script") if outside in text] == []
    titles = ("Learning curves", "Confusion matrix", "Each decoder", "training.max_epochs")
    assert [title for title in titles if title not in Page(text).text] == []
    assert "Learning curves" not in Page(page_of(closed)).text


class TestList:
    def test_runs_are_found_with_what_they_are_worth(self, compared):
        (closed, slow) = sorted(find_runs(compared.folder.parent), key=lambda run: run.configuration["name"])
        for run, name in ((closed, "closed"), (slow, "slow")):
            assert run.worth == compared.worth(name, 0) and run.told["done"] == run.told["folds"] == 6
        assert slow.over(closed) == compared.over["slow", "closed", 0]

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            (["network=lfcnn"], ["slow"]),
            (["name!=slow", "score>0"], ["closed"]),
            (["training.max_epochs<=2"], ["closed", "slow"]),
            (["training.max_epochs<2"], []),
            (["began>=2026-01-01", "began<9"], ["closed", "slow"]),
            (["model.settings={}", "network=csp-lda"], ["closed"]),
        ],
    )
    def test_conditions_choose_among_them(self, compared, conditions, expected):
        found = matching(find_runs(compared.folder), conditions)
        assert sorted(run.configuration["name"] for run in found) == expected

    @pytest.mark.parametrize(
        ("condition", "told"),
        [
            ("lfcnn", "is no condition; give one such as network=eegnet"),
            ("netwrok=lfcnn", "no run tells 'netwrok'; did you mean 'network'"),
            ("seed=0", "did you mean 'training.seed'"),
            ("score>high", "score is a number, 'high' is none"),
        ],
    )
    def test_what_is_no_condition_is_told(self, compared, condition, told):
        with pytest.raises(ConfigurationError, match=told):
            matching(find_runs(compared.folder), [condition])

    def test_the_command_lists_compares_and_gives_json(self, called, compared):
        code, output = called("runs", compared.folder, "--compare")
        assert code == 0 and all(word in output for word in ("lfcnn", "model.network", "over 1, paired")), output
        code, output = called("runs", compared.folder, "--where", "network=lfcnn", "--json")
        (run,) = json.loads(output)
        assert code == 0 and run["configuration"]["training.max_epochs"] == "2" and list(run["scores"]) == ["a", "b"]
        assert run["score"] == mean_interval([score["value"] for score in run["scores"].values()])[0]

    def test_runs_of_other_recordings_are_not_paired(self, closed, slow):
        one, two = (find_runs(run.folder)[0] for run in (slow, closed))
        assert one.over(two)
        changed = replace(one, recordings=dict.fromkeys(one.recordings, "other"))
        assert changed.over(two) is None

    def test_a_run_that_is_not_done_says_so(self, called, slow, tmp_path):
        for name in ("began", "configuration", "partition", "origin"):
            (tmp_path / f"{name}.json").write_bytes((slow.folder / f"{name}.json").read_bytes())
        code, output = called("runs", tmp_path)
        assert code == 0 and "0 of 6" in output and "not done" in output

    def test_a_folder_that_is_none_is_told(self, called, tmp_path):
        code, output = called("runs", tmp_path / "none")
        assert code == 2 and "it is no folder" in output


class TestMlflow:
    def test_without_it_one_sentence_says_so(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "mlflow", None)
        with pytest.raises(ConfigurationError, match="`mlflow`, which is not installed: pip install mlflow"):
            Tracker("sqlite:///runs.db")

    def test_what_it_does_not_take_is_told(self, slow, monkeypatch):
        def refuse(uri):
            raise RuntimeError("nobody is there")

        monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(set_tracking_uri=refuse))
        with pytest.raises(ConfigurationError, match=r"does not take the run: nobody is there. It is kept in .*slow"):
            Tracker("http://127.0.0.1:9").tell(slow, named("slow", "lfcnn"))

    @pytest.mark.filterwarnings("default")
    def test_it_is_told_settings_figures_curves_and_files(self, slow, tmp_path, monkeypatch):
        mlflow = pytest.importorskip("mlflow")
        # A database needs more than is installed here; a folder is enough for one run.
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = f"file:{tmp_path / 'mlflow'}"
        Tracker(uri).tell(slow, named("slow", "lfcnn"))
        client = mlflow.MlflowClient(uri)
        (told,) = client.search_runs([client.get_experiment_by_name("slow").experiment_id])
        assert told.data.params["training.max_epochs"] == "2"
        assert told.data.metrics["network/accuracy/a"] == slow.comparisons["a"].network[0].value
        first = slow.results["a"][0]
        curve = client.get_metric_history(told.info.run_id, f"valid_loss/a/{first.fold.name}")
        assert [metric.value for metric in curve] == [epoch["valid_loss"] for epoch in first.fitted.curves]
        assert {file.path for file in client.list_artifacts(told.info.run_id)} >= {"scores.csv", "run.html", "a"}
