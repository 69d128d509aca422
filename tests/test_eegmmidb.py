"""The tangent-space file against pyriemann and scikit-learn, on the recordings of twelve people."""

import numpy as np
import pytest
from pyriemann.geometry.mean import mean_riemann
from pyriemann.geometry.tangentspace import tangent_space
from sklearn.linear_model import LogisticRegression

from offline.checkpoint import make_checkpoint
from offline.configuration import read_configuration
from offline.dataset import Cutter, load_dataset
from offline.export import export
from offline.partition import make_folds
from offline.sources import find_sources
from offline.training import fit_network
from rtdecode.engine import Engine
from tests.conftest import SHARED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data are not beside the project"),
]
PEOPLE = [f"{number:03d}" for number in range(1, 13)]


def shrunk_covariances(x, shrinkage):
    x = np.asarray(x, np.float64)
    covariances = np.stack([np.cov(window, bias=True) for window in x])
    variance = np.trace(covariances, axis1=1, axis2=2)[:, None, None] / x.shape[1]
    return (1 - shrinkage) * covariances + shrinkage * variance * np.eye(x.shape[1])


@pytest.mark.parametrize("person", PEOPLE)
def test_the_file_agrees_with_pyriemann_and_scikit_learn(tmp_path, person):
    settings = read_configuration("eegmmidb-tangent")
    dataset = load_dataset(settings, find_sources(settings, SHARED / "data")[person])
    fold = make_folds(dataset)[0]
    by_id = {t.id: t for t in dataset.trials}
    train, validation, test = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation, fold.test))
    fitted = fit_network(dataset, train, validation)
    engine = Engine(export(make_checkpoint(dataset, fitted, {0}, []), tmp_path / "m.onnx"))
    cutter = Cutter(dataset, fitted.steps)
    learned, tested = (cutter.cut(trials, fitted.n_times, 16) for trials in (train + validation, test))
    shrinkage = settings.model.settings["shrinkage"]
    covariances = shrunk_covariances(learned.x, shrinkage)
    mean = mean_riemann(covariances)
    classifier = LogisticRegression(max_iter=1000).fit(tangent_space(covariances, mean), learned.y)
    expected = classifier.predict_proba(tangent_space(shrunk_covariances(tested.x, shrinkage), mean))
    proba = np.stack([engine.run(window) for window in tested.x])
    assert len(proba) >= 14
    assert np.abs(proba - expected).max() < 1e-3
    clear = np.abs(expected[:, 0] - 0.5) > 1e-3
    assert clear.any() and (proba.argmax(axis=1) == expected.argmax(axis=1))[clear].all()
