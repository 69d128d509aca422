"""The training configuration: one YAML file says all that a training run depends on."""

import re
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from offline.augmentation import Augmentation
from offline.recipes import Recipe
from rtdecode.configuration import read_yaml, validate
from rtdecode.contract import Classification, Names, Policy, Regression, Targets, Trials
from rtdecode.errors import ConfigurationError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _relative_pattern(pattern: str) -> str:
    if "**" in pattern or not PurePosixPath(pattern).name:
        raise ValueError("the pattern names files, with * for a part of a name")
    if PurePosixPath(pattern).is_absolute() or PureWindowsPath(pattern).is_absolute():
        raise ValueError("the pattern is relative to the data folder")
    if re.search(r"[{}]", re.sub(r"{[A-Za-z_]\w*}", "", pattern)):
        raise ValueError("braces hold a name each, as in {subject}")
    return pattern


class Arrays(_Part):
    """What the arrays of .npz and .mat files are called there; see `rtdecode.recording.arrays.of_arrays`.

    A text is an array's name; a number or a list stands for itself, where a file does not tell.
    """

    X: str | None = None
    y: str | None = None
    targets: str | None = None
    target_names: str | tuple[str, ...] | None = None
    samples: str | None = None
    timestamps: str | None = None
    event_timestamps: str | None = None
    event_labels: str | None = None
    sfreq: str | Annotated[float, Field(gt=0)] | None = None
    ch_names: str | tuple[str, ...] | None = None
    ch_types: str | tuple[str, ...] | None = None
    units: str | tuple[str, ...] | None = None
    positions: str | None = None


class Recordings(_Part):
    """Which files.

    Attributes
    ----------
    pattern : str
        Path relative to the data folder; `{subject}` and the like capture a part of the name.
    select : dict
        Values allowed for a captured part.
    decoder_per : str or None
        Captured part of which each value gets a decoder of its own; None: one decoder for all.
    subject : str or None
        Captured part that tells whose recording it is, for networks that are conditioned on people.
    others : bool
        Whether each decoder is trained on the recordings of the other ones too; it is never tested on them.
    arrays : Arrays
        What the arrays of .npz and .mat files are called, where it is not as `Recording.save` calls them.
    """

    pattern: Annotated[str, Field(min_length=1), AfterValidator(_relative_pattern)]
    select: dict[str, tuple[str, ...]] = {}
    decoder_per: str | None = None
    subject: str | None = None
    others: bool = False
    arrays: Arrays = Arrays()

    @model_validator(mode="after")
    def _others_of_whom(self) -> Self:
        if self.others and self.decoder_per is None:
            raise ValueError("others needs decoder_per: without it one decoder has all recordings")
        return self


class Channels(_Part):
    """Which channels.

    Attributes
    ----------
    names : tuple of str or None
        These, which every recording must have.
    types : tuple of str or None
        All of these types.
    align : str or None
        Of channels that are chosen by type: `intersection` takes those that all recordings have, in the order of the
        first one, and tells what is left out. Without it recordings with other channels than the first are refused.
        In whatever order a recording has them, they are found by their names.
    """

    names: Annotated[Names, Field(min_length=1)] | None = None
    types: Annotated[Names, Field(min_length=1)] | None = None
    align: Literal["intersection"] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.names is None) == (self.types is None):
            raise ValueError("give either names or types")
        if self.names is not None and self.align is not None:
            raise ValueError("names are wanted of every recording; align goes with types")
        return self


class WindowTimes(_Part):
    """Windows in seconds: length, step between training windows of a trial, hop between live predictions."""

    length_s: Annotated[float, Field(gt=0, le=3600)]
    stride_s: Annotated[float, Field(gt=0, le=3600)]
    hop_s: Annotated[float, Field(gt=0, le=3600)]


class EventTimes(_Part):
    """Windows at events, in the place of sliding ones: each is the trial's span, before and after its event.

    Attributes
    ----------
    baseline_s : (float, float) or None
        Seconds after the event between which a channel's mean is taken that is subtracted from the window.
    labels : tuple of str
        Labels that are events live besides those of the trials' classes, with `*` and `?`.
    max_event_lag_s : float
        How long after its window was complete an event may come.
    """

    baseline_s: tuple[float, float] | None = None
    labels: tuple[str, ...] = ()
    max_event_lag_s: Annotated[float, Field(ge=0, le=3600)] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.baseline_s and self.baseline_s[0] >= self.baseline_s[1]:
            raise ValueError("baseline_s needs a start before its end")
        return self


