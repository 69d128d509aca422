"""A decoder looked into: what it sees, its patterns at the sensors, and the report of `rtdecode explain`."""

import hashlib
import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from typer.testing import CliRunner

from offline.checkpoint import hold_weights, read_checkpoint
from offline.interpretation import look_at, read_examined
from offline.interpretation.averages import log_power, power_contrast, response
from offline.interpretation.command import document
from offline.interpretation.command import explain as explain_command
from offline.interpretation.drawing import keys
from offline.interpretation.explaining import explain
from offline.interpretation.folds import over_folds
from offline.interpretation.in_trials import _latency
from offline.interpretation.of_classes import _waveform
from offline.interpretation.report import report
from offline.interpretation.rests_on import rest_sections, rests_on
from offline.interpretation.sheet import Sheet
from offline.interpretation.topography import layouts
from offline.models import Inputs, make_network
from offline.models.closed_form import ClosedForm
from offline.sensors import AtSensors, sensor_moments
from offline.training import build
from rtdecode.cli import app
from rtdecode.contract import Event
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, ModelError, RecordingError
from rtdecode.model_file import parse, read_model, write_model
from rtdecode.preprocessing import Chain
from rtdecode.recording import read_recording
from rtdecode.scoring import Figure
from tests.builders import build_model, build_telling_recording, linear_graph
from tests.test_imports import dataset_of, trained

