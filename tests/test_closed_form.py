"""CSP+LDA and tangent space: the graph against the libraries that fit it."""

from functools import partial

import mne
import numpy as np
import pytest
import torch
from mne.decoding import CSP
from pyriemann.geometry.mean import mean_riemann
from pyriemann.geometry.tangentspace import tangent_space
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from offline.models import CSPLDA, ShrinkageLDA, TangentSpace
from offline.models.closed_form import matrix_log
from tests.test_networks import exported


def windows(n_channels, n_classes=2, n=90, n_times=200, seed=0):
    """Mixed noise in which one source's power tells the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    sources = rng.standard_normal((n, n_channels, n_times))
    sources[:, 0] *= 1 + y[:, None]
    mixing = rng.standard_normal((n_channels, n_channels))
    return (20 * mixing @ sources).astype(np.float32), y


@pytest.mark.parametrize("spread", [1, 3, 5])
@pytest.mark.parametrize("n", [1, 4, 22, 64])
def test_the_logarithm_is_that_of_the_eigenvalues(n, spread):
    rng = np.random.default_rng(n)
    vectors = np.linalg.qr(rng.standard_normal((n, n)))[0]
    values = 10 ** rng.uniform(-spread / 2, spread / 2, n)
    matrix = torch.from_numpy((vectors * values) @ vectors.T)
    assert np.allclose(matrix_log(matrix[None])[0], (vectors * np.log(values)) @ vectors.T, atol=1e-6)


def spoil(x, how):
    if how == "average reference":
        x = x - x.mean(axis=1, keepdims=True)
    if how == "flat channel":
        x[:, 1] = 0
    return x


def tangent_space_fitted(n_channels, how):
    """A network, what it was fitted to, and the libraries' probabilities for that."""
    x, y = windows(n_channels)
    x = spoil(x, how)
    network = TangentSpace(n_channels, 200, 2, shrinkage=0.05)
    network.fit(x, y)
    covariances = np.stack([np.cov(window, bias=True) for window in x.astype(np.float64)])
    variance = np.trace(covariances, axis1=1, axis2=2)[:, None, None] / n_channels
    covariances = 0.95 * covariances + 0.05 * variance * np.eye(n_channels)
    features = tangent_space(covariances, mean_riemann(covariances))
    return network.eval(), x, LogisticRegression(max_iter=1000).fit(features, y).predict_proba(features)


@pytest.mark.parametrize("n_channels", [6, 22, 64])
@pytest.mark.parametrize("how", ["as it is", "average reference", "flat channel"])
def test_tangent_space_is_pyriemann_and_scikit_learn(n_channels, how):
    network, x, expected = tangent_space_fitted(n_channels, how)
    with torch.no_grad():
        assert np.abs(network.outputs(torch.from_numpy(x)).numpy() - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("n_channels", "how"),
    [
        (6, "flat channel"),
        pytest.param(22, "as it is", marks=pytest.mark.slow),
        pytest.param(64, "average reference", marks=pytest.mark.slow),
    ],
)
def test_so_is_the_file_of_a_tangent_space(tmp_path, n_channels, how):
    network, x, expected = tangent_space_fitted(n_channels, how)
    engine = exported(network, tmp_path)
    assert np.abs(np.stack([engine.run(window) for window in x]) - expected).max() < 1e-3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_csp_lda_is_mne_and_scikit_learn(tmp_path, n_classes):
    x, y = windows(8, n_classes)
    network = CSPLDA(8, 200, n_classes, n_patterns=4)
    network.fit(x, y)
    with mne.use_log_level("ERROR"):
        features = CSP(4).fit_transform(x.astype(np.float64), y)
    expected = LinearDiscriminantAnalysis().fit(features, y).predict_proba(features)
    engine = exported(network.eval(), tmp_path)
    assert np.abs(np.stack([engine.run(window) for window in x]) - expected).max() < 1e-4


def test_csp_lda_takes_channels_that_depend_on_each_other():
    x, y = windows(4, 2)
    x = x - x[:, :1]
    network = CSPLDA(4, 200, 2)
    network.fit(x, y)
    with mne.use_log_level("ERROR"):
        features = CSP(3).fit_transform(x.astype(np.float64), y)
    expected = LinearDiscriminantAnalysis().fit(features, y).predict_proba(features)
    with torch.no_grad():
        assert np.abs(network(torch.from_numpy(x)).softmax(dim=1).numpy() - expected).max() < 1e-3


def responses(n=120, n_channels=6, n_times=60, seed=0):
    """Noise of one power everywhere, with a slow response whose sign tells the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.standard_normal((n, n_channels, n_times))
    shape = np.sin(np.pi * np.arange(n_times) / n_times) - 2 / np.pi
    x += (2 * y[:, None, None] - 1) * rng.standard_normal(n_channels)[:, None] * shape
    return (20 * x).astype(np.float32), y


def test_lda_is_scikit_learn_on_segment_means(tmp_path):
    x, y = responses(n_times=64)
    network = ShrinkageLDA(6, 64, 2, pooling=10)
    network.fit(x, y)
    features = x[:, :, :60].reshape(len(x), 6, 6, 10).mean(axis=3).reshape(len(x), -1)
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features, y).predict_proba(features)
    engine = exported(network.eval(), tmp_path)
    assert np.abs(np.stack([engine.run(window) for window in x]) - expected).max() < 1e-4


@pytest.mark.parametrize(("prototypes", "low", "high"), [(0, 0.3, 0.7), (1, 0.95, 1.0), (6, 0.95, 1.0)])
def test_a_response_of_equal_power_is_told_by_prototypes_only(prototypes, low, high):
    x, y = responses()
    network = TangentSpace(6, 60, 2, prototypes=prototypes)
    network.fit(x[:80], y[:80])
    with torch.no_grad():
        decided = network(torch.from_numpy(x[80:])).argmax(dim=1).numpy()
    assert low <= (decided == y[80:]).mean() <= high


def test_prototypes_are_in_the_file(tmp_path):
    x, y = responses()
    network = TangentSpace(6, 60, 2, prototypes=2)
    network.fit(x, y)
    engine = exported(network.eval(), tmp_path)
    decided = np.array([engine.run(window).argmax() for window in x])
    assert (decided == y).mean() > 0.95


def test_all_prototypes_span_every_mean_response():
    x, y = responses()
    network = TangentSpace(6, 60, 2, prototypes=6)
    network.fit(x, y)
    courses = network.prototypes.numpy()
    means = np.concatenate([x[y == label].mean(axis=0) for label in (0, 1)]).astype(np.float64)
    means -= means.mean(axis=1, keepdims=True)
    weights, *_ = np.linalg.lstsq(courses.T, means.T)
    assert np.allclose(weights.T @ courses, means, atol=1e-3)


@pytest.mark.parametrize("make", [CSPLDA, TangentSpace, ShrinkageLDA, partial(TangentSpace, prototypes=2)])
def test_a_window_of_zeros_gives_a_number(make):
    network = make(5, 100, 2)
    network.fit(*windows(5, n_times=100))
    with torch.no_grad():
        assert torch.isfinite(network.eval()(torch.zeros(1, 5, 100))).all()
