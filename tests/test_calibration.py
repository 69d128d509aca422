"""Temperatures: found, kept, and in the graph."""

import numpy as np
import pytest

from offline.calibration import fit_calibrated, temperature
from offline.checkpoint import make_checkpoint, read_checkpoint
from offline.dataset import Cutter
from offline.export import export
from offline.partition import make_folds
from offline.training import fit_network
from rtdecode.engine import Engine
from tests.test_training import configuration, data, dataset_of  # noqa: F401

TANGENT = {"model": {"network": "tangent-space", "settings": {"shrinkage": 0.1, "c": 1.0}}}


def told_by(true_temperature, n_trials, n_windows=5, seed=0):
    """Log probabilities of trials whose classes follow their logits at this temperature; all windows agree."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n_trials, 3))
    proba = np.exp(logits / true_temperature)
    proba /= proba.sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(3, p=p) for p in proba])
    return [np.tile(row, (n_windows, 1)) for row in logits], truth


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_many_trials_is_found(true_temperature):
    log_p, truth = told_by(true_temperature, 3000)
    found = temperature(log_p, truth, np.ones(3000))
    assert found.temperature == pytest.approx(true_temperature, rel=0.1)
    assert found.nll_after <= found.nll_before and found.n_trials == 3000


def test_a_few_trials_that_all_go_well_do_not_make_it_endlessly_sure():
    log_p = [np.log([[0.9, 0.1]])] * 10
    assert 0.2 < temperature(log_p, np.zeros(10, int), np.ones(10)).temperature < 1


def test_windows_of_a_trial_are_no_trials_of_their_own():
    log_p, truth = told_by(2.0, 20, n_windows=1)
    many = [np.repeat(p, 50, axis=0) for p in log_p]
    few = temperature(log_p, truth, np.ones(20))
    assert temperature(many, truth, np.ones(20)).temperature == pytest.approx(few.temperature, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="early stopping", marks=pytest.mark.slow),
        pytest.param(TANGENT, id="closed form", marks=pytest.mark.slow),
    ],
)
def test_it_changes_no_label_and_stands_in_the_file(data, tmp_path, changes):  # noqa: F811
    dataset = dataset_of(data, **changes)
    fold = make_folds(dataset)[0]
    by_id = {t.id: t for t in dataset.trials}
    train, validation, test = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation, fold.test))
    plain, calibrated = (fit(dataset, train, validation) for fit in (fit_network, fit_calibrated))
    seen = validation if not changes else train + validation
    assert plain.calibration is None and calibrated.calibration.n_trials == len(seen)
    windows = Cutter(dataset, plain.steps).cut(test, plain.n_times, 16)
    before, after = (np.log(fitted.outputs(windows).astype(float)) for fitted in (plain, calibrated))
    scale = calibrated.calibration.temperature
    assert np.allclose(before[:, 1] - before[:, 0], scale * (after[:, 1] - after[:, 0]), rtol=1e-3, atol=1e-4)
    make_checkpoint(dataset, calibrated, {0}, []).save(tmp_path / "c.pt")
    model = export(read_checkpoint(tmp_path / "c.pt"), tmp_path / "m.onnx")
    assert model.contract.calibration == calibrated.calibration
    assert np.allclose(Engine(model).run(windows.x[0]), np.exp(after[0]), atol=1e-5)
