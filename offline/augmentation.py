"""What is done to windows each time they are learned from, so that a network does not take chance for the rule.

Only the training part is changed, never what stops the training, calibrates or is reported. Whether a window is
changed, and how, is drawn anew in every epoch.
"""

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.errors import ConfigurationError

Windows = NDArray[np.float32]
Classes = NDArray[np.int64]
# Electrodes of the 10-20 system and its refinements: odd numbers are on the left, even ones on the right, z between.
# Where there are two only, higher numbers are of another system: A1 to A32.
_ROWS, _PAIRS = "FP|AFP|AFF?|FFT|FFC|FTT|FCC|F[TC]?|TTP|CCP|TPP|CPP|[TCP]P?|PPO|PO?O?|O", "N|OI|[IAM]"
_SIDE = re.compile(rf"\b({_ROWS}|(?:{_PAIRS})(?=[12]h?\b))([1-9]|10)(h?)\b", re.IGNORECASE)
_MIDLINE = re.compile(rf"\b({_ROWS}|{_PAIRS})z\b", re.IGNORECASE)


class _Change(BaseModel):
    """What may be done to a window; a sequence of windows is changed as one.

    Attributes
    ----------
    probability : float
        That it is done to a window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    of_rhythms: ClassVar[bool] = False
    of_classes: ClassVar[bool] = False
    moves: ClassVar[bool] = False

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5

    def problem(self, class_names: Sequence[str]) -> str:
        """Say why it cannot be done to windows of these classes; nothing if it can."""
        return ""

    def shifts(self, n: int, sfreq: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return how many samples later each of `n` windows is to begin."""
        return np.zeros(n, np.int64)

    def apply(self, x: Windows, y: Classes, by: "Augmenter", rng: np.random.Generator) -> tuple[Windows, Classes]:
        """Return windows (n, ..., n_channels, n_times) and their truth (n, ...), changed; they may be overwritten."""
        return x, y


