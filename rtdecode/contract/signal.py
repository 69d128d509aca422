"""The layout of a multichannel signal: names, types, units, rate; and how one fits another."""

import difflib
import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.errors import RtdecodeError

# Spelling -> (dimension, power of ten). Units of one dimension convert into each other.
_UNITS: dict[str, tuple[str, int]] = {
    "v": ("V", 0), "volt": ("V", 0), "volts": ("V", 0),
    "mv": ("V", -3), "millivolt": ("V", -3), "millivolts": ("V", -3),
    "uv": ("V", -6), "µv": ("V", -6), "μv": ("V", -6), "microvolt": ("V", -6), "microvolts": ("V", -6),
    "nv": ("V", -9), "nanovolt": ("V", -9), "nanovolts": ("V", -9),
    "t": ("T", 0), "tesla": ("T", 0), "pt": ("T", -12), "picotesla": ("T", -12),
    "ft": ("T", -15), "femtotesla": ("T", -15),
    "t/m": ("T/m", 0), "pt/cm": ("T/m", -10), "ft/cm": ("T/m", -13), "ft/m": ("T/m", -15),
    "none": ("none", 0), "": ("none", 0), "na": ("none", 0), "au": ("none", 0),
}  # fmt: skip
_SPELLING = {
    ("V", 0): "V", ("V", -3): "mV", ("V", -6): "uV", ("V", -9): "nV",
    ("T", 0): "T", ("T", -12): "pT", ("T", -15): "fT",
    ("T/m", 0): "T/m", ("T/m", -10): "pT/cm", ("T/m", -13): "fT/cm", ("T/m", -15): "fT/m",
    ("none", 0): "none",
}  # fmt: skip

# The unit in which each type of channel is recorded, played and decoded unless told otherwise.
DEFAULT_UNITS = {
    "eeg": "uV", "eog": "uV", "ecg": "uV", "emg": "uV", "seeg": "uV", "ecog": "uV", "dbs": "uV",
    "mag": "fT", "ref_meg": "fT", "grad": "fT/cm",
}  # fmt: skip


def canonical_unit(text: str, ch_type: str = "") -> str | None:
    """Give a unit one spelling; None when it is not known.

    An integer is read as MNE-LSL writes it: the power of ten of the SI unit of this type of channel.
    """
    text = text.strip()
    if text.lstrip("+-").isdigit():
        dimension = _UNITS[DEFAULT_UNITS.get(ch_type, "none").lower()][0]
        return _SPELLING.get((dimension, int(text)))
    known = _UNITS.get(text.lower())
    return _SPELLING[known] if known else None


