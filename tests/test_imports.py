"""What can be trained on: arrays, what Python holds, folders, data sets of MNE; aligned, or refused at once."""

import subprocess
import sys
from dataclasses import replace
from io import StringIO

import mne
import numpy as np
import pytest
from rich.console import Console
from scipy.io import savemat

from offline.configuration import TrainingConfiguration
from offline.dataset import load_dataset
from offline.given import keep
from offline.partition import make_folds
from offline.sources import data_folder, find_sources
from offline.workflow import train
from rtdecode.contract import Trials
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.recording import Recording, read_recording, recording_of
from tests.builders import build_signal, build_telling_recording
from tests.processes import run_rtdecode


def document(**changes):
    recordings = {"pattern": "run-{run}.npz", **changes.pop("recordings", {})}
    return {
        "name": "imported",
        "recordings": recordings,
        "channels": {"types": ["eeg"]},
        "trials": {"classes": {"left": ["left"], "right": ["right"]}, "tmin_s": 0.0, "tmax_s": 0.9},
        "window": {"length_s": 0.5, "stride_s": 0.2, "hop_s": 0.1},
        "preprocessing": [{"step": "standardize"}],
        "model": {"network": "lda", "settings": {"pooling": 16}},
        "split": {"kind": "leave-one-run-out"},
        **changes,
    }


def configuration(**changes):
    return TrainingConfiguration.model_validate(document(**changes))


def trained(folder, **changes):
    """Train on a folder: (the run, what was printed)."""
    out = StringIO()
    console = Console(file=out, width=300)
    return train(configuration(**changes), folder, folder / "out", [], [], 1, console), out.getvalue()


def dataset_of(folder, **changes):
    settings = configuration(**changes)
    return load_dataset(settings, find_sources(settings, folder)["all"])


@pytest.fixture
def recordings():
    """Two runs whose first two channels tell the class."""
    return [build_telling_recording(3000, seed) for seed in (1, 2)]


@pytest.fixture
def data(tmp_path, recordings):
    for number, recording in enumerate(recordings, 1):
        recording.save(tmp_path / f"run-{number}.npz")
    return tmp_path


@pytest.fixture
def epochs():
    """Arrays of 12 epochs as MATLAB has them: numbers are doubles, vectors matrices, texts cells."""
    x = np.random.default_rng(0).standard_normal((12, 4, 50))
    labels = np.array([[1.0, 2.0] * 6]).T
    names = np.array([["E0", "E1", "E2", "E3"]], dtype=object)
    return {"X": x, "y": labels, "sfreq": np.array([[100.0]]), "ch_names": names}


