"""Continuous targets: from a recording that tells them to live values."""

from io import StringIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import TargetSettings, TrainingConfiguration
from offline.export import export
from offline.given import keep
from offline.models import LFCNN
from offline.targets import Scale
from offline.workflow import table, train
from rtdecode.contract import Signal
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.model_file import read_model
from rtdecode.recording import Event, Recording, read_recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import auc, regression

QUIET = Console(file=StringIO())
SFREQ, LAG = 64.0, 16
SIGNAL = Signal(
    ch_names=("E0", "E1", "E2", "force"),
    ch_types=("eeg", "eeg", "eeg", "misc"),
    units=("uV", "uV", "uV", "none"),
    sfreq=SFREQ,
)


def squeezed(seed, n_samples=3000):
    """A hand that squeezes slowly; E1 follows its force 16 samples later. Every 2 s an event tells how hard."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 2, n_samples // 128 + 2)
    force = np.convolve(np.repeat(levels, 128)[: n_samples + 31], np.ones(32) / 32, "valid")
    samples = rng.standard_normal((n_samples, 4)) * 5
    samples[LAG:, 1] += 20 * force[:-LAG]
    samples[:, 3] = 100 + 40 * force
    stamps = np.arange(n_samples) / SFREQ
    onsets = range(32, n_samples - 160, 128)
    events = tuple(Event(stamps[at], "hard" if force[at + 40] > 0.5 else "soft") for at in onsets)
    return Recording(SIGNAL, samples.astype(np.float32), stamps, events, f"squeezed-{seed}")


def document(**changes):
    return {
        "name": "force",
        "recordings": {"pattern": "run-{run}.npz"},
        "channels": {"types": ["eeg"]},
        "targets": {"channels": ["force"], "lag_s": 0.25, "segment_s": 2.0},
        "window": {"length_s": 0.25, "stride_s": 0.125, "hop_s": 0.125},
        "preprocessing": [{"step": "standardize"}],
        "model": {
            "network": "lfcnn",
            "settings": {"n_latent": 4, "nonlinearity": "identity", "pool_type": "avg", "dropout": 0.0, "l1": 0.0},
        },
        "training": {"learning_rate": 0.01, "max_epochs": 30},
        "split": {"kind": "leave-one-run-out"},
        **changes,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for run in (1, 2, 3):
        squeezed(run).save(folder / f"run-{run}.npz")
    return folder


def trained(data, folder, final=(), **changes):
    settings = TrainingConfiguration.model_validate(document(**changes))
    return train(settings, data, folder, [], list(final), 1, QUIET), settings


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return trained(data, tmp_path_factory.mktemp("runs") / "run", ["all"])


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    fold = next(f for f in (run[0].folder / "all").glob("*run-3*.pt"))
    return export(read_checkpoint(fold), tmp_path_factory.mktemp("model") / "force.onnx")


def test_a_target_channel_is_decoded_above_its_shuffled_control(run):
    r2, spearman = run[0].comparisons["all"].network
    assert (r2.name, spearman.name) == ("R2 of force", "Spearman of force")
    assert r2.low > max(0.5, r2.chance) and spearman.low > max(0.5, spearman.chance)
    assert r2.chance < 0.1 and abs(spearman.chance) < 0.3


def test_the_truth_stands_a_lag_before_the_window_ends(data, run, tmp_path):
    without, _ = trained(data, tmp_path / "run", targets={"channels": ["force"], "segment_s": 2.0})
    assert without.comparisons["all"].network[0].high < run[0].comparisons["all"].network[0].low


def test_the_table_tells_both_figures(run):
    out = StringIO()
    Console(file=out, width=200).print(table(*run))
    assert "all, R2 of force" in out.getvalue() and "all, Spearman of force" in out.getvalue()


def test_the_target_is_no_input(model):
    assert model.contract.signal.ch_names == ("E0", "E1", "E2")


def test_the_file_gives_values_in_the_targets_unit(model, data):
    recording = read_recording(data / "run-3.npz")
    predictions = decode_recording(recording, Decoder(model, recording.signal)).predictions
    values = np.array([p.values[0] for p in predictions if p.reason is None])
    assert 90 < values.min() < 115 and 125 < values.max() < 150
    assert all(p.proba is None and p.label == -1 for p in predictions)


def test_replay_scores_the_target_channel(model, data):
    recording = read_recording(data / "run-3.npz")
    r2, spearman = decode_recording(recording, Decoder(model, recording.signal)).figures()
    assert r2.low > 0.5 and spearman.low > 0.5


def test_replay_without_the_target_channel_has_no_figures(model, data):
    recording = read_recording(data / "run-3.npz")
    signal = recording.signal.pick(("E0", "E1", "E2"))
    blind = Recording(signal, np.ascontiguousarray(recording.samples[:, :3]), recording.timestamps)
    replayed = decode_recording(blind, Decoder(model, signal))
    assert replayed.figures() == [] and any(p.values is not None for p in replayed.predictions)


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_predictions_are_written_as_values(model, data, tmp_path, ending):
    recording = read_recording(data / "run-3.npz").crop(0, 400)
    decode_recording(recording, Decoder(model, recording.signal)).write(tmp_path / f"p.{ending}")
    content = (tmp_path / f"p.{ending}").read_bytes()
    assert (b"values_force" if ending == "csv" else b"prediction_values") in content


LOG = {"channels": ["force"], "lag_s": 0.25, "segment_s": 2.0, "transform": "log"}


@pytest.mark.slow
def test_what_is_learned_as_a_logarithm_is_given_in_the_targets_unit(data, tmp_path):
    run, _ = trained(data, tmp_path / "run", targets=LOG)
    r2, _ = run.comparisons["all"].network
    assert r2.low > 0.5
    checkpoint = read_checkpoint(run.folder / "all" / "run-3.pt")
    mean = float(checkpoint.network.target_mean)
    assert np.log(100) < mean < np.log(140)
    model, recording = export(checkpoint, tmp_path / "m.onnx"), read_recording(data / "run-3.npz")
    replayed = decode_recording(recording, Decoder(model, recording.signal))
    values = np.array([p.values[0] for p in replayed.predictions if p.reason is None])
    assert 90 < values.min() < 115 and 125 < values.max() < 150
    assert replayed.figures()[0].low > 0.5


@pytest.mark.parametrize("transform", ["zscore", "log"])
def test_a_scale_is_learned_from_training_windows_only(data, tmp_path, transform):
    """What is tested on is a hundred times as large."""
    recording = read_recording(data / "run-1.npz")
    recording.samples[:, 3] *= 100
    recording.save(tmp_path / "run-1.npz")
    read_recording(data / "run-2.npz").save(tmp_path / "run-2.npz")
    run, _ = trained(tmp_path, tmp_path / "run", targets={**LOG, "transform": transform}, training={"max_epochs": 1})
    fitted = {result.fold.name: result.fitted.network for result in run.results["all"]}
    middle = {name: float(net.told(torch.zeros(1, 1))) for name, net in fitted.items()}
    assert 100 < middle["run-1"] < 140 and 10_000 < middle["run-2"] < 14_000


@given(
    st.sampled_from(["zscore", "log"]),
    arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=st.floats(0.125, 1e4, width=32)),
)
def test_what_is_learned_becomes_the_values_again(transform, values):
    scale = Scale.fit(values, TargetSettings(channels=("x",), transform=transform))
    network = LFCNN(2, 20, values.shape[1])
    network.set_targets(torch.from_numpy(scale.mean), torch.from_numpy(scale.std), scale.log)
    learned = scale.learned(values)
    again = network.told(torch.from_numpy(learned)).numpy()
    assert np.allclose(again, values, rtol=1e-4, atol=1e-4 * values.max())
    assert np.abs(learned).max() <= 1.01 * np.sqrt(len(values)) + 0.01


@pytest.mark.slow
def test_numbers_of_epochs_are_decoded(tmp_path):
    """Of every epoch the first channel's mean tells a number that no other epoch has."""
    rng, runs = np.random.default_rng(0), []
    for _ in range(2):
        targets = rng.uniform(1, 3, 40)
        x = rng.standard_normal((40, 3, 64)) + targets[:, None, None] * [[5], [0], [0]]
        runs.append({"X": x, "targets": targets, "sfreq": 64})
    data = keep(runs)
    run, _ = trained(
        data,
        tmp_path / "run",
        ["all"],
        recordings={"pattern": "recording-{run}.npz"},
        targets={"channels": ["target"], "segment_s": 1.0},
        window={"length_s": 1.0, "stride_s": 1.0, "hop_s": 0.5},
        model={"network": "lda", "settings": {"pooling": 64}},
    )
    r2, _ = run.comparisons["all"].network
    assert r2.n == 80 and r2.low > 0.9
    model = export(read_checkpoint(run.finals["all"]), tmp_path / "m.onnx")
    recording = read_recording(data / "recording-1.npz")
    assert decode_recording(recording, Decoder(model, recording.signal)).figures()[0].low > 0.9


