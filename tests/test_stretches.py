"""Trials at the sensors go through the decoder's own preprocessing: with nothing exchanged, nothing changes."""

from dataclasses import replace

import numpy as np
import pytest

from offline.interpretation import look_at, read_examined
from offline.interpretation.occlusion import band_parts, channel_parts, occlude
from offline.interpretation.parts import Part
from offline.interpretation.stretches import channel_signals, sensor_signals, window_signals
from rtdecode.contract import Event
from tests.builders import build_telling_recording
from tests.test_imports import trained

RUNNING = [
    {"step": "filter", "l_freq": 1, "h_freq": 30, "order": 2},
    {"step": "decimate", "by": 2},
    {"step": "running-standardize", "time_constant_s": 5, "minimum_s": 1},
]
WHITENED = [{"step": "filter", "l_freq": 1, "h_freq": 30, "order": 2}, {"step": "whiten", "shrinkage": 0.01}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stretches")
    for seed in (1, 2):
        build_telling_recording(3000, seed).save(folder / f"run-{seed}.npz")
    recording = build_telling_recording(3000, 3)
    # Nothing of it is known for a while: a decoder begins anew there.
    stamps = recording.timestamps + np.where(np.arange(3000) > 1500, 10.0, 0.0)
    events = tuple(Event(float(stamps[recording.sample_at(e.timestamp)]), e.label) for e in recording.events)
    replace(recording, timestamps=stamps, events=events).save(folder / "new.npz")
    return folder


def material_of(folder, steps, name):
    (folder / name).mkdir()
    for seed in (1, 2):
        (folder / name / f"run-{seed}.npz").write_bytes((folder / f"run-{seed}.npz").read_bytes())
    run, _ = trained(folder / name, preprocessing=steps)
    checkpoint = next((run.folder / "all").glob("*.pt"))
    return look_at(read_examined(checkpoint), [folder / "new.npz"])


@pytest.fixture(scope="module")
def running(folder):
    return material_of(folder, RUNNING, "running")


@pytest.fixture(scope="module")
def whitened(folder):
    return material_of(folder, WHITENED, "whitened")


@pytest.mark.parametrize("name", ["running", "whitened"])
def test_with_nothing_exchanged_the_network_sees_its_windows(request, name):
    material = request.getfixturevalue(name)
    signals = sensor_signals(material)
    assert material.n_trials == len(signals.x) > 5 and len(material.windows) > len(signals.x)
    # To the last bit, running statistics and filters' past included.
    assert np.array_equal(signals.predict(signals.x, np.arange(len(signals.x))), material.predict())


def test_a_band_is_removed_before_the_preprocessing(whitened):
    signals = sensor_signals(whitened)
    found = occlude(signals, band_parts(signals.sfreq), removed=True)
    grown = [figure.value for figure in found.grown]
    # What tells the class is a shift of two channels for a second.
    assert signals.sfreq == 128 and int(np.argmax(grown)) == 0 and found.lost[0].value > 0.1


def test_channels_are_those_of_the_sensors_where_the_preprocessing_mixes_them(whitened, running):
    assert channel_signals(whitened).x.shape[1:] == sensor_signals(whitened).x.shape[1:]
    assert channel_signals(running).x is running.windows
    found = occlude(channel_signals(whitened), channel_parts(whitened.examined.signal.ch_names))
    grown = [figure.value for figure in found.grown]
    assert grown[0] > 10 * max(np.abs(grown[1:]))


def test_windows_of_a_trial_are_exchanged_with_those_of_another(running):
    found = occlude(window_signals(running), [Part("all")])
    assert found.n_trials + found.n_left_out == running.n_trials and found.lost[0].value > 0.3
