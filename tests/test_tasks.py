"""Folds that are fitted elsewhere: in two processes, on a Dask cluster, where workers die."""

import os

import joblib
import numpy as np
import pytest
import torch
import yaml
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_info, threadpool_limits

from offline import DecoderClassifier, tasks
from offline.tasks import finished
from offline.workflow import carry_out, make_plans
from rtdecode.errors import ConfigurationError
from tests.processes import rtdecode
from tests.test_estimator import windows
from tests.test_training import QUIET, configuration, data  # noqa: F401

NOBODY = "127.0.0.1:0"
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


@pytest.mark.slow
def test_two_processes_find_what_one_finds(alone, data, tmp_path):  # noqa: F811
    assert [content(run) for run in run_all(data, tmp_path, 2, *NETWORKS)] == alone
    assert all(len([name for name in found if "truth" in name]) == 2 for found in alone)


@pytest.fixture(scope="module")
def cluster():
    """The address of a Dask cluster of two processes, which comes and goes with the tests."""
    distributed = pytest.importorskip("distributed", reason="needs a Dask cluster (pip install 'rtdecode[cluster]')")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=NOBODY) as there:
        yield there.scheduler_address


@pytest.fixture(params=["processes", "cluster"])
def workers(request):
    return 2 if request.param == "processes" else request.getfixturevalue("cluster")


@pytest.mark.slow
def test_a_dask_cluster_finds_what_one_process_finds(alone, cluster, data, tmp_path):  # noqa: F811
    assert [content(run) for run in run_all(data, tmp_path, cluster, *NETWORKS)] == alone


def fatal(flag):
    network = {"network": "tests.fatal:Fatal", "settings": {"pid": os.getpid(), "flag": str(flag)}}
    return settings("fatal", model=network, baseline=None)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(workers, data, tmp_path):  # noqa: F811
    (run,) = run_all(data, tmp_path / "killed", workers, fatal(tmp_path / "flag"))
    assert (tmp_path / "flag").exists()
    (spared,) = run_all(data, tmp_path / "spared", 1, fatal(tmp_path / "flag"))
    assert content(run) == content(spared)


@pytest.mark.slow
def test_workers_that_go_on_dying_are_given_up(workers, data, tmp_path):  # noqa: F811
    with pytest.raises(ConfigurationError, match="died 4 times and nothing got done"):
        run_all(data, tmp_path, workers, fatal(""))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="only there a process is told that its parent is gone")
def test_nothing_goes_on_behind_a_run_that_is_killed(data, tmp_path, eventually):  # noqa: F811
    psutil = pytest.importorskip("psutil", reason="looks for processes")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(configuration().model_dump(mode="json")))
    with rtdecode("train", tmp_path / "c.yaml", "--data", data, "-o", tmp_path / "run", "--jobs", 2) as program:
        eventually(lambda: program.saw("fold 1 of 6 done"), timeout_s=200, what="the first fold")
        workers = psutil.Process(program.pid).children(recursive=True)
        program.kill()
    eventually(lambda: not any(worker.is_running() for worker in workers), what="the end of its workers")


@pytest.mark.slow
def test_a_mistake_over_there_is_told_as_one_made_here(workers, data, tmp_path):  # noqa: F811
    with pytest.raises(ConfigurationError, match="Training diverged"):
        run_all(data, tmp_path, workers, settings("wild", training={"learning_rate": 1e30}))


@pytest.mark.slow
def test_a_search_on_a_cluster_finds_what_one_here_finds(cluster):
    from distributed import Client

    search = GridSearchCV(DecoderClassifier("lda"), {"pooling": [4, 8, 16], "standardize": [False, True]}, cv=2)
    here = search.fit(*windows()).cv_results_["mean_test_score"]
    with Client(cluster), joblib.parallel_config("dask"):
        assert np.array_equal(search.fit(*windows()).cv_results_["mean_test_score"], here)


def square(number):
    return number**2


def threads(_):
    return {torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())}


def test_a_task_has_one_thread_however_many_there_are():
    with threadpool_limits(3):
        assert threads(None) != {1}
        assert [found for _, found in finished(threads, [1, 2], 1)] == [{1}, {1}]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_worker_of_several_threads_is_refused():
    from distributed import LocalCluster

    settings = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": NOBODY}
    told = pytest.raises(ConfigurationError, match=r"has 2 threads.*--nthreads 1")
    with LocalCluster(**settings) as there, told:
        list(finished(square, [1, 2], there.scheduler_address))


@pytest.mark.slow
def test_a_worker_with_other_libraries_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(tasks, "versions", lambda: {"torch": str(os.getpid())})
    with pytest.raises(ConfigurationError, match=rf"has torch \d+ instead of {os.getpid()}"):
        list(finished(square, [1, 2], cluster))


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_told():
    pytest.importorskip("distributed", reason="needs Dask (pip install 'rtdecode[cluster]')")
    with pytest.raises(ConfigurationError, match=r"No Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        list(finished(square, [1, 2], "tcp://127.0.0.1:9"))