@pytest.mark.slow
def test_values_by_class_are_decoded_from_trials(data, tmp_path):
    both, _ = trained(
        data,
        tmp_path / "run",
        ["all"],
        trials={"tmin_s": 0.5, "tmax_s": 1.0, "classes": {"soft": ["soft"], "hard": ["hard"]}},
        targets={"names": ["grip", "release"], "values": {"soft": [0.0, 1.0], "hard": [1.0, 0.0]}},
        model={"network": "tangent-space"},
    )
    names = [f.name for f in both.comparisons["all"].network]
    assert names == ["R2 of grip", "Spearman of grip", "R2 of release", "Spearman of release"]
    model = export(read_checkpoint(both.finals["all"]), tmp_path / "m.onnx")
    recording = read_recording(data / "run-1.npz")
    replayed = decode_recording(recording, Decoder(model, recording.signal))
    assert [f.name for f in replayed.figures()] == names and replayed.figures()[0].n == len(replayed.trials)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"targets": {"channels": ["grip"]}}, "lacks the target channels grip"),
        ({"channels": {"names": ["E0", "force"]}}, "channels.names holds target channels: force"),
        ({"targets": {"channels": ["force"], "segment_s": 500.0}}, "unbroken segment of 500 s"),
        (
            {
                "trials": {"tmin_s": 0.5, "tmax_s": 1.0, "classes": {"soft": ["soft"], "hard": ["hard"]}},
                "targets": {"names": ["grip"], "values": {"soft": [0.0], "hard": [1.0]}},
                "model": {"network": "csp-lda"},
            },
            "csp-lda decodes classes",
        ),
    ],
)
def test_what_cannot_be_a_target_is_told(data, tmp_path, changes, told):
    with pytest.raises((ConfigurationError, RecordingError), match=told):
        trained(data, tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"targets": None}, "trials are needed"),
        ({"targets": {"channels": ["force"], "names": ["x"]}}, "go by their own names"),
        ({"targets": {"names": ["x"]}}, "either channels or values"),
        ({"measure": "auc"}, "measure: for classes only"),
        ({"training": {"class_weight": "balanced"}}, "class_weight: for classes only"),
        ({"split": {"kind": "stratified-blocks"}}, "stratified-blocks: for classes only"),
    ],
)
def test_a_contradiction_is_told(changes, told):
    with pytest.raises(ValueError, match=told):
        TrainingConfiguration.model_validate(document(**changes))


def test_the_shuffled_control_exceeds_what_is_no_relation():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 5, 1))
    for figure in regression(truth, rng.standard_normal((40, 5, 1)), ["x"]):
        assert figure.value < figure.chance + 0.1
    for figure in regression(truth, truth, ["x"]):
        assert (figure.value, figure.low, figure.high) == pytest.approx((1, 1, 1)) and figure.chance < 0.3


def test_an_auc_is_the_share_of_pairs_in_order():
    figure = auc([0, 0, 0, 1, 1], [1.0, 2.0, 3.0, 2.0, 4.0])
    # Pairs: 2 is above 1, equal to 2, below 3; 4 is above all.
    assert figure.value == pytest.approx((1 + 0.5 + 0 + 3) / 6)
    assert figure.low <= figure.value <= figure.high and figure.chance == 0.5


def test_a_regression_is_inspected(model):
    from tests.processes import run_rtdecode

    code, output = run_rtdecode("inspect", model.path)
    assert code == 0 and "force (none)" in output and read_model(model.path).contract.outputs.kind == "regression"
