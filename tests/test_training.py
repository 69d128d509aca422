"""From recordings to a decoder file, on a simulated subject."""

import csv
import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from offline.checkpoint import make_checkpoint, read_checkpoint
from offline.configuration import TrainingConfiguration, read_configuration, shipped
from offline.dataset import Cutter, load_dataset
from offline.evaluation import run_fold
from offline.export import export
from offline.inputs import inputs_of
from offline.models import LFCNN
from offline.partition import make_folds
from offline.recipes import build_steps
from offline.simulation import simulate
from offline.sources import find_sources
from offline.training import build, class_weights, fit_network
from offline.workflow import table, train
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, ModelError, RecordingError
from rtdecode.proof import one_shot
from rtdecode.recording import Recording, read_recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import accuracy, mean_interval

FILTERED = ["C4 12-16 Hz", "C3 8-12 Hz"]
QUIET = Console(file=StringIO())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for subject in ("a", "b"):
        for run in (1, 2, 3):
            seed = run + 10 * (subject == "b")
            simulate(16, seed).save(folder / f"sub-{subject}_run-{run:02d}.npz")
    return folder


def configuration(**changes):
    document = read_configuration("demo").model_dump(mode="json")
    document["recordings"] = {"pattern": "sub-{subject}_run-{run}.npz", "decoder_per": "subject"}
    document["split"] = {"kind": "leave-one-run-out"}
    document["training"]["max_epochs"] = 20
    for key, value in changes.items():
        document[key] = {**(document[key] or {}), **value} if isinstance(value, dict) else value
    return TrainingConfiguration.model_validate(document)


def dataset_of(data, subject="a", **changes):
    settings = configuration(**changes)
    return load_dataset(settings, find_sources(settings, data)[subject])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(configuration(), data, folder, [], ["a"], 1, QUIET)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    return export(read_checkpoint(run.finals["a"]), tmp_path_factory.mktemp("model") / "m.onnx")


def test_a_simulated_subject_is_decoded_above_chance(run):
    for comparison in run.comparisons.values():
        for (figure,) in (comparison.network, comparison.baseline):
            assert figure.low > figure.chance


def test_the_run_keeps_what_it_rests_on(run):
    partition = json.loads((run.folder / "partition.json").read_text())
    assert set(partition) == {"a", "b"} and len(partition["a"]) == 3
    rows = list(csv.DictReader(StringIO((run.folder / "scores.csv").read_text())))
    assert {(r["decoder"], r["pipeline"]) for r in rows} == {(d, p) for d in "ab" for p in ("network", "csp-lda")}
    assert json.loads((run.folder / "configuration.json").read_text())["name"] == "demo"
    assert len(list((run.folder / "a").glob("*.pt"))) == 3 and (run.folder / "a.pt").exists()


def test_the_table_has_a_row_a_decoder_and_the_mean(run):
    out = StringIO()
    Console(file=out, width=200).print(table(run, configuration()))
    assert all(word in out.getvalue() for word in ("mean", "csp-lda", "difference", "chance"))


def test_the_exported_file_replays_a_run_it_never_saw(run, data, tmp_path):
    fold = next(f for f in (run.folder / "a").glob("*run-03*.pt"))
    model = export(read_checkpoint(fold), tmp_path / "m.onnx")
    assert model.contract.provenance.recordings == ("sub-a_run-01", "sub-a_run-02")
    recording = read_recording(data / "sub-a_run-03.npz")
    replayed = decode_recording(recording, Decoder(model, recording.signal))
    assert len(replayed.trials) == 16
    assert replayed.trial_accuracy().low > 0.5


def test_the_file_tells_scores_parity_and_origin(model):
    contract = model.contract
    assert contract.parity.torch_onnx_max <= 1e-5 and contract.parity.chunked_identical
    (score,) = contract.provenance.scores
    assert score.n == 48 and score.low < score.value and "leave-one-run-out" in score.split
    assert contract.provenance.packages["torch"] == torch.__version__


