"""Repeated events summed: what is chosen, when, and how sure it is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rtdecode.contract import Event
from rtdecode.errors import ConfigurationError
from rtdecode.prediction import Prediction
from rtdecode.repetition import Repetitions, RepetitionSettings

ITEMS = ("row-1", "row-2", "row-3")
CLASSES = ("nontarget", "target")


def settings(**changes):
    return RepetitionSettings(**{"target": "target", "choices": {"row": ITEMS}, "n_repetitions": 3, **changes})


def prediction(item, p, timestamp=0.0, reason=None):
    proba = None if reason else np.array([1 - p, p], np.float32)
    return Prediction(timestamp, 0, proba, -1 if reason else 1, reason, event=Event(timestamp, item))


def choose(shown, **changes):
    repetitions = Repetitions(settings(**changes), CLASSES)
    return [repetitions.add(prediction(item, p, float(i))) for i, (item, p) in enumerate(shown)]


shown = st.lists(st.floats(0.01, 0.99), min_size=9, max_size=9)


@given(p=shown, order=st.permutations(range(9)))
def test_the_most_probable_item_is_chosen_whatever_the_order(p, order):
    events = [(ITEMS[i % 3], p[i]) for i in range(9)]
    *before, chosen = choose([events[i] for i in order])
    assert before == [None] * 8
    # The posterior by Bayes' rule, worked out the long way.
    likelihoods = [
        math.prod(float(np.float32(q)) if item == target else 1 - float(np.float32(q)) for item, q in events)
        for target in ITEMS
    ]
    posterior = [each / sum(likelihoods) for each in likelihoods]
    assert chosen.probability == pytest.approx(max(posterior), rel=1e-4)
    assert posterior[ITEMS.index(chosen.item)] == pytest.approx(max(posterior), rel=1e-4)
    assert (chosen.choice, chosen.n_events, chosen.timestamp) == ("row", 9, 8.0)


@given(p=shown, prior=st.floats(0.05, 0.95))
def test_what_the_classifier_expects_does_not_matter_when_all_were_shown_equally_often(p, prior):
    events = [(ITEMS[i % 3], q) for i, q in enumerate(p)]
    some, others = (choose(events, prior=each)[-1] for each in (0.5, prior))
    assert some.probability == pytest.approx(others.probability, rel=1e-6)


def test_it_is_chosen_sooner_when_it_is_sure_and_each_was_shown():
    events = [("row-2", 0.99), ("row-1", 0.1), ("row-3", 0.1), ("row-2", 0.99)]
    assert [bool(s) for s in choose(events, probability=0.95)] == [False, False, True, False]
    assert not any(choose(events))


def test_events_without_a_prediction_count_for_nothing():
    repetitions = Repetitions(settings(n_repetitions=1), CLASSES)
    repetitions.add(prediction("row-1", 0.9))
    repetitions.add(prediction("row-2", 0.1))
    assert repetitions.add(prediction("row-3", 0.5, reason="gap")) is None
    assert repetitions.add(prediction("pause", 0.9)) is None
    assert repetitions.add(prediction("row-3", 0.1)).item == "row-1"


def test_choices_are_apart_and_begin_anew():
    choices = {"row": ITEMS, "column": ("column-1", "column-2")}
    repetitions = Repetitions(settings(choices=choices, n_repetitions=1), CLASSES)
    events = [("row-1", 0.9), ("column-1", 0.2), ("row-2", 0.1), ("column-2", 0.7), ("row-3", 0.2)]
    chosen = [repetitions.add(prediction(*event)) for event in events]
    assert [s and s.item for s in chosen] == [None, None, None, "column-2", "row-1"]
    assert set(repetitions.probabilities("row").values()) == {1 / 3}


def test_a_probability_of_nought_does_not_outweigh_all():
    events = [("row-1", 0.0), ("row-2", 0.4), ("row-3", 0.3)] * 3
    assert choose(events)[-1].item == "row-2"


def test_settings_that_do_not_hold_are_refused():
    with pytest.raises(ValidationError, match="items that stand twice: row-1"):
        settings(choices={"row": ITEMS, "column": ("row-1", "column-1")})
    with pytest.raises(ConfigurationError, match="'p300' is no class; there is nontarget, target"):
        Repetitions(settings(target="p300"), CLASSES)
