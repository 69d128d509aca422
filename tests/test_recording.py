from dataclasses import replace

import mne
import numpy as np
import pytest

from rtdecode.contract import Trials
from rtdecode.decoder import Decoder
from rtdecode.errors import RecordingError, RecordingWarning
from rtdecode.guard import Guard, unbroken
from rtdecode.model_file import read_model
from rtdecode.preprocessing import Filter
from rtdecode.recording import Event, Recording, read_recording
from rtdecode.replay import decode_recording, spans
from tests.builders import assert_same, build_contract, build_model, build_recording, build_signal
from tests.xdf import write_xdf


@pytest.fixture
def raw():
    """An MNE recording with three kinds of channels, in SI units, and annotations."""
    info = mne.create_info(["Cz", "MEG1", "MEG2", "STI"], 200.0, ["eeg", "mag", "grad", "stim"])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4, 1000)) * np.array([[1e-5], [1e-12], [1e-11], [0.0]])
    data[3, [100, 101, 400]] = [5, 5, 7]
    return mne.io.RawArray(data, info, first_samp=30, verbose="ERROR")


def annotate(raw):
    raw.set_annotations(mne.Annotations([0.25, 1.0], [0.1, 0.1], ["left", "right"]))
    return raw


def test_npz_gives_back_what_was_saved(tmp_path):
    recording = build_recording()
    recording.save(tmp_path / "r.npz")
    again = read_recording(tmp_path / "r.npz")
    assert again.signal == recording.signal
    assert again.events == recording.events
    assert again.samples.tobytes() == recording.samples.tobytes()
    assert again.timestamps.tobytes() == recording.timestamps.tobytes()
    assert again.fingerprint() == recording.fingerprint()


def test_npz_needs_only_samples_rate_and_names(tmp_path):
    np.savez(tmp_path / "r.npz", samples=np.ones((5, 2)), sfreq=100, ch_names=["a", "b"])
    recording = read_recording(tmp_path / "r.npz")
    assert recording.signal.units == ("uV", "uV")
    assert recording.timestamps == pytest.approx(np.arange(5) / 100)


@pytest.mark.parametrize("name", ["r_raw.fif", "r_raw.fif.gz"])
def test_fif_is_read_in_declared_units(tmp_path, raw, name):
    annotate(raw).save(tmp_path / name, fmt="double", verbose="ERROR")
    recording = read_recording(tmp_path / name)
    assert recording.signal.units == ("uV", "fT", "fT/cm", "none")
    factors = np.array([1e6, 1e15, 1e13, 1.0])
    assert recording.samples.tobytes() == (raw.get_data().T * factors).astype(np.float32).tobytes()
    assert recording.events == (Event(0.25, "left"), Event(0.5, "5"), Event(1.0, "right"), Event(2.0, "7"))


def test_split_fif_is_read_whole(tmp_path, raw):
    long = mne.concatenate_raws([raw.copy() for _ in range(300)], verbose="ERROR")
    long.save(tmp_path / "r_raw.fif", split_size="2MB", verbose="ERROR")
    assert (tmp_path / "r_raw-1.fif").exists()
    assert len(read_recording(tmp_path / "r_raw.fif").samples) == 300_000


@pytest.mark.parametrize("name", ["r.vhdr", "r.edf"])
def test_brainvision_and_edf_are_read(tmp_path, raw, name):
    eeg = annotate(raw.copy().pick(["Cz"]))
    mne.export.export_raw(tmp_path / name, eeg, verbose="ERROR")
    recording = read_recording(tmp_path / name)
    assert recording.signal.ch_names == ("Cz",) and recording.signal.units == ("uV",)
    assert np.allclose(recording.samples[:, 0], eeg.get_data()[0] * 1e6, atol=0.1)
    assert [e.label.removeprefix("Comment/") for e in recording.events][-2:] == ["left", "right"]


def test_annotations_of_bad_stretches_are_no_events(tmp_path, raw):
    raw.set_annotations(mne.Annotations([0.25, 1.0], [0.1, 0.1], ["BAD_blink", "bad muscle"]))
    raw.save(tmp_path / "r_raw.fif", verbose="ERROR")
    assert read_recording(tmp_path / "r_raw.fif").events == (Event(0.5, "5"), Event(2.0, "7"))


def saved(raw, tmp_path, *annotations):
    """What is read of an MNE recording; annotations (onset, duration, description) replace its own."""
    if annotations:
        raw.set_annotations(mne.Annotations(*zip(*annotations, strict=True)))
    raw.save(tmp_path / "r_raw.fif", fmt="double", overwrite=True, verbose="ERROR")
    return read_recording(tmp_path / "r_raw.fif")


