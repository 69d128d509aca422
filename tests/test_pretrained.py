"""Training that begins with the weights of a decoder."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from offline.calibration import fit_calibrated
from offline.checkpoint import make_checkpoint, read_checkpoint, read_weights
from offline.export import export
from offline.origin import origin
from offline.simulation import simulate
from offline.training import build
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.model_file import read_model, rewrite
from rtdecode.preprocessing import Chain, read_steps
from tests.test_learning import dataset_of, parts_of

MODEL = {"network": "eegnet", "settings": {"kernel_length": 8, "padding": "valid"}}


def dataset(folder, **changes):
    split = {"kind": "stratified-blocks", "n_folds": 2}
    training = {"max_epochs": 1, **changes.pop("training", {})}
    return dataset_of(folder, training, **{"model": MODEL, "split": split, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording of each of two people, and the decoder of one of them."""
    folder = tmp_path_factory.mktemp("people")
    for subject, seed in (("a", 1), ("b", 2)):
        (folder / subject).mkdir()
        simulate(20, seed).save(folder / subject / "sub-a_run-01.npz")
    pretrained = fit_calibrated(dataset(folder / "a"), *parts_of(dataset(folder / "a")))
    make_checkpoint(dataset(folder / "a"), pretrained, {0}, []).save(folder / "a.pt")
    export(read_checkpoint(folder / "a.pt"), folder / "a.onnx")
    return folder


def test_the_weights_come_back_out_of_the_one_file(folder, tmp_path):
    model = read_model(folder / "a.onnx")
    contract, weights = read_weights(folder / "a.onnx")
    trained = read_checkpoint(folder / "a.pt").network.state_dict()
    assert contract.provenance == model.contract.provenance and weights.keys() == trained.keys()
    assert all(torch.equal(weights[name], trained[name]) for name in trained)
    rewritten = rewrite(model, contract.model_copy(update={"name": "tuned"}), tmp_path / "tuned.onnx")
    again = read_weights(Path(rewritten.path))
    assert again[0].name == "tuned" and all(torch.equal(again[1][name], trained[name]) for name in trained)


def test_a_run_rests_on_what_it_began_with(folder, tmp_path):
    begun = tmp_path / "a.onnx"
    begun.write_bytes((folder / "a.onnx").read_bytes())
    data = dataset(folder / "b", training={"init_from": str(begun)})
    before = origin(data.configuration, {"b": data})
    assert origin(data.configuration, {"b": data}) == before
    model = read_model(begun)
    rewrite(model, model.contract.model_copy(update={"name": "another"}), begun)
    assert origin(data.configuration, {"b": data}) != before


@pytest.mark.parametrize("named", ["a.pt", "{subject}.onnx"])
def test_training_begins_with_the_weights_behind_their_preprocessing(folder, named):
    data = dataset(folder / "b", training={"init_from": str(folder / named), "learning_rate": 1e-12})
    build(data, data.trials)
    begun, old = fit_calibrated(data, *parts_of(data)), read_checkpoint(folder / "a.pt")
    for name, weight in old.network.named_parameters():
        assert torch.allclose(begun.network.get_parameter(name), weight, atol=1e-6)
    samples = data.recording(0).samples[:500].astype(float)
    chains = [Chain(steps, data.signal) for steps in (begun.steps, read_steps(old.contract.preprocessing))]
    assert chains[0].process(samples).tobytes() == chains[1].process(samples).tobytes()
    provenance = make_checkpoint(data, begun, {0}, []).contract.provenance
    assert provenance.data_fingerprint.count("+") == 1
    assert provenance.data_fingerprint.startswith(old.contract.provenance.data_fingerprint)


@pytest.mark.parametrize(
    ("person", "changes", "told"),
    [
        ("a", {}, "it has learned from sub-a_run-01, on which it would be tested"),
        ("b", {"model": {"network": "shallow", "settings": {}}}, "its model.network is eegnet, not shallow"),
        ("b", {"model": {**MODEL, "settings": {"f1": 4}}}, "its model.settings is .*kernel_length.*, not .*f1"),
        ("b", {"channels": {"names": ["C3", "C4"], "types": None}}, "it has other channels: it lacks here Fz, FC3"),
        ("b", {"window": {"length_s": 1.0, "stride_s": 0.5}}, "its window.length_s is 1.5, not 1.0"),
        ("b", {"preprocessing": []}, "its preprocessing is"),
        ("b", {"trials": {"classes": {"right": ["right"], "left": ["left"]}}}, "its trials.classes is .*left"),
    ],
)
def test_what_does_not_fit_is_told_before_training(folder, person, changes, told):
    data = dataset(folder / person, training={"init_from": str(folder / "a.onnx")}, **changes)
    with pytest.raises(ConfigurationError, match=rf"cannot begin with .*a.onnx \(training.init_from\): {told}"):
        build(data, data.trials)


def test_what_no_fold_is_tested_on_may_have_been_learned_from(folder, tmp_path):
    for number, subject in enumerate("ab", 1):
        shutil.copy(folder / subject / "sub-a_run-01.npz", tmp_path / f"sub-a_run-0{number}.npz")
    for tested, told in (("sub-a_run-02#*", None), ("sub-a_run-01#*", "has learned from sub-a_run-01, on which")):
        split = {"kind": "predefined", "folds": {"last": [tested]}}
        data = dataset(tmp_path, training={"init_from": str(folder / "a.onnx")}, split=split)
        with pytest.raises(ConfigurationError, match=told) if told else nullcontext():
            build(data, data.trials)


@pytest.mark.parametrize("named", ["{session}.onnx", "{subject.x}.onnx"])
def test_a_person_that_no_name_tells_of_is_told(folder, named):
    data = dataset(folder / "b", training={"init_from": named})
    with pytest.raises(ConfigurationError, match="do not have in common; that is subject"):
        build(data, data.trials)


def test_a_file_that_does_not_hold_its_weights_is_told(folder, model_path):
    data = dataset(folder / "b", training={"init_from": str(model_path)})
    with pytest.raises(ModelError, match="does not hold the weights its network was trained to; give"):
        build(data, data.trials)


def test_what_is_fitted_at_once_begins_with_nothing(folder, tmp_path):
    closed = {"model": {"network": "csp-lda", "settings": {}}}
    fitted = fit_calibrated(dataset(folder / "a", **closed), *parts_of(dataset(folder / "a", **closed)))
    make_checkpoint(dataset(folder / "a", **closed), fitted, {0}, []).save(tmp_path / "closed.pt")
    data = dataset(folder / "b", training={"init_from": str(tmp_path / "closed.pt")}, **closed)
    with pytest.raises(ConfigurationError, match="it is fitted in closed form, at once"):
        build(data, data.trials)