class TimeShift(_Change):
    """Begin up to `max_s` sooner or later, within the trial: no response begins at the same sample every time.

    What is moved in is what was recorded, not zeros. (`window.stride_s` does the same at a few fixed places.)
    """

    moves: ClassVar[bool] = True
    kind: Literal["time-shift"]
    max_s: Annotated[float, Field(gt=0)]

    def shifts(self, n: int, sfreq: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """See `_Change`."""
        most = round(self.max_s * sfreq)
        return rng.integers(-most, most + 1, n) * (rng.random(n) < self.probability)


class ChannelDropout(_Change):
    """Silence a `share` of the channels: electrodes come loose, and no class should rest on one of them."""

    kind: Literal["channel-dropout"]
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1

    def apply(self, x: Windows, y: Classes, by: "Augmenter", rng: np.random.Generator) -> tuple[Windows, Classes]:
        """See `_Change`."""
        kept = rng.random((len(x), *(1,) * (x.ndim - 3), x.shape[-2], 1)) >= self.share
        return np.where(kept, x, np.float32(0)), y


class Noise(_Change):
    """Add white noise of `std` times each channel's own standard deviation in the window: sensors have some."""

    kind: Literal["noise"]
    std: Annotated[float, Field(gt=0)] = 0.1

    def apply(self, x: Windows, y: Classes, by: "Augmenter", rng: np.random.Generator) -> tuple[Windows, Classes]:
        """See `_Change`."""
        spread = np.float32(self.std) * x.std(axis=-1, keepdims=True)
        return x + spread * rng.standard_normal(x.shape, np.float32), y


class Gain(_Change):
    """Multiply by up to `factor`, or divide: impedances, caps and days change amplitudes."""

    kind: Literal["gain"]
    factor: Annotated[float, Field(gt=1)] = 1.25

    def apply(self, x: Windows, y: Classes, by: "Augmenter", rng: np.random.Generator) -> tuple[Windows, Classes]:
        """See `_Change`."""
        logarithm = np.log(self.factor) * rng.uniform(-1, 1, (len(x), *(1,) * (x.ndim - 1)))
        return x * np.exp(logarithm).astype(np.float32), y


class SignFlip(_Change):
    """Turn the sign of all channels: the power of a rhythm is the same upside down. An evoked response is not."""

    of_rhythms: ClassVar[bool] = True
    kind: Literal["sign-flip"]

    def apply(self, x: Windows, y: Classes, by: "Augmenter", rng: np.random.Generator) -> tuple[Windows, Classes]:
        """See `_Change`."""
        return -x, y


class Mirror(_Change):
    """Exchange left and right, of the channels by their 10-20 names and of the `classes`: heads are nearly symmetric.

    Attributes
    ----------
    classes : list of pairs of str
        Classes that are each other's mirror image; others are their own.
    """

    of_classes: ClassVar[bool] = True
    kind: Literal["mirror"]
    classes: tuple[tuple[str, str], ...]

    @model_validator(mode="after")
    def _once(self) -> Self:
        named = [name for pair in self.classes for name in pair]
        if len(set(named)) < len(named):
            raise ValueError("classes names a class twice")
        return self

    def problem(self, class_names: Sequence[str]) -> str:
        """See `_Change`."""
        unknown = [name for pair in self.classes for name in pair if name not in class_names]
        return f"names classes that are not there: {', '.join(unknown)}" if unknown else ""

    def apply(self, x: Windows, y: Classes, by: "Augmenter", rng: np.random.Generator) -> tuple[Windows, Classes]:
        """See `_Change`."""
        image = dict(pair for a, b in self.classes for pair in ((a, b), (b, a)))
        swapped = np.array([by.class_names.index(image.get(name, name)) for name in by.class_names])
        return x[..., by.mirrored, :], swapped[y]


Augmentation = Annotated[TimeShift | ChannelDropout | Noise | Gain | SignFlip | Mirror, Field(discriminator="kind")]


class Augmenter:
    """Does to windows what is asked for.

    Parameters
    ----------
    changes : sequence of Augmentation
        In this order.
    ch_names : sequence of str
        Channels that leave the preprocessing.
    sfreq : float
        Rate of the windows in Hz.
    class_names : sequence of str
        In the order of the outputs.
    room : int
        Samples by which a trial is longer than a window.

    Attributes
    ----------
    class_names : sequence of str
        In the order of the outputs.
    mirrored : list of int
        The channel that stands opposite to each; itself on the midline. None if nothing is mirrored.

    Raises
    ------
    ConfigurationError
        A mirror is asked for, and the names do not tell which channel is opposite to which; or windows are to move,
        and fill their trials.
    """

    def __init__(
        self,
        changes: Sequence[Augmentation],
        ch_names: Sequence[str],
        sfreq: float,
        class_names: Sequence[str],
        room: int,
    ) -> None:
        if room < 1 and (moving := [each.kind for each in changes if each.moves]):
            raise ConfigurationError(
                f"training.augmentation: {moving[0]} has no room, as a window is as long as its trial. Shorten the "
                f"window, or leave {moving[0]} out."
            )
        self._changes, self._sfreq, self.class_names = changes, sfreq, class_names
        self.mirrored = opposite(ch_names) if any(isinstance(each, Mirror) for each in changes) else []

    def shifts(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return how many samples later each of `n` windows is to begin."""
        by: NDArray[np.int64] = np.sum([each.shifts(n, self._sfreq, rng) for each in self._changes], axis=0)
        return by

    def __call__(self, x: Windows, y: Classes, rng: np.random.Generator) -> tuple[Windows, Classes]:
        """Return changed windows (n, ..., n_channels, n_times) and their truth (n, ...); what is given stays."""
        x, y = x.copy(), y.copy()
        for each in self._changes:
            chosen = rng.random(len(x)) < each.probability
            x[chosen], y[chosen] = each.apply(x[chosen], y[chosen], self, rng)
        return x, y


def opposite(ch_names: Sequence[str]) -> list[int]:
    """Return the channel on the other side of each, by their 10-20 names: C4 for C3, Cz for Cz.

    ConfigurationError names those of which that cannot be told.
    """
    images = [_SIDE.sub(_across, name) for name in ch_names]
    alone = [
        name
        for name, image in zip(ch_names, images, strict=True)
        if image not in ch_names or (image == name and not _MIDLINE.search(name))
    ]
    if alone:
        raise ConfigurationError(
            f"training.augmentation: mirror finds no opposite of {', '.join(alone[:8])}"
            f"{' ...' if len(alone) > 8 else ''}. It goes by 10-20 names behind the preprocessing (C3 and C4, Cz): "
            "leave those channels out, or the mirror."
        )
    return [list(ch_names).index(image) for image in images]


def _across(electrode: re.Match[str]) -> str:
    letters, number, half = electrode.groups()
    return f"{letters}{int(number) + (1 if int(number) % 2 else -1)}{half}"
