"""Whether a decoder looks as if it reads eyes or muscles rather than the brain.

Eyes show at frontal sensors below 4 Hz, muscles of the head at its frontal and temporal rim above 30 Hz (Goncharova
et al. 2003, doi 10.1016/S1388-2457(03)00093-2). What a decoder rests on there is told by what is left of it when all
else is exchanged between trials. What is lost without these signals tells less: a decoder also needs them to cancel
what disturbs it elsewhere. Nor is it only the frontal channels that are read: eyes show at all of them, and where
they are read is a matter of what else is there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from offline.interpretation.occlusion import Occlusion, Signals, Tell, occlude
from offline.interpretation.parts import Part, band_name
from offline.interpretation.topographies import following, shared_with
from rtdecode.contract import Signal
from rtdecode.recording import Positions
from rtdecode.scoring import Figure, mean_of

SLOW_HZ, FAST_HZ = (0.0, 4.0), (30.0, np.inf)
# Eyes move up and down, lids with them, and from side to side.
_EYES = 2
# Where the topography of slow signals is looked for: below, electrodes drift.
_MOVING_HZ = (0.5, 4.0)
# What is warned of: settled on simulated heads.
SHARE, SURE = 0.15, 0.05
# With fewer trials, or of a class, no verdict is given.
FEWEST_TRIALS, FEWEST_OF_CLASS = 12, 5
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
    foremost : tuple of int
        Those next to the eyes: of the first row that there is.
    ch_types : tuple of str
        Of all channels: only those of a type can be compared in size.
    known : int
        How many channels it is known of where they are.
    by : str
        How: `name` or `place`; empty if of none.
    """

    frontal: tuple[int, ...]
    temporal: tuple[int, ...]
    rim: tuple[int, ...]
    foremost: tuple[int, ...]
    ch_types: tuple[str, ...]
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
        return _regions({i: _place_by_name(*name) for i, name in named.items()}, signal.ch_types, "name")
    placed = {i: positions[names[i]] for i in of_head if names[i] in positions}
    if len(placed) < _WHOLE_HEAD:
        return Regions((), (), (), (), signal.ch_types, 0, "")
    return _regions({i: _place_on_plane(*at) for i, at in placed.items()}, signal.ch_types, "place")


class _Place(NamedTuple):
    """Whether a channel is frontal, temporal, on the rim; and which row from the front it stands in."""

    frontal: bool
    temporal: bool
    rim: bool
    row: int


def _place_by_name(row: str, column: str) -> _Place:
    number = 0 if column == "z" else int(column.rstrip("h"))
    temporal = row in ("ft", "t", "tp")
    outer = row == "fp" or (row in ("af", "f", "p") and number >= 7)
    return _Place(row in ("fp", "af", "f"), temporal, temporal or outer, 0 if row in ("fp", "af") else 1)


def _place_on_plane(x: float, y: float) -> _Place:
    right, front = abs(x - 0.5), y - 0.5
    frontal = front >= 0.2
    temporal = right >= 0.35 and not frontal
    outer = frontal and bool(np.hypot(right, front) >= 0.38)
    return _Place(frontal, temporal, temporal or outer, 0 if front >= 0.35 else 1)


def _regions(places: Mapping[int, _Place], ch_types: tuple[str, ...], by: str) -> Regions:
    first = min((place.row for place in places.values() if place.frontal), default=0)
    return Regions(
        tuple(i for i, place in places.items() if place.frontal),
        tuple(i for i, place in places.items() if place.temporal),
        tuple(i for i, place in places.items() if place.rim),
        tuple(i for i, place in places.items() if place.frontal and place.row == first),
        ch_types,
        len(places),
        by,
    )


@dataclass(frozen=True)
class Rest:
    """How much a decoder rests on one part of the signals.

    Attributes
    ----------
    part : Part
        Which.
    share : Figure
        Of the covariance of truth and output, what is left with all else exchanged; 1: all of it. Interval over
        trials. NaN of a decoder whose covariance is not surely different from that of other trials.
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
    least 15 %, and surely (95 % interval over trials) 5 %; of eyes, if moreover what changes slowly with the truth is
    largest next to them. No verdict is given of a decoder that is not surely better than chance, nor on few trials.
    What comes from the frontal brain and is slow is warned of too.

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
    eyes, muscles = _sources(signals, regions)
    asked = [
        *(Part("frontal channels", regions.frontal) for _ in regions.frontal[:1]),
        *(Part("temporal channels", regions.temporal) for _ in regions.temporal[:1]),
        *(Part(band_name(band), band_hz=band) for band in (SLOW_HZ, FAST_HZ) if band[0] < nyquist),
        *(part for part in (eyes, muscles) if part),
    ]
    found = occlude(signals, asked, n_repeats, seed, alone=True, tell=tell)
    rests, doubts = tuple(_rests(found)), _doubts(found)
    warnings = []
    for rest in rests if not doubts else ():
        if rest.part not in (eyes, muscles) or rest.share.value < SHARE:
            continue
        what = "eyes" if rest.part is eyes else "muscles"
        if rest.part is muscles or _is_frontal(signals, regions):
            if rest.share.low >= SURE:
                warnings.append(_warning(rest, what))
            else:
                doubts.append(_undecided(rest, what))
    return Sanity(found.accuracy, rests, tuple(warnings), (*doubts, *_unseen(regions, nyquist)), found.n_trials)


def _sources(signals: Signals, regions: Regions) -> tuple[Part | None, Part | None]:
    """Return what eyes and what muscles would show in, where there are such channels and such frequencies."""
    eyes = muscles = None
    if regions.frontal:
        spread = shared_with(signals, regions.ch_types, regions.frontal, _MOVING_HZ, _EYES)
        eyes = Part(f"strongest frontal signals {band_name(SLOW_HZ)}", band_hz=SLOW_HZ, spread=spread)
    if regions.rim and FAST_HZ[0] < signals.sfreq / 2:
        spread = shared_with(signals, regions.ch_types, regions.rim, FAST_HZ, len(regions.rim))
        muscles = Part(f"signals of the head's rim {band_name(FAST_HZ)}", band_hz=FAST_HZ, spread=spread)
    return eyes, muscles


def _is_frontal(signals: Signals, regions: Regions) -> bool:
    """Tell whether what changes slowly with the truth is largest next to the eyes, of any type of channel.

    Slow sources in the middle of the head show at frontal channels too, but not most there.
    """
    kinds, energy = np.asarray(regions.ch_types), following(signals, _MOVING_HZ, regions.foremost)
    foremost = np.isin(np.arange(len(kinds)), regions.foremost)
    return any(
        foremost[kinds == kind][energy[kinds == kind].argmax()] and energy[kinds == kind].max() > 0
        for kind in np.unique(kinds[foremost])
    )


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
    elif mean_of(found.whole.evidence, "evidence", 0.0).low <= 0 or any(np.isnan(s.value) for s in found.shares):
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
    if nyquist <= FAST_HZ[0]:
        unseen.append(f"At {2 * nyquist:g} Hz there is nothing above 30 Hz, where muscles would show.")
    return unseen


def _undecided(rest: Rest, what: str) -> str:
    return (
        f"No verdict on {what}: with all but the {rest.part.name} exchanged, {100 * rest.share.value:.0f} % "
        f"[{100 * rest.share.low:.0f}, {100 * rest.share.high:.0f}] of what it tells of the truth is left. Give more "
        "trials."
    )


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
