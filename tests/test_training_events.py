"""Trained, evaluated and decoded at events: the same windows, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from offline.checkpoint import make_checkpoint, read_checkpoint
from offline.configuration import TrainingConfiguration, read_configuration
from offline.dataset import Cutter, load_dataset
from offline.evaluation import run_fold
from offline.export import export
from offline.partition import make_folds
from offline.simulation import simulate
from offline.sources import find_sources
from rtdecode.contract import Score
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, RecordingWarning
from rtdecode.latency import hop_times
from rtdecode.proof import prove_chunking
from rtdecode.replay import decode_recording
from tests.processes import run_rtdecode

BASELINE = {"baseline_s": (-0.3, 0.1), "labels": ("row-*",), "max_event_lag_s": 0.5}


def configuration(**changes):
    document = read_configuration("demo").model_dump(mode="json")
    document |= {
        "recordings": {"pattern": "run-{run}.npz"},
        "window": None,
        "events": BASELINE,
        "preprocessing": [{"step": "filter", "l_freq": 7, "h_freq": 28, "order": 2}, {"step": "decimate", "by": 3}],
        "model": {"network": "lda", "settings": {"pooling": 8}},
        "split": {"kind": "held-out-runs", "held_out": {"run": ["2"]}},
        "baseline": "csp-lda",
        **changes,
    }
    return TrainingConfiguration.model_validate(document)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for run in (1, 2):
        simulate(24, run).save(folder / f"run-{run}.npz")
    return folder


@pytest.fixture(scope="module")
def dataset(data):
    return load_dataset(configuration(), find_sources(configuration(), data)["all"])


def test_a_baseline_of_no_sample_is_told(data):
    settings = configuration(events={**BASELINE, "baseline_s": (0.001, 0.002)})
    with pytest.raises(ConfigurationError, match=r"from 0\.001 to 0\.002 s there is no sample at .* Hz"):
        run_fold(dataset := load_dataset(settings, find_sources(settings, data)["all"]), make_folds(dataset)[0])


@pytest.fixture(scope="module")
def result(dataset):
    return run_fold(dataset, make_folds(dataset)[0])


@pytest.fixture(scope="module")
def model(dataset, result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_checkpoint(dataset, result.fitted, {0}, []).save(folder / "m.pt")
    return export(read_checkpoint(folder / "m.pt"), folder / "m.onnx")


@pytest.fixture(scope="module")
def held_out(dataset):
    return dataset.recording(1)


def test_the_file_tells_where_the_window_stands(model):
    events = model.contract.events
    assert (events.first, events.before, events.baseline) == (-48, round(0.8 * 160 / 3), (0, round(0.4 * 160 / 3)))
    assert (events.labels, events.max_event_lag_s, model.contract.window.hop) == (("row-*",), 0.5, 1)
    _, output = run_rtdecode("inspect", model.path)
    for told in ("ms after an event", "its mean is subtracted", "left right row-*", "0.5 s after their window"):
        assert told in " ".join(output.split())


def test_the_windows_trained_on_are_those_decoded(dataset, model, held_out):
    trials = [t for t in dataset.trials if t.recording == 1]
    decoder, fed = Decoder(model, held_out.signal), []
    engine_run = decoder.engine.run
    decoder.engine.run = lambda window: fed.append(window.tobytes()) or engine_run(window)
    predictions = decoder.push(held_out.samples, held_out.timestamps, held_out.events)
    windows = Cutter(dataset, decoder.chain.steps).cut(trials, model.contract.window.n_times, 1000).x
    assert [p.reason for p in predictions] == [None] * 24 and len(windows) == 24
    assert fed == [np.ascontiguousarray(x).tobytes() for x in windows]


def test_the_replay_scores_what_the_training_scored(result, model, held_out):
    replayed = decode_recording(held_out, Decoder(model, held_out.signal))
    assert [t.truth for t in replayed.trials] == result.truth.tolist()
    assert np.allclose([t.evidence for t in replayed.trials], result.network, atol=1e-5)
    (figure,) = result.figures(configuration())
    assert [f.name for f in replayed.figures()] == ["accuracy over trials", "AUC"]
    assert replayed.trial_accuracy().value == figure.value > 0.5


def test_an_event_whose_baseline_is_marked_bad_is_neither_tested_nor_scored(data, model, held_out, tmp_path):
    # The first sample of the baseline of the fifth event, and the last before that of the ninth.
    starts = [held_out.sample_at(held_out.events[i].timestamp) + model.contract.events.first for i in (4, 8)]
    stamps = held_out.timestamps[[starts[0], starts[1] - 1]].tolist()
    marked = replace(held_out, bad_spans=tuple((at, at) for at in stamps))
    marked.save(tmp_path / "run-2.npz")
    (trial,) = load_dataset(configuration(), find_sources(configuration(), tmp_path)["all"]).marked
    with pytest.warns(RecordingWarning, match="1 of 24 trials hold samples that are marked bad"):
        replayed = decode_recording(marked, Decoder(model, held_out.signal))
    assert trial.id == "run-2#4" and len(replayed.predictions) == 24
    assert [t.timestamp for t in replayed.trials] == [e.timestamp for i, e in enumerate(held_out.events) if i != 4]


def test_a_decoder_scored_by_its_auc_is_told_by_it_first(model, held_out):
    score = Score(name="AUC", value=0.7, low=0.6, high=0.8, chance=0.5, n=24, split="two sessions")
    provenance = model.contract.provenance.model_copy(update={"scores": (score,)})
    other = replace(model, contract=model.contract.model_copy(update={"provenance": provenance}))
    replayed = decode_recording(held_out, Decoder(other, held_out.signal))
    assert [f.name for f in replayed.figures()] == ["AUC", "accuracy over trials"]


def test_the_predictions_are_written_with_their_events(model, held_out, tmp_path):
    replayed = decode_recording(held_out, Decoder(model, held_out.signal))
    replayed.write(tmp_path / "p.csv")
    header, first, *_ = (tmp_path / "p.csv").read_text().splitlines()
    assert header.endswith("proba_right,event,event_timestamp") and first.endswith("1.5")
    replayed.write(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as arrays:
        assert arrays["prediction_event_timestamps"].tolist() == [e.timestamp for e in held_out.events]


def test_chunks_are_proven_on_the_recordings_own_events(model, held_out):
    proof = prove_chunking(held_out, lambda: Decoder(model, held_out.signal))
    assert (proof.n_predictions, proof.one_shot, proof.differing) == (24, True, [])


def test_an_event_is_timed_with_its_window(model):
    decoder, n_runs = Decoder(model), []
    engine_run = decoder.engine.run
    decoder.engine.run = lambda window: n_runs.append(1) or engine_run(window)
    assert len(hop_times(decoder, 20)) == len(n_runs) == 20


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"window": {"length_s": 1.0, "stride_s": 1.0, "hop_s": 0.1}}, "either window"),
        ({"events": None}, "either window"),
        ({"events": {"baseline_s": (0.0, 9.0)}}, "beyond trials.tmax_s"),
        ({"events": {"baseline_s": (0.0, 0.0)}}, "a start before its end"),
        ({"model": {"network": "lda", "recurrent": {"cell": "gru"}}}, "recurrent models need a sliding window"),
    ],
)
def test_configurations_that_do_not_hold_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        configuration(**changes)


def test_a_regression_by_classes_is_trained_and_replayed_at_events(data, held_out, tmp_path):
    values = {"names": ["x"], "values": {"left": [-1.0], "right": [1.0]}}
    settings = configuration(targets=values, baseline=None)
    dataset = load_dataset(settings, find_sources(settings, data)["all"])
    result = run_fold(dataset, make_folds(dataset)[0])
    make_checkpoint(dataset, result.fitted, {0}, []).save(tmp_path / "m.pt")
    decoder = Decoder(export(read_checkpoint(tmp_path / "m.pt"), tmp_path / "m.onnx"), held_out.signal)
    replayed = decode_recording(held_out, decoder)
    given = np.array([trial.windows for trial in replayed.trials])
    assert np.allclose(given, result.network, atol=1e-5) and len(given) == 24
    assert [f.name for f in replayed.figures()] == ["R2 of x", "Spearman of x"]
