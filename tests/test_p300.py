"""A P300 session decoded at its events: trained on one session, replayed and played on the other."""

import uuid
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import read_configuration
from offline.dataset import load_dataset
from offline.evaluation import run_fold
from offline.export import export
from offline.partition import make_folds
from offline.sources import find_sources
from offline.workflow import train
from rtdecode.decoder import Decoder
from rtdecode.recording import read_recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import auc
from tests.conftest import SHARED
from tests.test_live import Session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data are not beside the project"),
]
DATA = SHARED / "data"
CONFIGURATION = read_configuration("muse-p300")
LAG_S = CONFIGURATION.events.max_event_lag_s


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("p300") / "run"
    train(CONFIGURATION, DATA, folder, [], [], 1, Console(file=StringIO()))
    return export(read_checkpoint(folder / "01" / "held-out.pt"), folder / "p300.onnx")


@pytest.fixture(scope="module")
def recordings():
    return [read_recording(path) for path in sorted(DATA.glob("muse_erp/sub-01_ses-02_task-p300_run-*_raw.fif"))]


def by_event(predictions):
    return {p.event: p._bits() for p in predictions}


def test_the_replayed_auc_is_that_of_training_to_the_last_digit(model, recordings):
    dataset = load_dataset(CONFIGURATION, find_sources(CONFIGURATION, DATA)["01"])
    (fold,) = make_folds(dataset)
    result = run_fold(dataset, fold)
    replays = [decode_recording(r, Decoder(model, r.signal)) for r in recordings]
    # The events of one run after the other; live, those before the filters have settled are abstained from.
    decoded = np.array(
        [p.reason is None for replay in replays for p in sorted(replay.predictions, key=lambda p: p.event)]
    )
    assert len(decoded) == len(result.truth) == 966 and decoded.sum() == 956
    trials = [trial for replay in replays for trial in replay.trials]
    replayed = auc([t.truth for t in trials], [t.evidence[1] - t.evidence[0] for t in trials])
    trained = auc(result.truth[decoded], (result.network[:, 1] - result.network[:, 0])[decoded])
    assert replayed == trained and replayed.low > 0.6


def arriving(recording, decoder, delays_s):
    """Push in chunks of 8; each event comes so much after its stamp, or once more for a second delay."""
    coming = [(e.timestamp + delay, e) for e, each in zip(recording.events, delays_s, strict=True) for delay in each]
    predictions = []
    for start in range(0, len(recording.samples), 8):
        cut = slice(start, start + 8)
        now = recording.timestamps[cut][-1]
        predictions += decoder.push(
            recording.samples[cut], recording.timestamps[cut], [e for t, e in coming if t <= now]
        )
        coming = [(t, e) for t, e in coming if t > now]
    return predictions + decoder.push(recording.samples[:0], [], [e for _, e in coming]) + decoder.finish()


@pytest.mark.parametrize(
    "delays_s", [(0.2,), (-5.0,), (0.0, 0.3), (0.8 + LAG_S - 0.1,)], ids=["late", "early", "twice", "at last"]
)
def test_markers_that_are_late_early_or_come_twice_give_the_same(model, recordings, delays_s):
    recording = recordings[0]
    expected = by_event(decode_recording(recording, Decoder(model, recording.signal)).predictions)
    given = arriving(recording, Decoder(model, recording.signal), [delays_s] * len(recording.events))
    assert by_event(given) == expected and len(given) == len(recording.events) == 194


def test_markers_that_are_missing_or_too_late_change_no_other_one(model, recordings):
    recording = recordings[0]
    expected = by_event(decode_recording(recording, Decoder(model, recording.signal)).predictions)
    delays = [((0.0,), (), (0.8 + LAG_S + 0.2,))[i % 3] for i in range(194)]
    given = arriving(recording, Decoder(model, recording.signal), delays)
    late = {p.event for p in given if p.reason == "late"}
    # The first ones warm up, whenever they come; the last have nothing after them to be late for.
    assert late <= set(recording.events[2::3]) and len(late) >= 60
    assert by_event([p for p in given if p.event not in late]).items() <= expected.items()
    assert not {p.event for p in given} & set(recording.events[1::3])


def test_live_is_replay_over_a_gap(model, recordings, tmp_path):
    recording = recordings[0].crop(0, 256 * 24)
    stamps = recording.timestamps + 0.5 * (np.arange(len(recording.samples)) >= 256 * 10)
    events = tuple(e._replace(timestamp=float(stamps[recording.sample_at(e.timestamp)])) for e in recording.events)
    replace(recording, timestamps=stamps, events=events).save(tmp_path / "r.npz")
    recording = read_recording(tmp_path / "r.npz")
    source = f"muse-{uuid.uuid4().hex[:8]}"
    run = ("--events", f"{source}-events", "--save", tmp_path / "saved.npz")
    Session(tmp_path / "r.npz", model.path, (source, f"decoder-{source}"), run=run)
    replayed = decode_recording(recording, Decoder(model, recording.signal)).predictions
    with np.load(tmp_path / "saved.npz") as arrays:
        of_events = arrays["prediction_events"] != ""
        reasons = [str(reason) for reason in arrays["prediction_reasons"][of_events]]
        samples, proba = (arrays[f"prediction_{key}"][of_events] for key in ("samples", "proba"))
    # What waits when the recording is over waits for a stream that is lost.
    assert reasons == [{None: "", "end": "stream-lost"}.get(p.reason, p.reason) for p in replayed]
    assert {"", "gap", "warming-up"} <= set(reasons) and samples.tolist() == [p.sample for p in replayed]
    expected = [np.full(2, np.nan, np.float32) if p.proba is None else p.proba for p in replayed]
    assert proba.tobytes() == np.array(expected).tobytes()
