"""When a prediction becomes a decision."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Seconds = Annotated[float, Field(ge=0, le=3600)]
_Probability = Annotated[float, Field(ge=0, le=1)]
_Between = Annotated[float, Field(gt=0, lt=1)]
# As LSL's descriptions keep them: without blanks about them.
_Item = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f](.*[^\s\x00-\x1f])?$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mean(_Part):
    """Evidence is the mean log probability over the last `over_s` seconds; 0: the newest hop alone.

    Logarithms, because that is how a trial's windows are put together when a decoder is scored: one window that is
    sure of the opposite weighs more than several that lean a little. Until so many hops are there nothing is decided.
    """

    kind: Literal["mean"] = "mean"
    over_s: _Seconds = 0.0


class Exponential(_Part):
    """Evidence is the mean log probability, older hops counting less: by 1/e after `tau_s` seconds.

    It reacts at once and never forgets wholly. It starts from chance: the first hop after a gap decides nothing.
    """

    kind: Literal["exponential"] = "exponential"
    tau_s: Annotated[float, Field(gt=0, le=3600)]


class Accumulated(_Part):
    """Evidence is the sum of the hops' log likelihoods since it began: Wald's sequential test (1945).

    (Ann. Math. Stat. 16(2), 117-186, doi 10.1214/aoms/1177731118; several classes: Baum, Veeravalli 1994, IEEE Trans.
    Inf. Theory 40(6), 1994-2007, doi 10.1109/18.340472.) The threshold is the bound, on the posterior probability; it
    means what it says only if probabilities are calibrated and all classes equally frequent in training. Evidence
    begins anew after a decision, after the refractory time, when a rest class reaches its bound, and at the time-out.

    Attributes
    ----------
    independent_s : float
        How far apart two predictions must be to count as independent. Neighbouring windows share samples, so a
        hop counts as hop / independent_s of an observation (at most as one). The window's length is a fair value.
    timeout_s : float or None
        Evidence that has not reached a bound by then is given up: what was gathered so slowly is more likely rest.
    """

    kind: Literal["accumulated"] = "accumulated"
    independent_s: _Seconds = 0.0
    timeout_s: Annotated[float, Field(gt=0, le=3600)] | None = None


class Repeated(_Part):
    """Events show items (rows, columns, pictures) again and again, and the attended one is wanted.

    Evidence is the sum of the log likelihood ratios of an item's events, of which the decoder says whether each was
    the target: independent given the target, as a P300 speller takes them (Kindermans et al. 2014,
    doi 10.1088/1741-2560/11/3/035005). What is decided is an item. Events that were abstained from count for nothing.

    Attributes
    ----------
    target : str
        Class of the events that show the attended item.
    choices : dict of str to tuple of str
        Of each choice (say, `row` and `column`) its items: labels of their events.
    n_repetitions : int
        Predictions of every item after which the most probable one is decided.
    probability : float or None
        Decided sooner when an item is as probable as this, and each has been shown once; None: never sooner.
    prior : float
        Share of targets that the classifier expects: that in training, or 0.5 if classes were weighed `balanced`.
    pause_s : float or None
        A pause of so long between two events of items (longer than a window reaches after its event) ends a trial:
        sums begin anew, and until then each choice is decided once. None: there are no trials, and the sums of a
        choice begin anew when it is decided.
    """

    kind: Literal["repeated"] = "repeated"
    target: str
    choices: Annotated[dict[str, Annotated[tuple[_Item, ...], Field(min_length=2)]], Field(min_length=1)]
    n_repetitions: Annotated[int, Field(ge=1)]
    probability: _Between | None = None
    prior: _Between = 0.5
    pause_s: Annotated[float, Field(gt=0, le=3600)] | None = 2.0

    @model_validator(mode="after")
    def _one_choice_an_item(self) -> Self:
        if twice := sorted({item for item in self.items if self.items.count(item) > 1}):
            raise ValueError(f"items that stand twice: {', '.join(twice)}")
        return self

    @property
    def items(self) -> tuple[str, ...]:
        """Items of all choices, one after the other."""
        return tuple(item for items in self.choices.values() for item in items)


class Policy(_Part):
    """What turns a prediction per hop into a decision now and then.

    Without any settings every prediction is its own decision. Durations become hops once, rounded; only the
    refractory time is kept to the sample.

    Attributes
    ----------
    evidence : Mean, Exponential, Accumulated or Repeated
        What thresholds are compared with: smoothed, or accumulated probabilities. With windows at events only
        `Repeated`, which goes with none of the other settings (or no settings at all).
    threshold : float
        Probability that a class must reach. Of several that do, the most probable is the candidate; without one
        the decider abstains.
    thresholds : dict of str to float
        The same for single classes, where a wrong decision costs more for one than for another.
    hysteresis : float or None
        A class that was decided is decided again only after its probability has fallen this far below its
        threshold: one decision for one activation, however long it lasts, and none from noise about the threshold.
        None: again and again.
    dwell_s : float
        For how long (at least one hop) a class must be the candidate without a break: what comes and goes is noise.
    refractory_s : float
        After a decision nothing is decided for so long: a person and a device need time to respond.
    rest : tuple of str
        Classes that stand for doing nothing. They compete with the others and are never decided.
    """

    evidence: Annotated[Mean | Exponential | Accumulated | Repeated, Field(discriminator="kind")] = Mean()
    threshold: _Probability = 0.0
    thresholds: dict[str, _Probability] = {}
    hysteresis: _Probability | None = None
    dwell_s: _Seconds = 0.0
    refractory_s: _Seconds = 0.0
    rest: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.hysteresis is not None and isinstance(self.evidence, Accumulated):
            raise ValueError("hysteresis is for smoothed evidence; accumulated evidence begins anew after a decision")
        if isinstance(self.evidence, Repeated) and (others := self._differing().keys() - {"evidence"}):
            raise ValueError(f"evidence of kind repeated knows no {', '.join(sorted(others))}")
        return self

    def _differing(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_defaults=True)

    def decision_names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of what is decided, by index: items of repeated events, else the classes."""
        return self.evidence.items if isinstance(self.evidence, Repeated) else class_names

    def problem(self, class_names: tuple[str, ...], is_event: Callable[[str], bool] | None = None) -> str:
        """Say why it cannot decide; nothing if it can.

        Parameters
        ----------
        class_names : tuple of str
            Of the decoder.
        is_event : callable, optional
            Tells of a label whether the decoder predicts at its events; None: it predicts at every hop.
        """
        if isinstance(self.evidence, Repeated):
            return self._problem_with_items(self.evidence, class_names, is_event)
        if is_event and self != Policy():
            return f"evidence of kind {self.evidence.kind} is of hops, and this predicts at events: use repeated"
        unknown = [name for name in (*self.thresholds, *self.rest) if name not in class_names]
        if unknown:
            return f"the policy speaks of {', '.join(unknown)}; the classes are {', '.join(class_names)}"
        return "the policy calls every class rest" if set(class_names) <= set(self.rest) else ""

    @staticmethod
    def _problem_with_items(
        evidence: Repeated, class_names: tuple[str, ...], is_event: Callable[[str], bool] | None
    ) -> str:
        if is_event is None:
            return "evidence of kind repeated is of events, and this predicts at every hop"
        if evidence.target not in class_names:
            return f"the target {evidence.target!r} is no class; the classes are {', '.join(class_names)}"
        others = [item for item in evidence.items if not is_event(item)]
        return f"items at whose events nothing is predicted: {', '.join(others)}; see events.labels" if others else ""

    def told(self) -> str:
        """Return what differs from the defaults, as JSON (which is YAML too)."""
        evidence = {"evidence": {"kind": self.evidence.kind, **self.evidence.model_dump(exclude_defaults=True)}}
        return json.dumps({**self._differing(), **evidence})