def test_the_same_seed_gives_the_same_weights(data):
    dataset = dataset_of(data, training={"max_epochs": 3})
    fold = make_folds(dataset)[0]
    by_id = {t.id: t for t in dataset.trials}
    some, other = (
        fit_network(dataset, [by_id[i] for i in fold.train], [by_id[i] for i in fold.validation]) for _ in range(2)
    )
    for a, b in zip(some.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_interrupted_training_is_no_result(data, tmp_path, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    # Called after every training step: as if Ctrl-C came then.
    monkeypatch.setattr(LFCNN, "constrain", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(configuration(), data, tmp_path / "run", [], [], 1, QUIET)
    assert not list((tmp_path / "run").glob("*/*.pt"))


def test_a_training_that_diverges_is_no_result(data, tmp_path):
    with pytest.raises(ConfigurationError, match="Training diverged"):
        train(configuration(training={"learning_rate": 1e30}), data, tmp_path / "run", [], [], 1, QUIET)


def gapped(folder):
    """A run in which 20 s pass between two samples, and its configuration."""
    whole, at = simulate(12, 1), 2600
    stamps = whole.timestamps + 20.0 * (np.arange(len(whole.samples)) >= at)
    events = tuple(e._replace(timestamp=e.timestamp + 20.0 * (e.timestamp >= at / 160)) for e in whole.events)
    Recording(whole.signal, whole.samples, stamps, events).save(folder / "run-1.npz")
    return configuration(
        recordings={"pattern": "run-{run}.npz", "decoder_per": None},
        split={"kind": "stratified-blocks", "n_folds": 2},
        model={"network": "csp-lda", "settings": {}},
        preprocessing=[{"step": "running-standardize", "minimum_s": 1.0}],
        baseline=None,
    )


@pytest.mark.slow
def test_after_a_gap_training_keeps_the_statistics_that_the_live_decoder_keeps(called, tmp_path):
    settings = gapped(tmp_path)
    run = train(settings, tmp_path, tmp_path / "run", [], ["all"], 1, QUIET)
    model = export(read_checkpoint(run.finals["all"]), tmp_path / "m.onnx")
    dataset = load_dataset(settings, find_sources(settings, tmp_path)["all"])
    recording = read_recording(tmp_path / "run-1.npz")
    decoder, seen = Decoder(model, recording.signal, merge=False), []
    engine_run = decoder.engine.run
    decoder.engine.run = lambda window: seen.append(window.copy()) or engine_run(window)
    last = decoder.push(recording.samples, recording.timestamps)[-1]
    features = dataset.preprocessor(decoder.chain.steps)(0)[1].astype(np.float32)
    end = last.sample + 1 - 2600
    assert seen[-1].tobytes() == np.ascontiguousarray(features[end - seen[-1].shape[1] : end].T).tobytes()
    code, output = called("replay", tmp_path / "run-1.npz", "--model", model.path)
    assert code == 0 and "The decoder was trained on this recording" in output


def test_recordings_of_one_name_in_two_folders_stay_apart(tmp_path):
    for session in (1, 2):
        (tmp_path / f"ses-{session}").mkdir()
        for run in (1, 2):
            simulate(8, 10 * session + run).save(tmp_path / f"ses-{session}" / f"run-{run}.v1.npz")
    settings = configuration(recordings={"pattern": "ses-{session}/run-{run}.v1.npz", "decoder_per": None})
    dataset = load_dataset(settings, find_sources(settings, tmp_path)["all"])
    folds = make_folds(dataset)
    assert [f.name for f in folds] == ["ses-1-run-1.v1", "ses-1-run-2.v1", "ses-2-run-1.v1", "ses-2-run-2.v1"]
    assert all(len(f.test) == 8 and len(f.train) + len(f.validation) == 24 for f in folds)


def test_a_recording_with_a_gap_is_preprocessed_as_the_live_decoder_would(tmp_path):
    settings, whole, at = gapped(tmp_path), simulate(12, 1), 2600
    dataset = load_dataset(settings, find_sources(settings, tmp_path)["all"])
    crossing = [e for e in whole.events if e.timestamp < at / 160 < e.timestamp + 3.0]
    assert len(crossing) == 1 and len(dataset.trials) == 11
    assert [len(dataset.recording(i).samples) for i in range(2)] == [at, len(whole.samples) - at]
    assert {f for fold in make_folds(dataset) for f in fold.test} == {t.id for t in dataset.trials}


@pytest.mark.parametrize(
    "split",
    [
        {"kind": "leave-one-run-out"},
        {"kind": "held-out-runs", "held_out": {"run": ["02"]}},
        {"kind": "stratified-blocks", "n_folds": 3},
    ],
)
def test_no_trial_stands_on_two_sides(data, split):
    dataset = dataset_of(data, split=split)
    folds = make_folds(dataset)
    for fold in folds:
        sides = [set(fold.train), set(fold.validation), set(fold.test)]
        assert all(sides)
        assert sum(map(len, sides)) == len(set.union(*sides)) == len(dataset.trials)
    tested = [i for fold in folds for i in fold.test]
    assert len(tested) == len(set(tested))


@pytest.mark.parametrize("split", [{"kind": "leave-one-run-out"}, {"kind": "stratified-blocks", "n_folds": 3}])
def test_of_trials_that_overlap_no_sample_stands_on_two_sides(data, split):
    dataset = dataset_of(data, split=split, trials={"tmax_s": 5.5})
    by_id = {t.id: t for t in dataset.trials}
    for fold in make_folds(dataset):
        covered = []
        for side in (fold.train, fold.validation, fold.test):
            trials = [by_id[i] for i in side]
            covered.append({(t.recording, sample) for t in trials for sample in range(t.start, t.stop)})
        assert all(covered) and sum(map(len, covered)) == len(set.union(*covered))


def test_rare_classes_count_more_when_balanced(data):
    dataset = dataset_of(data, training={"class_weight": "balanced"})
    weights = class_weights(dataset.configuration, np.array([0, 0, 0, 1]))
    assert weights == pytest.approx([2 / 3, 2.0])
    dataset = dataset_of(data, training={"class_weight": {"left": 1.0, "right": 3.0}})
    assert class_weights(dataset.configuration, np.array([0, 1])) == pytest.approx([0.5, 1.5])


@pytest.mark.parametrize("network", ["lfcnn", pytest.param("tangent-space", marks=pytest.mark.slow), "csp-lda"])
def test_class_weights_move_the_decisions(data, network):
    decided = []
    for weight in (0.05, 20.0):
        dataset = dataset_of(
            data,
            model={"network": network, "settings": {}},
            training={"class_weight": {"left": 1.0, "right": weight}, "max_epochs": 5},
        )
        result = run_fold(dataset, make_folds(dataset)[0])
        decided.append(result.network.argmax(axis=1).sum())
    assert decided[0] < decided[1]


def test_leave_one_run_out_never_trains_on_the_run_it_tests(data):
    for fold in make_folds(dataset_of(data)):
        runs = {i.partition("#")[0] for i in fold.test}
        assert len(runs) == 1
        assert not runs & {i.partition("#")[0] for i in fold.train + fold.validation}


def test_runs_that_are_not_tested_on_still_train(data):
    folds = make_folds(dataset_of(data, split={"test_on": {"run": ["01", "02"]}}))
    assert [f.name for f in folds] == ["sub-a_run-01", "sub-a_run-02"]
    assert all(any("run-03" in i for i in f.train) for f in folds)


OTHERS = {"recordings": {"pattern": "sub-{subject}_run-{run}.npz", "decoder_per": "subject", "others": True}}


def test_the_recordings_of_others_only_ever_train(data):
    folds = make_folds(dataset_of(data, **OTHERS))
    assert [f.name for f in folds] == ["sub-a_run-01", "sub-a_run-02", "sub-a_run-03"]
    for fold in folds:
        learned = {i.partition("#")[0] for i in fold.train + fold.validation}
        assert learned == {f"sub-{s}_run-{r:02d}" for s in "ab" for r in (1, 2, 3)} - {fold.name}


@pytest.mark.slow
def test_ones_own_recordings_count_as_often_as_asked_for(tmp_path):
    """Somebody else's labels are the wrong way round: who counts more decides."""
    swapped = {"left": "right", "right": "left"}
    for run in (1, 2):
        simulate(16, run).save(tmp_path / f"sub-a_run-{run}.npz")
    for run in (3, 4, 5):
        recording = simulate(16, run)
        events = tuple(e._replace(label=swapped[e.label]) for e in recording.events)
        replace(recording, events=events).save(tmp_path / f"sub-b_run-{run}.npz")
    right = []
    for own_weight in (1, 20):
        dataset = dataset_of(
            tmp_path,
            **OTHERS,
            model={"network": "csp-lda", "settings": {}},
            training={"own_weight": own_weight},
            baseline=None,
        )
        result = run_fold(dataset, make_folds(dataset)[0])
        right.append((result.network.argmax(axis=1) == result.truth).mean())
    assert right[0] < 0.5 < right[1]


def test_every_class_is_in_every_part(data):
    dataset = dataset_of(data, split={"kind": "stratified-blocks", "n_folds": 3})
    truth = {t.id: t.truth for t in dataset.trials}
    for fold in make_folds(dataset):
        assert all({truth[i] for i in part} == {0, 1} for part in (fold.train, fold.validation, fold.test))


@pytest.mark.parametrize("step", [{"step": "decimate", "by": 3}, {"step": "resample", "sfreq": 64.0}])
def test_windows_lie_in_their_trials_whole(data, step):
    dataset = dataset_of(data, preprocessing=[step])
    steps = build_steps(dataset.configuration.preprocessing, dataset.signal, lambda _: np.empty((0, 16)))
    windows = Cutter(dataset, steps).cut(dataset.trials[:2], 40, 5)
    features = dataset.preprocessor(steps)(0)[0]
    for x, number in zip(windows.x, windows.trial, strict=True):
        trial = dataset.trials[number]
        starts = [
            k for k in range(len(features) - 39) if np.array_equal(features[k : k + 40].T.astype(np.float32), x)
        ]
        (k,) = starts
        assert trial.start <= steps[0].newest_input(k) and steps[0].newest_input(k + 39) < trial.stop


@pytest.mark.parametrize(
    ("preprocessing", "unplaced"),
    [
        ([{"step": "pick", "ch_names": ["C4", "C3"]}, {"step": "whiten"}], ()),
        ([{"step": "filter-bank", "bands_hz": [[8, 12], [12, 16]]}, {"step": "pick", "ch_names": FILTERED}], ()),
        ([{"step": "bipolar", "pairs": [["C4", "C3"], ["Cz", "Pz"]]}], ("C4-C3", "Cz-Pz")),
    ],
    ids=["pick", "filter-bank", "bipolar"],
)
def test_channels_keep_their_positions_as_long_as_there_is_one(data, preprocessing, unplaced):
    dataset = dataset_of(data, preprocessing=preprocessing)
    steps, _, n_times = build(dataset, dataset.trials[:4])
    inputs = inputs_of(steps, dataset.signal, n_times, 2, dataset.positions)
    assert inputs.unplaced == unplaced
    assert inputs.positions == (None if unplaced else (dataset.positions["C4"], dataset.positions["C3"]))


def test_fitted_steps_learn_from_training_trials_only(data, tmp_path):
    matrices = []
    for gain in (1, 50):
        for run in (1, 2, 3):
            recording = read_recording(data / f"sub-a_run-{run:02d}.npz")
            louder = recording.samples * np.float32(gain if run == 1 else 1)
            replace(recording, samples=louder).save(tmp_path / f"sub-a_run-{run:02d}.npz")
        dataset = dataset_of(tmp_path, training={"max_epochs": 1})
        fold = make_folds(dataset)[0]
        assert fold.name == "sub-a_run-01"
        by_id = {t.id: t for t in dataset.trials}
        parts = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation))
        steps = fit_network(dataset, *parts).steps
        matrices.append(next(s.matrix for s in steps if "whitening" in s.describe()))
    assert np.array_equal(*matrices)


def assert_fed_as_trained(dataset, model):
    """What the network was trained on is, to the last bit, what the decoder feeds it step by step."""
    recording = dataset.recording(1)
    decoder = Decoder(model, recording.signal, merge=False)
    offline = dataset.preprocessor(decoder.chain.steps)(1)[1].astype(np.float32)
    seen = {}
    engine_run = decoder.engine.run
    decoder.engine.run = lambda window: seen.setdefault(len(seen), window.copy()) is None or engine_run(window)
    window = model.contract.window
    n_hops = len(decoder.push(recording.samples, recording.timestamps))
    ends = [end for end in range(window.hop, n_hops * window.hop + 1, window.hop) if end >= window.n_times]
    assert len(seen) == len(ends) > 100
    for end, x in zip(ends, seen.values(), strict=True):
        assert x.tobytes() == np.ascontiguousarray(offline[end - window.n_times : end].T).tobytes()


def test_offline_features_are_the_online_ones(data, model):
    assert_fed_as_trained(dataset_of(data), model)


@pytest.mark.slow
def test_a_network_behind_a_filter_bank_gives_online_what_it_gives_offline(data, tmp_path):
    dataset = dataset_of(
        data,
        preprocessing=[{"step": "filter-bank", "bands_hz": 9}, {"step": "standardize"}],
        window={"length_s": 2.0},
        model={"network": "fblightconvnet", "settings": {"segment": 80}},
        training={"max_epochs": 2},
    )
    result = run_fold(dataset, make_folds(dataset)[0])
    checkpoint = make_checkpoint(dataset, result.fitted, {0, 1}, [])
    model, recording = export(checkpoint, tmp_path / "m.onnx"), dataset.recording(2)
    offline = dict(one_shot(Decoder(model, recording.signal), recording))
    online = [
        p for p in decode_recording(recording, Decoder(model, recording.signal)).predictions if p.reason is None
    ]
    assert len(online) == len(offline) > 100
    assert all(p.proba.tobytes() == offline[p.sample].tobytes() for p in online)
    features = dataset.preprocessor(result.fitted.steps)(2)[2].astype(np.float32)
    for p in online[::20]:
        window = features[p.sample + 1 - result.fitted.n_times : p.sample + 1]
        with torch.no_grad():
            trained = checkpoint.network.outputs(torch.from_numpy(np.ascontiguousarray(window.T))[None])[0]
        assert np.abs(trained.numpy() - p.proba).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("sfreq", [100.0, 250.0])
def test_running_steps_and_another_rate_are_trained_behind_and_exported(data, tmp_path, sfreq):
    steps = [
        {"step": "filter", "l_freq": 7, "h_freq": 28},
        {"step": "running-align", "method": "riemannian", "minimum_s": 2.0},
        {"step": "resample", "sfreq": sfreq},
        {"step": "running-standardize", "minimum_s": 3.0},
        {"step": "clamp", "limit": 20},
    ]
    dataset = dataset_of(data, preprocessing=steps, training={"max_epochs": 1})
    (fold, *_) = make_folds(dataset)
    result = run_fold(dataset, fold)
    checkpoint = make_checkpoint(dataset, result.fitted, {0, 1}, [])
    checkpoint.save(tmp_path / "c.pt")
    model = export(read_checkpoint(tmp_path / "c.pt"), tmp_path / "m.onnx")
    assert model.contract.parity.n_chunked_predictions > 30
    assert_fed_as_trained(dataset, model)


class Other(LFCNN):
    """Exports one thing, computes another."""

    def forward(self, x):
        logits = super().forward(x)
        return logits if torch.compiler.is_exporting() else logits + torch.tensor([0.01, 0.0])


def test_export_refuses_a_graph_that_differs(run, tmp_path):
    checkpoint = read_checkpoint(run.finals["a"])
    checkpoint.network.__class__ = Other
    with pytest.raises(ModelError, match="was not written: ONNX Runtime and torch differ"):
        export(checkpoint, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_export_refuses_weights_that_are_not_finite(run, tmp_path):
    checkpoint = read_checkpoint(run.finals["a"])
    with torch.no_grad():
        checkpoint.network.fc.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"m\.onnx was not written: the network's weights fc\.weight hold"):
        export(checkpoint, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "x.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"step": "pick", "ch_names": ["C1", "C2", "C1"]}, r"^preprocessing\.1: .*twice"),
        ({"step": "pick", "ch_names": ["C1", "C9"]}, r"^preprocessing\.1: channels to pick are missing: C9\.$"),
    ],
)
def test_a_step_that_does_not_fit_the_recordings_is_told(data, step, told):
    dataset = dataset_of(data, preprocessing=[{"step": "filter", "l_freq": 8, "h_freq": 30, "order": 2}, step])
    with pytest.raises(ConfigurationError, match=told):
        build_steps(dataset.configuration.preprocessing, dataset.signal, lambda _: np.empty((0, 1)))


