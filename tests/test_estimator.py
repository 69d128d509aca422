"""DecoderClassifier: scikit-learn's own checks, a search, and what it exports."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import rtdecode
from offline import DecoderClassifier
from rtdecode.contract import Event
from rtdecode.errors import ConfigurationError
from rtdecode.recording import Recording
from tests.builders import N_CHANNELS, SFREQ, build_signal
from tests.processes import run_rtdecode

N_TIMES, N_TRIALS = 32, 40


def windows(seed=0):
    """Noise of which the mean of one channel tells the label, mostly."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(["left", "right"] * (N_TRIALS // 2))
    x = (10 * rng.standard_normal((N_TRIALS, N_CHANNELS, N_TIMES))).astype(np.float32)
    x[:, 0] += np.where(y == "left", 5, -5)[:, None]
    return x, y


def recorded(x, y):
    """The windows one after the other, each with an event at its first sample."""
    samples = np.concatenate(x, axis=1).T
    stamps = 100 + np.arange(len(samples)) / SFREQ
    events = tuple(Event(float(stamps[N_TIMES * i]), str(label)) for i, label in enumerate(y))
    return Recording(build_signal(), samples, stamps, events)


@pytest.fixture(scope="module")
def search():
    x, y = windows()
    classifier = DecoderClassifier("lfcnn", signal=build_signal(), max_epochs=3, batch_size=8)
    return GridSearchCV(classifier, {"learning_rate": [1e-4, 1e-2], "n_latent": [2, 4]}, cv=2).fit(x, y)


@pytest.fixture(scope="module")
def model(search, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "best.onnx"
    return search.best_estimator_.export(path, hop_s=N_TIMES / SFREQ)


def test_a_search_goes_over_training_and_network(search):
    best = search.best_estimator_.get_params()
    assert len(search.cv_results_["params"]) == 4 and search.best_params_.items() <= best.items()
    assert search.best_estimator_.fitted_.network.demix.out_channels == best["n_latent"]


def test_the_decoder_gives_the_probabilities_of_the_classifier(search, model):
    x, y = windows(1)
    expected, recording = search.predict_proba(x), recorded(x, y)
    given = rtdecode.load(model.path).push(recording.samples, recording.timestamps)
    compared = [(p.proba, expected[p.sample // N_TIMES]) for p in given if p.proba is not None]
    assert len(compared) > N_TRIALS // 2 and all((p.sample + 1) % N_TIMES == 0 for p in given)
    assert np.abs(np.subtract(*zip(*compared, strict=True))).max() < 1e-5


def test_replay_scores_it(search, model, tmp_path):
    recorded(*windows(1)).save(tmp_path / "r.npz")
    code, output = run_rtdecode("replay", tmp_path / "r.npz", "--model", model.path)
    assert code == 0 and "accuracy" in output, output


def test_it_stands_in_a_pipeline_and_is_cross_validated():
    x, y = windows()
    pipeline = make_pipeline(FunctionTransformer(np.negative), DecoderClassifier("lda", pooling=8))
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.9


@pytest.mark.parametrize("labels", [(1, 2), (False, True), ("b", "a"), (0.0, 1.0)])
def test_labels_may_be_of_any_type(labels):
    x, y = windows()
    y = np.where(y == "left", *labels)
    predicted = DecoderClassifier("lda", pooling=8).fit(x, y).predict(x)
    assert predicted.dtype == y.dtype and (predicted == y).mean() > 0.9


@pytest.mark.parametrize("keys", [(0, 1), (0.0, 1.0), ("0", "1")])
def test_classes_are_weighted_by_labels_of_any_type(keys):
    x, y = windows()
    y = np.where(y == "left", 0, 1)
    to_0, to_1 = (
        DecoderClassifier("lda", pooling=8, class_weight=dict(zip(keys, counts, strict=True))).fit(x, y).predict(x)
        for counts in ((100.0, 1.0), (1.0, 100.0))
    )
    assert to_0.mean() < y.mean() < to_1.mean()


def test_the_same_gives_the_same_weights():
    some, other = (DecoderClassifier("lfcnn", max_epochs=2).fit(*windows()).fitted_.network for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(some.parameters(), other.parameters(), strict=True))


def test_a_setting_that_is_none_is_told():
    with pytest.raises(ConfigurationError, match=r"'lfcnn' has no setting 'n_latents' \(did you mean 'n_latent'"):
        DecoderClassifier("lfcnn", n_latents=4).fit(*windows())


def test_a_decoder_needs_to_know_its_channels(tmp_path):
    classifier = DecoderClassifier("lda", pooling=8).fit(*windows())
    with pytest.raises(ConfigurationError, match=r"Give the classifier a signal"):
        classifier.export(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (x, ["left"] * N_TRIALS), "one class only"),
        (lambda x, y: (x[:3], y[:3]), "too few"),
        (lambda x, y: (x * np.nan, y), "NaN"),
        (lambda x, y: (x[..., None], y), r"\(n_trials, n_channels, n_times\) is needed"),
        (lambda x, y: (x[:, :2], y), "X has 2 channels, the signal 4"),
    ],
    ids=["classes", "trials", "NaN", "shape", "channels"],
)
def test_what_cannot_be_learned_from_is_told(change, told):
    with pytest.raises(ValueError, match=told):
        DecoderClassifier("lda", signal=build_signal()).fit(*change(*windows()))


# They are for tables: each row is a window of one sample.
EXPECTED = {
    "check_no_attributes_set_in_init": "there are as many settings as networks, so they are kept in one attribute",
}


@parametrize_with_checks([DecoderClassifier("lda", pooling=1)], expected_failed_checks=lambda _: EXPECTED)
def test_scikit_learn_finds_what_it_expects(estimator, check):
    check(estimator)
