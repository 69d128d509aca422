"""Repeated events summed: which of several items a person attends to, as a P300 speller finds out.

Each event shows one item (a row, a column, a picture), again and again in any order; the decoder says of each whether
it was the target. What the events of an item say is independent given the target, so their log likelihood ratios add
up (Kindermans et al. 2014, doi 10.1088/1741-2560/11/3/035005).
"""

import math
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.errors import ConfigurationError
from rtdecode.prediction import Prediction

# A probability of 0 would outweigh everything else.
_LEAST = 1e-12


class RepetitionSettings(BaseModel):
    """What is chosen among, and when.

    Attributes
    ----------
    target : str
        Class of the events that show the attended item.
    choices : dict of str to tuple of str
        Of each choice (say, `row` and `column`) its items: labels of their events.
    n_repetitions : int
        Predictions of every item after which the most probable one is chosen.
    probability : float or None
        Chosen sooner when an item is as probable as this, and each has been shown once; None: never sooner.
    prior : float
        Share of targets that the classifier expects: that in training, or 0.5 if classes were weighed `balanced`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    target: str
    choices: Annotated[dict[str, Annotated[tuple[str, ...], Field(min_length=2)]], Field(min_length=1)]
    n_repetitions: Annotated[int, Field(ge=1)]
    probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _one_choice_an_item(self) -> Self:
        items = [item for choice in self.choices.values() for item in choice]
        if twice := sorted({item for item in items if items.count(item) > 1}):
            raise ValueError(f"items that stand twice: {', '.join(twice)}")
        return self


class Selection(NamedTuple):
    """What was chosen.

    Attributes
    ----------
    choice, item : str
        Among what, and what.
    probability : float
        Of the item, all items of the choice being equally probable beforehand.
    n_events : int
        Predictions it rests on.
    timestamp : float
        Stamp of the newest sample it rests on.
    """

    choice: str
    item: str
    probability: float
    n_events: int
    timestamp: float


class Repetitions:
    """Sums over events, and chooses.

    Parameters
    ----------
    settings : RepetitionSettings
        Among what, and when.
    class_names : tuple of str
        Of the decoder's classes.

    Raises
    ------
    ConfigurationError
        The target is no class.

    Notes
    -----
    Events without a prediction count for nothing: an item is shown once more for each. After a choice its sums begin
    anew. Determinism: the order of events within a choice changes nothing.
    """

    def __init__(self, settings: RepetitionSettings, class_names: tuple[str, ...]) -> None:
        if settings.target not in class_names:
            raise ConfigurationError(f"Target {settings.target!r} is no class; there is {', '.join(class_names)}.")
        self._settings, self._target = settings, class_names.index(settings.target)
        self._prior = _log_odds(settings.prior)
        self._choice_of = {item: choice for choice, items in settings.choices.items() for item in items}
        self._said: dict[str, list[float]] = {item: [] for item in self._choice_of}
        self._newest = dict.fromkeys(settings.choices, -math.inf)

    def add(self, prediction: Prediction) -> Selection | None:
        """Take what an event gave; return what is chosen with it, if anything."""
        item = prediction.event.label if prediction.event else None
        if item not in self._choice_of or prediction.proba is None:
            return None
        choice = self._choice_of[item]
        self._said[item].append(_log_odds(float(prediction.proba[self._target])) - self._prior)
        self._newest[choice] = max(self._newest[choice], prediction.timestamp)
        return self._choose(choice)

    def probabilities(self, choice: str) -> dict[str, float]:
        """Return how probable each item of a choice is by now; of no event, all equally."""
        items = self._settings.choices[choice]
        # Exact sums: no order of events is better than another.
        sums = np.array([math.fsum(self._said[item]) for item in items])
        likely = np.exp(sums - sums.max())
        return dict(zip(items, (likely / likely.sum()).tolist(), strict=True))

    def _choose(self, choice: str) -> Selection | None:
        probabilities, settings = self.probabilities(choice), self._settings
        item = max(probabilities, key=probabilities.__getitem__)
        counts = [len(self._said[each]) for each in probabilities]
        sure = settings.probability is not None and probabilities[item] >= settings.probability
        if min(counts) < (1 if sure else settings.n_repetitions):
            return None
        chosen = Selection(choice, item, probabilities[item], sum(counts), self._newest[choice])
        for each in probabilities:
            self._said[each].clear()
        self._newest[choice] = -math.inf
        return chosen


def _log_odds(p: float) -> float:
    return math.log(max(p, _LEAST)) - math.log(max(1 - p, _LEAST))
