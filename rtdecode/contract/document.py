"""The JSON document inside a decoder file, versioned and validated.

It stands in the ONNX metadata under the key `rtdecode`; its arrays stand beside it (see `arrays`).
"""

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtdecode.contract.arrays import PREFIX, FloatArray, pack, unpack
from rtdecode.contract.events import EventWindow
from rtdecode.contract.policy import Policy
from rtdecode.contract.signal import Signal
from rtdecode.errors import ModelError

KEY = "rtdecode"
SCHEMA_VERSION = "1.3"

# From each older version to the next one; a version once written is read for ever.
# 1.1 added regression, steps and the spread of amplitudes; nothing that a 1.0 document holds has changed.
# 1.2 added windows at events and the calibration, and gave the policy its settings, which was an empty object before.
# 1.3 added the form of the graph; there was one before.
_MIGRATIONS: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "1.0": ("1.1", lambda d: d),
    "1.1": ("1.2", lambda d: {**d, "policy": None}),
    "1.2": ("1.3", lambda d: {**d, "form": {"kind": "windowed", "why": "older than the other form"}}),
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Window(_Part):
    """Length of the window and hop, in samples at the model's rate (after any change of rate).

    With windows at events the hop is the block in which samples are worked off.
    """

    n_times: Annotated[int, Field(ge=1, le=10_000_000)]
    hop: Annotated[int, Field(ge=1, le=10_000_000)]


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a name stands twice")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_unique)]


class Classification(_Part):
    """The graph's first output is a probability for each class."""

    kind: Literal["classification"] = "classification"
    class_names: Annotated[Names, Field(min_length=2)]

    @property
    def names(self) -> tuple[str, ...]:
        """What each output is called."""
        return self.class_names

    @property
    def column(self) -> str:
        """What the outputs are called together where they are written."""
        return "proba"


class Regression(_Part):
    """The graph's first output is a value for each target, in its unit (free text)."""

    kind: Literal["regression"] = "regression"
    names: Annotated[Names, Field(min_length=1)]
    units: tuple[str, ...]

    @model_validator(mode="after")
    def _one_unit_each(self) -> Self:
        if len(self.units) != len(self.names):
            raise ValueError(f"{len(self.units)} units for {len(self.names)} targets")
        return self

    @property
    def column(self) -> str:
        """What the outputs are called together where they are written."""
        return "values"


class Targets(_Part):
    """Where a recording tells the true values of a regression: in channels of its own, or by its trials.

    Attributes
    ----------
    channels : tuple of str
        Channels whose values are the truth, or none.
    lag_s : float
        How much later than the target the brain's response is: the truth of a prediction stands so long
        before its newest sample.
    l_freq, h_freq : float or None
        Edges in Hz of a causal Butterworth filter of order 2 that the channels go through first.
    segment_s : float
        Stretches in which windows are taken to depend on each other.
    values : dict of str to tuple of float
        The truth by the class of a trial, one value per target.
    """

    channels: Names = ()
    lag_s: Annotated[float, Field(ge=0)] = 0.0
    l_freq: Annotated[float, Field(gt=0)] | None = None
    h_freq: Annotated[float, Field(gt=0)] | None = None
    segment_s: Annotated[float, Field(gt=0)] = 2.0
    values: dict[str, tuple[float, ...]] = {}

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.channels) == bool(self.values):
            raise ValueError("either channels or values are needed")
        return self

    def lag(self, sfreq: float) -> int:
        """Return how many samples before a window's newest one its truth stands."""
        return round(self.lag_s * sfreq)


class Trials(_Part):
    """Where in a recording the truth is known: the span after each event that belongs to a class.

    Windows that lie in [tmin_s, tmax_s) after an event, whole, are scored against its class.
    """

    tmin_s: float
    tmax_s: float
    classes: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _one_class_a_label(self) -> Self:
        labels = [label for labels in self.classes.values() for label in labels]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"labels that stand in two classes: {', '.join(twice)}")
        return self

    def class_of(self, label: str) -> str | None:
        """Return the class to which an event's label belongs."""
        return next((name for name, labels in self.classes.items() if label in labels), None)

    def is_event(self, label: str, others: tuple[str, ...]) -> bool:
        """Tell whether a label belongs to a class, or fits one of the other patterns."""
        return self.class_of(label) is not None or any(fnmatchcase(label, pattern) for pattern in others)


class State(_Part):
    """A tensor the graph takes as `state_<name>` and gives back as `next_state_<name>`."""

    name: str
    initial: FloatArray
    warm_up: Annotated[int, Field(ge=0)] = 0


