"""A decoder looked into: the windows, truths and predictions are those of training and of the live decoder."""

from dataclasses import replace

import numpy as np
import pytest

from offline.interpretation import look_at, read_examined
from rtdecode.contract import Event
from rtdecode.decoder import Decoder
from rtdecode.errors import ModelError, RecordingError
from rtdecode.model_file import read_model
from rtdecode.recording import read_recording
from tests.builders import build_model, build_telling_recording
from tests.test_imports import trained

STEPS = [
    {"step": "filter", "l_freq": 1, "h_freq": 30, "order": 2},
    {"step": "decimate", "by": 2},
    {"step": "standardize"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from offline.checkpoint import read_checkpoint
    from offline.export import export

    folder = tmp_path_factory.mktemp("examined")
    for seed in (1, 2, 3):
        recording = build_telling_recording(3000, seed)
        places = {name: (0.1 * i, 0.5) for i, name in enumerate(recording.signal.ch_names)}
        replace(recording, positions=places).save(folder / f"run-{seed}.npz")
    (folder / "run-3.npz").rename(folder / "new.npz")
    run, _ = trained(folder, preprocessing=STEPS)
    export(read_checkpoint(next((run.folder / "all").glob("*.pt"))), folder / "model.onnx")
    return folder


@pytest.fixture
def checkpoint(folder):
    return next((folder / "out" / "all").glob("*.pt"))


@pytest.fixture
def material(folder):
    return look_at(read_examined(folder / "model.onnx"), [folder / "new.npz"])


def test_predictions_are_those_of_the_live_decoder(folder, material):
    recording = read_recording(folder / "new.npz")
    live = Decoder(read_model(folder / "model.onnx"), recording.signal).push(recording.samples, recording.timestamps)
    by_sample = {recording.sample_at(p.timestamp): p.proba for p in live if p.proba is not None}
    both = [(given, by_sample[at]) for given, at in zip(material.predict(), material.at.tolist(), strict=True)
            if at in by_sample]  # fmt: skip
    assert len(both) > 5 and all(np.abs(a - b).max() < 1e-5 for a, b in both)


def test_file_and_checkpoint_are_one_decoder(checkpoint, folder):
    file, other = read_examined(folder / "model.onnx"), read_examined(checkpoint)
    windows = np.random.default_rng(0).standard_normal((5, 4, file.network.n_times)).astype(np.float32)
    assert file.predict(windows).tobytes() == other.predict(windows).tobytes() and len(other.positions) == 4


def test_the_sensors_are_the_stretch_a_window_rests_on(folder, material):
    samples = read_recording(folder / "new.npz").samples
    length = material.sensors.shape[2]
    assert length == 2 * (material.windows.shape[2] - 1) + 1
    cut = np.stack([samples[at + 1 - length : at + 1].T for at in material.at])
    assert np.array_equal(material.sensors, cut)


def test_what_is_changed_at_the_sensors_goes_through_the_preprocessing(material):
    assert np.array_equal(material.changed(lambda samples: samples), material.windows)
    without = material.changed(lambda samples: samples * np.array([1, 1, 0, 1]))
    assert np.ptp(without[:, 2]) < 1e-6 and np.array_equal(without[:, 0], material.windows[:, 0])


def test_groups_and_trials_tell_which_windows_belong_together(folder):
    material = look_at(read_examined(folder / "model.onnx"), [folder / "new.npz", folder / "run-1.npz"])
    assert material.names == ("new.npz", "run-1.npz") and set(material.recording) == {0, 1}
    trials = [material.dataset.trials[i] for i in material.trial]
    assert [trial.truth for trial in trials] == material.truth.tolist()
    assert material.n_trials == len(material.dataset.trials) and len(material.truth) == material.n_cut


def test_recordings_it_was_trained_on_are_told(folder, checkpoint):
    recordings = [folder / "new.npz", folder / "run-1.npz", folder / "run-2.npz"]
    told = look_at(read_examined(checkpoint), recordings).trained_on
    assert len(told) == 1 and told[0] != "new.npz"


def test_one_class_is_enough_and_none_is_not(folder, tmp_path):
    recording = read_recording(folder / "new.npz")
    examined = read_examined(folder / "model.onnx")
    replace(recording, events=tuple(e for e in recording.events if e.label == "left")).save(tmp_path / "left.npz")
    assert set(look_at(examined, [tmp_path / "left.npz"]).truth) == {0}
    replace(recording, events=(Event(recording.timestamps[5], "other"),)).save(tmp_path / "none.npz")
    with pytest.raises(RecordingError, match="No trial of class left, right"):
        look_at(examined, [tmp_path / "none.npz"])


def test_a_file_without_its_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match="does not hold the weights"):
        read_examined(build_model(tmp_path / "model.onnx"))
