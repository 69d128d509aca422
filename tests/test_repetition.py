"""Repeated events summed: what is decided, when, and how sure it is; from the policy to the marker."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from offline.configuration import TrainingConfiguration
from rtdecode.contract import Event, EventWindow, Policy, Repeated
from rtdecode.decoder import Decoder, load
from rtdecode.errors import ConfigurationError
from rtdecode.lsl import StreamChoice
from rtdecode.marker import marker_of
from rtdecode.model_file import read_model
from rtdecode.prediction import Prediction
from rtdecode.repetition import Repetitions
from rtdecode.replay import decode_recording
from tests.builders import SFREQ, build_contract, build_model, build_recording
from tests.scripted import START, Script

ITEMS = ("row-1", "row-2", "row-3")
CLASSES = ("nontarget", "target")


def settings(**changes):
    return Repeated(**{"target": "target", "choices": {"row": ITEMS}, "n_repetitions": 3, **changes})


def prediction(item, p, timestamp=0.0, reason=None):
    proba = None if reason else np.array([1 - p, p], np.float32)
    return Prediction(timestamp + 0.8, 0, proba, -1 if reason else 1, reason, event=Event(timestamp, item))


def decide(shown, names=ITEMS, speed=1.0, **changes):
    """Return what is decided at each of `shown`: item, probability of the target, stamp (0.2 s apart if left out)."""
    repetitions = Repetitions(settings(**changes), CLASSES, speed)
    stamped = [(*each, 0.2 * i)[:3] for i, each in enumerate(shown)]
    decisions = [repetitions.decide(prediction(*each)) for each in stamped]
    return [decision and names[decision.index] for decision in decisions]


shown = st.lists(st.floats(0.01, 0.99), min_size=9, max_size=9)


@given(p=shown, order=st.permutations(range(9)))
def test_the_most_probable_item_is_decided_whatever_the_order(p, order):
    events = [(ITEMS[i % 3], p[i], 0.2 * i) for i in range(9)]
    repetitions = Repetitions(settings(), CLASSES)
    *before, decision = [repetitions.decide(prediction(*events[i])) for i in order]
    assert before == [None] * 8
    # The posterior by Bayes' rule, worked out the long way.
    likelihoods = [
        math.prod(float(np.float32(q)) if item == target else 1 - float(np.float32(q)) for item, q, _ in events)
        for target in ITEMS
    ]
    posterior = [each / sum(likelihoods) for each in likelihoods]
    assert decision.evidence == pytest.approx(max(posterior), rel=1e-4)
    assert posterior[decision.index] == pytest.approx(max(posterior), rel=1e-4)
    assert decision.used_s == pytest.approx(8 * 0.2 + 0.8)


@given(p=shown, prior=st.floats(0.05, 0.95))
def test_what_the_classifier_expects_does_not_matter_when_all_were_shown_equally_often(p, prior):
    def last(expected):
        repetitions = Repetitions(settings(prior=expected), CLASSES)
        return [repetitions.decide(prediction(ITEMS[i % 3], q, 0.2 * i)) for i, q in enumerate(p)][-1]

    assert last(prior).evidence == pytest.approx(last(0.5).evidence, rel=1e-6)


def test_it_is_decided_sooner_when_it_is_sure_and_each_was_shown():
    events = [("row-2", 0.99), ("row-1", 0.1), ("row-3", 0.1), ("row-2", 0.99)]
    assert decide(events, probability=0.95) == [None, None, "row-2", None]
    assert not any(decide(events))


def test_events_without_a_prediction_count_for_nothing():
    repetitions = Repetitions(settings(n_repetitions=1), CLASSES)
    repetitions.decide(prediction("row-1", 0.9))
    repetitions.decide(prediction("row-2", 0.1))
    assert repetitions.decide(prediction("row-3", 0.5, reason="gap")) is None
    assert repetitions.decide(prediction("another", 0.9)) is None
    assert repetitions.decide(prediction("row-3", 0.1)).index == 0


def test_each_choice_is_decided_once_in_a_trial():
    choices = {"row": ITEMS, "column": ("column-1", "column-2")}
    trial = [("row-1", 0.9), ("column-1", 0.2), ("row-2", 0.1), ("column-2", 0.7), ("row-3", 0.2)]
    names, told = (*ITEMS, "column-1", "column-2"), [None, None, None, "column-2", "row-1"]
    assert decide(trial * 2, names, choices=choices, n_repetitions=1) == [*told, *[None] * 5]
    assert decide(trial * 2, names, choices=choices, n_repetitions=1, pause_s=None) == told * 2


def test_a_pause_begins_a_trial():
    first = [("row-1", 0.9, 0.0), ("row-2", 0.1, 0.2)]
    again = [("row-3", 0.1, 2.3), ("row-1", 0.1, 2.5), ("row-2", 0.8, 2.7)]
    assert decide(first + again, n_repetitions=1) == [None, None, None, None, "row-2"]
    assert decide(first + again, n_repetitions=1, pause_s=3.0)[2] == "row-1"


def test_an_event_without_a_prediction_is_no_pause():
    repetitions = Repetitions(settings(n_repetitions=1), CLASSES)
    events = [(item, 0.5, at) for at, item in enumerate(ITEMS * 2)]
    decided = [
        repetitions.decide(prediction(item, p, float(at), reason="gap" if at in (3, 4) else None))
        for item, p, at in events
    ]
    assert [d is not None for d in decided] == [False, False, True, False, False, False]


def test_of_the_trial_before_a_late_event_counts_for_nothing():
    events = [("row-1", 0.1, 10.0), ("row-2", 0.1, 10.2), ("row-3", 0.1, 0.0), ("row-3", 0.9, 10.4)]
    assert decide(events, n_repetitions=1) == [None, None, None, "row-3"]


def test_a_pause_is_as_long_in_a_replay_at_another_speed():
    events = [("row-1", 0.9, 0.0), ("row-2", 0.1, 0.1), ("row-3", 0.1, 0.4)]
    assert decide(events, n_repetitions=1)[-1] == "row-1"
    assert decide(events, n_repetitions=1, speed=10.0)[-1] is None


def test_a_probability_of_nought_does_not_outweigh_all():
    events = [("row-1", 0.0), ("row-2", 0.4), ("row-3", 0.3)] * 3
    assert decide(events)[-1] == "row-2"


def test_settings_that_do_not_hold_are_refused():
    with pytest.raises(ValidationError, match="items that stand twice: row-1"):
        settings(choices={"row": ITEMS, "column": ("row-1", "column-1")})
    with pytest.raises(ValidationError, match="kind repeated knows no refractory_s, threshold"):
        Policy(evidence=settings(), threshold=0.5, refractory_s=1.0)
    for item in ("", " ", "row 1 ", "row\n"):
        with pytest.raises(ValidationError, match="should match pattern"):
            settings(choices={"row": (item, "row-2")})


# Of the decoder, whose classes are left and right, and whose window is half a second.
WINDOW = EventWindow(first=0, labels=("row-*",))
POLICY = Policy(evidence=settings(target="left", n_repetitions=2))


@pytest.fixture(scope="module")
def contract():
    return build_contract(events=WINDOW, hop=1, policy=POLICY)


@pytest.fixture(scope="module")
def model(contract, tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx", contract))


def at_two_trials(start):
    """Return stamps and labels of two trials, six events each, with a pause between."""
    stamps = start + np.concatenate([4.0 + 0.3 * np.arange(6), 10.0 + 0.3 * np.arange(6)])
    stamps = np.round(stamps * SFREQ) / SFREQ
    return [Event(t, ITEMS[i % 3]) for i, t in enumerate(stamps.tolist())]


def spelled():
    recording = build_recording(20 * int(SFREQ))
    return replace(recording, events=tuple(at_two_trials(recording.timestamps[0])))


def summed(predictions):
    """Return the item of the largest sum of log odds for the target, of a trial's predictions."""
    odds = dict.fromkeys(ITEMS, 0.0)
    for p in predictions:
        odds[p.event.label] += math.log(float(p.proba[0])) - math.log(1 - float(p.proba[0]))
    return max(odds, key=odds.get)


