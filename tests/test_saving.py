"""Keeping what the decoder saw."""

import itertools
import json
import shutil

import numpy as np
import pytest

from rtdecode.contract import Event
from rtdecode.errors import RecordingError
from rtdecode.interrupts import Interrupts
from rtdecode.prediction import Prediction
from rtdecode.recording import read_recording
from rtdecode.session import SessionWriter
from tests.builders import build_contract, build_recording

PREDICTIONS = [
    Prediction(1.0, 7, None, -1, "warming-up"),
    Prediction(2.0, 15, np.array([0.25, 0.75], np.float32), 1, None),
]


@pytest.fixture
def interrupts():
    return Interrupts(itertools.count().__next__)


@pytest.fixture
def writer(tmp_path, recording, interrupts):
    return SessionWriter(tmp_path / "s.npz", recording.signal, build_contract(), interrupts=interrupts)


def interrupt_while_written(writer, monkeypatch, meanwhile):
    finish = writer._finish

    def interrupted(about):
        meanwhile()
        return finish(about)

    monkeypatch.setattr(writer, "_finish", interrupted)


def test_the_file_holds_samples_stamps_predictions_and_what_is_to_be_known(writer):
    recording = build_recording(100)
    for at in range(0, 100, 30):
        cut = slice(at, at + 30)
        writer.add(recording.samples[cut], recording.timestamps[cut], PREDICTIONS if at == 60 else [])
    assert writer.close({"model": "lfcnn"}) == 100
    kept = read_recording(writer.path)
    assert kept.samples.tobytes() == recording.samples.tobytes()
    assert kept.timestamps.tobytes() == recording.timestamps.tobytes()
    with np.load(writer.path) as arrays:
        assert json.loads(str(arrays["about"])) == {"model": "lfcnn"}
        assert arrays["prediction_reasons"].tolist() == ["warming-up", ""]
        assert arrays["prediction_samples"].tolist() == [7, 15]
        assert np.array_equal(arrays["prediction_proba"], [[np.nan, np.nan], [0.25, 0.75]], equal_nan=True)
    assert [p.name for p in writer.path.parent.iterdir()] == ["s.npz"]


@pytest.mark.parametrize("label", ["left\r\n", '{"a": 1,\n"b": 2}', "gr\udcfcn", "\x85"])
def test_a_label_may_hold_anything(writer, label):
    recording = build_recording(100)
    writer.add(recording.samples, recording.timestamps, [], [Event(recording.timestamps[3], label)])
    writer.add(recording.samples[:1], recording.timestamps[-1:] + 1, [], [Event(recording.timestamps[9], "next")])
    assert writer.close({}) == 101 and writer.problem is None
    assert [event.label for event in read_recording(writer.path).events] == [label, "next"]


@pytest.mark.parametrize("speed", [0.5, 2.0])
@pytest.mark.parametrize("begin", [0, 3])
def test_what_was_played_at_another_speed_is_read_as_at_its_own(tmp_path, speed, begin):
    recording = build_recording(100)
    at_speed = recording.timestamps[begin] + (recording.timestamps - recording.timestamps[begin]) / speed
    events = [Event(at_speed[40], "left"), Event(at_speed[90], "right")]
    stamps = at_speed.copy()
    stamps[:begin] = np.nan
    writer = SessionWriter(tmp_path / "s.npz", recording.signal, speed=speed)
    writer.add(recording.samples, stamps, [], events)
    writer.close({})
    kept = read_recording(tmp_path / "s.npz")
    assert np.allclose(kept.timestamps[begin:], recording.timestamps[begin:])
    assert [int(np.nanargmin(np.abs(kept.timestamps - e.timestamp))) for e in kept.events] == [40, 90]


def test_without_a_sample_there_is_no_file(writer):
    assert writer.close({}) == 0 and not list(writer.path.parent.iterdir())


def test_one_interruption_while_the_file_is_written_is_survived(writer, monkeypatch, interrupts):
    interrupts.ask()
    recording = build_recording(100)
    writer.add(recording.samples, recording.timestamps, PREDICTIONS)
    interrupt_while_written(writer, monkeypatch, interrupts.ask)
    assert writer.close({}) == 100 and writer.problem is None
    assert len(read_recording(writer.path).samples) == 100


def test_two_interruptions_are_told_with_where_the_data_are(writer, monkeypatch, eventually, interrupts):
    def twice():
        interrupts.ask()
        interrupts.ask()
        eventually(lambda: writer.problem, what="what they do")

    interrupt_while_written(writer, monkeypatch, twice)
    assert writer.close({}) == 0
    assert "s.npz.partial" in writer.problem and "interrupted" in writer.problem
    eventually(lambda: not list(writer.path.parent.iterdir()), what="the writer's end")


class TestUnfinished:
    """The folder that is left when the program dies."""

    @pytest.fixture
    def folder(self, writer, eventually):
        recording = build_recording(100)
        events = [Event(recording.timestamps[3], "left\n"), Event(recording.timestamps[60], "right")]
        writer.add(recording.samples, recording.timestamps, PREDICTIONS, events)
        folder = writer.path.with_name("s.npz.partial")
        eventually(lambda: (folder / "timestamps.f64").stat().st_size == 800, what="the last file to be written")
        eventually(lambda: (folder / "event_labels.txt").read_text("ascii").count("\n") == 2, what="the labels")
        yield folder
        writer.close({})

    def test_it_is_read_as_a_recording(self, folder):
        whole, kept = build_recording(100), read_recording(folder)
        assert kept.samples.tobytes() == whole.samples.tobytes()
        assert kept.timestamps.tobytes() == whole.timestamps.tobytes()
        assert [e.label for e in kept.events] == ["left\n", "right"] and kept.signal == whole.signal

    def test_what_was_written_in_part_is_left_out(self, folder, tmp_path):
        cut = tmp_path / "t.npz.partial"
        shutil.copytree(folder, cut)
        lengths = {"samples.f32": 16 * 90 + 5, "timestamps.f64": 8 * 95 + 3, "event_labels.txt": 12}
        for name, n_bytes in lengths.items():
            (cut / name).write_bytes((cut / name).read_bytes()[:n_bytes])
        whole, kept = build_recording(100), read_recording(cut)
        assert kept.samples.tobytes() == whole.samples[:90].tobytes()
        assert kept.timestamps.tobytes() == whole.timestamps[:90].tobytes()
        assert [e.label for e in kept.events] == ["left\n"]

    def test_an_empty_one_and_another_folder_are_refused(self, folder, tmp_path):
        (other := tmp_path / "other.partial").mkdir()
        with pytest.raises(RecordingError, match=r"is a folder without signal\.json"):
            read_recording(other)
        shutil.copytree(folder, tmp_path / "t.npz.partial")
        (tmp_path / "t.npz.partial" / "samples.f32").write_bytes(b"")
        with pytest.raises(RecordingError, match="holds no sample"):
            read_recording(tmp_path / "t.npz.partial")

    @pytest.mark.parametrize("told", ["", "[]", "{}", '{"speed": "fast"}'])
    def test_a_damaged_one_is_told(self, folder, tmp_path, told):
        shutil.copytree(folder, cut := tmp_path / "t.npz.partial")
        (cut / "signal.json").write_text(told, encoding="utf-8")
        with pytest.raises(RecordingError, match=r"is damaged: its signal\.json or event_labels\.txt cannot be read"):
            read_recording(cut)