class TestArrays:
    """Files of named arrays."""

    def test_a_mat_gives_what_an_npz_of_the_same_gives(self, tmp_path, epochs):
        savemat(tmp_path / "r.mat", epochs)
        plain = {"X": epochs["X"], "y": np.array([1, 2] * 6), "sfreq": 100, "ch_names": ["E0", "E1", "E2", "E3"]}
        np.savez(tmp_path / "r.npz", **plain)
        some, other = (read_recording(tmp_path / name) for name in ("r.mat", "r.npz"))
        assert some.fingerprint() == other.fingerprint()
        assert [event.label for event in some.events] == ["1", "2"] * 6

    def test_a_matrix_of_characters_is_names_too(self, tmp_path, epochs):
        savemat(tmp_path / "r.mat", {**epochs, "ch_names": np.array(["Fp1", "Cz ", "C3 ", "Pz "])})
        assert read_recording(tmp_path / "r.mat").signal.ch_names == ("Fp1", "Cz", "C3", "Pz")

    def test_a_matrix_of_characters_is_labels_without_what_fills_it_up(self, tmp_path, epochs):
        savemat(tmp_path / "r.mat", {**epochs, "y": np.array(["left ", "right"] * 6)})
        assert [event.label for event in read_recording(tmp_path / "r.mat").events] == ["left", "right"] * 6

    @pytest.mark.parametrize("write", [savemat, lambda path, arrays: np.savez(path, **arrays)], ids=["mat", "npz"])
    def test_arrays_may_go_by_other_names(self, tmp_path, epochs, write):
        named = {"data": epochs["X"], "labels": epochs["y"]}
        path = tmp_path / f"run-1.{'mat' if write is savemat else 'npz'}"
        write(path, named)
        arrays = {"X": "data", "y": "labels", "sfreq": 100, "ch_names": ["a", "b", "c", "d"], "ch_types": ["mag"]}
        dataset = dataset_of(
            tmp_path,
            recordings={"pattern": path.name, "arrays": arrays},
            channels={"types": ["mag"]},
            trials={"classes": {"one": ["1"], "two": ["2"]}, "tmin_s": 0.0, "tmax_s": 0.5},
        )
        assert dataset.signal.ch_names == ("a", "b", "c", "d") and set(dataset.signal.units) == {"fT"}
        assert [trial.truth for trial in dataset.trials] == [0, 1] * 6

    @pytest.mark.parametrize(
        ("names", "told"),
        [
            ({}, r"lacks the arrays samples, sfreq, ch_names; .* There is data, labels: say in recordings.arrays"),
            ({"X": "dta"}, r"lacks the arrays X; .* called 'dta'. There is data, labels"),
            ({"X": "data", "y": "labels"}, "lacks the arrays sfreq"),
        ],
    )
    def test_what_is_missing_is_told_with_what_is_there(self, tmp_path, epochs, names, told):
        savemat(tmp_path / "r.mat", {"data": epochs["X"], "labels": epochs["y"]})
        with pytest.raises(RecordingError, match=told):
            read_recording(tmp_path / "r.mat", arrays=names)

    def test_a_rate_other_than_the_file_tells_is_refused(self, tmp_path, epochs):
        savemat(tmp_path / "r.mat", epochs)
        with pytest.raises(RecordingError, match=r"has sfreq 100.*, where recordings\.arrays says 50\. Leave"):
            read_recording(tmp_path / "r.mat", arrays={"sfreq": 50})
        assert read_recording(tmp_path / "r.mat", arrays={"sfreq": 100}).signal.sfreq == 100

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400), "version 7.3 .HDF5., which is not read"),
            (b"nonsense" * 100, r"Reading .*r\.mat failed .*save it again"),
            (b"", r"Reading .*r\.mat failed"),
        ],
        ids=["7.3", "nonsense", "empty"],
    )
    def test_a_mat_that_cannot_be_read_is_told(self, tmp_path, content, told):
        (tmp_path / "r.mat").write_bytes(content)
        with pytest.raises(RecordingError, match=told) as caught:
            read_recording(tmp_path / "r.mat")
        assert "\n" not in str(caught.value)

    def test_a_mat_that_brings_its_reader_down_is_told(self, tmp_path):
        """Of the data a type that is none: scipy 1.17 looks up what to do beyond its table."""
        savemat(tmp_path / "r.mat", {"X": np.zeros((2, 2))})
        content = bytearray((tmp_path / "r.mat").read_bytes())
        content[176] = 255
        (tmp_path / "r.mat").write_bytes(content)
        with pytest.raises(RecordingError, match=r"Reading .*r\.mat (crashed|failed)"):
            read_recording(tmp_path / "r.mat")

    @pytest.mark.parametrize("from_file", [True, False], ids=["without a guard", "on stdin"])
    def test_a_script_that_no_second_process_can_begin_with_is_told(self, tmp_path, epochs, from_file):
        savemat(tmp_path / "r.mat", epochs)
        script = tmp_path / "script.py"
        script.write_text(
            f"from rtdecode.recording import read_recording\nread_recording({str(tmp_path / 'r.mat')!r})"
        )
        command = [sys.executable, *([script] if from_file else ["-"])]
        done = subprocess.run(command, input=script.read_text(), capture_output=True, text=True)
        *_, told = done.stderr.splitlines()
        assert done.returncode == 1 and "below `if __name__ == '__main__':`" in told and "-v7" not in told

    @pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
    def test_a_mat_whose_cells_unpack_to_more_than_fits_is_told(self, tmp_path, monkeypatch):
        cells = np.empty(1, object)
        cells[0] = np.zeros((2, 8))
        savemat(tmp_path / "r.mat", {"X": cells})
        content = (tmp_path / "r.mat").read_bytes()
        declared = np.array([9, 128], "<u4").tobytes()
        assert content.count(declared) == 1
        (tmp_path / "r.mat").write_bytes(content.replace(declared, np.array([9, 2**32 - 8], "<u4").tobytes()))
        monkeypatch.setattr("rtdecode.recording.arrays._MOST_UNPACKED", 1 << 28)
        with pytest.raises(RecordingError, match="needs more memory than the 2 GiB it was given"):
            read_recording(tmp_path / "r.mat")

    def test_numbers_of_epochs_are_channels(self, epochs):
        values = np.arange(24).reshape(12, 2) / 10
        arrays = {**epochs, "ch_names": epochs["ch_names"].ravel(), "targets": values, "target_names": ["x", "y"]}
        recording = recording_of(arrays, "mine")
        assert recording.signal.ch_names[-2:] == ("x", "y") and recording.signal.ch_types[-2:] == ("misc", "misc")
        assert (recording.samples.reshape(12, 50, 6)[:, :, 4:] == values[:, None].astype(np.float32)).all()
        assert len(recording.events) == 12

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"y": np.linspace(0, 1, 12)}, "labels y that are no whole numbers, such as 0.0909.*called `targets`"),
            ({"y": np.array([1, np.inf] * 6)}, "labels y that are no whole numbers, such as inf"),
            ({"X": np.full((12, 4, 50), "a")}, "X of type <U1; real numbers are needed"),
            ({"targets": np.ones((3, 2))}, r"targets of shape \(3, 2\) for 12 epochs"),
            ({"targets": np.full(12, "high")}, "targets of type <U4; real numbers are needed"),
        ],
        ids=["fractions", "infinite", "texts", "shape", "texts for values"],
    )
    def test_what_is_no_label_or_number_is_told(self, epochs, change, told):
        with pytest.raises(RecordingError, match=told):
            recording_of({**epochs, "ch_names": epochs["ch_names"].ravel(), **change}, "mine")


