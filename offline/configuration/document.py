"""The whole of it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from offline.augmentation import Augmentation
from offline.configuration.data import Channels, EventTimes, Recordings, Split, TargetSettings, WindowTimes
from offline.configuration.learning import OF_VALUES, Model, Training
from offline.configuration.part import Part
from offline.recipes import Recipe
from rtdecode.contract import Classification, Policy, Regression, Trials


class TrainingConfiguration(Part):
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
        wrong: list[str] = [name for name in chosen if (name in OF_VALUES) != of_values]
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
