"""Keeping what the decoder saw."""

import json

import numpy as np
import pytest

from rtdecode.decoder import Prediction
from rtdecode.recording import read_recording
from rtdecode.session import SessionWriter
from tests.builders import build_contract, build_recording

PREDICTIONS = [
    Prediction(1.0, 7, None, -1, "warming-up"),
    Prediction(2.0, 15, np.array([0.25, 0.75], np.float32), 1, None),
]


@pytest.fixture
def writer(tmp_path, recording):
    return SessionWriter(tmp_path / "s.npz", recording.signal, build_contract())


def interrupt(writer, monkeypatch, times):
    """Let so many Ctrl-C come while the file is written."""
    join, left = writer._thread.join, [KeyboardInterrupt] * times

    def interrupted():
        if left:
            raise left.pop()
        join()

    monkeypatch.setattr(writer._thread, "join", interrupted)
    return join


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


def test_without_a_sample_there_is_no_file(writer):
    assert writer.close({}) == 0 and not list(writer.path.parent.iterdir())


def test_one_interruption_while_the_file_is_written_is_survived(writer, monkeypatch):
    recording = build_recording(100)
    writer.add(recording.samples, recording.timestamps, PREDICTIONS)
    interrupt(writer, monkeypatch, 1)
    assert writer.close({}) == 100 and writer.problem is None
    assert len(read_recording(writer.path).samples) == 100


def test_two_interruptions_are_told_with_where_the_data_are(writer, monkeypatch):
    join = interrupt(writer, monkeypatch, 2)
    assert writer.close({}) == 0
    assert "s.npz.partial" in writer.problem and "interrupted" in writer.problem
    join()
