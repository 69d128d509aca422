"""What is learned from: recordings, channels, windows, targets, and how a score is obtained."""

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from offline.configuration.part import Part
from rtdecode.contract import Names, Targets


def _relative_pattern(pattern: str) -> str:
    if "**" in pattern or not PurePosixPath(pattern).name:
        raise ValueError("the pattern names files, with * for a part of a name")
    if PurePosixPath(pattern).is_absolute() or PureWindowsPath(pattern).is_absolute():
        raise ValueError("the pattern is relative to the data folder")
    if re.search(r"[{}]", re.sub(r"{[A-Za-z_]\w*}", "", pattern)):
        raise ValueError("braces hold a name each, as in {subject}")
    return pattern


class Arrays(Part):
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


class Recordings(Part):
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
    select: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    decoder_per: str | None = None
    subject: str | None = None
    others: bool = False
    arrays: Arrays = Arrays()

    @model_validator(mode="after")
    def _others_of_whom(self) -> Self:
        if self.others and self.decoder_per is None:
            raise ValueError("others needs decoder_per: without it one decoder has all recordings")
        return self


class Channels(Part):
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


class WindowTimes(Part):
    """Windows in seconds: length, step between training windows of a trial, hop between live predictions."""

    length_s: Annotated[float, Field(gt=0, le=3600)]
    stride_s: Annotated[float, Field(gt=0, le=3600)]
    hop_s: Annotated[float, Field(gt=0, le=3600)]


class EventTimes(Part):
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


_FoldName = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class Split(Part):
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
    test_on: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    held_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    groups: tuple[str, ...] = ()
    n_folds: Annotated[int, Field(ge=2)] = 5
    folds: dict[_FoldName, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)

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