@pytest.mark.parametrize("name", shipped())
def test_shipped_configurations_are_valid(name):
    assert read_configuration(name).name == name


@pytest.mark.parametrize("name", [name for name in shipped() if name not in ("demo", "collected")])
def test_shipped_configurations_fit_their_recordings(shared, name):
    settings = read_configuration(name)
    sources = next(iter(find_sources(settings, shared / "data").values()))
    # Of other people's recordings, which may be hundreds, three.
    own, others = ([s for s in sources if s.own == whose] for whose in (True, False))
    dataset = load_dataset(settings, [*own, *others[:3]])
    assert make_folds(dataset)
    _, network, n_times = build(dataset, dataset.trials)
    assert network.n_times == n_times


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trial": {}}, "unknown key 'trial' .did you mean 'trials'"),
        ({"window": {"length_s": 1.5, "stride_s": 0.1, "hop": 0.1}}, "did you mean 'hop_s'"),
        ({"window": {"length_s": 9.0, "stride_s": 0.1, "hop_s": 0.1}}, "longer than the trials' span"),
        ({"preprocessing": [{"step": "filter", "lfreq": 8}]}, "did you mean 'l_freq'"),
        ({"preprocessing": [{"step": "whitten"}]}, "preprocessing.0: unknown step 'whitten' .did you mean 'whiten'"),
        ({"preprocessing": ["whiten"]}, "a step is written as {step: NAME"),
        ({"recordings": {"pattern": "{run}.fif", "select": {"run": [2]}}}, "2 is a number here; put it in quotes"),
        ({"recordings": {"pattern": "{run}.fif", "select": {"run": "2"}}}, r"a list is needed, as in \[2\]"),
        ({"split": {"kind": "held-out-runs"}}, "needs held_out, for example"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate: .*greater than 0.*got -1"),
        ({"channels": {}}, "either names or types"),
        ({"recordings": {"pattern": "/data/{run}.fif"}}, "relative to the data folder"),
        ({"recordings": {"pattern": "run-{1}.fif"}}, "braces hold a name"),
        ({"recordings": {"pattern": "run-{run}.fif", "others": True}}, "others needs decoder_per"),
    ],
)
def test_a_mistake_in_a_configuration_is_told_with_its_place(tmp_path, change, told):
    import yaml

    document = read_configuration("demo").model_dump(mode="json") | change
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigurationError, match=told):
        read_configuration(str(tmp_path / "c.yaml"))


