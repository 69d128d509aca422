"""Gradient descent as the configuration says, and going on where it was killed."""

import itertools

import numpy as np
import pytest
import torch

from offline.dataset import load_dataset
from offline.partition import divide_for_stopping
from offline.simulation import simulate
from offline.sources import find_sources
from offline.training import build, fit_network
from rtdecode.errors import ConfigurationError
from tests.test_training import configuration

SMALL = {"network": "lfcnn", "settings": {"n_latent": 4}}
VALUES = {"names": ["x"], "values": {"left": [1.0], "right": [-1.0]}}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    simulate(20, 1).save(folder / "sub-a_run-01.npz")
    return folder


def dataset_of(folder, training=None, **changes):
    training = {"max_epochs": 4, **(training or {})}
    settings = configuration(
        **{"model": SMALL, "baseline": None, "window": {"stride_s": 0.5}, "training": training, **changes}
    )
    return load_dataset(settings, find_sources(settings, folder)["a"])


def parts_of(dataset):
    return divide_for_stopping(dataset, dataset.trials)


def fit(dataset, **more):
    return fit_network(dataset, *parts_of(dataset), **more)


def same(some, other):
    a, b = some.network.state_dict(), other.network.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "training",
    [
        {"patience": 2},
        {
            "optimizer": {"name": "sgd", "settings": {"momentum": 0.9}},
            "schedule": {"name": "one-cycle"},
            "patience": None,
            "augmentation": [{"kind": "noise"}, {"kind": "time-shift", "max_s": 0.2}],
        },
        {
            "schedule": {"name": "plateau", "settings": {"patience": 0, "factor": 0.5}},
            "metrics": ["accuracy"],
            "watch": "accuracy",
        },
        {"optimizer": {"name": "adamw"}, "schedule": {"name": "cosine"}, "clip_gradient": 0.1},
    ],
    ids=["adam", "one-cycle", "plateau", "cosine"],
)
def test_a_killed_training_goes_on_to_the_same_weights_to_the_last_bit(recordings, tmp_path, training):
    dataset, state, told = dataset_of(recordings, training), tmp_path / "fold.training", []

    def interrupt(text):
        told.append(text)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(dataset, progress=interrupt, state=state)
    assert state.exists() and list(tmp_path.iterdir()) == [state]
    torch.manual_seed(123)
    resumed = fit(dataset, progress=told.append, state=state)
    whole = fit(dataset)
    assert not told[2].startswith("epoch 1 ") and same(resumed, whole) and resumed.curves == whole.curves


def test_where_no_state_can_be_kept_training_is_the_same(recordings, tmp_path):
    dataset = dataset_of(recordings)
    assert same(fit(dataset, state=tmp_path / "none" / "fold.training"), fit(dataset))


@pytest.mark.parametrize("content", [b"nothing", b"hello", b""])
def test_a_damaged_state_is_told(recordings, tmp_path, content):
    (tmp_path / "fold.training").write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged; remove it, and its training starts anew"):
        fit(dataset_of(recordings), state=tmp_path / "fold.training")


def test_what_is_no_state_is_told(recordings, tmp_path):
    torch.save({"weights": {}}, tmp_path / "fold.training")
    with pytest.raises(ConfigurationError, match="is damaged; remove it"):
        fit(dataset_of(recordings), state=tmp_path / "fold.training")


def test_every_setting_changes_what_is_learned(recordings):
    settings = [
        {},
        {"optimizer": {"name": "adamw", "settings": {"weight_decay": 0.5}}},
        {"optimizer": {"name": "sgd"}},
        {"schedule": {"name": "cosine"}},
        {"label_smoothing": 0.2},
        {"clip_gradient": 1e-3},
        {"seed": 1},
        {"augmentation": [{"kind": "sign-flip"}]},
    ]
    fitted = [fit(dataset_of(recordings, {"patience": None, **training, "max_epochs": 2})) for training in settings]
    assert not any(same(a, b) for a, b in itertools.combinations(fitted, 2))


def test_losses_of_values_differ(recordings):
    fitted = [
        fit(dataset_of(recordings, {"loss": loss, "max_epochs": 1, "metrics": ["r2"]}, targets=VALUES))
        for loss in (None, "mse", "huber", "l1")
    ]
    assert same(fitted[0], fitted[1]) and not any(same(a, b) for a, b in itertools.combinations(fitted[1:], 2))
    assert fitted[0].curves[0]["valid_r2"] <= 1