def test_concatenated_runs_are_two_unbroken_stretches(tmp_path, raw):
    recording = saved(mne.concatenate_raws([raw, raw.copy()], verbose="ERROR"), tmp_path)
    assert stretches(recording) == [(0, 1000), (1000, 2000)]
    assert [recording.sample_at(e.timestamp) for e in recording.events] == [100, 400, 1100, 1400]


@pytest.mark.parametrize("seam", ["BAD boundary", "EDGE boundary", "edge"])
def test_where_a_seam_is_annotated_the_decoder_starts_anew(tmp_path, raw, seam):
    recording = saved(raw, tmp_path, (1.0, 0.0, seam))
    signal = recording.signal.pick(["Cz"])
    model = read_model(build_model(tmp_path / "m.onnx", build_contract(signal, [], n_times=20, hop=10)))
    predictions = decode_recording(recording, Decoder(model, recording.signal)).predictions
    assert [p.sample for p in predictions if p.reason == "gap"] and stretches(recording) == [(0, 200), (200, 1000)]


def test_what_an_acquisition_skipped_is_no_part_of_the_recording(tmp_path, raw):
    whole = saved(raw.copy(), tmp_path)
    recording = saved(raw, tmp_path, (1.0, 0.5, "BAD_ACQ_SKIP"))
    assert stretches(recording) == [(0, 200), (200, 900)]
    assert np.array_equal(recording.samples, np.delete(whole.samples, np.s_[200:300], axis=0))
    assert [recording.sample_at(e.timestamp) for e in recording.events] == [100, 300]


def stretches(recording):
    return unbroken(Guard(recording.signal.sfreq).check(recording.samples, recording.timestamps))


@pytest.mark.parametrize("described", ["BAD_blink", "bad", "Bad muscle"])
def test_a_trial_that_is_marked_bad_is_decoded_but_not_scored(tmp_path, described):
    recording = build_recording()
    model = read_model(build_model(tmp_path / "m.onnx", build_contract(steps=[])))
    info = mne.create_info(list(recording.signal.ch_names), 128.0, "eeg")
    labels = [(e.timestamp - 1000.0, 0.0, e.label) for e in recording.events]
    plain, marked = (
        saved(mne.io.RawArray(recording.samples.T * 1e-6, info, verbose="ERROR"), tmp_path, *annotations)
        for annotations in (labels, [*labels, (527 / 128, 0.0, described)])
    )
    # Event 400, whose trial ends before sample 528.
    expected = decode_recording(plain, Decoder(model, plain.signal))
    with pytest.warns(RecordingWarning, match=r"r_raw\.fif: 1 of 6 trials hold samples that are marked bad"):
        found = decode_recording(marked, Decoder(model, plain.signal))
    assert_same(found.predictions, expected.predictions)
    assert [t.timestamp for t in found.trials] == [t.timestamp for t in expected.trials if t.timestamp != 400 / 128]


def test_marks_are_kept_in_an_npz(tmp_path, raw):
    raw.info["bads"] = ["MEG1"]
    recording = saved(raw, tmp_path, (1.0, 0.5, "BAD_blink"))
    recording.save(tmp_path / "r.npz")
    again = read_recording(tmp_path / "r.npz")
    assert again.bad_channels == ("MEG1",) and again.bad_spans == recording.bad_spans == ((1.0, 1.495),)
    assert again.fingerprint() == recording.fingerprint() != replace(recording, bad_spans=()).fingerprint()


def test_bad_spans_that_are_no_pairs_of_stamps_are_refused(tmp_path):
    build_recording().save(tmp_path / "r.npz", bad_spans=np.array([1000.0, 1001.0]))
    with pytest.raises(RecordingError, match=r"bad_spans of shape \(2,\); \(n, 2\) is needed"):
        read_recording(tmp_path / "r.npz")


def test_channels_that_are_marked_bad_in_mne_epochs_are_known(tmp_path, raw):
    raw.info["bads"] = ["MEG1"]
    mne_epochs(raw, -0.1, 0.4).save(tmp_path / "r-epo.fif", verbose="ERROR")
    assert read_recording(tmp_path / "r-epo.fif").bad_channels == ("MEG1",)


def test_a_marker_before_the_recording_begins_is_no_trial():
    recording = build_recording()
    early = replace(recording, events=(Event(recording.timestamps[0] - 3.0, "left"), *recording.events))
    trials = Trials(tmin_s=0.0, tmax_s=0.5, classes={"left": ("left",), "right": ("right",)})
    assert spans(early, trials, ("left", "right")) == spans(recording, trials, ("left", "right"))