def as_raw(recording):
    """The recording as MNE has it: volts, annotations."""
    info = mne.create_info(list(recording.signal.ch_names), recording.signal.sfreq, "eeg")
    raw = mne.io.RawArray(recording.samples.T * 1e-6, info, verbose="ERROR")
    onsets = [event.timestamp - recording.timestamps[0] for event in recording.events]
    return raw.set_annotations(mne.Annotations(onsets, 0, [event.label for event in recording.events]))


def as_epochs(recording, **more):
    """Its trials as MNE has them."""
    raw = as_raw(recording)
    found, codes = mne.events_from_annotations(raw, verbose="ERROR")
    return mne.Epochs(raw, found, codes, 0, 1, baseline=None, preload=True, verbose="ERROR", **more)


class TestWhatPythonHolds:
    """Objects, trained on as files are."""

    def test_raw_epochs_and_arrays_are_trained_on_alike(self, recordings):
        first, second = recordings
        epochs = as_epochs(second)
        labels = [event.label for event in second.events]
        arrays = {"X": epochs.get_data() * 1e6, "y": labels, "sfreq": 128, "ch_names": epochs.ch_names}
        folder = keep({"run-1": as_raw(first), "run-2": epochs, "run-3": arrays, "run-4": second})
        dataset = dataset_of(folder)
        assert [source.name for source in dataset.sources] == [f"run-{number}" for number in (1, 2, 3, 4)]
        assert [trial.truth for trial in dataset.trials] == 4 * [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
        assert np.allclose(dataset.recording(0).samples, first.samples, atol=1e-4)

    def test_they_are_kept_once_and_known_by_their_content(self, recordings):
        first = keep(recordings)
        assert keep(recordings) == first and sorted(path.name for path in first.glob("*.npz")) == [
            "recording-1.npz", "recording-2.npz",
        ]  # fmt: skip
        louder = replace(recordings[0], samples=2 * recordings[0].samples)
        assert keep([louder, recordings[1]]) != first

    def test_a_run_on_them_decodes(self, recordings, tmp_path):
        data = keep({f"sub-1/run-{number}": as_raw(one) for number, one in enumerate(recordings, 1)})
        settings = configuration(recordings={"pattern": "sub-{subject}/run-{run}.npz"})
        run = train(settings, data, tmp_path / "run", [], [], 1, Console(file=StringIO()))
        (figure,) = run.comparisons["all"].network
        assert figure.n == 26 and figure.low > 0.5

    @pytest.mark.parametrize(
        "change",
        [lambda e: e, lambda e: e.decimate(4, verbose="ERROR"), lambda e: e.resample(32)],
        ids=["as cut", "decimated", "resampled"],
    )
    def test_epochs_that_overlap_are_refused_at_every_rate(self, recordings, change):
        raw = as_raw(recordings[0])
        cut = mne.make_fixed_length_epochs(raw, 1.0, overlap=0.5, preload=True, verbose="ERROR")
        with pytest.raises(RecordingError, match="mine holds epochs that overlap"):
            recording_of(change(cut), "mine")
        follow = mne.make_fixed_length_epochs(raw, 1.0, preload=True, verbose="ERROR")
        assert len(recording_of(change(follow), "mine").events) == 23

    def test_epochs_of_arrays_whose_events_are_only_numbered_are_taken(self):
        info = mne.create_info(4, 100.0, "eeg", verbose="ERROR")
        epochs = mne.EpochsArray(np.ones((6, 4, 50)), info, np.c_[np.arange(6), np.zeros(6, int), [1, 2] * 3])
        assert len(recording_of(epochs, "mine").events) == 6 and len(recording_of(epochs["2"], "mine").events) == 3

    def test_numbers_in_the_metadata_of_epochs_are_target_channels(self, recordings):
        rows = [{"force": n / 2, "hand": "left"} for n in range(len(recordings[0].events))]
        recording = recording_of(as_epochs(recordings[0], metadata=rows), "mine")
        assert recording.signal.ch_names == ("E0", "E1", "E2", "E3", "force")
        assert recording.samples[::129, 4].tolist() == [n / 2 for n in range(13)]

    @pytest.mark.parametrize(
        ("given", "error", "told"),
        [
            ([], ConfigurationError, "no recordings to keep"),
            ({"../a": None}, ConfigurationError, "cannot be called '../a'"),
            ({"a": None, "./a": None}, ConfigurationError, "'a' and './a' would be one file"),
            ({1: None}, ConfigurationError, "cannot be called 1: give a name"),
            (build_telling_recording(300, 1), ConfigurationError, r"not as a Recording: give \[recording\]"),
            ({"X": np.ones((3, 4, 5)), "y": [1, 2, 1]}, ConfigurationError, r"not as a dict: give \[recording\]"),
            ([np.ones((3, 4))], RecordingError, "recording-1 is a ndarray. Give an mne.io.Raw"),
            ([{"X": np.ones((3, 4, 5))}], RecordingError, "recording-1 lacks the arrays y, sfreq"),
            ([{"samples": np.ones((3, 4)), "sfreq": "fast", "ch_names": "abcd"}], RecordingError, "ValueError"),
        ],
    )
    def test_what_is_no_recording_is_told(self, given, error, told):
        with pytest.raises(error, match=told):
            keep(given)


class TestFolders:
    """Files by pattern."""

    def test_a_nested_folder_as_bids_has_it_is_found_by_its_pattern(self, tmp_path, recordings):
        for subject in ("01", "02"):
            for run in (1, 2):
                folder = tmp_path / f"sub-{subject}" / f"ses-{run}" / "eeg"
                folder.mkdir(parents=True)
                name = f"sub-{subject}_ses-{run}_task-hands_run-{run}_eeg.vhdr"
                mne.export.export_raw(folder / name, as_raw(recordings[run - 1]), verbose="ERROR")
                (folder / name.replace("task-hands", "task-rest")).write_text("not looked at")
        pattern = "sub-{subject}/ses-{session}/eeg/sub-{subject}_ses-{session}_task-h*_run-{run}_eeg.vhdr"
        settings = configuration(
            recordings={"pattern": pattern, "decoder_per": "subject"},
            trials={"classes": {n: [f"Comment/{n}"] for n in ("left", "right")}, "tmin_s": 0.0, "tmax_s": 0.9},
        )
        groups = find_sources(settings, tmp_path)
        assert [source.parts for source in groups["02"]] == [
            {"subject": "02", "session": n, "run": n} for n in ("1", "2")
        ]
        dataset = load_dataset(settings, groups["01"])
        assert len(dataset.trials) == 26 and dataset.signal.ch_names == ("E0", "E1", "E2", "E3")


def with_channels(recording, names):
    """The recording with its channels called otherwise; as many as there are names."""
    signal = build_signal(len(names)).with_channels(names, ["eeg"] * len(names), ["uV"] * len(names))
    return replace(recording, signal=signal, samples=np.ascontiguousarray(recording.samples[:, : len(names)]))


class TestChannels:
    """Recordings with other channels, or in another order."""

    def test_channels_are_found_by_name_in_any_order(self, data, recordings):
        turned = with_channels(recordings[1], ["E3", "E2", "E1", "E0"])
        replace(turned, samples=np.ascontiguousarray(recordings[1].samples[:, ::-1])).save(data / "run-2.npz")
        run, _ = trained(data)
        assert run.comparisons["all"].network[0].low > 0.5

    def test_an_intersection_is_taken_and_what_it_leaves_out_is_told(self, data, recordings):
        with_channels(recordings[1], ["E0", "E1", "Fp1"]).save(data / "run-2.npz")
        run, told = trained(data, channels={"types": ["eeg"], "align": "intersection"})
        assert "left out, as not all recordings have them: E2, E3 (of run-1.npz)" in told
        assert "left out, as not all recordings have them: Fp1 (of run-2.npz)" in told
        assert run.comparisons["all"].network[0].low > 0.5

    def test_a_stated_list_is_taken(self, data, recordings):
        with_channels(recordings[1], ["E0", "E1", "Fp1"]).save(data / "run-2.npz")
        assert dataset_of(data, channels={"names": ["E1", "E0"]}).signal.ch_names == ("E1", "E0")

    @pytest.mark.parametrize(
        ("names", "channels", "told"),
        [
            (["E0", "E1", "Fp1"], {"types": ["eeg"]}, "E2, E3 only in the first, Fp1 only in the second"),
            (["E0", "E1", "E2"], {"names": ["E3"]}, r"run-2\.npz lacks the channels E3"),
            (["A", "B"], {"types": ["eeg"], "align": "intersection"}, "No channel of type eeg is in all of 2"),
        ],
    )
    def test_what_cannot_be_aligned_is_told(self, data, recordings, names, channels, told):
        with_channels(recordings[1], names).save(data / "run-2.npz")
        with pytest.raises(RecordingError, match=told):
            dataset_of(data, channels=channels)


class TestMarks:
    """What MNE's users marked bad."""

    @pytest.fixture
    def raws(self, recordings):
        return [as_raw(recording) for recording in recordings]

    def folder(self, raws, tmp_path):
        for number, raw in enumerate(raws, 1):
            raw.save(tmp_path / f"run-{number}_raw.fif", verbose="ERROR", overwrite=True)
        return tmp_path

    def dataset(self, raws, tmp_path, **changes):
        return dataset_of(self.folder(raws, tmp_path), **{"recordings": {"pattern": "run-{run}_raw.fif"}, **changes})

    def test_bad_channels_are_left_out_by_type_and_told(self, raws, tmp_path):
        for raw in raws:
            raw.info["bads"] = ["E2"]
        dataset = self.dataset(raws, tmp_path)
        assert dataset.signal.ch_names == ("E0", "E1", "E3")
        (told,) = dataset.notes
        assert told == "channels left out, as they are marked bad: E2 (of run-1_raw.fif, run-2_raw.fif)"

    def test_a_channel_that_is_bad_in_one_recording_is_in_no_intersection(self, raws, tmp_path):
        raws[1].info["bads"] = ["E2"]
        dataset = self.dataset(raws, tmp_path, channels={"types": ["eeg"], "align": "intersection"})
        assert dataset.signal.ch_names == ("E0", "E1", "E3")

    def test_a_channel_that_is_bad_in_one_recording_is_told_where_they_are_to_be_alike(self, raws, tmp_path):
        raws[1].info["bads"] = ["E2"]
        with pytest.raises(RecordingError, match=r"E2 only in the first, none .*what is marked bad does not count"):
            self.dataset(raws, tmp_path)

    def test_where_all_are_bad_that_is_told(self, raws, tmp_path):
        raws[0].info["bads"] = raws[0].ch_names
        with pytest.raises(RecordingError, match=r"no channel of type eeg that is not marked bad \(E0, E1, E2, E3\)"):
            self.dataset(raws, tmp_path)

    def test_a_bad_channel_that_is_asked_for_is_taken_and_told(self, raws, tmp_path):
        raws[0].info["bads"] = ["E2", "E3"]
        dataset = self.dataset(raws, tmp_path, channels={"names": ["E0", "E2"]})
        assert dataset.signal.ch_names == ("E0", "E2")
        (told,) = dataset.notes
        assert told.endswith("asked for by name, though they are marked bad: E2 (of run-1_raw.fif)")

    def test_bad_channels_of_epochs_are_left_out(self, recordings):
        epochs = as_epochs(recordings[0])
        epochs.info["bads"] = ["E2"]
        assert dataset_of(keep({"run-1": epochs})).signal.ch_names == ("E0", "E1", "E3")

    def test_trials_that_are_marked_bad_neither_train_nor_are_tested_and_that_is_told_once(self, raws, tmp_path):
        whole = self.dataset([raw.copy() for raw in raws], tmp_path)
        # From the last sample of the third trial to the first of the fourth.
        third, fourth = whole.trials[2:4]
        raws[0].annotations.append((third.stop - 1) / 128, (fourth.start - third.stop + 2) / 128, "bad_movement")
        data, changes = self.folder(raws, tmp_path), {"recordings": {"pattern": "run-{run}_raw.fif"}}
        run, printed = trained(data, **changes)
        sentence = "trials left out, as samples of them are marked bad: 2 of 26 (in run-1_raw.fif)"
        assert printed.count(sentence) == 1 and run.comparisons["all"].network[0].n == 24
        left = [trial.id for trial in dataset_of(data, **changes).trials]
        assert left == [trial.id for trial in whole.trials if trial.id not in (third.id, fourth.id)]

    def test_a_trial_that_ends_just_before_what_is_marked_is_kept(self, raws, tmp_path):
        whole = self.dataset([raw.copy() for raw in raws], tmp_path)
        third, fourth = whole.trials[2:4]
        raws[0].annotations.append(third.stop / 128, (fourth.start + 1 - third.stop) / 128, "BAD_movement")
        assert self.dataset(raws, tmp_path).trials == [trial for trial in whole.trials if trial != fourth]

    def test_a_trial_that_begins_just_after_what_is_marked_is_kept(self, raws, tmp_path):
        whole = self.dataset([raw.copy() for raw in raws], tmp_path)
        third, fourth = whole.trials[2:4]
        raws[0].annotations.append((third.stop - 1) / 128, (fourth.start + 1 - third.stop) / 128, "BAD_movement")
        assert self.dataset(raws, tmp_path).trials == [trial for trial in whole.trials if trial != third]

    def test_segments_that_are_marked_bad_are_left_out(self, raws, tmp_path):
        raws[0].annotations.append(1.5, 0.0, "BAD_movement")
        targets = {"channels": ["E3"], "segment_s": 1.0}
        dataset = self.dataset(raws, tmp_path, trials=None, targets=targets)
        assert [trial.start for trial in dataset.trials][:3] == [0, 256, 384] and len(dataset.marked) == 1

    def test_where_every_segment_is_marked_bad_that_is_told(self, raws, tmp_path):
        for raw in raws:
            raw.annotations.append(0, raw.times[-1], "BAD_movement")
        targets = {"channels": ["E3"], "segment_s": 1.0}
        with pytest.raises(RecordingError, match=r"segment of 1 s .* without samples that are marked bad"):
            self.dataset(raws, tmp_path, trials=None, targets=targets)

    def test_a_class_of_which_every_trial_is_marked_is_refused_with_the_reason(self, raws, tmp_path):
        for raw in raws:
            onsets = [a["onset"] for a in raw.annotations if a["description"] == "left"]
            raw.annotations.append(onsets, 0.1, "BAD_movement")
        with pytest.raises(RecordingError, match=r"No trial of class left is left: samples of all 14 are marked bad"):
            self.dataset(raws, tmp_path)

    def test_what_python_holds_keeps_its_marks(self, raws):
        raws[0].info["bads"] = ["E2"]
        raws[0].annotations.append(1.6, 0.1, "BAD_movement")
        kept = read_recording(keep(raws) / "recording-1.npz")
        assert kept.bad_channels == ("E2",) and len(kept.bad_spans) == 1 and keep([raws[0]]) != keep([raws[1]])

    def test_no_trial_lies_across_the_seam_of_concatenated_runs(self, raws, tmp_path):
        both = mne.concatenate_raws(raws, verbose="ERROR")
        both.annotations.append((3000 - 20) / 128, 0, "left")
        dataset = self.dataset([both], tmp_path, split={"kind": "stratified-blocks", "n_folds": 2})
        assert [stretch[1:] for stretch in dataset.stretches] == [(0, 3000), (3000, 6000)] and len(
            dataset.trials
        ) == 26


class TestDatasetsOfMne:
    """`--data mne:NAME`; only the download itself is replaced."""

    PATTERN = "{subject}/{subject}R{run}.edf"

    def settings(self, **select):
        return configuration(recordings={"pattern": self.PATTERN, "select": select})

    def test_of_eegbci_the_selected_runs_are_fetched(self, tmp_path, monkeypatch):
        fetched = []

        def load_data(subjects, runs, *, update_path):
            fetched.append((subjects, runs))
            return [tmp_path / f"S{subjects:03d}" / f"S{subjects:03d}R{run:02d}.edf" for run in runs]

        monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
        settings = [self.settings(subject=["S001"], run=["04", "08"]), self.settings(subject=["S003"], run=["12"])]
        assert data_folder("mne:eegbci", settings) == tmp_path
        assert fetched == [(1, [4, 8]), (3, [12])]

    def test_of_others_all_is_fetched(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mne.datasets.sample, "data_path", lambda update_path: tmp_path)
        assert data_folder("mne:sample", [self.settings()]) == tmp_path

    def test_without_a_network_that_is_told(self, monkeypatch):
        def load_data(*_, **__):
            raise ConnectionError("Max retries exceeded")

        monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
        with pytest.raises(ConfigurationError, match=r"eegbci cannot be downloaded by MNE .*Is there a network here"):
            data_folder("mne:eegbci", [self.settings()])

    @pytest.mark.parametrize(
        ("name", "told"),
        [("eegbic", "no data set 'eegbic' .*there is .*eegbci"), ("eegbci", "fit no file of eegbci")],
    )
    def test_what_is_not_there_is_told(self, name, told):
        with pytest.raises(ConfigurationError, match=told):
            data_folder(f"mne:{name}", [self.settings(run=["99"])])


def nan_in(recording):
    samples = recording.samples.copy()
    samples[1000, 2] = np.nan
    return replace(recording, samples=samples)


def faster(recording):
    return replace(recording, signal=build_signal(sfreq=250.0), timestamps=np.arange(len(recording.samples)) / 250)


def one_trial_each(recording):
    return replace(recording, events=recording.events[:2])


BAD = {
    "no events of a class": (lambda r: replace(r, events=r.events[::2]), {}, "No trial of class right"),
    "one trial": (one_trial_each, {"split": {"kind": "stratified-blocks", "n_folds": 2}}, "has 1 trials|1 trial"),
    "nan": (nan_in, {}, r"run-1\.npz holds values that are not finite, first at sample 1000 of channel E2"),
    "a class that nobody defined": (lambda r: r, {"trials": Trials(
        tmin_s=0.0, tmax_s=0.9, classes={"up": ("up",), "left": ("left",)}
    ).model_dump()}, "No trial of class up .* event labels there: left, right"),
}  # fmt: skip


class TestBadInput:
    """Told in one sentence, before anything is fitted."""

    def refused(self, data, told, **changes):
        with pytest.raises(RecordingError, match=told) as caught:
            trained(data, **changes)
        assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
        assert not (data / "out").exists()

    @pytest.mark.parametrize("what", BAD)
    def test_recordings_that_cannot_be_trained_on(self, data, recordings, what):
        change, changes, told = BAD[what]
        change(recordings[0]).save(data / "run-1.npz")
        (data / "run-2.npz").unlink()
        self.refused(data, told, **{"split": {"kind": "stratified-blocks", "n_folds": 2}, **changes})

    def test_mixed_rates(self, data, recordings):
        faster(recordings[1]).save(data / "run-2.npz")
        self.refused(data, r"run-2\.npz runs at 250 Hz, .*run-1\.npz at 128 Hz")

    def test_a_copy_even_with_other_events(self, data, recordings):
        turned = [event._replace(label="left") for event in recordings[0].events]
        replace(recordings[0], events=tuple(turned)).save(data / "run-3.npz")
        self.refused(data, r"run-1\.npz and .*run-3\.npz hold the same samples")

    def test_a_copy_for_another_person(self, data, recordings):
        recordings[0].save(data / "run-3.npz")
        self.refused(
            data,
            "hold the same samples",
            recordings={"decoder_per": "run"},
            split={"kind": "stratified-blocks", "n_folds": 2},
        )

    def test_a_target_that_is_flat(self, data):
        for path in data.glob("run-*.npz"):
            recording = read_recording(path)
            recording.samples[:, 3] = 5
            recording.save(path)
        targets = {"channels": ["E3"], "segment_s": 1.0}
        self.refused(data, "E3 is 5 throughout all recordings", trials=None, targets=targets)

    def test_pieces_of_an_epoch_on_two_sides(self, tmp_path):
        rng = np.random.default_rng(0)
        X, numbers = rng.standard_normal((12, 4, 200)), np.arange(12.0)
        np.savez(tmp_path / "run-1.npz", X=X, targets=numbers, target_names=["size"], sfreq=100)
        changes = {"trials": None, "split": {"kind": "blocks", "n_folds": 3}, "training": {"validation": 0.3}}

        def targets(segment_s):
            return {"channels": ["size"], "segment_s": segment_s}

        self.refused(
            tmp_path,
            r"pieces of one epoch of .*run-1\.npz, whose target is \[\d+\.0\] throughout, stand in .*: 2 s\.",
            targets=targets(0.5),
            **changes,
        )
        folds = make_folds(dataset_of(tmp_path, targets=targets(2.0), **changes))
        assert len(folds) == 3 and sum(len(fold.test) for fold in folds) == 12

    def test_a_target_without_a_logarithm(self, data):
        targets = {"channels": ["E3"], "segment_s": 1.0, "transform": "log"}
        self.refused(data, "E3 falls to -.* which has no logarithm", trials=None, targets=targets)

    def test_an_unreadable_file_among_many_ends_the_command_with_one_sentence(self, data):
        (data / "run-3.npz").write_bytes((data / "run-1.npz").read_bytes()[:5000])
        (data / "c.yaml").write_text(str(document()))
        code, output = run_rtdecode("train", data / "c.yaml", "--data", data, "-o", data / "out")
        assert code == 4 and "Traceback" not in output
        assert "run-3.npz is not an .npz file, or is cut off." in " ".join(output.split())
        assert not (data / "out").exists()

    @pytest.mark.parametrize(
        ("targets", "told"),
        [
            ({"names": ["force"], "values": {"left": ["much"], "right": [1]}}, "unable to parse string as a number"),
            ({"names": ["force"], "values": {"left": [0], "right": [1]}, "transform": "log"}, "values above 0"),
        ],
    )
    def test_a_target_of_the_wrong_type_ends_in_the_configuration(self, targets, told):
        with pytest.raises(ValueError, match=told):
            configuration(targets=targets)


def test_samples_are_not_changed_by_being_kept(recordings):
    (folder, before) = keep(recordings), recordings[0].fingerprint()
    kept = read_recording(folder / "recording-1.npz")
    assert isinstance(kept, Recording) and kept.fingerprint() == before == recordings[0].fingerprint()