def test_the_decoder_decides_by_the_sums(model):
    replay = decode_recording(spelled(), Decoder(model))
    trials = replay.predictions[:6], replay.predictions[6:]
    assert [p.decision is None for p in replay.predictions] == [*[True] * 5, False] * 2
    assert [ITEMS[trial[-1].decision] for trial in trials] == [summed(trial) for trial in trials]


@given(cuts=st.lists(st.integers(1, 20 * int(SFREQ) - 1), max_size=6, unique=True).map(sorted))
def test_chunks_change_no_decision(model, cuts):
    recording, decoder = spelled(), Decoder(model)
    predictions = []
    for start, stop in zip([0, *cuts], [*cuts, len(recording.samples)], strict=True):
        part = slice(start, stop)
        events = () if start else recording.events
        predictions += decoder.push(recording.samples[part], recording.timestamps[part], events)
    whole = decode_recording(recording, Decoder(model)).predictions
    assert [p._bits() for p in predictions] == [p._bits() for p in whole]


@pytest.mark.parametrize("chunk", [7, 400])
def test_when_the_clock_is_set_sums_begin_anew(model, chunk):
    recording = spelled()
    # Back, before the last event of the first trial: what comes after belongs to no trial before.
    before = recording.timestamps < (jump := recording.events[5].timestamp - 0.05)
    stamps = recording.timestamps - np.where(before, 0.0, 500.0)
    events = [Event(e.timestamp - 500.0 * (e.timestamp > jump), e.label) for e in recording.events]
    decoder, predictions, late = Decoder(model), [], [Event(events[4].timestamp + 0.1, ITEMS[0])]
    for start in range(0, len(stamps), chunk):
        part = slice(start, start + chunk)
        came = recording.timestamps[part]
        due = [e for e, was in zip(events, recording.events, strict=True) if was.timestamp in came]
        predictions += decoder.push(recording.samples[part], stamps[part], due)
        if late and due and due[-1].timestamp < 1000:
            # Of before the jump: it is decoded, and of no trial.
            predictions += decoder.push(recording.samples[:0], stamps[:0], [late.pop()])
    assert "clock" in {p.reason for p in predictions}
    decided = [p for p in predictions if p.decision is not None]
    assert [p.event for p in decided] == [events[-1]] and not late