def _power(unit: str) -> tuple[str, int]:
    return _UNITS[unit.lower()]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Turns samples of a source into those a model expects: picks by name, scales by unit.

    Attributes
    ----------
    indices : array of int, (n_channels,), or slice
        Where each of the model's channels stands in the source; all of it, if they stand there as in the model.
    factors : array of float64, (n_channels,)
        What each is multiplied with; exactly 1 where the units agree.
    n_source : int
        Channels of the source.
    scales : bool
        Whether any unit differs.
    """

    indices: NDArray[np.intp] | slice
    factors: NDArray[np.float64]
    n_source: int
    scales: bool

    def __call__(self, samples: NDArray[Any], out: NDArray[np.float64]) -> None:
        """Write `samples` (n_samples, n_source) into `out` (n_samples, n_channels)."""
        if self.scales:
            np.multiply(samples[:, self.indices], self.factors, out=out)
        else:
            out[:] = samples[:, self.indices]


class Signal(BaseModel):
    """What a stream, a recording, or the input of a decoder consists of.

    Attributes
    ----------
    ch_names, ch_types, units : tuple of str
        One of each per channel; types are MNE's (`eeg`, `mag`, `grad`, ...), units canonical (`uV`).
    sfreq : float
        Nominal sampling rate in Hz.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ch_names: Annotated[tuple[str, ...], Field(min_length=1)]
    ch_types: tuple[str, ...]
    units: tuple[str, ...]
    sfreq: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        n = len(self.ch_names)
        if len(self.ch_types) != n or len(self.units) != n:
            raise ValueError(f"{n} ch_names, {len(self.ch_types)} ch_types and {len(self.units)} units: "
                             "one of each per channel is needed")  # fmt: skip
        twice = sorted({name for name in self.ch_names if self.ch_names.count(name) > 1})
        if twice:
            raise ValueError(f"channel names stand twice: {', '.join(twice)}")
        unknown = sorted({u for u in self.units if u.lower() not in _UNITS})
        if unknown:
            raise ValueError(f"unknown units: {', '.join(unknown)}")
        return self

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.ch_names)

    def pick(self, ch_names: tuple[str, ...]) -> "Signal":
        """Return the signal of these channels, in this order; KeyError if one is missing."""
        index = {name: i for i, name in enumerate(self.ch_names)}
        at = [index[name] for name in ch_names]
        return self.with_channels(ch_names, [self.ch_types[i] for i in at], [self.units[i] for i in at])

    def with_channels(self, ch_names: Any, ch_types: Any, units: Any) -> "Signal":
        """Return a signal of the same rate with other channels."""
        return Signal(ch_names=tuple(ch_names), ch_types=tuple(ch_types), units=tuple(units), sfreq=self.sfreq)

    def adapt(self, source: "Signal", source_name: str, needed_by: str, error: type[RtdecodeError]) -> Adapter:
        """Find out how samples of `source` become samples of this signal.

        Parameters
        ----------
        source : Signal
            The stream or recording at hand.
        source_name, needed_by : str
            How the message calls the two, for example "Stream 'actiCHamp-0'" and "model 'lfcnn.onnx'".
        error : type of RtdecodeError
            What is raised when `source` does not fit: a missing channel, another rate, type or dimension.
        """
        problems = []
        index = {name: i for i, name in enumerate(source.ch_names)}
        missing = [name for name in self.ch_names if name not in index]
        if missing:
            problems.append(
                f"has {source.n_channels} channels but lacks {len(missing)} of the {self.n_channels} that "
                f"{needed_by} needs: {_shorten(missing)}{_near(missing, source.ch_names)}. "
                "Add them at the source, or retrain without them"
            )
        if not math.isclose(source.sfreq, self.sfreq, rel_tol=1e-4):
            problems.append(
                f"runs at {source.sfreq:g} Hz, {needed_by} needs {self.sfreq:g} Hz. "
                "Set the source's rate, or retrain at its rate"
            )
        present = [(i, index[name]) for i, name in enumerate(self.ch_names) if name in index]
        for what, ours, theirs in (
            ("type", self.ch_types, source.ch_types),
            ("unit", self.units, source.units),
        ):
            differ = [
                f"{self.ch_names[i]} ({theirs[j]} instead of {ours[i]})"
                for i, j in present
                if not _same(what, ours[i], theirs[j])
            ]
            if differ:
                problems.append(
                    f"has another {what} than {needed_by} needs in {len(differ)} channels: "
                    f"{_shorten(differ)}. "
                    "Describe the channels rightly at the source"
                )
        if problems:
            raise error(f"{source_name} " + "; it ".join(problems) + ".")
        factors = [10.0 ** (_power(source.units[j])[1] - _power(self.units[i])[1]) for i, j in present]
        indices = [j for _, j in present]
        # To pick takes longer than to scale.
        picked = slice(None) if indices == list(range(source.n_channels)) else np.array(indices, np.intp)
        return Adapter(picked, np.array(factors), source.n_channels, any(factor != 1 for factor in factors))


def _same(what: str, ours: str, theirs: str) -> bool:
    return ours == theirs if what == "type" else _power(ours)[0] == _power(theirs)[0]


def _shorten(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _near(missing: list[str], present: tuple[str, ...]) -> str:
    lower = {name.lower(): name for name in present}
    pairs = []
    for name in missing[:4]:
        close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
        if close:
            pairs.append(f"{name} -> {lower[close[0]]}")
    return f" (near names: {', '.join(pairs)})" if pairs else ""
