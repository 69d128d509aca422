"""An evaluation: recordings decoded as live, and every figure that they give."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode import __version__
from rtdecode.contract import Classification, Policy
from rtdecode.evaluation.course import OverTime, over_time
from rtdecode.evaluation.decoded import PERSON, Decoded, decode_all, policy_for
from rtdecode.evaluation.figures import (
    classes_of,
    courses_of,
    figures_of,
    headline,
    in_time,
    kind,
    recordings_of,
    values_of,
)
from rtdecode.evaluation.permutation import Null, permute_classes, permute_values
from rtdecode.evaluation.reliability import Reliability, reliability
from rtdecode.guard import GuardSettings
from rtdecode.model_file import ModelFile
from rtdecode.preprocessing import Chain, read_steps
from rtdecode.replay import TrialDecision, prediction_arrays
from rtdecode.scoring import Figure, confusion, mean_interval

_SCHEMA = 1
# Of what is tested by exchanging truths; kappa has the p of the accuracy.
_TESTED = {"accuracy over trials": "accuracy", "kappa": "accuracy", "AUC": "AUC"}


@dataclass(frozen=True)
class OverPeople:
    """Mean of a figure over people, with its 95 % interval (Student's t)."""

    name: str
    mean: float
    low: float
    high: float
    n_people: int


@dataclass(frozen=True)
class Evaluation:
    """What recordings tell of a decoder.

    Attributes
    ----------
    model : ModelFile
        The decoder.
    policy : Policy or None
        What decided.
    decoded : tuple of Decoded
        The recordings.
    n_permutations, seed : int
        Of the permutation test.
    created : str
        When, ISO 8601.
    """

    model: ModelFile
    policy: Policy | None
    decoded: tuple[Decoded, ...]
    n_permutations: int
    seed: int
    created: str

    @property
    def trained_on(self) -> list[Decoded]:
        """The recordings that the decoder was trained on."""
        return [one for one in self.decoded if one.trained_on]

    @property
    def tuned_on(self) -> list[Decoded]:
        """The recordings that the policy was tuned on."""
        return [one for one in self.decoded if one.tuned_on]

    @cached_property
    def people(self) -> dict[str, list[Decoded]]:
        """Recordings by person, in the order given; those of nobody known are nobody's where others are known."""
        people: dict[str, list[Decoded]] = {}
        for one in [one for one in self.decoded if one.person] or self.decoded:
            people.setdefault(one.person, []).append(one)
        return people

    @cached_property
    def trials(self) -> list[TrialDecision]:
        """Of all recordings."""
        return [trial for one in self.decoded for trial in one.replay.trials]

    @cached_property
    def figures(self) -> list[Figure]:
        """Of all recordings."""
        return self._figures(self.decoded)

    @cached_property
    def by_person(self) -> dict[str, list[Figure]]:
        """Figures of each person, where there are several."""
        return {name: self._figures(own) for name, own in self.people.items()} if len(self.people) > 1 else {}

    def _figures(self, decoded: Sequence[Decoded]) -> list[Figure]:
        return figures_of(self.model.contract, decoded, self.policy)

    @cached_property
    def over_people(self) -> list[OverPeople]:
        """Means of the figures that at least two people have."""
        means = []
        for figure in self.figures:
            found = [f.value for own in self.by_person.values() for f in own if kind(f) == kind(figure)]
            values = [value for value in found if math.isfinite(value)]
            if len(values) > 1:
                means.append(OverPeople(kind(figure), *mean_interval(values), len(values)))
        return means

    @cached_property
    def nulls(self) -> dict[str, Null]:
        """What figures are when truths are exchanged, by the figure's name."""
        asked = self.n_permutations, self.seed
        if isinstance(self.model.contract.outputs, Classification):
            blocks = [i for i, one in enumerate(self.decoded) for _ in one.replay.trials]
            tested = permute_classes(*classes_of(self.trials), blocks, *asked)
            by_name = {null.name: null for null in tested}
            return {figure.name: by_name[_TESTED[figure.name]] for figure in self.figures if figure.name in _TESTED}
        truth, predicted = values_of(self.decoded)
        blocks, follow = recordings_of(self.decoded), in_time(self.model.contract)
        return {
            f"{null.name} of {name}": null
            for target, name in enumerate(self.model.contract.outputs.names)
            for null in permute_values(truth[..., target], predicted[..., target], blocks, *asked, follow)
        }

    @cached_property
    def confusion(self) -> NDArray[np.int64] | None:
        """Trials counted, the truth in rows; None without classes."""
        if not self.trials or not isinstance(self.model.contract.outputs, Classification):
            return None
        truth, evidence = classes_of(self.trials)
        return confusion(truth, evidence.argmax(axis=1), evidence.shape[1])

    @cached_property
    def reliability(self) -> Reliability | None:
        """Of the trials' windows; None without classes."""
        return None if self.confusion is None else reliability(self.trials)

    @cached_property
    def over_time(self) -> OverTime | None:
        """Accuracy over time from the event; None at events, and without classes."""
        return self.over_time_of(self.decoded)

    def over_time_of(self, decoded: Sequence[Decoded]) -> OverTime | None:
        """Return the same of some of the recordings; None also where they hold no trial."""
        courses = [course for course in courses_of(decoded)[0] if len(course.truth)]
        if not courses:
            return None
        trials = self.model.contract.trials
        assert trials is not None
        return over_time(courses, trials.tmax_s + self.window_s / 2)

    @property
    def window_s(self) -> float:
        """Length of a window."""
        contract = self.model.contract
        return contract.window.n_times / Chain(read_steps(contract.preprocessing), contract.signal).output.sfreq

    def as_json(self) -> str:
        """Return every figure, and every prediction."""
        contract = self.model.contract
        document = {
            "schema": _SCHEMA,
            "created": self.created,
            "rtdecode": __version__,
            "model": {"name": self.model.name, "sha256": self.model.sha256, "outputs": contract.outputs.names},
            "policy": {
                "of_the_file": self.policy == contract.policy,
                "settings": self.policy and self.policy.model_dump(mode="json"),
            },
            "permutations": {
                "n": self.n_permutations,
                "seed": self.seed,
                "p": {k: n.p for k, n in self.nulls.items()},
            },
            "figures": self.figures,
            "over_people": self.over_people,
            "people": self.by_person,
            "confusion": self.confusion,
            "over_time": self.over_time,
            "reliability": self.reliability,
            "recordings": [self._recording(one) for one in self.decoded],
        }
        return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False)

    def _recording(self, one: Decoded) -> dict[str, Any]:
        return {
            "path": str(one.path),
            "person": one.person,
            "fingerprint": one.fingerprint,
            "trained_on": one.trained_on,
            "tuned_on": one.tuned_on,
            "duration_s": one.duration_s,
            "events": dict(one.labels),
            "trials_asked": one.n_asked,
            "trials_scored": len(one.replay.trials),
            "abstained": dict(one.abstained),
            "figure": headline(self.model.contract, one),
            **prediction_arrays(one.replay.predictions, self.model.contract),
        }


def evaluate(
    model: ModelFile,
    paths: Sequence[Path],
    *,
    rest: tuple[str, ...] = (),
    person: str = PERSON,
    n_permutations: int = 10_000,
    seed: int = 0,
    guard: GuardSettings | None = None,
    stream: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Decode recordings as live, one after the other.

    Parameters
    ----------
    model : ModelFile
        The decoder.
    paths : sequence of Path
        The recordings, each once.
    rest : tuple of str
        Classes that stand for doing nothing, of a file without a policy.
    person : str
        Regular expression whose first group tells whose recording a path is.
    n_permutations, seed : int
        Of the permutation test.
    guard, stream
        As for `replay`.
    progress : callable, optional
        Called with what is done now.

    Raises
    ------
    ConfigurationError
        Nothing tells what the model should have decoded, or `rest` or `person` cannot be.
    RecordingError
        A recording cannot be read or does not fit, is given twice, or a class has no trial.
    """
    policy = policy_for(model, rest)
    decoded = decode_all(model, paths, policy, person, guard, stream, progress)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Evaluation(model, policy, tuple(decoded), n_permutations, seed, now)


def _plain(value: Any) -> Any:
    """Return what JSON can hold: what is no number becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