def test_metrics_are_told_after_every_epoch_with_the_time_that_is_left(recordings):
    told = []
    metrics = ["accuracy", "balanced-accuracy", "kappa", "auc"]
    fitted = fit(dataset_of(recordings, {"metrics": metrics, "patience": None}), progress=told.append)
    assert len(told) == len(fitted.curves) == 4
    for number, (text, row) in enumerate(zip(told, fitted.curves, strict=True), 1):
        assert text.startswith(f"epoch {number} of 4, loss ") and " left" in text
        assert f"accuracy {row['valid_accuracy']:.3f}, balanced-accuracy " in text
        assert 0 <= row["valid_accuracy"] <= 1 and 0 <= row["valid_auc"] <= 1 and -1 <= row["valid_kappa"] <= 1
        assert row["valid_kappa"] == pytest.approx(2 * row["valid_balanced-accuracy"] - 1)


def test_without_patience_the_last_weights_are_kept(recordings):
    rising = {"learning_rate": 1.0, "max_epochs": 3}
    fitted = [fit(dataset_of(recordings, {**rising, "patience": patience})) for patience in (None, 3)]
    best = int(np.argmin([row["valid_loss"] for row in fitted[0].curves]))
    assert fitted[0].n_epochs == 3 and same(*fitted) == (best == 2)


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"optimizer": {"name": "adamm"}}, "training.optimizer: torch has no 'adamm'; it has .*adamw"),
        ({"optimizer": {"settings": {"momentum": 1}}}, "training.optimizer: adam cannot be had with these settings"),
        ({"optimizer": {"name": "sparseadam"}}, "training.optimizer: sparseadam cannot be had with these settings"),
        ({"schedule": {"name": "cosine", "settings": {"x": 1}}}, "training.schedule: cosine cannot be had"),
        ({"schedule": {"name": "cosine", "settings": {"T_max": 0}}}, "training.schedule: cosine cannot be had"),
        (
            {"schedule": {"name": "plateau", "settings": {"patience": "x"}}},
            "training.schedule: plateau cannot be had",
        ),
        ({"augmentation": [{"kind": "mirror", "classes": [["left", "right"]]}]}, "no opposite of C4-C3"),
    ],
)
def test_what_cannot_be_learned_with_is_told_before_training(recordings, training, told):
    bipolar = [{"step": "bipolar", "pairs": [["Fz", "Cz"], ["C4", "C3"]]}]
    dataset = dataset_of(recordings, training, preprocessing=bipolar)
    with pytest.raises(ConfigurationError, match=told):
        build(dataset, dataset.trials)


class Weightless(torch.nn.Module):
    def __init__(self, n_chans, n_outputs, n_times, sfreq, **settings):
        super().__init__()
        self.n_outputs = n_outputs

    def forward(self, x):
        return x.mean(dim=2)[:, : self.n_outputs]


def test_a_network_without_weights_is_told_before_training(recordings):
    dataset = dataset_of(recordings, model={"network": "tests.test_learning:Weightless"})
    with pytest.raises(ConfigurationError, match="empty parameter list"):
        build(dataset, dataset.trials)


def test_a_gpu_that_is_not_there_is_told(recordings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    dataset = dataset_of(recordings, {"device": "cuda"})
    with pytest.raises(ConfigurationError, match=r"training.device is cuda, and torch finds no GPU\. Take cpu"):
        build(dataset, dataset.trials)


@pytest.mark.parametrize(
    ("training", "more", "told"),
    [
        ({"loss": "mse"}, {}, "training: mse cannot be had with classes"),
        ({"loss": "cross-entropy"}, {"targets": VALUES}, "cross-entropy cannot be had with targets"),
        ({"label_smoothing": 0.1}, {"targets": VALUES}, "label_smoothing cannot be had with targets"),
        ({"metrics": ["r2"]}, {}, "r2 cannot be had with classes"),
        ({"optimizer": "adamw"}, {}, "are written as {name: adamw, settings: {}}"),
        ({"watch": "kappa"}, {}, "watch is loss, or one of training.metrics: none there"),
        ({"optimizer": {"settings": {"lr": 1}}}, {}, "the optimizer's lr is training.learning_rate"),
    ],
)
def test_settings_that_contradict_are_refused(training, more, told):
    with pytest.raises(ValueError, match=told):
        configuration(training=training, baseline=None, **more)
