"""Repeated events summed: which of several items a person attends to, as a P300 speller finds out."""

import math

from rtdecode.contract import Repeated
from rtdecode.policy import LEAST, Decision
from rtdecode.prediction import Prediction


class Repetitions:
    """Sums over events, and decides.

    Parameters
    ----------
    settings : Repeated
        Among what, and when.
    class_names : tuple of str
        Of the decoder's classes; the target is one.
    speed : float
        How many times faster than usual the events are stamped.

    Notes
    -----
    Determinism: the order of events within a trial and a choice changes no sum.
    """

    def __init__(self, settings: Repeated, class_names: tuple[str, ...], speed: float = 1.0) -> None:
        self._settings, self._target = settings, class_names.index(settings.target)
        self._pause_s = math.inf if settings.pause_s is None else settings.pause_s / speed
        self._speed = speed
        self._prior = _log_odds(settings.prior)
        self._choice_of = {item: choice for choice, items in settings.choices.items() for item in items}
        self.restart(0)

    def restart(self, sample: int) -> None:
        """Forget everything; what an event gave that rests on no sample from this one on counts for nothing."""
        self._since = sample
        self._begin_trial()

    def _begin_trial(self) -> None:
        self._said: dict[str, list[float]] = {item: [] for item in self._choice_of}
        self._decided = set[str]()
        self._first_of = dict[str, float]()
        self._newest_of = dict[str, float]()
        # Stamps of the trial's first and last event.
        self._span: tuple[float, float] | None = None

    def decide(self, prediction: Prediction) -> Decision | None:
        """Take what an event gave; return the item that is decided with it, if any."""
        event = prediction.event
        if event is None or event.label not in self._choice_of or not self._is_of_trial(prediction, event.timestamp):
            return None
        item, stamp = event.label, event.timestamp
        choice = self._choice_of[item]
        if prediction.proba is None or choice in self._decided:
            return None
        self._said[item].append(_log_odds(float(prediction.proba[self._target])) - self._prior)
        self._first_of[choice] = min(self._first_of.get(choice, stamp), stamp)
        self._newest_of[choice] = max(self._newest_of.get(choice, -math.inf), prediction.timestamp)
        return self._choose(choice)

    def _is_of_trial(self, prediction: Prediction, stamp: float) -> bool:
        """Tell whether an event is of this trial, or begins one; also one without a prediction is no pause."""
        if prediction.sample < self._since:
            return False
        if self._span and stamp - self._span[1] > self._pause_s:
            self._begin_trial()
        first, last = self._span or (stamp, stamp)
        if first - stamp > self._pause_s:
            # Of the trial before, and late.
            return False
        self._span = min(first, stamp), max(last, stamp)
        return True

    def probabilities(self, choice: str) -> dict[str, float]:
        """Return how probable each item of a choice is by now; of no event, all equally."""
        items = self._settings.choices[choice]
        # Exact sums: no order of events is better than another.
        sums = [math.fsum(self._said[item]) for item in items]
        likely = [math.exp(value - max(sums)) for value in sums]
        return {item: each / math.fsum(likely) for item, each in zip(items, likely, strict=True)}

    def _choose(self, choice: str) -> Decision | None:
        probabilities, settings = self.probabilities(choice), self._settings
        item = max(probabilities, key=probabilities.__getitem__)
        sure = settings.probability is not None and probabilities[item] >= settings.probability
        fewest = min(len(self._said[each]) for each in probabilities)
        if fewest < (1 if sure else settings.n_repetitions):
            return None
        used_s = (self._newest_of.pop(choice) - self._first_of.pop(choice)) * self._speed
        for each in probabilities:
            self._said[each].clear()
        if settings.pause_s is not None:
            self._decided.add(choice)
        return Decision(settings.items.index(item), probabilities[item], used_s)


def _log_odds(p: float) -> float:
    return math.log(max(p, LEAST)) - math.log(max(1 - p, LEAST))