FILTER = {"step": "filter", "l_freq": 1, "h_freq": 30, "order": 2}
STEPS = [FILTER, {"step": "decimate", "by": 2}, {"step": "standardize"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, of which each of two folds is trained on one; a third that none has seen."""
    folder = tmp_path_factory.mktemp("explain")
    for seed in (1, 2, 3):
        recording = build_telling_recording(3000, seed)
        places = {name: (0.2 + 0.2 * i, 0.5 + 0.1 * (-1) ** i) for i, name in enumerate(recording.signal.ch_names)}
        replace(recording, positions=places).save(folder / f"run-{seed}.npz")
    (folder / "run-3.npz").rename(folder / "new.npz")
    trained(folder, preprocessing=STEPS)
    return folder


@pytest.fixture(scope="module")
def new(folder):
    return folder / "new.npz"


@pytest.fixture(scope="module")
def checkpoint(folder):
    return sorted((folder / "out" / "all").glob("*.pt"))[0]


@pytest.fixture(scope="module")
def file(checkpoint):
    """A decoder file as export writes it, but for its graph."""
    kept, path = read_checkpoint(checkpoint), checkpoint.with_name("model.onnx")
    build_model(path, kept.contract, linear_graph(4, kept.contract.window.n_times))
    proto = parse(path.read_bytes(), str(path))
    hold_weights(proto, kept)
    write_model(proto, kept.contract, path)
    return path


@pytest.fixture(scope="module")
def material(file, new):
    return look_at(read_examined(file), [new])


def with_network(material, name, **settings):
    """The same recordings behind another network, of random weights or fitted to them."""
    examined, torch_state = material.examined, torch.get_rng_state()
    torch.manual_seed(0)
    seen, n_times = examined.seen, examined.contract.window.n_times
    inputs = Inputs(seen.n_channels, n_times, 2, seen.sfreq, seen.ch_names, ch_types=seen.ch_types)
    network = make_network(name, inputs, settings, None).eval()
    torch.set_rng_state(torch_state)
    if isinstance(network, ClosedForm):
        network.fit(material.windows, material.truth)
    other = replace(examined, network=network)
    return replace(material, examined=other)


def noise(random, happens):
    """Trials (20, 8, 30) of a class, every other one of those of a recording or two; s.d. 1, behind no high-pass."""
    n_times, moves = 40 * 60, np.zeros((8, 1))
    white = random.standard_normal((8, n_times + 100))
    signals = lfilter([0.7], [1, -0.7], white, axis=1)[:, 100:]
    if happens.endswith("offset"):
        moves = 0.5 * random.choice([-1, 1], (8, 1))
    elif happens == "two offsets":
        moves = np.repeat(random.choice([-9, 9], (8, 2)), n_times // 2, axis=1)
    elif happens.startswith("a walk"):
        moves = np.cumsum(random.standard_normal((8, n_times)), axis=1) * 3 / np.sqrt(n_times)
    trials = (signals + moves).reshape(8, 40, 60)[:, :, :30].transpose(1, 0, 2)
    return trials[:20] if happens.endswith("blocks") else trials[::2]


class TestWhatItSees:
    def test_file_and_checkpoint_are_one_decoder(self, checkpoint, file):
        some, other = read_examined(file), read_examined(checkpoint)
        windows = np.random.default_rng(0).standard_normal((5, 4, some.network.n_times)).astype(np.float32)
        assert some.predict(windows).tobytes() == other.predict(windows).tobytes()
        assert some.positions == other.positions and len(some.positions) == 4

    @pytest.mark.slow
    def test_predictions_are_those_of_the_live_decoder(self, checkpoint, new, tmp_path):
        from offline.export import export

        model = export(read_checkpoint(checkpoint), tmp_path / "model.onnx")
        material, recording = look_at(read_examined(tmp_path / "model.onnx"), [new]), read_recording(new)
        live = Decoder(read_model(model.path), recording.signal).push(recording.samples, recording.timestamps)
        by_sample = {recording.sample_at(p.timestamp): p.proba for p in live if p.proba is not None}
        given = dict(zip(material.at.tolist(), material.predict(), strict=True))
        both = given.keys() & by_sample.keys()
        assert len(both) > 5 and all(np.abs(given[at] - by_sample[at]).max() < 1e-5 for at in both)

    def test_windows_end_where_they_say(self, material, new):
        recording, steps = read_recording(new), material.examined.steps
        features = Chain(steps, recording.signal).process(recording.samples.astype(float))
        n_times = material.windows.shape[2]
        for at, window in zip(material.at.tolist(), material.windows, strict=True):
            assert np.allclose(features[at // 2 + 1 - n_times : at // 2 + 1].T, window, atol=1e-5)

    def test_what_is_changed_at_the_sensors_goes_through_the_preprocessing(self, material):
        assert np.array_equal(material.changed(lambda samples: samples), material.windows)
        without = material.changed(lambda samples: samples * np.array([1, 1, 0, 1]))
        assert np.ptp(without[:, 2]) < 1e-6 and np.array_equal(without[:, 0], material.windows[:, 0])

    def test_groups_and_trials_tell_which_windows_belong_together(self, file, folder, new):
        material = look_at(read_examined(file), [new, folder / "run-1.npz"])
        assert material.names == ("new.npz", "run-1.npz") and set(material.recording) == {0, 1}
        trials = [material.dataset.trials[i] for i in material.trial]
        assert [trial.truth for trial in trials] == material.truth.tolist()
        assert material.n_trials == len(material.dataset.trials) and len(material.truth) == material.n_cut

    def test_trials_that_are_marked_bad_are_left_out_and_that_is_told(self, file, new, tmp_path):
        recording, examined = read_recording(new), read_examined(file)
        at = recording.events[0].timestamp
        replace(recording, bad_spans=((at, at + 0.5),)).save(tmp_path / "marked.npz")
        material = look_at(examined, [tmp_path / "marked.npz"])
        (told,) = [note for note in explain(examined, material, 5).notes if "marked bad" in note]
        assert told == (
            f"Trials left out, as samples of them are marked bad: 1 of {material.n_trials + 1} (in marked.npz)."
        )

    def test_one_class_is_enough_and_none_is_not(self, file, new, tmp_path):
        recording, examined = read_recording(new), read_examined(file)
        left = tuple(event for event in recording.events if event.label == "left")
        replace(recording, events=left).save(tmp_path / "left.npz")
        material = look_at(examined, [tmp_path / "left.npz"])
        assert set(material.truth) == {0} and "no trial of right" in " ".join(explain(examined, material, 5).notes)
        own = with_network(material, "lfcnn", n_latent=4)
        told = explain(own.examined, own, 5)
        assert told.best(0) and not told.best(1)
        replace(recording, events=(Event(recording.timestamps[5], "other"),)).save(tmp_path / "none.npz")
        with pytest.raises(RecordingError, match="No trial of class left, right"):
            look_at(examined, [tmp_path / "none.npz"])

    def test_a_file_without_its_weights_is_refused(self, tmp_path):
        with pytest.raises(ModelError, match="does not hold the weights"):
            read_examined(build_model(tmp_path / "model.onnx"))


class TestSensors:
    """Covariances that are kept, and patterns taken back to the sensors."""

    def test_the_file_keeps_means_and_covariances_of_each_class_and_no_more(self, checkpoint):
        kept = torch.load(checkpoint, weights_only=True)["moments"]
        assert set(kept) == {"n_trials", "n_samples", "mean", "cov", "positions"}
        assert kept["mean"].shape == (2, 4) and kept["cov"].shape == (2, 10)

    def test_they_are_those_of_the_filtered_sensors_in_the_trials(self, folder):
        dataset = dataset_of(folder, preprocessing=STEPS)
        steps, _, _ = build(dataset, dataset.trials)
        moments = sensor_moments(dataset, steps, dataset.trials)
        parts = [[], []]
        for number in (0, 1):
            recording = dataset.recording(number)
            filtered = Chain(steps[:2], dataset.signal).process(recording.samples.astype(float))
            for trial in dataset.trials:
                if trial.recording == number:
                    parts[trial.truth].append(filtered[-(-trial.start // 2) : -(-trial.stop // 2)])
        for c in (0, 1):
            samples = np.concatenate(parts[c])
            assert moments.n_samples[c] == len(samples) and moments.n_trials[c] == len(parts[c])
            assert np.allclose(moments.cov[c], np.cov(samples.T)) and np.allclose(
                moments.mean[c], samples.mean(axis=0)
            )
        assert np.allclose(moments.pooled, np.cov(np.concatenate(parts[0] + parts[1]).T))

    @pytest.mark.parametrize(
        "steps",
        [
            [FILTER, {"step": "standardize"}],
            [{"step": "reference", "to": "average"}, FILTER, {"step": "whiten"}],
            [{"step": "bipolar", "pairs": [["E0", "E1"], ["E1", "E2"], ["E2", "E3"]]}, FILTER],
            [FILTER, {"step": "running-standardize", "time_constant_s": 5, "minimum_s": 1}],
            [{"step": "whiten"}, {"step": "filter-bank", "bands_hz": [[4, 8], [8, 12]], "design": "butterworth"}],
        ],
        ids=["standardize", "reference-whiten", "bipolar", "running", "filter-bank"],
    )
    def test_a_pattern_is_the_covariance_of_a_component_with_the_sensors_before_they_are_mixed(self, folder, steps):
        dataset = dataset_of(folder, preprocessing=steps)
        fitted, network, _ = build(dataset, dataset.trials)
        parts = AtSensors.of(fitted, dataset.signal)
        moments = sensor_moments(dataset, fitted, dataset.trials)
        recordings = [dataset.recording(number) for number in (0, 1)]
        weights = np.random.default_rng(0).standard_normal(network.n_channels)

        def cut(chain_steps):
            given = []
            for number, recording in enumerate(recordings):
                features = Chain(chain_steps, dataset.signal).process(recording.samples.astype(float))
                given += [features[t.start : t.stop] for t in dataset.trials if t.recording == number]
            return np.concatenate(given)

        sensors, component = cut(parts.steps), cut(fitted) @ weights
        expected = np.cov(np.column_stack([sensors, component]).T)[-1, :-1]
        n = parts.signal.n_channels
        filters = weights @ parts.mixing if parts.mixing is not None else np.concatenate([np.zeros(n), weights])
        assert np.allclose((filters @ moments.pooled)[:n], expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())

    def test_a_file_alone_gives_patterns(self, file):
        told = explain(read_examined(file))
        assert told.patterns["haufe"].shape == (told.components.n, 4) and "trained on" in told.of_moments
        assert any("No recordings were given" in note for note in told.notes)

    def test_an_older_file_says_in_a_sentence_what_it_lacks(self, checkpoint, new):
        older = replace(read_examined(checkpoint), moments=None)
        (note,) = [note for note in explain(older).notes if "does not hold the covariances" in note]
        assert note.count(". ") == 0 and not explain(older).patterns
        assert explain(older, look_at(older, [new]), 5).patterns


NETWORKS = [
    ("lfcnn", {"n_latent": 4}),
    ("varcnn", {"n_latent": 4, "nonlinearity": "square"}),
    ("eegnet", {"f1": 2, "kernel_length": 8, "depth_kernel_length": 4, "pool1": 2, "pool2": 2}),
    ("shallow", {"n_temporal": 4, "n_spatial": 4, "filter_length": 5, "pooling": 8, "stride": 4}),
    ("deep4", {"filter_length": 3, "filter_lengths": 2, "pooling": 2, "stride": 2, "n_filters": (4,)}),
    ("fblightconvnet", {"n_filters": 4, "segment": 8, "heads": 2}),
    ("brainmodule", {"hidden": 4, "depth": 2}),
    ("csp-lda", {}),
    ("lda", {"pooling": 8}),
    ("tangent-space", {}),
]


class TestExplanation:
    @pytest.mark.parametrize(("name", "settings"), NETWORKS, ids=[name for name, _ in NETWORKS])
    def test_every_network_with_a_spatial_stage_shows_components_of_each_class(self, material, name, settings):
        own = with_network(material, name, **settings)
        told = explain(own.examined, own, 5)
        assert all(told.best(output) for output in (0, 1)) and np.isfinite(told.patterns["haufe"]).all()
        page = report(Sheet(told))
        assert page.count('<h2 class="class">') >= 4 and "nan" not in page.lower().replace("resonance", "")

    @pytest.mark.parametrize("nonlinearity", ["relu", "square"])
    def test_no_class_pattern_hangs_on_the_sign_of_a_component(self, material, nonlinearity):
        own = with_network(material, "lfcnn", n_latent=4, nonlinearity=nonlinearity)
        before = explain(own.examined, own, 5)
        with torch.no_grad():
            for weight in (own.examined.network.demix.weight, own.examined.network.temporal.weight):
                weight[1] *= -1
            own.examined.network.demix.bias[1] *= -1
        after = explain(own.examined, own, 5)
        assert np.allclose(before.patterns["haufe"][1], -after.patterns["haufe"][1])
        for form, combined in before.class_patterns.items():
            assert np.allclose(combined, after.class_patterns[form])

    def test_without_recordings_no_bias_speaks_for_a_class(self, material):
        own = with_network(material, "lfcnn", n_latent=4, nonlinearity="square")
        before = explain(own.examined).class_patterns["haufe"]
        with torch.no_grad():
            own.examined.network.demix.bias += 1
        assert np.array_equal(before, explain(own.examined).class_patterns["haufe"])

    def test_nothing_is_changed_by_looking(self, file, new, tmp_path):
        before, examined = hashlib.sha256(file.read_bytes()).hexdigest(), read_examined(file)
        weights = {name: value.clone() for name, value in examined.network.state_dict().items()}
        material = look_at(examined, [new])
        given = material.predict()
        report(Sheet(explain(examined, material, 5)))
        assert material.predict().tobytes() == given.tobytes()
        assert all(torch.equal(value, weights[name]) for name, value in examined.network.state_dict().items())
        assert hashlib.sha256(file.read_bytes()).hexdigest() == before

    def test_recordings_it_was_trained_on_are_told_loudly(self, checkpoint, folder, new):
        examined = read_examined(checkpoint)
        told = explain(examined, look_at(examined, [new, folder / "run-1.npz", folder / "run-2.npz"]), 5)
        assert len(told.material.trained_on) == 1 and "trained on" in told.warnings[0]
        page = report(Sheet(told))
        assert "trained on these" in page and "says nothing about new data" in page
        assert "held out" in report(Sheet(explain(examined, look_at(examined, [new]), 5)))

    def test_a_score_of_too_few_segments_says_so(self, file):
        alone = replace(explain(read_examined(file)), score=(Figure("R2 of x", 0.5, np.nan, np.nan, np.nan, 9),))
        page = report(Sheet(alone))
        assert "R2 of x 0.500</b> (too few that do not depend on each other), n = 9" in page
        told = json.loads(json.dumps(document(alone), allow_nan=False))["score"][0]
        assert (told["value"], told["low"], told["chance"]) == (0.5, None, None)

    def test_noise_is_no_response_and_a_response_is_one(self):
        random = np.random.default_rng(0)
        ps = [response(random.standard_normal((6, 8, 30)), 60, random).p for _ in range(40)]
        assert 0 < np.mean(np.array(ps) <= 0.1) < 0.25
        evoked = random.standard_normal((12, 8, 30))
        evoked[:, 2:5, 17] += 3
        found = response(evoked, 200, random)
        assert found.at == 17 and found.p < 0.02

    @pytest.mark.parametrize("happens", ["an offset", "two offsets", "a walk", "a walk, classes in blocks"])
    def test_what_the_channels_are_anyway_is_no_response(self, happens):
        random = np.random.default_rng(0)
        assert 0 < np.mean([response(noise(random, happens), 99, random).p <= 0.05 for _ in range(100)]) < 0.12

    @pytest.mark.parametrize("happens", ["nothing", "an offset", "two offsets", "a walk"])
    def test_a_response_is_found_whatever_the_channels_are_anyway(self, happens):
        random, found = np.random.default_rng(0), []
        for _ in range(30):
            trials = noise(random, happens)
            trials[:, :, 14:17] += 0.6 * random.standard_normal((8, 1))
            found.append(response(trials, 99, random))
        assert np.mean([each.p <= 0.05 for each in found]) > 0.8
        assert np.mean([14 <= each.at < 17 for each in found]) > 0.8

    def test_power_differs_between_classes_where_it_does(self):
        random = np.random.default_rng(0)
        trials, truth = random.standard_normal((30, 6, 100)), np.repeat([0, 1], 15)
        recording = np.zeros(30, int)
        assert min(power_contrast(trials, truth, recording, 2, 100, random).p) > 0.05
        trials[truth == 1, 4] *= 1.5
        told = power_contrast(trials, truth, recording, 2, 100, random)
        assert np.abs(told.db[1]).argmax() == 4 and told.db[1, 4] > 2 and max(told.p) < 0.02
        log = log_power(trials)
        assert np.allclose(told.db[1], log[truth == 1].mean(axis=0) - log[truth == 0].mean(axis=0))

    def test_power_that_differs_between_recordings_is_no_class(self):
        random = np.random.default_rng(0)
        truth, recording = np.repeat([0, 1, 0, 1], [15, 5, 5, 15]), np.repeat([0, 1], 20)
        ps = []
        for _ in range(20):
            trials = random.standard_normal((40, 6, 100))
            trials[recording == 1] *= 1.3
            ps.append(power_contrast(trials, truth, recording, 2, 40, random).p[1])
        assert np.mean(np.array(ps) <= 0.05) <= 0.15
        trials[truth == 1, 4] *= 1.5
        told = power_contrast(trials, truth, recording, 2, 100, random)
        assert np.abs(told.db[1]).argmax() == 4 and 2 < told.db[1, 4] < 5 and max(told.p) < 0.02
        # Each class in a recording of its own: nothing tells one from the other.
        told = power_contrast(trials, recording, recording, 2, 10, random)
        assert not told.db.any() and told.p == (1, 1)

    def test_the_latency_of_power_has_the_doubt_of_both_classes(self):
        random, time_s = np.random.default_rng(0), np.arange(50) / 50
        shape = np.exp(-(((time_s - 0.4) / 0.1) ** 2))
        own = np.tile(4 * shape, (30, 1, 1)) + 1e-3 * random.standard_normal((30, 1, 50))
        others = random.standard_normal((3, 1, 50))
        told = _latency(own, others, time_s, 200, random)
        assert abs(told.peak[0] - 0.4) < 0.1 and told.low[0] < told.high[0]
        for few in ((own[:1], others), (own, others[:1]), (own[:1], None)):
            told = _latency(*few, time_s, 20, random)
            assert np.isfinite(told.peak).all() and np.isnan(told.low).all() and np.isnan(told.high).all()

    def test_a_caption_names_no_peak_and_no_interval_where_there_is_none(self, material):
        told = explain(material.examined, material, 5)
        assert told.found and told.found.latency[0]
        figures = list[str]()
        k = told.best(0)[0]
        one = told.found.latency[0]
        unknown = np.full(len(one.peak), np.nan)
        for latency in ((None, None), (one._replace(low=unknown, high=unknown), None), (one, None)):
            changed = replace(told, found=replace(told.found, latency=latency))
            figures.append("".join(_waveform(Sheet(changed), 0, [k])))
        assert "farthest" not in figures[0] and "resampled" not in figures[0]
        assert "farthest" in figures[1] and "resampled" not in figures[1] and "nan" not in figures[1]
        assert "farthest" in figures[2] and "(95 %, trials resampled)" in figures[2]


class TestFigures:
    def test_gradiometers_of_a_place_are_one_value_without_a_sign(self):
        places = {f"MEG{i}{k}": (0.1 * i, 0.3 * (i % 3)) for i in range(6) for k in (1, 2, 3)}
        types = tuple("mag" if name.endswith("1") else "grad" for name in places)
        found, unplaced = layouts(tuple(places), types, ("fT",) * 18, places)
        mag, grad = found
        values = np.arange(18.0) - 9
        assert not unplaced and [len(pair) for pair in grad.pairs] == [2] * 6 and not mag.in_pairs
        assert np.isclose(grad.shown(values, False)[0], np.sqrt((values[1] ** 2 + values[2] ** 2) / 2))
        assert np.isclose(grad.shown(values, True)[0], (values[1] + values[2]) / 2)

    def test_electrodes_are_placed_by_name_as_on_the_head(self):
        names = ("Fz", "C3", "C4", "Oz", "Cz")
        (layout,), _ = layouts(names, ("eeg",) * 5, ("uV",) * 5, {})
        at = dict(zip(names, layout.places, strict=True))
        assert at["C3"][0] < at["Cz"][0] < at["C4"][0] and at["Oz"][1] < at["Cz"][1] < at["Fz"][1]

    def test_sensors_that_nobody_knows_the_place_of_are_bars(self, material):
        lost = replace(material.examined, positions={}, moments=material.examined.moments)
        told = explain(lost)
        page = report(Sheet(told))
        assert "is not known" in page and "<rect" in page and "<image" not in page

    def test_colours_that_come_again_are_said_to(self):
        assert "colours come again" in keys([f"class {i}" for i in range(9)])
        assert "again" not in keys(["left", "right"])

    def test_every_figure_is_a_file_of_its_own_with_title_and_units(self, file, new, tmp_path):
        output, folder = tmp_path / "report.html", tmp_path / "figures"
        explain_command(file, [new], output, tmp_path / "told.json", folder, None, None, [], None, [], 5, 0)
        told = json.loads((tmp_path / "told.json").read_text())
        assert np.shape(told["patterns"]["haufe"]) == (len(told["components"]["filters"]), 4)
        drawings = sorted(folder.glob("*.svg"))
        assert len(drawings) > 8
        for path in drawings:
            root = ElementTree.parse(path).getroot()
            assert root.get("aria-label") and len([*root.iter("{http://www.w3.org/2000/svg}text")]) > 3
        page = output.read_text()
        assert page.count("<figure>") == len(drawings) and "http://" not in page.replace("http://www.w3.org", "")

    def test_a_hidden_sensor_is_in_no_map_and_that_is_said(self, material):
        told = explain(material.examined, material, 5)
        page = report(Sheet(told, hidden=["E1"]))
        assert "Not shown in maps, though the decoder uses them: E1" in page
        with pytest.raises(ConfigurationError, match="'E9' is no sensor"):
            Sheet(told, hidden=["E9"])

    def test_an_unknown_form_is_refused(self, material):
        with pytest.raises(ConfigurationError, match="'weights' here: --form is one of haufe, mneflow "):
            Sheet(explain(material.examined, material, 5), form="weights")


class TestWhatItRestsOn:
    def test_the_channel_that_tells_the_class_is_what_it_rests_on(self, material):
        found = rests_on(material, ("randomised",))
        grown = [figure.value for figure in found.channels.grown]
        assert np.argmax(grown) == 0 and found.randomised.layers
        sheet = Sheet(explain(material.examined, material, 5))
        page = report(sheet, rest_sections(sheet, found), ("It looks as if it read eyes.",))
        assert page.index("It looks as if it read eyes") < page.index("Patterns for left") < page.index("Bands")
        assert "Control: weights drawn anew" in page

    def test_an_unknown_control_is_refused(self, material):
        with pytest.raises(ConfigurationError, match="no control 'other'; there is randomised, labels"):
            rests_on(material, ("other",))

    def test_a_control_that_cannot_be_is_a_note_beside_all_else(self, material, monkeypatch):
        def refused(*_, **__):
            raise ConfigurationError("Labels cannot be shuffled here.")

        monkeypatch.setattr("offline.interpretation.rests_on.shuffle_labels", refused)
        found = rests_on(material, ("labels",))
        assert found.channels and found.shuffled is None and "Labels cannot be shuffled here." in found.notes


class TestFolds:
    def test_components_are_matched_turned_and_compared(self, checkpoint, folder):
        told = over_folds(explain(read_examined(checkpoint)), folder / "out")
        assert len(told.names) == 2 and told.alike.shape[0] == 2
        own = told.names.index(checkpoint.stem)
        assert np.allclose(told.alike[own], 1) and (told.alike <= 1 + 1e-9).all()
        page = report(Sheet(explain(read_examined(checkpoint)), folds=told))
        assert "Over 2 folds" in page and document(explain(read_examined(checkpoint)), told)["folds"]["names"]

    def test_the_folds_of_another_run_are_refused(self, checkpoint, folder, tmp_path):
        told = explain(read_examined(checkpoint))
        with pytest.raises(ConfigurationError, match="is no folder of a training run"):
            over_folds(told, tmp_path)
        trained_again = tmp_path / "data"
        trained_again.mkdir()
        for seed in (4, 5):
            build_telling_recording(3000, seed).save(trained_again / f"run-{seed}.npz")
        trained(trained_again, preprocessing=STEPS)
        with pytest.raises(ConfigurationError, match="was not made by the run"):
            over_folds(told, trained_again / "out")


def test_the_command_writes_a_report_and_says_what_is_missing(file, tmp_path):
    told = CliRunner().invoke(app, ["explain", str(file), "-o", str(tmp_path / "told.html")])
    assert told.exit_code == 0 and "No recordings were given" in told.output and "written to" in told.output
    assert "Patterns for left" in (tmp_path / "told.html").read_text()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["-o", "told.pdf"], "html"),
        (["--control", "randomised"], "--control needs recordings"),
        (["--form", "weights"], "--form is one of"),
        (["--subject", "me"], "--subject is for a checkpoint of several"),
    ],
)
def test_what_cannot_be_asked_for_is_a_sentence(file, tmp_path, monkeypatch, options, error):
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["explain", str(file), *options])
    assert isinstance(told.exception, ConfigurationError) and error in str(told.exception)
