"""When a prediction becomes a decision."""

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Seconds = Annotated[float, Field(ge=0, le=3600)]
_Probability = Annotated[float, Field(ge=0, le=1)]


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


class Policy(_Part):
    """What turns a prediction per hop into a decision now and then.

    Without any settings every prediction is its own decision. Durations become hops once, rounded; only the
    refractory time is kept to the sample.

    Attributes
    ----------
    evidence : Mean, Exponential or Accumulated
        What thresholds are compared with: smoothed, or accumulated probabilities.
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

    evidence: Annotated[Mean | Exponential | Accumulated, Field(discriminator="kind")] = Mean()
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
        return self

    def problem(self, class_names: tuple[str, ...]) -> str:
        """Say what does not fit the classes; nothing if all fits."""
        unknown = [name for name in (*self.thresholds, *self.rest) if name not in class_names]
        if unknown:
            return f"the policy speaks of {', '.join(unknown)}; the classes are {', '.join(class_names)}"
        return "the policy calls every class rest" if set(class_names) <= set(self.rest) else ""

    def told(self) -> str:
        """Return what differs from the defaults, as JSON (which is YAML too)."""
        evidence = {"evidence": {"kind": self.evidence.kind, **self.evidence.model_dump(exclude_defaults=True)}}
        return json.dumps(evidence | self.model_dump(mode="json", exclude_defaults=True, exclude={"evidence"}))
