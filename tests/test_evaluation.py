"""Evaluation as it will live: the figures, what they rest on, the report, and what is refused."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score

from rtdecode.contract import Classification, Event, EventWindow, Policy, Score, Targets, Trials
from rtdecode.decisions import NOT_COUNTED, OUTSIDE, Course
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.evaluation import evaluate, report
from rtdecode.evaluation.course import over_time
from rtdecode.evaluation.permutation import exchanges, permute_classes, permute_values
from rtdecode.evaluation.reliability import reliability
from rtdecode.model_file import read_model, rewrite
from rtdecode.recording import Recording, read_recording
from rtdecode.replay import TrialDecision
from rtdecode.scoring import accuracy, auc, confusion, information_rate, kappa, regression, wolpaw_bits
from rtdecode.surrogates import shifts
from tests.builders import (
    VALUES,
    build_contract,
    build_model,
    build_recording,
    build_telling_model,
    build_telling_recording,
    linear_graph,
)
from tests.processes import run_rtdecode
from tests.test_latency import Page

PEOPLE = {"sub-1": 4.0, "sub-2": 1.0, "sub-3": 8.0}
OF_CLASSES = ["accuracy over trials", "kappa", "AUC", "calibration error", "accuracy over windows", "bits per minute"]
OF_DECISIONS = ["trials right first", "right of those decided", "decisions per trial", "false per minute",
                "median s to the right one", "bits per minute, decided"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    build_telling_model(folder / "m.onnx")
    for seed, (person, uv) in enumerate(PEOPLE.items()):
        build_telling_recording(4000, seed, uv).save(folder / f"{person}_run-1.npz")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return read_model(folder / "m.onnx")


@pytest.fixture(scope="module")
def paths(folder):
    return [folder / f"{person}_run-1.npz" for person in PEOPLE]


@pytest.fixture(scope="module")
def evaluation(model, paths):
    return evaluate(model, paths, n_permutations=500)


def changed(model, folder, **changes):
    """The same decoder with another contract."""
    return rewrite(model, model.contract.model_copy(update=changes), folder / "changed.onnx")


def with_provenance(model, folder, **changes):
    return changed(model, folder, provenance=model.contract.provenance.model_copy(update=changes))


@pytest.fixture(scope="module")
def told(folder, paths):
    """What the command prints, and its JSON."""
    outputs = ("--output", folder / "e.html", "--json", folder / "e.json")
    code, output = run_rtdecode("evaluate", folder / "m.onnx", *paths, "--permutations", 500, *outputs)
    assert code == 0, output
    return output, json.loads((folder / "e.json").read_text(encoding="utf-8"))


class TestCommand:
    def test_its_windows_are_those_of_replay_to_the_last_bit(self, called, told, folder, paths):
        _, document = told
        for path, one in list(zip(paths, document["recordings"], strict=True))[1:]:
            code, output = called("replay", path, "--model", folder / "m.onnx", "-o", folder / "p.npz")
            assert code == 0, output
            with np.load(folder / "p.npz") as replayed:
                proba = np.array(one["prediction_proba"], np.float32)
                assert proba.tobytes() == replayed["prediction_proba"].tobytes() and np.isfinite(proba).any()
                for name in ("timestamps", "samples", "labels", "reasons"):
                    assert one[f"prediction_{name}"] == replayed[f"prediction_{name}"].tolist()

    def test_it_tells_every_figure_here_there_and_in_the_report(self, told, folder, evaluation):
        output, document = told
        page = Page((folder / "e.html").read_text(encoding="utf-8")).text
        names = [figure["name"].partition(", of ")[0] for figure in document["figures"]]
        assert names == OF_CLASSES + OF_DECISIONS
        for figure, found in zip(document["figures"], evaluation.figures, strict=True):
            assert figure["value"] == found.value and figure["low"] <= figure["value"] <= figure["high"]
            assert f"{found.name}: {found}" in output and f"{found.name}{found.value:.3f}" in page

    def test_trials_stand_in_the_rows_of_their_truth(self, told):
        _, document = told
        events = sum((Counter(one["events"]) for one in document["recordings"]), Counter())
        assert np.sum(document["confusion"], axis=1).tolist() == [events["left"], events["right"]]

    def test_kappa_has_the_p_of_the_accuracy(self, told):
        p = told[1]["permutations"]["p"]
        assert p["kappa"] == p["accuracy over trials"] == pytest.approx(1 / 501)


def test_the_same_recordings_give_the_same_figures_as_replay(evaluation, model):
    for one, own in zip(evaluation.decoded, evaluation.by_person.values(), strict=True):
        replayed = one.replay
        assert own[0] == replayed.trial_accuracy() and own[2] == replayed.trial_auc()
        assert {f.name for f in replayed.decision_figures()} <= {f.name for f in own}


def test_means_over_people_are_those_of_their_figures(evaluation):
    first = evaluation.over_people[0]
    values = [own[0].value for own in evaluation.by_person.values()]
    assert (first.name, first.n_people, first.mean) == ("accuracy over trials", 3, pytest.approx(np.mean(values)))
    assert first.low < first.mean < first.high and list(evaluation.by_person) == ["1", "2", "3"]


def test_whose_a_recording_is_can_be_told_otherwise(model, paths):
    people = evaluate(model, paths, person=r"run-(\d)").people
    assert list(people) == ["1"] and len(people["1"]) == 3


def test_who_is_not_known_is_no_further_person(model, paths):
    assert list(evaluate(model, paths, person=r"sub-([12])").by_person) == ["1", "2"]


def test_what_was_trained_on_is_told_loudly(called, model, paths, tmp_path):
    trained = "+".join(read_recording(path).fingerprint()[:16] for path in paths[:2])
    path = with_provenance(model, tmp_path, data_fingerprint=trained).path
    code, output = called("evaluate", path, *paths[1:], "--permutations", 10, "--output", tmp_path / "e.html")
    page = Page((tmp_path / "e.html").read_text(encoding="utf-8")).text
    assert code == 0 and f"TRAINED ON: the decoder learned from {paths[1].name}" in output
    assert "trained on these" in page and f"trained on 1 of these 2 recordings: {paths[1].name}" in page
    assert "held out" not in page


def test_what_tuned_the_policy_is_told_loudly(called, folder, paths, tmp_path):
    tuned, outputs = tmp_path / "tuned.onnx", ("--permutations", 10, "--output", tmp_path / "e.html")
    code, output = called("tune", folder / "m.onnx", paths[0], "--false-per-minute", 20, "--output", tuned)
    assert code == 0, output
    code, output = called("evaluate", tuned, *paths, *outputs)
    page = Page((tmp_path / "e.html").read_text(encoding="utf-8")).text
    assert code == 0 and f"TUNED ON: the policy was tuned on {paths[0].name}. " in output
    assert "policy tuned on these" in page and f"tuned on 1 of these 3 recordings: {paths[0].name}." in page
    assert "held out" not in page and "trained on these" not in page
    found = evaluate(read_model(tuned), paths, n_permutations=10)
    assert [one.tuned_on for one in found.decoded] == [True, False, False]


def test_rest_alone_counts_for_false_activations(model, paths, tmp_path):
    recording = build_recording(4000, seed=9)
    Recording(recording.signal, recording.samples, recording.timestamps).save(tmp_path / "rest.npz")
    false = {}
    for recordings in ([paths[0]], [paths[0], tmp_path / "rest.npz"]):
        found = next(f for f in evaluate(model, recordings).figures if f.name.startswith("false per minute"))
        false[len(recordings)] = found.n, float(found.name.rpartition(" ")[2])
    assert false[2][0] > false[1][0] and false[2][1] == pytest.approx(false[1][1] + 4000 / 128 / 60, abs=0.06)


def test_rest_need_not_have_trials(paths, tmp_path):
    names = ("left", "right", "idle")
    truth = {
        "outputs": Classification(class_names=names),
        "trials": Trials(tmin_s=0.0, tmax_s=1.0, classes={name: (name,) for name in names}),
    }
    contract, graph = build_contract(truth=truth, steps=[]), linear_graph(4, 32, n_outputs=3)
    found = evaluate(read_model(build_model(tmp_path / "m.onnx", contract, graph)), paths, rest=("idle",))
    right, _, by_auc = found.figures[:3]
    assert found.confusion[2].sum() == 0 < found.confusion[:2, 2].sum()
    assert right.value == found.nulls[right.name].observed < np.trace(found.confusion) / found.confusion[:2, :2].sum()
    assert by_auc.value == pytest.approx(found.nulls["AUC"].observed)


def test_a_policy_of_the_file_decides(model, paths, tmp_path):
    policy = Policy(threshold=0.9, refractory_s=1.0)
    decided = evaluate(changed(model, tmp_path, policy=policy), paths[:1])
    expected = decided.decoded[0].replay.decision_figures()
    assert decided.policy == policy and [f for f in decided.figures if f in expected] == expected


class TestReport:
    def test_it_is_well_formed_and_needs_nothing_but_itself(self, evaluation):
        text = report(evaluation)
        assert [tag for tag, _ in Page(text).found].count("svg") == 6
        for outside in ("://", "url(", "@import", " src=", " href=", "<script"):
            assert outside not in text

    def test_names_are_text_and_not_markup(self, model, paths, tmp_path):
        trials = model.contract.trials.model_copy(update={"classes": {"<b>": ("left",), "right": ("right",)}})
        outputs = model.contract.outputs.model_copy(update={"class_names": ("<b>", "right")})
        page = Page(report(evaluate(changed(model, tmp_path, trials=trials, outputs=outputs), paths[:1])))
        assert "<b> | right" in page.text and "policy" not in page.open

    def test_every_figure_has_a_title_axes_and_a_sample_size(self, evaluation):
        text = Page(report(evaluation)).text
        n = len(evaluation.trials)
        titles = (
            "Accuracy over time",
            f"n = {n} trials, truth in rows",
            "Reliability",
            "Permutation test",
            "Each person",
        )
        axes = (
            "s from the cue",
            "share of windows right",
            "probability of the most probable",
            "share of permutations",
        )
        assert [words for words in titles + axes if words not in text] == []


class TestOtherDecoders:
    @pytest.mark.parametrize(("n_samples", "enough"), [(1000, False), (5000, True)])
    def test_values_have_those_of_replay_and_a_p_if_there_are_enough(self, tmp_path, n_samples, enough):
        targets = Targets(channels=("E0", "E1"), segment_s=1.0)
        contract = build_contract(truth={**VALUES, "targets": targets}, steps=[])
        outputs = contract.outputs.model_copy(update={"units": ("uV", "uV")})
        model = read_model(build_model(tmp_path / "v.onnx", contract.model_copy(update={"outputs": outputs})))
        build_recording(n_samples).save(tmp_path / "r.npz")
        found = evaluate(model, [tmp_path / "r.npz"], n_permutations=100)
        assert found.figures == found.decoded[0].replay.figures() and len(found.figures) == 4
        assert set(found.nulls) == {figure.name for figure in found.figures}
        page, ps = Page(report(found)), json.loads(found.as_json())["permutations"]["p"]
        assert "decoded x (uV)" in page.text and "nan" not in page.text
        assert all((p is not None) == enough for p in ps.values())
        assert all(figure.told_whole == enough for figure in found.figures)
        assert ("too few that do not depend on each other" in page.text) != enough
        assert ("truths shifted in time, p = " in page.text) == enough

    def test_without_the_target_channels_it_says_so(self, tmp_path, recording_path):
        contract = build_contract(truth={**VALUES, "targets": Targets(channels=("F0", "F1"))}, steps=[])
        model = read_model(build_model(tmp_path / "v.onnx", contract))
        with pytest.raises(RecordingError, match="it lacks the channels F0, F1"):
            evaluate(model, [recording_path])

    def test_at_events_there_is_no_rest_and_no_time(self, tmp_path, recording_path):
        contract = build_contract(events=EventWindow(first=0), hop=1)
        found = evaluate(read_model(build_model(tmp_path / "e.onnx", contract)), [recording_path], n_permutations=50)
        assert [f.name for f in found.figures] == OF_CLASSES[:4] and found.over_time is None
        assert "Accuracy over time" not in Page(report(found)).text

    def test_what_training_was_judged_by_comes_first(self, model, paths, tmp_path):
        score = Score(name="AUC", value=0.7, low=0.6, high=0.8, chance=0.5, n=9, split="")
        found = evaluate(with_provenance(model, tmp_path, scores=(score,)), paths, n_permutations=50)
        assert found.figures[0].name == found.over_people[0].name == "AUC"
        assert f"as it will livechanged.onnxAUC {found.figures[0].value:.3f}" in Page(report(found)).text


class TestRefused:
    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            (
                {},
                r"No trial of left, right can be scored .*left; right: right.*: the recordings' events are none",
            ),
            ({"left": "up", "right": "down"}, r"the recordings' events are up \(\d+\), down \(\d+\)"),
            (
                {"left": "left", "right": "left"},
                r"No trial of right can be scored .events right: right.: .*left \(6\)",
            ),
        ],
    )
    def test_without_trials_of_a_class(self, model, tmp_path, recording, labels, told):
        events = tuple(Event(e.timestamp, labels[e.label]) for e in recording.events if labels)
        Recording(recording.signal, recording.samples, recording.timestamps, events).save(tmp_path / "r.npz")
        with pytest.raises(RecordingError, match=told):
            evaluate(model, [tmp_path / "r.npz"])

    def test_when_no_window_of_the_trials_could_be_decoded(self, model, tmp_path, recording):
        recording.samples[:] = np.nan
        recording.save(tmp_path / "r.npz")
        with pytest.raises(RecordingError, match="no window of their trials could be decoded"):
            evaluate(model, [tmp_path / "r.npz"])

    def test_the_same_recording_twice(self, model, paths):
        with pytest.raises(RecordingError, match=r"is the same recording as .* give it once"):
            evaluate(model, [paths[0], paths[0]])

    def test_a_decoder_that_tells_no_truth(self, model, paths, tmp_path):
        with pytest.raises(ConfigurationError, match="nothing tells what it should have decoded"):
            evaluate(changed(model, tmp_path, trials=None), paths)

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"rest": ("idle",)}, "--rest: the policy speaks of idle"),
            ({"person": "sub-("}, "no regular expression with one group"),
            ({"person": "sub-.*"}, "no regular expression with one group"),
        ],
    )
    def test_settings_that_cannot_be(self, model, paths, settings, told):
        with pytest.raises(ConfigurationError, match=told):
            evaluate(model, paths, **settings)

    def test_rest_that_a_policy_tells_already(self, model, paths, tmp_path):
        with pytest.raises(ConfigurationError, match="its policy says what rest is"):
            evaluate(changed(model, tmp_path, policy=Policy()), paths, rest=("left",))


LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


class TestMeasures:
    @given(LABELS)
    def test_confusions_and_kappa_are_those_of_scikit_learn(self, pairs):
        truth, decided = np.array(pairs).T
        counts = confusion(truth, decided, 3)
        assert np.array_equal(counts, confusion_matrix(truth, decided, labels=range(3)))
        found = kappa(counts, accuracy(truth, decided))
        if len({*truth, *decided}) > 1:
            assert found.value == pytest.approx(cohen_kappa_score(truth, decided))
            assert found.low - 1e-9 <= found.value <= found.high + 1e-9
        else:
            assert np.isnan(found.value)

    def test_an_auc_of_many_classes_is_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        truth = np.repeat([0, 1, 2], [5, 9, 14])
        log_p = log_softmax(rng.standard_normal((28, 3)) + np.eye(3)[truth], axis=1)
        found, expected = auc(truth, log_p), roc_auc_score(truth, np.exp(log_p), multi_class="ovr")
        assert found.value == pytest.approx(expected) and found.low < found.value < found.high
        _, permuted = permute_classes(truth, log_p, np.zeros(28, int), 1, 0)
        assert permuted.observed == pytest.approx(expected)

    def test_an_auc_of_two_classes_is_that_of_their_difference(self):
        rng = np.random.default_rng(0)
        truth, evidence = rng.integers(0, 2, 30), rng.standard_normal((30, 2))
        assert auc(truth, evidence) == auc(truth, evidence[:, 1] - evidence[:, 0])

    @pytest.mark.parametrize(
        ("p", "n", "bits"),
        [(1.0, 2, 1.0), (1.0, 4, 2.0), (0.9, 2, 0.531), (0.8, 4, 0.961), (0.25, 4, 0.0), (0.1, 2, 0.0)],
    )
    def test_bits_are_those_of_wolpaws_formula(self, p, n, bits):
        assert wolpaw_bits(p, n) == pytest.approx(bits, abs=5e-4)

    def test_an_information_rate_has_the_interval_of_its_accuracy(self):
        right = accuracy([0, 1] * 10, [0, 1] * 9 + [1, 0])
        rate = information_rate(right, 2, 4.0, "bits")
        assert rate.low == 15 * wolpaw_bits(right.low, 2) < rate.value < rate.high == 15 * wolpaw_bits(right.high, 2)


def said(truth, *probabilities):
    """A trial of windows with these probabilities of class 1."""
    p = np.array(probabilities, np.float32)
    return TrialDecision(0.0, truth, np.column_stack([1 - p, p]))


class TestReliability:
    def test_the_error_is_the_distance_of_sureness_and_truth(self):
        found = reliability([said(1, 0.75, 0.75), said(0, 0.75, 0.75), said(1, 1.0, 1.0)])
        # Four windows 0.75 sure and half of them right; two sure and right.
        assert found.error.value == pytest.approx(4 / 6 * 0.25)
        assert found.n.tolist() == [0, 0, 0, 0, 0, 0, 0, 4, 0, 2] and found.accuracy[7] == 0.5
        assert found.right.value == pytest.approx(4 / 6) and found.right.n == 3

    @pytest.mark.parametrize(("sharpened", "true"), [(1.0, True), (3.0, False)])
    def test_it_tells_true_probabilities_from_those_that_are_too_sure(self, sharpened, true):
        rng = np.random.default_rng(1)
        p = rng.uniform(0.02, 0.98, 400)
        truth = (rng.random(400) < p).astype(int)
        told = p**sharpened / (p**sharpened + (1 - p) ** sharpened)
        error = reliability([said(t, q) for t, q in zip(truth, told, strict=True)]).error
        assert (error.low <= error.chance) == true and (error.value < 2 * error.chance) == true


class TestPermutations:
    @given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 2**31))
    def test_only_trials_of_a_recording_change_places(self, blocks, seed):
        for order in exchanges(blocks, 3, seed):
            assert sorted(order) == list(range(len(blocks)))
            assert np.array_equal(np.array(blocks)[order], blocks)

    def test_p_is_uniform_where_nothing_is_decoded(self):
        rng = np.random.default_rng(0)
        ps = []
        for seed in range(200):
            truth = rng.permutation(np.repeat([0, 1], 15))
            _, by_auc = permute_classes(truth, rng.standard_normal((30, 2)), np.repeat([0, 1], 15), 99, seed)
            ps.append(by_auc.p)
        assert 0.42 < np.mean(ps) < 0.58 and 0.02 <= np.mean(np.array(ps) <= 0.05) <= 0.10
        assert min(ps) >= 0.01

    def test_p_is_the_least_possible_where_everything_is(self):
        truth = np.tile([0, 1], 20)
        for null in permute_classes(truth, np.eye(2)[truth], np.zeros(40, int), 99, 0):
            assert (null.observed, null.p) == (1.0, 0.01)

    @pytest.mark.parametrize("in_time", [False, True])
    def test_exchanged_values_have_the_figures_that_scoring_gives_them(self, in_time):
        rng = np.random.default_rng(0)
        truth, blocks = rng.standard_normal((12, 5)), np.repeat([0, 1], 6)
        predicted = truth + rng.standard_normal((12, 5))
        nulls = permute_values(truth, predicted, blocks, 3, 7, in_time)
        orders = shifts(blocks, 3, np.random.default_rng(7)) if in_time else exchanges(blocks, 3, 7)
        for i, order in enumerate([np.arange(12), *orders]):
            expected = regression(truth[order][..., None], predicted[..., None], ["x"])
            for null, figure in zip(nulls, expected, strict=True):
                assert (null.observed if i == 0 else null.values[i - 1]) == pytest.approx(figure.value)


class TestOverTime:
    SFREQ, HOP = 100.0, 10

    def course(self, truth, right_after_s, hops=400, event_at=0.0):
        """Trials every 10 s; the right class is the most probable from so long after the event on."""
        events = (np.arange(len(truth)) * 1000 + 500 + event_at).astype(np.int64)
        samples = np.arange(hops) * self.HOP
        since = (samples[:, None] - events) / self.SFREQ
        trial = np.where((since >= 0).any(axis=1), (since >= 0).sum(axis=1) - 1, OUTSIDE)
        right = since[np.arange(hops), np.maximum(trial, 0)] >= right_after_s
        said = np.where(right, np.array(truth)[trial], 1 - np.array(truth)[trial])
        proba = np.eye(2, dtype=np.float32)[said]
        return Course(samples, proba, trial, np.array(truth), events, self.HOP / self.SFREQ, self.SFREQ)

    def test_each_bin_is_as_right_as_the_windows_that_end_in_it(self):
        course = self.course([0, 1, 1, 0], 1.5)
        found = over_time([course], 3.0)
        for time, figure in zip(found.time_s, found.figures, strict=True):
            if time > 0:
                assert figure.value == (time > 1.5) and figure.n == 4
        assert found.time_s[0] == pytest.approx(-0.95) and found.time_s[-1] == pytest.approx(2.95)

    def test_an_abstention_leaves_a_trial_out_of_its_bin(self):
        course = self.course([0, 1, 1, 0], 0.0)
        course.proba[(course.samples >= 600) & (course.samples < 700)] = np.nan
        n = {round(t, 2): f.n for t, f in zip(*(over_time([course], 3.0).__dict__.values()), strict=True)}
        assert n[1.05] == n[1.95] == 3 and n[0.95] == n[2.05] == 4

    def test_a_hop_that_is_not_counted_is_judged_in_no_bin(self):
        course = self.course([0, 1, 1, 0], 0.0)
        course.trial[(course.samples >= 600) & (course.samples < 700)] = NOT_COUNTED
        n = {round(t, 2): f.n for t, f in zip(*(over_time([course], 3.0).__dict__.values()), strict=True)}
        assert n[1.05] == n[1.95] == 3 and n[0.95] == n[2.05] == 4

    def test_hops_that_do_not_fall_on_the_event_count_once_each(self):
        found = over_time([self.course([0, 1, 1, 0], 0.0, event_at=7.0)], 3.0)
        assert {figure.n for figure in found.figures} == {4}