class Windowed(_Part):
    """The graph takes the whole window `x`.

    `why` there is no more in the file, for people.
    """

    kind: Literal["windowed"] = "windowed"
    why: str = ""


class Incremental(_Part):
    """The graph has two parts that share nothing, so that a hop costs no more than what is new.

    The front takes the samples of the hop as `x` (1, n_channels, hop), with what its layers keep of the past as
    `past_*`, zeros before the first; it gives `next_features` (1, hop, width), those of every sample, and
    `next_past_*`. The head takes `features` (1, n_features, width) of the window, oldest first.

    Attributes
    ----------
    why : str
        Why it is this form, for people.
    n_features, stride, behind : int
        The head takes `n_features`, `stride` samples apart; the newest is that of the sample `behind` samples before
        the window's end.
    """

    kind: Literal["incremental"] = "incremental"
    why: str = ""
    n_features: Annotated[int, Field(ge=1)]
    stride: Annotated[int, Field(ge=1)] = 1
    behind: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _newest_of_its_kind(self) -> Self:
        if self.behind >= self.stride:
            raise ValueError("a newer feature than the newest would lie in the window")
        return self


class Amplitude(_Part):
    """Range of the training recordings, per channel, in the signal's units.

    `low` and `high` are the 0.1st and 99.9th percentile, `std` the standard deviation about the mean, `spread`
    the median of the standard deviations within half a second (None in a file that does not tell it).
    """

    low: FloatArray
    high: FloatArray
    std: FloatArray
    spread: FloatArray | None = None

    @property
    def typical(self) -> FloatArray:
        """How much a channel varies in a short time, as well as the file tells."""
        return self.std if self.spread is None else self.spread


class Score(_Part):
    """One measured figure, with all that is needed to believe it."""

    name: str
    value: float
    low: float
    high: float
    chance: float
    n: int
    split: str


class Provenance(_Part):
    """Where the decoder comes from, and for whom it is if it was trained on several people told apart."""

    created: str
    network: str
    data_fingerprint: str
    recordings: tuple[str, ...]
    configuration: dict[str, Any]
    packages: dict[str, str]
    scores: tuple[Score, ...] = ()
    subject: str | None = None


class Parity(_Part):
    """What was proven when the file was written: the largest difference of an output.

    Of a probability, or of a value in standard deviations of its target.
    """

    torch_onnx_max: float
    n_windows: int
    chunked_identical: bool
    n_chunked_predictions: int


class Calibration(_Part):
    """How the graph's probabilities were made to mean what they say.

    Attributes
    ----------
    temperature : float
        What the logits are divided by before the softmax (Guo et al. 2017, arXiv:1706.04599).
    nll_before, nll_after : float
        Mean negative log likelihood in nats of the trials it was fitted on, without and with it.
    n_trials : int
        Those trials, which the network did not learn from.
    """

    temperature: Annotated[float, Field(gt=0)]
    nll_before: float
    nll_after: float
    n_trials: Annotated[int, Field(ge=1)]


