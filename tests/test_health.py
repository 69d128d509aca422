"""Channels: wrong scale, flat, saturated, wild; on made signals and on real recordings."""

import numpy as np
import pytest

from rtdecode.contract import Amplitude
from rtdecode.decoder import Decoder
from rtdecode.guard import Guard, GuardSettings, Health, spreads
from rtdecode.model_file import read_model
from rtdecode.recording import read_recording
from tests.builders import SFREQ, build_model, build_recording
from tests.conftest import SHARED

BLOCK = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


def decode(model, recording, **settings):
    decoder = Decoder(model, guard=GuardSettings(**settings))
    return decoder, decoder.push(recording.samples, recording.timestamps)


def decoded(predictions):
    return [p.sample for p in predictions if p.proba is not None]


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e-3, 1e-6])
def test_s15_a_wrong_scale_is_never_decoded_and_told_with_its_factor(model, factor):
    recording = build_recording()
    recording.samples[:] *= np.float32(factor)
    decoder, predictions = decode(model, recording)
    assert not decoded(predictions)
    assert {p.reason for p in predictions} == {"warming-up", "amplitude"}
    (incident,) = decoder.guard.drain()
    assert incident.reason == "amplitude" and decoder.guard.incidents == {"amplitude": 1}
    assert "4 eeg channels (E0, E1, E2, E3)" in incident.message and "is their unit right?" in incident.message
    told = float(incident.message.split("vary ")[1].split(" times")[0])
    assert told == pytest.approx(factor, rel=0.5)


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_s15_another_person_is_decoded(model, factor):
    recording = build_recording()
    recording.samples[:] *= np.float32(factor)
    decoder, predictions = decode(model, recording)
    assert decoded(predictions)[0] < 160 and not decoder.guard.incidents


def test_s15_a_level_far_from_that_of_training_is_no_wrong_scale(model):
    recording = build_recording()
    recording.samples[:] += 1e4
    assert not decode(model, recording)[0].guard.incidents


@pytest.mark.parametrize("at", [700, 704, 735])
def test_s15_a_scale_that_changes_is_refused_within_a_second_and_decoded_anew_afterwards(model, at):
    recording = build_recording()
    recording.samples[at : at + 256] *= np.float32(1e3)
    decoder, predictions = decode(model, recording)
    gone = [s for s in decoded(predictions) if s < at + SFREQ]
    back = [s for s in decoded(predictions) if s >= at + SFREQ]
    # Not before a clean half second, and the warm-up after it.
    assert gone[-1] < at + SFREQ and back[0] > at + 256 + decoder.warm_up
    assert decoder.guard.incidents["amplitude"] == 1


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("flat", lambda x: 0 * x + 5),
        ("saturated", lambda x: np.clip(x, -4, 4)),
        ("wild", lambda x: x * 1e3),
    ],
)
def test_s12_a_bad_channel_is_told_within_a_second_and_more_than_a_quarter_are_refused(model, kind, spoil):
    for n_bad in (1, 2):
        recording = build_recording()
        recording.samples[700:, :n_bad] = spoil(recording.samples[700:, :n_bad] - 3)
        decoder, predictions = decode(model, recording)
        reason = "bad-channels" if n_bad == 1 else "channels"
        assert decoder.guard.incidents == {reason: 1}
        (incident,) = decoder.guard.drain()
        assert 700 < incident.sample <= 700 + SFREQ and f"E0 {kind}" in incident.message
        assert (decoded(predictions)[-1] > 1400) == (n_bad == 1)
        assert decoder.guard.health.bad_channels == {f"E{i}": kind for i in range(n_bad)}


def test_s12_how_many_may_be_bad_is_a_setting(model):
    recording = build_recording()
    recording.samples[:, 0] = 0
    assert decode(model, recording, max_bad_channels=0)[0].guard.incidents == {"channels": 1}


def test_a_file_without_spreads_refuses_only_what_is_too_large(model):
    usual = np.full(4, 10.0)
    health = Health(model.contract.signal, Amplitude(low=-usual, high=usual, std=usual), GuardSettings())
    for factor, refusal in ((1e3, "amplitude"), (1e-3, None)):
        health.add(build_recording(BLOCK).samples * np.float32(factor))
        assert health.refusal == refusal


SETS = {
    "eegmmidb_mi/*.gz": 9,
    "ssvep_exo/*.fif": 1,
    "muse_erp/*.fif": 2,
    "eeglab_sample/*.fif": 1,
    "meg_mne_sample/*.gz": 1,
}


def brain(path):
    """Return signal, samples and stamps of the brain's channels of a recording."""
    recording = read_recording(path)
    signal = recording.signal
    picked = [i for i, t in enumerate(signal.ch_types) if t in ("eeg", "mag", "grad")]
    signal = signal.pick([signal.ch_names[i] for i in picked])
    return signal, recording.samples[:, picked].astype(np.float64), recording.timestamps


def watched(trained_on, signal, samples, stamps):
    """Return a guard that saw samples, of a decoder that was trained on others."""
    usual = np.median(spreads(trained_on, signal.sfreq), axis=0)
    settings = GuardSettings()
    health = Health(signal, Amplitude(low=usual, high=usual, std=usual, spread=usual), settings)
    guard = Guard(signal.sfreq, settings, health)
    return guard, list(guard.check(samples, stamps))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data are not beside the project")
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 0], ids=["all", "some"])
@pytest.mark.parametrize("pattern", SETS)
def test_s15_s12_real_recordings_pass_and_wrong_units_do_not(pattern, step):
    recordings = [brain(path) for path in sorted((SHARED / "data").glob(pattern))[:: step or 2 * SETS[pattern]]]
    for i, (signal, samples, stamps) in enumerate(recordings):
        other = recordings[i - 1][1]
        guard, _ = watched(other, signal, samples, stamps)
        # A channel may really be bad for a moment.
        assert set(guard.incidents) <= {"bad-channels"} and guard.incidents["bad-channels"] <= 1
        for factor in (1e3, 1e6, 1e-3, 1e-6):
            guard, segments = watched(other, signal, samples[:2000] * factor, stamps[:2000])
            assert all(s.reason == "amplitude" for s in segments if s.start >= guard.health.block)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data are not beside the project")
def test_s6_the_annotated_losses_of_a_headband_are_all_found():
    n_found = 0
    for path in sorted((SHARED / "data").glob("muse_erp/*.fif")):
        recording = read_recording(path)
        gaps = [e for e in recording.events if e.label.startswith("gap_")]
        stamps, places = recording.timestamps.copy(), []
        for gap in gaps:
            at = recording.sample_at(gap.timestamp)
            places.append(at)
            stamps[at:] += int(gap.label[4:-2]) / 1e3
        segments = Guard(recording.signal.sfreq).check(recording.samples, stamps)
        assert [s.start for s in segments if s.fault == "gap"] == places
        n_found += len(places)
    assert n_found > 30
