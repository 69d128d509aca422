"""What a subject is asked to do, in which order and for how long. No clock of its own."""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.contract import Names

# The marker at the end of every cue. Its stretches can be decoded too: as a class of the trials.
REST = "rest"
# Of one class one after the other: more could be guessed, or drift with time.
_MOST_REPEATS = 3
# Blocks of one cue of a class would tell the last of each to who counts.
_PER_BLOCK = 2

_Seconds = Annotated[float, Field(gt=0, le=3600)]


class CueSettings(BaseModel):
    """A cued session.

    Attributes
    ----------
    classes : tuple of str
        What is cued; these are the labels of the events.
    trials : int
        Of each class.
    cue_s : float
        How long each cue stays.
    rest_s : (float, float)
        Between two cues: drawn from this range, so that no cue is expected at its time.
    seed : int
        Of order and rests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[Names, Field(min_length=2)]
    trials: int = Field(default=20, ge=1, le=10_000)
    cue_s: _Seconds = 4.0
    rest_s: tuple[_Seconds, _Seconds] = (2.0, 3.0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if REST in self.classes or not all(name.strip() and name.isprintable() for name in self.classes):
            raise ValueError(f"classes need names; {REST!r} is none of them, it is marked after every cue anyway")
        if self.rest_s[0] > self.rest_s[1]:
            raise ValueError("rest_s: the shortest rest comes first, then the longest")
        return self


class Cue(NamedTuple):
    """What is shown, for how long, and how many of the trials had begun then."""

    label: str
    seconds: float
    trial: int


def draw_order(classes: Sequence[str], trials: int, seed: int) -> list[str]:
    """Draw in which order classes are cued: in blocks that hold each twice, never more than three times in a row."""
    rng = np.random.default_rng(seed)
    order: list[str] = []
    while (left := trials - len(order) // len(classes)) > 0:
        block = rng.permutation(list(classes) * min(_PER_BLOCK, left)).tolist()
        runs = groupby(order[-_MOST_REPEATS:] + block)
        if all(len(list(run)) <= _MOST_REPEATS for _, run in runs):
            order += block
    return order


def make_script(settings: CueSettings) -> list[Cue]:
    """Return everything that is shown, in order: a rest, then each cue with a rest after it."""
    order = draw_order(settings.classes, settings.trials, settings.seed)
    # Another stream than the order's: with longer rests the same order comes.
    rests = np.random.default_rng([settings.seed, 1]).uniform(*settings.rest_s, len(order) + 1)
    script = [Cue(REST, float(rests[0]), 0)]
    for trial, (label, rest_s) in enumerate(zip(order, rests[1:], strict=True), 1):
        script += [Cue(label, settings.cue_s, trial), Cue(REST, float(rest_s), trial)]
    return script


class Prompts:
    """Goes through a script: what is shown stays for its time from when it was shown, however late that was.

    Attributes
    ----------
    over : bool
        Whether the last one had its time.
    """

    def __init__(self, script: Sequence[Cue]) -> None:
        self._coming, self._until = list(reversed(script)), -float("inf")
        self.over = False

    def left_s(self, now: float) -> float:
        """Return for how long nothing changes."""
        return max(self._until - now, 0.0)

    def take(self, now: float) -> Cue | None:
        """Return what is to be shown now, if its time has come."""
        if now < self._until:
            return None
        self.over = not self._coming
        return None if self.over else self._coming.pop()

    def shown(self, cue: Cue, now: float) -> None:
        """Take note that it is seen since now."""
        self._until = now + cue.seconds
