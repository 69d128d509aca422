"""Where recordings tell what should have been decoded: gaps, lags, filters."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfilt, sosfilt_zi

from rtdecode.contract import Targets, Trials
from rtdecode.decoder import Decoder
from rtdecode.errors import RecordingWarning
from rtdecode.model_file import read_model
from rtdecode.recording import Event, Recording
from rtdecode.replay import decode_recording
from rtdecode.truth import channel_values, spans
from tests.builders import VALUES, build_contract, build_model, build_recording

GAP_AT = 600


def broken(recording):
    """Let a minute pass after sample 600."""
    stamps = recording.timestamps + 60.0 * (np.arange(len(recording.samples)) >= GAP_AT)
    events = tuple(e._replace(timestamp=stamps[recording.sample_at(e.timestamp)]) for e in recording.events)
    return Recording(recording.signal, recording.samples, stamps, events, recording.path)


def test_a_trial_that_a_gap_divides_is_none():
    recording = broken(build_recording())
    at = [GAP_AT - 200, GAP_AT - 100, GAP_AT + 10]
    events = tuple(Event(float(recording.timestamps[i]), "left") for i in at)
    recording = Recording(recording.signal, recording.samples, recording.timestamps, events)
    trials = Trials(tmin_s=0.0, tmax_s=1.0, classes={"left": ("left",)})
    assert [start for _, _, start, _ in spans(recording, trials, ("left",))] == [at[0], at[2]]


def test_windows_of_a_trial_lie_in_it_whole(tmp_path):
    contract = build_contract(n_times=32, hop=1, steps=[])
    trials = contract.trials.model_copy(update={"tmax_s": 40 / 128})
    model = read_model(build_model(tmp_path / "m.onnx", contract.model_copy(update={"trials": trials})))
    recording = build_recording()
    replayed = decode_recording(recording, Decoder(model, recording.signal))
    assert {len(trial.windows) for trial in replayed.trials} == {40 - 32 + 1}


def test_target_channels_are_filtered_and_earlier_by_the_lag():
    recording = build_recording()
    targets = Targets(channels=("E1",), lag_s=10 / 128, l_freq=2.0, h_freq=20.0)
    truth = channel_values(recording, targets, ("uV",))[:, 0]
    sos = butter(2, (2.0, 20.0), "bandpass", fs=128.0, output="sos")
    values = recording.samples[:, 1].astype(float)
    expected, _ = sosfilt(sos, values, zi=sosfilt_zi(sos) * values[0])
    assert np.isnan(truth[:10]).all() and np.allclose(truth[10:], expected[:-10])


def test_the_truth_never_comes_from_before_a_gap():
    recording, targets = build_recording(), Targets(channels=("E1",), lag_s=10 / 128, l_freq=2.0)
    truth = channel_values(broken(recording), targets, ("uV",))
    alone = channel_values(recording.crop(GAP_AT), targets, ("uV",))
    assert np.array_equal(truth[GAP_AT:], alone, equal_nan=True) and np.isnan(truth[GAP_AT : GAP_AT + 10]).all()


def test_values_of_which_samples_are_marked_bad_are_not_scored(tmp_path):
    targets = Targets(channels=("E0", "E1"), segment_s=32 / 128)
    contract = build_contract(truth={**VALUES, "targets": targets}, steps=[], n_times=32, hop=32)
    outputs = contract.outputs.model_copy(update={"units": ("uV", "uV")})
    model = read_model(build_model(tmp_path / "m.onnx", contract.model_copy(update={"outputs": outputs})))
    recording = build_recording()
    whole, _ = decode_recording(recording, Decoder(model, recording.signal)).segments
    first, last = recording.timestamps[[32 * 20, 32 * 22 - 1]]
    marked = replace(recording, bad_spans=((float(first), float(last)),))
    with pytest.warns(RecordingWarning, match="2 of .* windows hold samples that are marked bad"):
        truth, _ = decode_recording(marked, Decoder(model, recording.signal)).segments
    bad = [(one == recording.samples[[32 * 21 - 1, 32 * 22 - 1], :2]).all(axis=1).any() for one in whole]
    assert np.array_equal(truth, whole[~np.array(bad)]) and sum(bad) == 2


@pytest.mark.parametrize("lag_s", [0.0, 0.5])
def test_replay_compares_a_value_with_the_truth_a_lag_before(tmp_path, lag_s):
    targets = Targets(channels=("E0", "E1"), lag_s=lag_s, segment_s=1.0)
    contract = build_contract(truth={**VALUES, "targets": targets}, steps=[])
    outputs = contract.outputs.model_copy(update={"units": ("uV", "uV")})
    model = read_model(build_model(tmp_path / "m.onnx", contract.model_copy(update={"outputs": outputs})))
    recording = build_recording()
    truth, predicted = decode_recording(recording, Decoder(model, recording.signal)).segments
    decoded = [p for p in Decoder(model).push(recording.samples, recording.timestamps) if p.reason is None]
    decoded = [p for p in decoded if p.sample >= lag_s * 128][: truth.shape[0] * truth.shape[1]]
    assert np.array_equal(predicted.reshape(-1, 2), np.array([p.values for p in decoded], float))
    expected = np.array([recording.samples[p.sample - round(lag_s * 128), :2] for p in decoded], float)
    assert np.array_equal(truth.reshape(-1, 2), expected)