def test_all_mistakes_are_told_at_once(tmp_path):
    (tmp_path / "c.yaml").write_text("nam: x\nwindow: {length_s: -1, stride_s: 1, hop_s: 1}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(tmp_path / "c.yaml"))
    assert all(word in str(caught.value) for word in ("'nam'", "window.length_s", "'recordings' is missing"))


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("name: x\nname: y\n")
    with pytest.raises(ConfigurationError, match="'name' stands twice"):
        read_configuration(str(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"recordings": {"pattern": "none-{subject}.npz"}}, ConfigurationError, "no file matches"),
        (
            {"recordings": {"select": {"run": ["99"]}}},
            ConfigurationError,
            "no recording has run '99'; there is 01, 02, 03",
        ),
        ({"recordings": {"select": {"session": ["1"]}}}, ConfigurationError, "'session', which is no part"),
        (
            {"split": {"kind": "held-out-runs", "held_out": {"run": ["13"]}}},
            ConfigurationError,
            "split.held_out: no recording has run '13'",
        ),
        ({"trials": {"tmin_s": 500.0, "tmax_s": 503.0}}, RecordingError, "none has unbroken data from 500 to 503 s"),
        ({"channels": {"names": ["C3", "Nz"]}}, RecordingError, "lacks the channels Nz"),
        ({"channels": {"types": ["mag"], "names": None}}, RecordingError, "no channel of type mag; it has eeg"),
        ({"trials": {"classes": {"left": ["l"], "right": ["right"]}}}, RecordingError, "No trial of class left"),
        ({"preprocessing": [{"step": "filter", "h_freq": 99}]}, ConfigurationError, "half the rate"),
        ({"preprocessing": [{"step": "resample", "sfreq": 100.003}]}, ConfigurationError, "no fraction of 160 Hz"),
        (
            {
                "trials": {"tmax_s": 2.9875},
                "window": {"length_s": 2.4875},
                "preprocessing": [{"step": "decimate", "by": 3}],
            },
            ConfigurationError,
            "133 samples at 53.3333 Hz, but a trial may hold 132",
        ),
        (
            {"preprocessing": [{"step": "reference", "to": "average"}, {"step": "whiten", "shrinkage": 0}]},
            ConfigurationError,
            "needs shrinkage > 0",
        ),
        ({"model": {"settings": {"stride": 0}}}, ConfigurationError, "must be at least 1"),
        (
            {"model": {"network": "brainmodule", "settings": {"subject_dim": 2}}},
            ConfigurationError,
            "recordings.subject names the part of the pattern",
        ),
        ({"model": {"settings": {"l1_scope": ["foo"]}}}, ConfigurationError, "must be one of fc, demix, temporal"),
        ({"split": {"kind": "stratified-blocks", "n_folds": 50}}, RecordingError, "a class has 24 trials"),
    ],
)
def test_what_does_not_fit_the_recordings_is_told_before_training(data, tmp_path, changes, error, told):
    if "channels" in changes:
        changes = {"channels": {"types": None, **changes["channels"]}}
    with pytest.raises(error, match=told):
        train(configuration(**changes), data, tmp_path / "run", [], [], 1, QUIET)
    if "split" not in changes:
        # Nothing is left that would stand in the way of the next try.
        assert not (tmp_path / "run").exists()


def test_an_accuracy_is_told_with_chance_and_wilsons_interval():
    a = accuracy([0, 0, 0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 1, 1, 0])
    assert (a.value, a.chance, a.n) == (0.8, 0.7, 10)
    assert (a.low, a.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_mean_is_told_with_students_interval():
    mean, low, high = mean_interval([0.5, 0.6, 0.7, 0.8])
    assert (mean, low, high) == pytest.approx((0.65, 0.4446, 0.8554), abs=1e-4)