class TargetSettings(Targets):
    """Continuous values instead of classes.

    Attributes
    ----------
    names : tuple of str
        What the values of each class of the trials are called; target channels go by their own names.
    transform : str
        What a network learns: the values as z-scores (`zscore`), or their logarithms as such (`log`). Mean and
        standard deviation are those of the training part. Figures and files have the values themselves.
    """

    names: Names = ()
    transform: Literal["zscore", "log"] = "zscore"

    @model_validator(mode="after")
    def _named(self) -> Self:
        if any(len(values) != len(self.names) for values in self.values.values()):
            raise ValueError("values needs one number per name for every class")
        if self.channels and self.names:
            raise ValueError("target channels go by their own names; names is for values")
        if self.transform == "log" and min((v for values in self.values.values() for v in values), default=1) <= 0:
            raise ValueError("transform log needs values above 0")
        return self


class Split(_Part):
    """How a score is obtained. Trials stay whole in all, runs in all but the `blocks` and `predefined`.

    Attributes
    ----------
    kind : str
        `leave-one-run-out`: each run that may be tested on is held out once. `leave-one-group-out`: so is each value
        of the captured parts `groups`, and whatever has it trains nothing then. `group-k-fold`: several of these
        values at once, in `n_folds` folds. `held-out-runs`: the runs in `held_out`, once. `stratified-blocks`:
        `n_folds` blocks of neighbouring trials of each class. `blocks`: `n_folds` blocks of neighbouring trials or
        segments. `predefined`: what each of `folds` names.
    test_on : dict
        Values of captured parts that a recording must have to be tested on; others only ever train.
    held_out : dict
        For `held-out-runs`.
    groups : tuple of str
        For the `group` ones: the captured parts that tell what stays whole, say `[subject]`, or
        `[subject, session]` where the sessions of several people go by the same names.
    n_folds : int
        For the `blocks` and `group-k-fold`.
    folds : dict of str to tuple of str
        For `predefined`: what to test on in each fold, by the names of recordings or trials as they stand in
        `partition.json`, with `*` and `?`. All else trains.
    """

    kind: Literal[
        "leave-one-run-out",
        "leave-one-group-out",
        "group-k-fold",
        "held-out-runs",
        "stratified-blocks",
        "blocks",
        "predefined",
    ]
    test_on: dict[str, tuple[str, ...]] = {}
    held_out: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    n_folds: Annotated[int, Field(ge=2)] = 5
    folds: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], Annotated[tuple[str, ...], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _named(self) -> Self:
        for key, kinds, example in (
            ("held_out", ["held-out-runs"], '{run: ["12"]}'),
            ("groups", ["leave-one-group-out", "group-k-fold"], "[subject]"),
            ("folds", ["predefined"], "{first: [sub-01_run-1], second: [sub-01_run-2]}"),
        ):
            if self.kind in kinds and not getattr(self, key):
                raise ValueError(f"kind {self.kind} needs {key}, for example {example}")
            if self.kind not in kinds and getattr(self, key):
                raise ValueError(f"{key} goes with kind {' or '.join(kinds)}, not with {self.kind}")
        return self


class RecurrentCell(_Part):
    """Memory from window to window."""

    cell: Literal["gru", "lstm"] = "gru"
    hidden: Annotated[int, Field(ge=1)] = 32


Form = Literal["auto", "windowed", "incremental"]
Metric = Literal["accuracy", "balanced-accuracy", "kappa", "auc", "r2"]
_OF_VALUES = ("mse", "huber", "l1", "r2")


class Model(_Part):
    """The network and its settings, by their names in its class.

    With `recurrent`, its features feed a recurrent cell that sees the windows one after the other, `window.hop_s`
    apart in training too. `form` is that of the decoder file: `windowed`, `incremental`, or the faster one.
    """

    network: str
    settings: dict[str, Any] = {}
    recurrent: RecurrentCell | None = None
    form: Form = "auto"


class _Named(_Part):
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _written(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError(f"a name and its settings are written as {{name: {given}, settings: {{}}}}")
        return given


class Optimizer(_Named):
    """One of torch.optim by its name, and its settings, by their names there; the rate is `learning_rate`."""

    name: str = "adam"

    @model_validator(mode="after")
    def _rate_apart(self) -> Self:
        if "lr" in self.settings:
            raise ValueError("the optimizer's lr is training.learning_rate")
        return self


class Schedule(_Named):
    """How the learning rate goes on; settings by their names in torch.optim.lr_scheduler.

    Attributes
    ----------
    name : str
        `constant`; `cosine` falls to zero over `max_epochs` (CosineAnnealingLR); `one-cycle` rises to the rate and
        falls, batch by batch (OneCycleLR); `plateau` lowers it when what is watched gets no better for half of the
        patience (ReduceLROnPlateau).
    """

    name: Literal["constant", "cosine", "one-cycle", "plateau"] = "constant"


class Training(_Part):
    """How the network is fitted: gradient descent, early stopping on an inner validation part, best weights restored.

    Attributes
    ----------
    init_from : str or None
        A decoder file or checkpoint whose weights are begun with, behind its preprocessing; captured parts stand in
        braces, as in `runs/people/all/{subject}.pt`.
    optimizer, schedule : Optimizer, Schedule
        What moves the weights, and how its rate goes on.
    loss : str or None
        `cross-entropy` for classes; `mse`, `huber` or `l1`, of standardised values, for targets. None: the first.
    label_smoothing : float
        Share of a class that is spread over all of them.
    clip_gradient : float or None
        Largest norm of a step's gradient.
    patience : int or None
        Epochs without anything better until it stops; None: all epochs are trained, and the last weights kept.
    watch : str
        What has to get better: `loss`, or one of `metrics`.
    metrics : tuple of str
        What is told of the validation part after every epoch.
    validation : float
        Share of the training trials that early stopping watches. It is never the part that is reported.
    class_weight : str, dict or None
        How much a window of each class counts: all the same, `balanced` (rarer classes more), or numbers by class.
    own_weight : int
        How many times the windows of a decoder's own recordings count where `recordings.others` train too.
    augmentation : tuple of Augmentation
        What is done to windows each time they are learned from, in this order.
    device : str
        Where it is fitted; `auto`: on a GPU if torch finds one. Only a processor gives the same numbers again.
    """

    init_from: str | None = None
    optimizer: Optimizer = Optimizer()
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    schedule: Schedule = Schedule()
    loss: Literal["cross-entropy", "mse", "huber", "l1"] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_gradient: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 64
    max_epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = 3
    watch: str = "loss"
    metrics: tuple[Metric, ...] = ()
    validation: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    class_weight: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    own_weight: Annotated[int, Field(ge=1, le=100)] = 1
    augmentation: tuple[Augmentation, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _watched(self) -> Self:
        if self.watch not in ("loss", *self.metrics):
            raise ValueError(f"watch is loss, or one of training.metrics: {', '.join(self.metrics) or 'none there'}")
        return self


class TrainingConfiguration(_Part):
    """A training run.

    `policy` is written into the decoder files, as what decides by default; training and scores know nothing of it.
    """

    name: Annotated[str, Field(min_length=1, pattern=r"^[\w.-]+$")]
    recordings: Recordings
    channels: Channels
    trials: Trials | None = None
    targets: TargetSettings | None = None
    window: WindowTimes | None = None
    events: EventTimes | None = None
    preprocessing: tuple[Recipe, ...]
    model: Model
    training: Training = Training()
    split: Split
    measure: Literal["accuracy", "auc"] = "accuracy"
    baseline: Literal["csp-lda"] | None = None
    policy: Policy | None = None

    @model_validator(mode="after")
    def _truth(self) -> Self:
        if self.targets is not None and self.targets.channels:
            if self.trials is not None:
                raise ValueError("targets.channels are decoded everywhere; leave trials out")
        elif self.trials is None:
            raise ValueError("trials are needed: classes, tmin_s, tmax_s")
        elif len(self.trials.classes) < 2:
            raise ValueError("trials.classes: at least two classes are needed")
        if self.targets is not None and self.targets.values and set(self.targets.values) != set(self.class_names):
            raise ValueError("targets.values needs an entry for each of trials.classes")
        if (self.window is None) == (self.events is None):
            raise ValueError("either window (sliding) or events (a window at each) is needed")
        if self.window and self.window.length_s > self.span_s + 1e-9:
            raise ValueError(
                f"window.length_s, {self.window.length_s:g} s, is longer than the trials' span of {self.span_s:g} s"
            )
        return self

    @model_validator(mode="after")
    def _at_events(self) -> Self:
        if self.events is None:
            return self
        if self.trials is None or self.model.recurrent is not None:
            raise ValueError("events are of trials; target channels and recurrent models need a sliding window")
        if self.events.baseline_s and self.events.baseline_s[1] > self.trials.tmax_s:
            raise ValueError("events.baseline_s goes beyond trials.tmax_s, the end of the window")
        return self

    @model_validator(mode="after")
    def _for_classes_only(self) -> Self:
        if self.targets is not None:
            wrong: list[str] = [
                key for key in ("measure", "baseline", "policy") if getattr(self, key) not in (None, "accuracy")
            ]
            wrong += ["training.class_weight"] if self.training.class_weight else []
            stratified = self.split.kind == "stratified-blocks" and self.trials is None
            wrong += ["split.kind stratified-blocks"] if stratified else []
            if wrong:
                raise ValueError(f"{', '.join(wrong)}: for classes only, not for targets")
        elif self.measure == "auc" and len(self.class_names) != 2:
            raise ValueError("measure auc needs two classes")
        weights = self.training.class_weight
        if isinstance(weights, dict) and set(weights) != set(self.class_names):
            raise ValueError(
                f"training.class_weight needs a number for each of {', '.join(self.class_names)}; it has "
                f"{', '.join(weights)}"
            )
        return self

    @model_validator(mode="after")
    def _learns(self) -> Self:
        training, of_values = self.training, self.targets is not None
        chosen = [*([training.loss] if training.loss else []), *training.metrics]
        wrong: list[str] = [name for name in chosen if (name in _OF_VALUES) != of_values]
        wrong += ["label_smoothing"] if training.label_smoothing and of_values else []
        if wrong:
            raise ValueError(
                f"training: {', '.join(wrong)} cannot be had with {'targets' if of_values else 'classes'}"
            )
        for each in training.augmentation:
            if problem := self._problem_with(each):
                raise ValueError(f"training.augmentation: {each.kind} {problem}")
        return self

    def _problem_with(self, augmentation: Augmentation) -> str:
        if augmentation.of_rhythms and (self.events or self.targets):
            return "is for classes that differ in rhythms; at events, and for targets, the sign means something"
        if augmentation.of_classes and self.targets:
            return "changes classes, and there are targets"
        if augmentation.moves and (self.events or self.targets or self.model.recurrent):
            return "needs a sliding window, classes, and a network without a memory"
        return augmentation.problem(self.class_names)

    @model_validator(mode="after")
    def _decides(self) -> Self:
        trials, events = self.trials, self.events
        if self.policy is None or trials is None:
            return self
        is_event = (lambda label: trials.is_event(label, events.labels)) if events else None
        if problem := self.policy.problem(self.class_names, is_event):
            raise ValueError(f"policy: {problem}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the trials, in the order of the outputs."""
        return tuple(self.trials.classes) if self.trials else ()

    @property
    def target_channels(self) -> tuple[str, ...]:
        """Channels that are decoded, and never an input."""
        return self.targets.channels if self.targets else ()

    @property
    def looked_at(self) -> Trials | None:
        """The trials' span, and the baseline before it."""
        if self.trials is None or self.events is None or self.events.baseline_s is None:
            return self.trials
        return self.trials.model_copy(update={"tmin_s": min(self.trials.tmin_s, self.events.baseline_s[0])})

    @property
    def span_s(self) -> float:
        """Seconds of a trial, or of a segment for targets that are channels."""
        if self.looked_at is not None:
            return self.looked_at.tmax_s - self.looked_at.tmin_s
        assert self.targets is not None
        return self.targets.segment_s

    @property
    def stride_s(self) -> float:
        """Seconds from one training window of a trial to the next; at an event there is one."""
        if self.window is None:
            return self.span_s
        return self.window.stride_s if self.model.recurrent is None else self.window.hop_s

    def outputs(self, units: tuple[str, ...]) -> Classification | Regression:
        """Return what the decoder gives; `units` are those of target channels."""
        if self.targets is None:
            return Classification(class_names=self.class_names)
        names = self.targets.channels or self.targets.names
        return Regression(names=names, units=units or ("none",) * len(names))


def shipped() -> list[str]:
    """Return the names of the configurations that come with the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in resources.files("rtdecode_configs").iterdir()
        if path.name.endswith(".yaml")
    )


def shipped_text(name: str) -> str:
    """Return a shipped configuration as it stands in its file."""
    if name not in shipped():
        raise ConfigurationError(f"No shipped configuration {name!r}; there is {', '.join(shipped())}.")
    return resources.files("rtdecode_configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_configuration(name_or_path: str) -> TrainingConfiguration:
    """Read a configuration file, or a shipped one by its name."""
    path = Path(name_or_path)
    if not path.exists() and name_or_path in shipped():
        with resources.as_file(resources.files("rtdecode_configs").joinpath(f"{name_or_path}.yaml")) as shipped_path:
            return validate(TrainingConfiguration, read_yaml(shipped_path), f"Configuration {name_or_path}")
    if not path.exists() and path.suffix == "":
        raise ConfigurationError(
            f"No configuration {name_or_path!r}: neither a file (now in {Path.cwd()}) nor one of the "
            f"shipped ones ({', '.join(shipped())})."
        )
    return validate(TrainingConfiguration, read_yaml(path), f"Configuration {path}")
