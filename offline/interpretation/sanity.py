"""Whether a decoder looks as if it reads eyes or muscles rather than the brain.

Eyes show at frontal sensors below 4 Hz, muscles of the head at its frontal and temporal rim above 30 Hz (Goncharova
et al. 2003, doi 10.1016/S1388-2457(03)00093-2). What a decoder rests on there is told by what is left of it when all
else is exchanged between trials. What is lost without these signals tells less: a decoder also needs them to cancel
what disturbs it elsewhere.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from offline.interpretation.occlusion import Occlusion, Part, Signals, Tell, occlude
from rtdecode.contract import Signal
from rtdecode.recording import Positions
from rtdecode.scoring import Figure, mean_of

SLOW_HZ, FAST_HZ = 4.0, 30.0
# What is warned of: settled on simulated heads.
SHARE, SURE = 0.25, 0.1
# With fewer trials, or of a class, no verdict is given.
FEWEST_TRIALS, FEWEST_OF_CLASS = 24, 6
_WHOLE_HEAD = 16
_TEN_TWENTY = re.compile(r"(?:EEG[ _-]?)?(Fp|AF|FT|TP|PO|FC|CP|F|T|C|P|O|I)(z|\d{1,2}h?)(?:-\w+)?", re.IGNORECASE)
# Names of caps that count their electrodes by letters: A1 to A32, B1 and so on. Some of them look like 10-20 names.
_LETTERS = re.compile(r"(?:EEG[ _-]?)?(?:[BDEGH]\d+|A(?:[3-9]|\d\d))", re.IGNORECASE)


class Regions(NamedTuple):
    """Channels by where on the head they are, as indices.

    Attributes
    ----------
    frontal, temporal : tuple of int
        Where eyes, and where muscles of the temples and the neck show most.
    rim : tuple of int
        The temporal ones, and of the frontal ones those at the edge.
    known : int
        How many channels it is known of where they are.
    by : str
        How: `name` or `place`; empty if of none.
    """

    frontal: tuple[int, ...]
    temporal: tuple[int, ...]
    rim: tuple[int, ...]
    known: int
    by: str


def find_regions(signal: Signal, positions: Positions) -> Regions:
    """Tell where channels are: EEG by names of the 10-20 system, or else, and MEG, by their places.

    Parameters
    ----------
    signal : Signal
        The sensors.
    positions : dict of str to (float, float)
        Places on a plane in the unit square, nose up. They are believed only where 16 channels have one: of fewer
        nobody knows whether they span the head.
    """
    names = signal.ch_names
    of_head = [i for i, kind in enumerate(signal.ch_types) if kind in ("eeg", "mag", "grad")]
    lettered = any(_LETTERS.fullmatch(names[i]) for i in of_head)
    read = {i: _TEN_TWENTY.fullmatch(names[i]) for i in of_head if signal.ch_types[i] == "eeg" and not lettered}
    named = {i: (match[1].lower(), match[2].lower()) for i, match in read.items() if match}
    if named:
        return _regions({i: _place_by_name(*name) for i, name in named.items()}, "name")
    placed = {i: positions[names[i]] for i in of_head if names[i] in positions}
    if len(placed) < _WHOLE_HEAD:
        return Regions((), (), (), 0, "")
    return _regions({i: _place_on_plane(*at) for i, at in placed.items()}, "place")


def _place_by_name(row: str, column: str) -> tuple[bool, bool, bool]:
    """Return whether a 10-20 name is frontal, temporal, on the rim."""
    number = 0 if column == "z" else int(column.rstrip("h"))
    frontal = row in ("fp", "af", "f")
    temporal = row in ("ft", "t", "tp")
    outer = row == "fp" or (row in ("af", "f", "p") and number >= 7)
    return frontal, temporal, temporal or outer


def _place_on_plane(x: float, y: float) -> tuple[bool, bool, bool]:
    right, front = abs(x - 0.5), y - 0.5
    frontal = front >= 0.2
    temporal = right >= 0.35 and not frontal
    return frontal, temporal, temporal or (frontal and bool(np.hypot(right, front) >= 0.38))


def _regions(places: Mapping[int, tuple[bool, bool, bool]], by: str) -> Regions:
    frontal, temporal, rim = (tuple(i for i, place in places.items() if place[k]) for k in range(3))
    return Regions(frontal, temporal, rim, len(places), by)


@dataclass(frozen=True)
class Rest:
    """How much a decoder rests on one part of the signals.

    Attributes
    ----------
    part : Part
        Which.
    share : Figure
        Of the covariance of truth and output, what is left with all else exchanged; 1: all of it. Interval over
        trials.
    alone, without : Figure or None
        Accuracy with all else exchanged, and with this part exchanged; None of values.
    above_chance : float
        Share of the accuracy above chance that is lost without the part. NaN of values, and at chance.
    grown : Figure
        How much the loss grows without the part.
    """

    part: Part
    share: Figure
    alone: Figure | None
    without: Figure | None
    above_chance: float
    grown: Figure


@dataclass(frozen=True)
class Sanity:
    """What a decoder rests on that may not be the brain.

    Attributes
    ----------
    accuracy : Figure or None
        Of the trials as they are; None of values.
    rests : tuple of Rest
        Frontal and temporal channels, slow and fast bands, and what eyes and muscles would show in, as far as
        channels and rate tell.
    warnings : tuple of str
        Sentences: what it looks as if it read.
    unknown : tuple of str
        Sentences: what could not be told, and why.
    n_trials : int
        How many trials this rests on.
    """

    accuracy: Figure | None
    rests: tuple[Rest, ...]
    warnings: tuple[str, ...]
    unknown: tuple[str, ...]
    n_trials: int


def look_for_artifacts(
    signals: Signals, regions: Regions, n_repeats: int = 5, seed: int = 0, tell: Tell | None = None
) -> Sanity:
    """Tell how much a decoder rests on what eyes and muscles show in, and warn if that is much.

    It warns where what is left of the covariance of truth and output, with all but these signals exchanged, is at
    least a quarter, and surely (95 % interval over trials) a tenth. No verdict is given of a decoder that is not
    surely better than chance, nor on few trials.

    Parameters
    ----------
    signals : Signals
        Trials at the sensors, with their truths; of recordings the decoder was not trained on.
    regions : Regions
        Where their channels are.
    n_repeats, seed, tell
        See `occlude`.

    Raises
    ------
    RecordingError
        There are too few trials to exchange, or nothing to be right or wrong about.
    """
    nyquist = signals.sfreq / 2
    slow, fast = (0.0, SLOW_HZ), (FAST_HZ, np.inf)
    eyes = Part("frontal channels below 4 Hz", regions.frontal, slow)
    muscles = Part("frontal and temporal rim above 30 Hz", regions.rim, fast)
    parts = [
        Part("frontal channels", regions.frontal),
        Part("temporal channels", regions.temporal),
        Part("below 4 Hz", band_hz=slow),
        Part("above 30 Hz", band_hz=fast),
        eyes,
        muscles,
    ]
    asked = [part for part in parts if part.channels != () and not (part.band_hz == fast and nyquist <= FAST_HZ)]
    found = occlude(signals, asked, n_repeats, seed, alone=True, tell=tell)
    rests = tuple(_rests(found))
    doubts = _doubts(found)
    suspects = [rest for rest in rests if rest.part in (eyes, muscles)] if not doubts else []
    warnings = tuple(
        _warning(rest, "eyes" if rest.part is eyes else "muscles")
        for rest in suspects
        if rest.share.value >= SHARE and rest.share.low >= SURE
    )
    return Sanity(found.accuracy, rests, warnings, (*doubts, *_unseen(regions, nyquist)), found.n_trials)


def _rests(found: Occlusion) -> Iterator[Rest]:
    right, as_it_is = found.whole.right, found.accuracy
    each = zip(found.parts, found.alone, found.without, found.shares, found.grown, strict=True)
    for part, alone, without, share, grown in each:
        above = float("nan")
        if as_it_is and as_it_is.value > found.chance:
            above = float((right - without.right).mean()) / (as_it_is.value - found.chance)
        yield Rest(part, share, found.accuracy_of(alone), found.accuracy_of(without), above, grown)


def _doubts(found: Occlusion) -> list[str]:
    """Say why no verdict is given; nothing if one is."""
    doubts = []
    fewest = found.n_trials if found.truth is None else int(np.unique(found.truth, return_counts=True)[1].min())
    if found.n_trials < FEWEST_TRIALS or fewest < FEWEST_OF_CLASS:
        of_class = "" if found.truth is None else f", of the rarest class {fewest}"
        doubts.append(
            f"No verdict on eyes and muscles: there are {found.n_trials} trials{of_class}; {FEWEST_TRIALS} are needed"
            f"{'' if found.truth is None else f', and {FEWEST_OF_CLASS} of each class'}."
        )
    elif mean_of(found.whole.evidence, "evidence", 0.0).low <= 0:
        doubts.append("No verdict on eyes and muscles: on these trials the decoder is not surely better than chance.")
    return doubts


def _unseen(regions: Regions, nyquist: float) -> list[str]:
    """Say what channels and rate do not let one tell."""
    unseen = []
    if not regions.known:
        unseen.append(
            "Where the channels are is not known (no names of the 10-20 system, nor places of 16 sensors), so that "
            "eyes and muscles cannot be told from the brain by where they show."
        )
    elif not regions.frontal:
        unseen.append("No channel is frontal: eyes cannot be told by where they show.")
    if regions.known and not regions.rim:
        unseen.append("No channel is at the frontal or temporal rim: muscles cannot be told by where they show.")
    if nyquist <= FAST_HZ:
        unseen.append(f"At {2 * nyquist:g} Hz there is nothing above 30 Hz, where muscles would show.")
    return unseen


def _warning(rest: Rest, what: str) -> str:
    also = {
        "eyes": "Slow activity of the frontal brain shows there too: look at EOG channels, or at the eyes.",
        "muscles": "Fast activity of the brain shows there too, though far more weakly.",
    }[what]
    left = f" (accuracy {rest.alone})" if rest.alone else ""
    return (
        f"It looks as if it read {what}: with all but the {rest.part.name} exchanged between trials, "
        f"{100 * rest.share.value:.0f} % [{100 * rest.share.low:.0f}, {100 * rest.share.high:.0f}] of what it tells "
        f"of the truth is left{left}, n = {rest.share.n} trials. {also}"
    )