def test_stamps_that_go_back_still_give_the_nearest_sample():
    stamps = np.concatenate([np.arange(50.0, 60.0), np.arange(10.0, 20.0)])
    recording = Recording(build_signal(1, 1.0), np.zeros((20, 1), np.float32), stamps)
    assert [recording.sample_at(t) for t in (52.0, 12.2, 19.0)] == [2, 12, 19]


@pytest.mark.parametrize(
    ("stamp", "sample"), [(-5.0, 0), (0.0, 0), (0.5, 0), (0.51, 1), (1.5, 1), (1.6, 2), (9.0, 9), (50.0, 9)]
)
def test_an_event_belongs_to_the_nearest_sample_and_a_tie_to_the_earlier(stamp, sample):
    signal = build_signal(1, 1.0)
    recording = Recording(signal, np.zeros((10, 1), np.float32), np.arange(10.0))
    assert recording.sample_at(stamp) == sample


def test_crop_keeps_stamps_and_its_own_events():
    recording = build_recording()
    part = recording.crop(350, 700)
    assert part.timestamps[0] == recording.timestamps[350]
    assert [e.timestamp for e in part.events] == [recording.timestamps[at] for at in (400, 600)]


def test_the_fingerprint_knows_every_value():
    recording = build_recording()
    before = recording.fingerprint()
    recording.samples[700, 2] += 1
    assert recording.fingerprint() != before


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.fif", None, "does not exist"),
        ("r.npz", b"PK nonsense", "not an .npz file"),
        ("r_raw.fif", b"nonsense" * 100, "not a FIF file"),
        ("r.xdf", b"nonsense" * 100, "not an XDF file"),
        ("r.txt", b"text", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingError, match=told) as caught:
        read_recording(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_npz_without_names_says_what_is_missing(tmp_path):
    np.savez(tmp_path / "r.npz", samples=np.ones((5, 2)))
    with pytest.raises(RecordingError, match="lacks the arrays sfreq, ch_names"):
        read_recording(tmp_path / "r.npz")


@pytest.fixture
def epochs():
    """Arrays of an .npz of 30 epochs: (epochs, channels, times), labels, rate."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4, 50)).astype(np.float32)
    return {"X": x, "y": np.array(["left", "right"] * 15), "sfreq": 100, "ch_names": ["E0", "E1", "E2", "E3"]}


def test_epochs_stand_one_after_the_other_with_a_gap_between_them(tmp_path, epochs):
    np.savez(tmp_path / "r.npz", **epochs)
    recording = read_recording(tmp_path / "r.npz")
    assert recording.samples.reshape(30, 50, 4).transpose(0, 2, 1).tobytes() == epochs["X"].tobytes()
    assert (recording.timestamps[::50] == 11.0 * np.arange(30)).all()
    segments = Guard(100.0).check(recording.samples, recording.timestamps)
    assert unbroken(segments) == [(i * 50, i * 50 + 50) for i in range(30)]
    assert recording.events == tuple(Event(11.0 * i, label) for i, label in enumerate(epochs["y"]))


def test_every_epoch_is_decoded_as_if_there_were_no_other(tmp_path, epochs):
    signal = build_signal(4, 100.0)
    steps = [Filter.butterworth(100.0, None, 20.0, order=1)]
    contract = build_contract(signal, steps, n_times=20, hop=10)
    contract = contract.model_copy(update={"trials": contract.trials.model_copy(update={"tmax_s": 0.5})})
    model = read_model(build_model(tmp_path / "m.onnx", contract))
    np.savez(tmp_path / "all.npz", **epochs)
    np.savez(tmp_path / "last.npz", **{**epochs, "X": epochs["X"][-2:], "y": epochs["y"][-2:]})
    together, alone = (
        decode_recording(read_recording(tmp_path / name), Decoder(model)) for name in ("all.npz", "last.npz")
    )
    # The first half second, here one epoch, is needed to judge the channels.
    assert len(together.trials) == 29 and len(alone.trials) == 1
    assert np.array_equal(together.predictions[-1].proba, alone.predictions[-1].proba)


def test_epochs_without_channel_names_are_numbered(tmp_path, epochs):
    del epochs["ch_names"]
    np.savez(tmp_path / "r.npz", **epochs)
    assert read_recording(tmp_path / "r.npz").signal.ch_names == ("ch1", "ch2", "ch3", "ch4")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"y": None}, "lacks the arrays y"),
        ({"y": None, "sfreq": None}, "lacks the arrays y, sfreq"),
        ({"y": ["left"]}, r"X of shape \(30, 4, 50\) for labels y of shape \(1,\)"),
        ({"X": np.ones((30, 50))}, r"X of shape \(30, 50\)"),
        ({"X": np.ones((30, 3, 50))}, "4 ch_names for epochs X of shape"),
    ],
)
def test_what_is_wrong_with_epochs_is_told(tmp_path, epochs, change, told):
    arrays = {key: value for key, value in {**epochs, **change}.items() if value is not None}
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(RecordingError, match=told):
        read_recording(tmp_path / "r.npz")


def mne_epochs(raw, tmin, tmax):
    """Two epochs of an MNE recording whose samples 130 and 430 have events."""
    found, names = np.array([[130, 0, 5], [430, 0, 7]]), {"left": 5, "right": 7}
    return mne.Epochs(raw, found, names, tmin, tmax, baseline=None, proj=False, preload=True, verbose="ERROR")


def test_mne_epochs_are_read_with_their_event_where_it_was(tmp_path, raw):
    mne_epochs(raw, -0.1, 0.4).save(tmp_path / "r-epo.fif", fmt="double", verbose="ERROR")
    recording = read_recording(tmp_path / "r-epo.fif")
    assert recording.signal.units == ("uV", "fT", "fT/cm", "none")
    assert recording.events == (Event(0.1, "left"), Event(11.1, "right"))
    assert recording.samples[:101, 0] == pytest.approx(raw.get_data()[0, 80:181] * 1e6)


def test_mne_epochs_that_begin_after_their_event_are_refused(tmp_path, raw):
    mne_epochs(raw, 0.1, 0.4).save(tmp_path / "r-epo.fif", verbose="ERROR")
    with pytest.raises(RecordingError, match=r"from 0\.1 to 0\.4 s about their event"):
        read_recording(tmp_path / "r-epo.fif")


def test_channel_names_that_stand_twice_are_refused(tmp_path):
    np.savez(tmp_path / "r.npz", samples=np.ones((5, 2)), sfreq=100, ch_names=["a", "a"])
    with pytest.raises(RecordingError, match="stand twice: a"):
        read_recording(tmp_path / "r.npz")


def test_xdf_keeps_raw_stamps_and_brings_markers_into_their_clock(shared):
    recording = read_recording(shared / "data/xdf_examples/clock_resets.xdf")
    assert recording.signal.n_channels == 8 and recording.samples.shape == (27815, 8)
    assert len(recording.events) == 175
    # The clock was reset in the middle: raw stamps show it.
    assert np.abs(np.diff(recording.timestamps)).max() > 1


EEG = {
    "name": "eeg", "kind": "EEG", "n_channels": 2, "sfreq": 100, "format": "float32",
    "stamps": 50 + np.arange(1000) / 100, "values": np.arange(2000.0).reshape(1000, 2),
    "desc": "<channels><channel><label>a</label><unit>microvolts</unit><type>EEG</type></channel>"
    "<channel><label>b</label><unit>microvolts</unit><type>EEG</type></channel></channels>",
}  # fmt: skip


def markers(values, stamps, **more):
    kind = "string" if isinstance(values[0], str) else "int32"
    return {"name": "markers", "kind": "Markers", "n_channels": 1, "sfreq": 0, "format": kind,
            "stamps": stamps, "values": values, **more}  # fmt: skip


def test_xdf_holds_the_signal_and_its_markers(tmp_path):
    recording = read_recording(write_xdf(tmp_path / "r.xdf", EEG, markers(["left", "right"], [51.0, 52.5])))
    assert recording.signal.ch_names == ("a", "b") and recording.signal.units == ("uV", "uV")
    assert recording.samples.tobytes() == EEG["values"].astype(np.float32).tobytes()
    assert recording.timestamps.tobytes() == EEG["stamps"].tobytes()
    assert recording.events == (Event(51.0, "left"), Event(52.5, "right"))


def test_markers_that_are_numbers_are_events_too(tmp_path):
    recording = read_recording(write_xdf(tmp_path / "r.xdf", EEG, markers([7, 9], [51.0, 52.5])))
    assert recording.events == (Event(51.0, "7"), Event(52.5, "9"))


def test_what_a_decoder_published_is_no_truth(tmp_path):
    ours = markers(["left"] * 3, [51.0, 52.0, 53.0], desc="<rtdecode><role>output</role></rtdecode>")
    recording = read_recording(write_xdf(tmp_path / "r.xdf", EEG, ours, markers(["right"], [54.0])))
    assert recording.events == (Event(54.0, "right"),)


def test_markers_follow_both_clocks_as_they_drift(tmp_path):
    """The signal's clock runs 1 % fast, the markers' is off by an hour: a marker at recorder time t lands right."""
    recorder = np.array([50.0, 55.0, 60.0])
    signal_clock = 50 + (recorder - 50) * 1.01
    eeg = {**EEG, "offsets": list(zip(signal_clock, recorder - signal_clock, strict=True))}
    late = markers(["x"], [3600 + 57.0], offsets=[(3600 + t, -3600.0) for t in recorder])
    (event,) = read_recording(write_xdf(tmp_path / "r.xdf", eeg, late)).events
    assert event.timestamp == pytest.approx(50 + 7 * 1.01, abs=1e-3)


def test_xdf_without_a_signal_lists_what_is_there(shared):
    with pytest.raises(RecordingError, match="streams in the file: 'Empty data stream"):
        read_recording(shared / "data/xdf_examples/empty_streams.xdf")


def test_real_meg_has_gradiometers_and_magnetometers_in_their_units(shared):
    recording = read_recording(shared / "data/meg_mne_sample/sample_audvis_24s_raw.fif.gz")
    signal = recording.signal
    assert signal.sfreq == pytest.approx(600.614990, abs=1e-6)
    assert dict(zip(signal.ch_types, signal.units, strict=True)) == {
        "grad": "fT/cm", "mag": "fT", "eeg": "uV", "eog": "uV", "stim": "none",
    }  # fmt: skip
    assert [e.label for e in recording.events[:3]] == ["2", "3", "1"]
    assert recording.sample_at(recording.events[0].timestamp) == 27977 - 25800


@pytest.fixture
def cap(tmp_path):
    """A recording of electrodes on the head, one of which has no place."""
    names = ["Cz", "C3", "C4", "Fz", "Oz"]
    raw = mne.io.RawArray(np.zeros((6, 100)), mne.create_info([*names, "EXT"], 100.0, "eeg"), verbose="ERROR")
    raw.set_montage(mne.channels.make_standard_montage("easycap-M1"), on_missing="ignore", verbose="ERROR")
    raw.save(tmp_path / "cap_raw.fif", verbose="ERROR")
    return read_recording(tmp_path / "cap_raw.fif")


def test_a_montage_tells_where_the_sensors_are_seen_from_above(cap):
    at = cap.positions
    assert set(at) == {"Cz", "C3", "C4", "Fz", "Oz"}
    assert all(0 <= coordinate <= 1 for place in at.values() for coordinate in place)
    assert at["C3"][0] < at["Cz"][0] < at["C4"][0] and at["Oz"][1] == 0 < at["Cz"][1] < at["Fz"][1]
    assert at["Cz"][0] - at["C3"][0] == pytest.approx(at["C4"][0] - at["Cz"][0], abs=0.02)


def test_positions_are_kept_in_npz(cap, tmp_path):
    cap.save(tmp_path / "r.npz")
    assert read_recording(tmp_path / "r.npz").positions == cap.positions


def test_positions_that_fit_no_channel_are_refused(tmp_path):
    np.savez(tmp_path / "r.npz", samples=np.ones((5, 2)), sfreq=100, ch_names=["a", "b"], positions=np.ones((3, 2)))
    with pytest.raises(RecordingError, match=r"positions of shape \(3, 2\)"):
        read_recording(tmp_path / "r.npz")


def test_without_a_montage_there_are_no_positions(tmp_path, raw):
    raw.save(tmp_path / "r_raw.fif", verbose="ERROR")
    assert read_recording(tmp_path / "r_raw.fif").positions == {}


def test_an_xdf_stream_may_tell_where_its_channels_are(tmp_path):
    def channel(name, place):
        axes = "".join(f"<{axis}>{value}</{axis}>" for axis, value in zip("XYZ", place, strict=True))
        return f"<channel><label>{name}</label><location>{axes}</location></channel>"

    channels = channel("left", (-80, 0, 30)) + channel("top", (0, 0, 100))
    eeg = {**EEG, "desc": f"<channels>{channels}</channels>"}
    at = read_recording(write_xdf(tmp_path / "r.xdf", eeg)).positions
    assert at["left"] == pytest.approx((0, 0.5)) and at["top"] == pytest.approx((1, 0.5))


def test_meg_sensors_have_positions_and_those_of_one_chip_the_same(shared):
    recording = read_recording(shared / "data/meg_mne_sample/sample_audvis_24s_raw.fif.gz")
    sensors = {n for n, t in zip(recording.signal.ch_names, recording.signal.ch_types, strict=True) if t != "stim"}
    assert len(recording.positions) == 366 and sensors >= set(recording.positions)
    some, other = recording.positions["MEG 0111"], recording.positions["MEG 0113"]
    assert some == pytest.approx(other, abs=1e-6) and some[0] < 0.2
