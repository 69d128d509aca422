"""Several networks on one partition."""

import csv
import json
from io import StringIO

import numpy as np
import pytest
import yaml
from rich.console import Console

from offline import store
from offline.comparison import compare, table
from offline.workflow import make_plans
from rtdecode.errors import ConfigurationError
from rtdecode.scoring import mean_interval
from tests.processes import rtdecode
from tests.test_training import QUIET, configuration, data  # noqa: F401

NETWORKS = ("csp-lda", "lfcnn", "lda")


def compare_all(settings, data, folder, only=()):  # noqa: F811
    return compare(make_plans(settings, data, only, [], QUIET), folder, [], 1, QUIET)


def named(name, network="csp-lda", **changes):
    brief = {"model": {"network": network, "settings": {}}, "baseline": None, "training": {"max_epochs": 2}}
    return configuration(**brief | changes).model_copy(update={"name": name})


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("runs") / "comparison"
    return compare_all([named(network, network) for network in NETWORKS], data, folder)


def test_all_networks_were_tested_on_the_same_trials(compared):
    partitions = [json.loads((compared.folder / name / "partition.json").read_text()) for name in NETWORKS]
    assert partitions[0] == partitions[1] == partitions[2] and len(partitions[0]["a"]) == 3
    for group in "ab":
        truths = [np.concatenate([r.truth for r in run.results[group]]) for run in compared.runs.values()]
        assert np.array_equal(truths[0], truths[1]) and np.array_equal(truths[0], truths[2])


def test_what_one_network_had_preprocessed_the_next_one_finds(data, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv(store.PLACE, str(tmp_path / "store"))
    compare_all([named(network, network) for network in NETWORKS], data, tmp_path / "run", ["a"])
    kinds = [folder.name.partition("-")[0] for folder in store.folders()]
    assert [kinds.count(kind) for kind in ("recording", "truth", "features")] == [3, 3, 3]


def test_differences_are_paired_over_people(compared):
    some, other = ([compared.values(name, 0)[i] for i in range(2)] for name in ("lfcnn", "lda"))
    differences = [a - b for a, b in zip(some, other, strict=True)]
    assert compared.over["lfcnn", "lda", 0] == mean_interval(differences)
    assert compared.worth("lda", 0) == mean_interval(other)


def test_the_comparison_is_told_kept_and_drawn(compared):
    out = StringIO()
    Console(file=out, width=200).print(table(compared))
    assert all(word in out.getvalue() for word in ("over csp-lda", "over lda", "accuracy", "over subject"))
    rows = list(csv.DictReader((compared.folder / "comparison.csv").read_text().splitlines()))
    assert len(rows) == 9 and sum(row["over"] == "" for row in rows) == 3
    assert (compared.folder / "comparison.svg").read_text().count("</svg>") == 1


def test_a_comparison_goes_on_too(compared, data):  # noqa: F811
    again = compare_all([named(network, network) for network in NETWORKS], data, compared.folder)
    assert [run.comparisons for run in again.runs.values()] == [run.comparisons for run in compared.runs.values()]


FORCE = {
    "trials": None,
    "targets": {"channels": ["C3"], "segment_s": 2.0},
    "channels": {"types": None, "names": ["C4", "C1", "Cz"]},
    "split": {"kind": "blocks", "n_folds": 2},
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="accuracy"),
        pytest.param({"measure": "auc"}, id="auc", marks=pytest.mark.slow),
        pytest.param(FORCE, id="regression", marks=pytest.mark.slow),
    ],
)
def test_differences_of_a_single_decoder_are_paired_over_what_was_tested(data, tmp_path, changes):  # noqa: F811
    settings = [
        named("some", "lda", **changes),
        named("same", "lda", **changes),
        named("other", "lda", **changes, window={"length_s": 0.25}),
    ]
    compared = compare_all(settings, data, tmp_path / "run", ["a"])
    for number, _ in enumerate(compared.figures):
        assert compared.over["some", "same", number] == (0.0, 0.0, 0.0)
        value, low, high = compared.over["some", "other", number]
        assert value == compared.worth("some", number)[0] - compared.worth("other", number)[0]
        assert low < value < high
        assert np.allclose(compared.over["other", "some", number], (-value, -high, -low), atol=1e-12)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (named("b", split={"kind": "stratified-blocks", "n_folds": 3}), "divide the trials otherwise"),
        (named("b", training={"seed": 1}), "divide the trials otherwise.*training.seed"),
        (named("b", trials={"tmax_s": 2.5}), "their trials are not the same"),
        (named("b", measure="auc"), "their measure differ"),
        (named("a"), "needs a name each; there is a, a"),
    ],
    ids=["split", "seed", "trials", "measure", "name"],
)
def test_what_was_not_tested_alike_is_not_compared(data, tmp_path, other, told):  # noqa: F811
    with pytest.raises(ConfigurationError, match=told):
        compare_all([named("a"), other], data, tmp_path / "run", ["a"])
    assert not (tmp_path / "run").exists()


def test_train_compares_what_it_is_given(data, tmp_path):  # noqa: F811
    paths = []
    for network in ("csp-lda", "lda"):
        paths.append(tmp_path / f"{network}.yaml")
        paths[-1].write_text(yaml.safe_dump(named(network, network).model_dump(mode="json")))
    command = ("train", *paths, "--data", data, "-o", tmp_path / "run", "--only", "b")
    with rtdecode(*command) as program:
        assert program.wait(200) == 0, program.output
    told = " ".join(program.output.split())
    assert "over csp-lda" in told and "over trials]" in told and "kept in" in told