class Contract(_Part):
    """All that a decoder file promises.

    Attributes
    ----------
    signal : Signal
        The channels the decoder needs, by name, with units and rate.
    preprocessing : tuple of dict
        The causal steps in order, each with all its numbers; `rtdecode.preprocessing` reads them.
    window : Window
        Length of the window and the hop between two predictions.
    events : EventWindow or None
        Where the window stands relative to an event; None: there is one at every hop.
    outputs : Classification or Regression
        The classes or the targets, in the order of the graph's outputs.
    trials : Trials or None
        How events of a recording are scored on replay.
    targets : Targets or None
        How a regression is.
    states : tuple of State
        Tensors the graph carries from one hop to the next.
    form : Windowed or Incremental
        What the graph takes at each hop.
    policy : Policy or None
        Defaults of the decision policy; None: every prediction is its own decision.
    calibration : Calibration or None
        Of its probabilities.
    amplitude, provenance, parity
        Training ranges, origin, and what was measured at export.
    """

    schema_version: str = SCHEMA_VERSION
    name: Annotated[str, Field(min_length=1)]
    signal: Signal
    preprocessing: tuple[dict[str, Any], ...]
    window: Window
    events: EventWindow | None = None
    outputs: Annotated[Classification | Regression, Field(discriminator="kind")]
    trials: Trials | None = None
    targets: Targets | None = None
    states: tuple[State, ...] = ()
    form: Annotated[Windowed | Incremental, Field(discriminator="kind")] = Windowed()
    policy: Policy | None = None
    calibration: Calibration | None = None
    amplitude: Amplitude
    provenance: Provenance
    parity: Parity | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ranges = (self.amplitude.low, self.amplitude.high, self.amplitude.std, self.amplitude.typical)
        if any(array.shape != (self.signal.n_channels,) for array in ranges):
            raise ValueError(f"amplitude needs one value for each of the {self.signal.n_channels} channels")
        trials = set(self.trials.classes if self.trials else ())
        if isinstance(self.outputs, Classification):
            if unknown := trials - set(self.outputs.class_names):
                raise ValueError(f"trials are of classes that are no output: {', '.join(sorted(unknown))}")
            if self.targets:
                raise ValueError("targets are for a regression")
        elif self.calibration:
            raise ValueError("a calibration is for a classification")
        elif self.targets and self.targets.values:
            n = len(self.outputs.names)
            if set(self.targets.values) != trials or any(len(v) != n for v in self.targets.values.values()):
                raise ValueError(f"targets.values needs {n} values for each class of the trials")
        return self

    @model_validator(mode="after")
    def _at_events(self) -> Self:
        if self.events is None:
            return self
        if not self.trials or self.states or (self.targets and self.targets.channels):
            raise ValueError("windows at events need trials, no states, and no target channels")
        if self.events.baseline and self.events.baseline[1] > self.events.before + self.window.n_times:
            raise ValueError("the baseline goes beyond the end of the window")
        return self

    @model_validator(mode="after")
    def _in_form(self) -> Self:
        if isinstance(self.form, Incremental):
            if self.events or self.states:
                raise ValueError("the incremental form is for sliding windows, without states")
            if (self.form.n_features - 1) * self.form.stride + self.form.behind >= self.window.n_times:
                raise ValueError("the features go beyond the window")
        return self

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if self.policy and (problem := self.problem_with(self.policy)):
            raise ValueError(problem)
        return self

    def problem_with(self, policy: Policy) -> str:
        """Say why a policy cannot decide on what this decoder gives; nothing if it can."""
        if not isinstance(self.outputs, Classification):
            return "a policy decides between classes, and this is a regression"
        return policy.problem(self.outputs.class_names, self.is_event if self.events else None)

    def decision_names(self, policy: Policy | None) -> tuple[str, ...]:
        """Return the names of what is decided, by index; of a regression nothing is."""
        if not isinstance(self.outputs, Classification):
            return ()
        return policy.decision_names(self.outputs.class_names) if policy else self.outputs.class_names

    def is_event(self, label: str) -> bool:
        """Tell whether a window stands at events of this label."""
        if self.events is None or self.trials is None:
            return False
        return self.trials.is_event(label, self.events.labels)


def write_metadata(contract: Contract) -> dict[str, str]:
    """Turn a contract into ONNX metadata entries."""
    arrays: dict[str, str] = {}
    document = pack(contract.model_dump(), arrays)
    return {KEY: json.dumps(document, ensure_ascii=False, allow_nan=False), **arrays}


def read_metadata(metadata: Mapping[str, str], path: str) -> Contract:
    """Read the contract out of ONNX metadata.

    Raises
    ------
    ModelError
        There is no contract, it is of a newer major version, or anything in it is missing or wrong.
    """
    if KEY not in metadata:
        raise ModelError(
            f"{path} is an ONNX file without a decoder's description (metadata key {KEY!r} is missing). "
            "Write decoders with `rtdecode train` or `rtdecode export`."
        )
    try:
        document = json.loads(metadata[KEY])
        if not isinstance(document, dict):
            raise ValueError("the description is not a JSON object")
        document = _migrate(document, path)
        arrays = {k: v for k, v in metadata.items() if k.startswith(PREFIX)}
        return Contract.model_validate(unpack(document, arrays))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:6])
        raise ModelError(f"{path}: the decoder's description does not hold together: {wrong}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the decoder's description cannot be read: {error}.") from None


def _migrate(document: dict[str, Any], path: str) -> dict[str, Any]:
    version = document.get("schema_version")
    while isinstance(version, str) and version in _MIGRATIONS:
        version, step = _MIGRATIONS[version]
        document = {**step(document), "schema_version": version}
    major = str(version).partition(".")[0]
    if not major.isdigit():
        raise ModelError(f"{path}: the description has no readable schema_version (found {version!r}).")
    if int(major) > int(SCHEMA_VERSION.partition(".")[0]):
        raise ModelError(
            f"{path} was written with schema {version}; this rtdecode reads up to {SCHEMA_VERSION}. Update rtdecode."
        )
    return document
