"""Faults on purpose: what can go wrong with a source, by settings and seed, done to a recording that is played.

Seconds here are seconds of the recording: they become samples once, at its nominal rate.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.configuration import read_yaml, validate
from rtdecode.errors import ConfigurationError
from rtdecode.recording import Layout, Session
from rtdecode.schedule import Schedule, Timeline

EXAMPLE = Path(__file__).with_name("faults.yaml")

_Positive = Annotated[float, Field(gt=0)]


class _Fault(BaseModel):
    """A fault: once at `at_s`, or again and again, `every_s` = [low, high] seconds after the end of the last."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fault: str
    at_s: float | None = Field(default=None, ge=0)
    every_s: tuple[_Positive, _Positive] | None = None

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if (self.at_s is None) == (self.every_s is None):
            raise ValueError("give either at_s or every_s: [low, high]")
        if self.every_s and self.every_s[0] > self.every_s[1]:
            raise ValueError(f"every_s: {self.every_s[0]:g} is more than {self.every_s[1]:g}; give [low, high]")
        return self

    def _length(self, sfreq: float) -> int | None:
        """Return how many samples it lasts; None: to the end."""
        raise NotImplementedError

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str | None:
        """Do it to samples [start, stop) and tell what was done; None when it could not be."""
        raise NotImplementedError

    def _times(self, n_samples: int, sfreq: float, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Draw where it happens: [start, stop) in samples."""
        length = self._length(sfreq)
        stop = 0
        while stop < n_samples:
            wait_s = self.at_s if self.every_s is None else rng.uniform(*self.every_s)
            start = stop + round(float(wait_s or 0.0) * sfreq)
            if start >= n_samples:
                return
            stop = n_samples if length is None else min(start + length, n_samples)
            yield start, stop
            if self.every_s is None:
                return


class _Lasting(_Fault):
    for_s: _Positive | None = None

    def _length(self, sfreq: float) -> int | None:
        return None if self.for_s is None else max(1, round(self.for_s * sfreq))


class _Timed(_Fault):
    for_s: _Positive

    def _length(self, sfreq: float) -> int:
        return max(1, round(self.for_s * sfreq))


class _Counted(_Fault):
    n_samples: int = Field(default=1, ge=1)

    def _length(self, sfreq: float) -> int:
        return self.n_samples


class _OnChannels(_Fault):
    """A fault of some channels: those named, or `n_channels` of them drawn anew each time, or all."""

    channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    n_channels: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.channels is not None and self.n_channels is not None:
            raise ValueError("give channels or n_channels, not both")
        return self

    def _columns(self, layout: Layout, rng: np.random.Generator) -> tuple[NDArray[np.intp], str]:
        names = layout.ch_names
        if self.channels is not None:
            columns = _find(self.channels, names, self.fault)
        elif self.n_channels is not None:
            columns = np.sort(rng.choice(len(names), min(self.n_channels, len(names)), replace=False))
        else:
            columns = np.arange(len(names))
        shown = " ".join(names[i] for i in columns[:4])
        return columns, f"{shown} and {len(columns) - 4} more" if len(columns) > 4 else shown


def _find(wanted: Sequence[str], names: Sequence[str], fault: str) -> NDArray[np.intp]:
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigurationError(f"Fault {fault!r}: the recording has no channel {name!r}{hint}.")
    return np.array([names.index(name) for name in wanted], np.intp)


def _refuse_integers(layout: Layout, fault: str) -> None:
    if layout.channel_format not in ("float32", "double64"):
        raise ConfigurationError(
            f"Fault {fault!r}: stream {layout.name!r} is {layout.channel_format}; what this makes of values "
            "needs float32 or double64."
        )


class Drop(_Counted):
    """Samples are lost; the stamps of the others stay."""

    fault: Literal["drop"]

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        timeline.lose(start, stop)
        return f"{stop - start} samples are never pushed"


class Stall(_Timed):
    """Silence; then everything that was held back, at once."""

    fault: Literal["stall"]

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        timeline.stall(start, stop)
        return f"silence for {self.for_s:g} s, then all of it at once"


class Burst(_Timed):
    """Samples come in bursts of `burst_ms`, as a driver with a large buffer hands them over."""

    fault: Literal["burst"]
    burst_ms: _Positive

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        timeline.hold(start, stop, max(1, round(self.burst_ms / 1e3 * timeline.stream.layout.sfreq)))
        return f"for {self.for_s:g} s in bursts of {self.burst_ms:g} ms"


class Jitter(_Lasting):
    """Normal noise is added to the stamps."""

    fault: Literal["jitter"]
    sigma_ms: _Positive

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        timeline.misstamp(start, stop, rng.normal(0.0, self.sigma_ms / 1e3, stop - start))
        return f"stamps of {stop - start} samples jitter by {self.sigma_ms:g} ms (standard deviation)"


class Drift(_Lasting):
    """The source's clock runs fast (or slow, below 0) by `ppm` parts in a million; what it gained stays."""

    fault: Literal["drift"]
    ppm: float

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        gain_s = np.arange(1.0, stop - start + 1) * (self.ppm / 1e6 / timeline.stream.layout.sfreq)
        timeline.misstamp(start, stop, gain_s, float(gain_s[-1]))
        return f"stamps drift by {self.ppm:g} ppm, to {1e3 * gain_s[-1]:.3f} ms"


class Jump(_Lasting):
    """The source's clock jumps by `by_s`, and back after `for_s` if given."""

    fault: Literal["jump"]
    by_s: float

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        timeline.misstamp(start, stop, np.full(stop - start, self.by_s))
        return f"stamps of {stop - start} samples are wrong by {self.by_s:g} s"


class Rate(_Lasting):
    """Samples are taken at another rate than the stream declares."""

    fault: Literal["rate"]
    sfreq: _Positive

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        timeline.retime(start, stop, self.sfreq)
        return f"{stop - start} samples are taken at {self.sfreq:g} Hz"


class Restart(_Timed):
    """The outlet goes away, and comes back after `for_s`; what is taken meanwhile is lost.

    It comes back as the recording is, at the rate it declares, but for what is given: another `source_id` or
    rate `sfreq`, `without` some channels, or with its channels `shuffled`.
    """

    fault: Literal["restart"]
    source_id: str | None = Field(default=None, min_length=1)
    sfreq: _Positive | None = None
    without: tuple[str, ...] = ()
    shuffled: bool = False

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str | None:
        layout, columns = timeline.stream.layout, None
        if timeline.is_away(start):
            return None
        if self.without or self.shuffled:
            columns = np.setdiff1d(np.arange(layout.n_channels), _find(self.without, layout.ch_names, self.fault))
            if len(columns) == 0:
                raise ConfigurationError(f"Fault {self.fault!r}: `without` leaves no channel.")
            columns = rng.permutation(columns) if self.shuffled else columns
            layout = layout.pick(columns)
        layout = replace(layout, sfreq=self.sfreq or layout.sfreq)
        timeline.restart(start, stop, layout, columns, self.source_id)
        told = [f"without {' '.join(self.without)}"] if self.without else []
        told += ["its channels in another order"] if self.shuffled else []
        told += [f"at {self.sfreq:g} Hz"] if self.sfreq else []
        told += [f"source_id {self.source_id!r}"] if self.source_id else []
        return f"the outlet is away for {self.for_s:g} s; it comes back {', '.join(told) or 'as it was'}"


class Nan(_Counted, _OnChannels):
    """Values that are no numbers."""

    fault: Literal["nan"]

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        _refuse_integers(timeline.stream.layout, self.fault)
        columns, told = self._columns(timeline.stream.layout, rng)
        timeline.edit(start, stop, columns, lambda samples: np.nan)
        return f"{stop - start} samples of {told} are NaN"


class Flat(_Lasting, _OnChannels):
    """Channels keep the value they had."""

    fault: Literal["flat"]

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        columns, told = self._columns(timeline.stream.layout, rng)
        kept = timeline.stream.values[start, columns]
        timeline.edit(start, stop, columns, lambda samples: kept)
        return f"{stop - start} samples of {told} are flat"


class Scale(_Lasting, _OnChannels):
    """Values are multiplied by `factor`, as when a unit or a gain is wrong."""

    fault: Literal["scale"]
    factor: float

    def _apply(self, timeline: Timeline, start: int, stop: int, rng: np.random.Generator) -> str:
        _refuse_integers(timeline.stream.layout, self.fault)
        columns, told = self._columns(timeline.stream.layout, rng)
        factor = np.float32(self.factor)
        timeline.edit(start, stop, columns, lambda samples: samples * factor)
        return f"{stop - start} samples of {told} are multiplied by {self.factor:g}"


Fault = Annotated[
    Drop | Stall | Burst | Jitter | Drift | Jump | Rate | Restart | Nan | Flat | Scale, Field(discriminator="fault")
]


class FaultSettings(BaseModel):
    """What goes wrong while a recording is played.

    Attributes
    ----------
    seed : int
        Of the random times and values: the same seed gives the same faults.
    faults : tuple of Fault
        Each draws from a generator of its own: another one in the list changes none of those before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    faults: tuple[Fault, ...] = ()


def read_faults(name: str) -> FaultSettings:
    """Read a faults file, or the shipped one for the name `example`; ConfigurationError if it cannot be."""
    path = EXAMPLE if name == "example" else Path(name)
    return validate(FaultSettings, read_yaml(path), f"Faults {path}")


def schedule(session: Session, settings: FaultSettings, chunk: int = 8, seed: int = 0) -> Schedule:
    """Plan how a session is played, with faults of its signal.

    Parameters
    ----------
    session : Session
        What is played.
    settings : FaultSettings
        What goes wrong; nothing when its list is empty.
    chunk, seed : int
        How it is cut where nothing is wrong (`Schedule`).

    Raises
    ------
    ConfigurationError
        A fault lies beyond the recording, or names a channel that it lacks; or there is no one signal.

    Notes
    -----
    Faults are worked in in order of time. A restart that begins while the outlet is away is left out.
    """
    planned = Schedule(session, chunk, seed)
    if settings.faults:
        if planned.signal is None:
            raise ConfigurationError(
                f"Faults are those of the signal, and recording {session.path} has not exactly one. Choose streams "
                "with --stream."
            )
        _work_in(settings, planned.signal)
        for other in planned.timelines:
            if other is not planned.signal:
                other.follow(planned.signal)
    return planned


def _work_in(settings: FaultSettings, timeline: Timeline) -> None:
    sfreq, n_samples = timeline.stream.layout.sfreq, timeline.n_samples
    occurrences = []
    for number, fault in enumerate(settings.faults):
        if fault.at_s is not None and round(fault.at_s * sfreq) >= n_samples:
            raise ConfigurationError(
                f"Faults: faults.{number} ({fault.fault}) begins at {fault.at_s:g} s, but the recording ends at "
                f"{n_samples / sfreq:g} s. Play a longer one, or let it happen earlier."
            )
        rng = np.random.default_rng([settings.seed, number])
        occurrences += [(start, number, stop, fault, rng) for start, stop in fault._times(n_samples, sfreq, rng)]
    for start, _, stop, fault, rng in sorted(occurrences, key=lambda o: o[:2]):
        told = fault._apply(timeline, start, stop, rng)
        if told:
            timeline.note(start, stop, fault.fault, told)