def test_a_marker_names_the_item(model, contract):
    decided = decode_recording(spelled(), Decoder(model)).predictions[5]
    names, item = contract.decision_names(POLICY), ITEMS[decided.decision]
    assert marker_of(decided, 0.0, contract.outputs, names, "label") == item
    assert marker_of(decided, 0.0, contract.outputs, names, "int32") == ITEMS.index(item)
    told = json.loads(marker_of(decided, 0.0, contract.outputs, names, "json"))
    assert (told["label"], told["evidence"], set(told["proba"])) == (item, decided.evidence, {"left", "right"})


def test_the_live_loop_decides_what_the_replay_does(model):
    script = Script(8).play(14.0)
    for stamp, label in at_two_trials(START):
        script.event(stamp, label, stamp + 0.02)
    record = script.run(model, events=StreamChoice(name="markers"))
    live = [p for _, _, p in record.rows if p.event]
    (inlet,) = script.world.inlets
    samples, timestamps = (np.concatenate(part) for part in zip(*inlet.received, strict=True))
    replayed = Decoder(model, inlet.signal).push(samples, timestamps, [p.event for p in live])
    assert sum(p.decision is not None for p in live) == 2 and record.of("end")[0]["decisions"] == 2
    assert [p._bits() for p in live] == [p._bits() for p in replayed]


def test_the_table_of_a_replay_names_the_item(model, tmp_path):
    replay = decode_recording(spelled(), Decoder(model))
    replay.write(tmp_path / "table.csv")
    header, *rows = (line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines())
    decided = [row[header.index("decision")] for row in rows]
    assert [bool(name) for name in decided] == [*[False] * 5, True] * 2 and set(decided) <= {"", *ITEMS}
    replay.write(tmp_path / "table.npz")
    with np.load(tmp_path / "table.npz") as arrays:
        assert tuple(arrays["decision_names"]) == ITEMS and arrays["prediction_decisions"].max() < 3


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (Policy(threshold=0.9), "kind mean is of hops, and this predicts at events: use repeated"),
        (Policy(evidence=settings()), "the target 'target' is no class; the classes are left, right"),
        (
            Policy(evidence=settings(target="left", choices={"pictures": ("cat", "row-1")})),
            "items at whose events nothing is predicted: cat; see events.labels",
        ),
    ],
)
def test_a_policy_that_does_not_fit_windows_at_events_is_refused(model, policy, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Decoder(model, policy=policy)


def test_without_a_policy_each_event_is_decided(model):
    predictions = decode_recording(spelled(), Decoder(model, policy=Policy())).predictions
    assert [p.decision for p in predictions] == [p.label for p in predictions]


def test_sums_over_events_are_refused_where_windows_slide(tmp_path):
    with pytest.raises(ConfigurationError, match="of events, and this predicts at every hop"):
        load(build_model(tmp_path / "model.onnx"), policy=POLICY)


CONFIGURATION = {
    "name": "speller",
    "recordings": {"pattern": "*.fif"},
    "channels": {"types": ["eeg"]},
    "trials": {"classes": {"left": ["left"], "right": ["right"]}, "tmin_s": 0.0, "tmax_s": 0.5},
    "events": {"labels": ["row-*"]},
    "preprocessing": [],
    "model": {"network": "csp-lda"},
    "split": {"kind": "leave-one-run-out"},
    "policy": POLICY.model_dump(),
}


def test_a_training_configuration_brings_its_policy():
    assert TrainingConfiguration.model_validate(CONFIGURATION).policy == POLICY
    with pytest.raises(ValidationError, match=r"nothing is predicted: row-1, row-2, row-3; see events\.labels"):
        TrainingConfiguration.model_validate({**CONFIGURATION, "events": {}})
