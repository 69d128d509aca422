"""Values of sensors as maps of the head, seen from above with the nose up, as SVG to stand in HTML."""

import base64
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial.distance import cdist, pdist, squareform

from rtdecode.page.svg import dot, fitting, line, rect, text
from rtdecode.recording import Positions
from rtdecode.recording.positions import on_plane

_Floats = NDArray[np.float64]
_GRID = 48
_N_LEVELS = 64
# Fewer than these are shown by themselves: nothing is known between them.
_FEWEST = 6
CELL, TALL = 140, 172
_NAMES = {"eeg": "EEG", "mag": "magnetometers", "grad": "gradiometers"}
_IDS = count()
# Of a planar pair: sensors this near are one place.
_SAME_PLACE = 1e-3


@dataclass(frozen=True)
class Layout:
    """Sensors of one type on the head.

    Attributes
    ----------
    title : str
        What they are.
    unit : str
        Of their values.
    pairs : list of arrays of int
        Which sensors stand at each place: one, or the gradiometers of a planar pair.
    places : array, (n_places, 2)
        Seen from above, nose up.
    head : tuple of float
        Middle and radius of the outline.
    names : tuple of str
        Of each place.
    """

    title: str
    unit: str
    pairs: list[NDArray[np.intp]]
    places: _Floats
    head: tuple[float, float, float]
    names: tuple[str, ...]

    @property
    def short(self) -> str:
        """The title in a word or two."""
        return "grad" if self.in_pairs else {v: k for k, v in _NAMES.items()}.get(self.title, self.title)

    @property
    def in_pairs(self) -> bool:
        """Whether a value stands for two gradiometers: their root mean square, which has no sign."""
        return any(len(pair) > 1 for pair in self.pairs)

    def shown(self, values: _Floats, is_power: bool) -> _Floats:
        """Return what is drawn of all sensors' values, (n_places,): of a pair the mean of what is a power already."""
        if is_power:
            return np.array([values[pair].mean() for pair in self.pairs])
        if self.in_pairs:
            return np.array([np.sqrt(np.mean(values[pair] ** 2)) for pair in self.pairs])
        return np.array([values[pair[0]] for pair in self.pairs])


@dataclass(frozen=True)
class Cell:
    """What one map shows.

    Attributes
    ----------
    title : str
        Above it.
    values : array, (n_bands * n_sensors,)
        Of all sensors.
    unit : str
        Of them; empty: that of each type of sensor.
    is_power : bool
        Whether they are powers, or differences of powers.
    """

    title: str
    values: _Floats
    unit: str = ""
    is_power: bool = False


def layouts(
    names: Sequence[str],
    types: Sequence[str],
    units: Sequence[str],
    positions: Positions,
    hidden: Sequence[str] = (),
) -> tuple[list[Layout], list[str]]:
    """Return the sensors on the head, type by type, and sentences on those that cannot be placed.

    EEG is placed by the names of the 10-05 system, where all of them are of it; otherwise where recordings say.
    """
    found, told = [], []
    for kind in dict.fromkeys(types):
        own = np.array([i for i, t in enumerate(types) if t == kind and names[i] not in hidden], int)
        if not len(own):
            continue
        of_montage = _montage([names[i] for i in own]) if kind == "eeg" else None
        if of_montage is not None:
            places, head = of_montage
        elif all(names[i] in positions for i in own):
            places = np.array([positions[names[i]] for i in own])
            middle = (places.min(axis=0) + places.max(axis=0)) / 2
            head = float(middle[0]), float(middle[1]), float(np.linalg.norm(places - middle, axis=1).max()) * 1.06
        else:
            told.append(
                f"Where the {_NAMES.get(kind, kind)} channels are is not known (no positions in file or recordings, "
                "and not all names of the 10-05 system): their values are drawn as bars."
            )
            continue
        pairs = _pairs(places) if kind == "grad" else [np.array([i]) for i in range(len(own))]
        title = _NAMES.get(kind, kind) + (", each pair as one" if any(len(p) > 1 for p in pairs) else "")
        found.append(
            Layout(
                title=title,
                unit=units[own[0]],
                pairs=[own[pair] for pair in pairs],
                places=np.array([places[pair].mean(axis=0) for pair in pairs]),
                head=head,
                names=tuple("/".join(names[own[i]] for i in pair) for pair in pairs),
            )
        )
    return found, told


def _pairs(places: _Floats) -> list[NDArray[np.intp]]:
    near = squareform(pdist(places)) < _SAME_PLACE
    return [np.flatnonzero(row) for i, row in enumerate(near) if np.flatnonzero(row)[0] == i]


@cache
def _standard() -> tuple[dict[str, tuple[float, float]], tuple[float, float, float]]:
    import mne

    with warnings.catch_warnings():
        # Newer versions of MNE have another name for the same places, and older ones do not know it.
        warnings.simplefilter("ignore", FutureWarning)
        places = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    plane = {name.lower(): np.array(place) for name, place in on_plane(places).items()}
    rim = np.array([plane[name] for name in ("fpz", "oz", "t7", "t8")])
    middle = (rim.min(axis=0) + rim.max(axis=0)) / 2
    radius = float(np.linalg.norm(rim - middle, axis=1).max())
    found = {name: (float(x), float(y)) for name, (x, y) in plane.items()}
    return found, (float(middle[0]), float(middle[1]), radius)


def _montage(names: Sequence[str]) -> tuple[_Floats, tuple[float, float, float]] | None:
    standard, head = _standard()
    known = [name.strip(".").lower() for name in names]
    if not all(name in standard for name in known):
        return None
    return np.array([standard[name] for name in known]), head


def draw_map(layout: Layout, cell: Cell, left: float, top: float) -> list[str]:
    """Draw the values of all sensors as one map, CELL wide and TALL high, with its scale.

    They run from blue to red about zero, with the largest one at the end of the scale; root mean squares from dark to
    light from zero on. Nothing is clipped.
    """
    shown, title, unit = layout.shown(cell.values, cell.is_power), cell.title, cell.unit
    signed = cell.is_power or not layout.in_pairs
    most = float(np.abs(shown).max()) or 1.0
    x, y, radius = layout.head
    reach = max(radius, float(np.linalg.norm(layout.places - [x, y], axis=1).max()) * 1.02)
    size = (CELL - 26) / 2
    middle_x, middle_y = left + CELL / 2, top + 26 + size

    def at(place: _Floats) -> tuple[float, float]:
        px, py = (place - [x, y]) / reach * size
        return float(middle_x + px), float(middle_y - py)

    parts = [text(middle_x, top + 10, fitting(CELL, title, title[:18] + "..."), "small strong", "middle")]
    if len(shown) >= _FEWEST:
        parts.append(_image(layout, shown, most, signed, (middle_x, middle_y, size), reach))
    r = size * radius / reach
    parts.append(f'<circle cx="{middle_x:.1f}" cy="{middle_y:.1f}" r="{r:.1f}" class="outline"/>')
    nose = f"{middle_x - 7:.1f},{middle_y - r + 1:.1f} {middle_x:.1f},{middle_y - r - 8:.1f}"
    parts.append(f'<polyline points="{nose} {middle_x + 7:.1f},{middle_y - r + 1:.1f}" class="outline"/>')
    small = len(shown) > 40
    for place, value, name in zip(layout.places, shown.tolist(), layout.names, strict=True):
        px, py = at(place)
        told = f"{name}: {value:.3g} {unit or layout.unit}"
        parts.append(dot(px, py, 0.9 if small else 1.6, "sensor", told))
        if len(shown) < _FEWEST:
            colour = _hex(_colours(np.array([value / most]), signed)[0])
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="9" fill="{colour}"><title>{told}</title></circle>')
    return parts + _scale(left + 20, top + CELL + 12, CELL - 40, most, signed, unit or layout.unit)


def _scale(left: float, top: float, width: float, most: float, signed: bool, unit: str) -> list[str]:
    name = f"scale{next(_IDS)}"
    stops = np.linspace(-1 if signed else 0, 1, 11)
    colours = [_hex(colour) for colour in _colours(stops, signed)]
    marks = "".join(f'<stop offset="{i / 10:.1f}" stop-color="{c}"/>' for i, c in enumerate(colours))
    return [
        f'<defs><linearGradient id="{name}">{marks}</linearGradient></defs>',
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="6" fill="url(#{name})"/>',
        text(left, top + 16, f"{'-' + _short(most) if signed else 0}", "tick", "middle"),
        text(left + width, top + 16, _short(most), "tick", "middle"),
        text(left + width / 2, top + 16, unit, "tick", "middle"),
    ]


def _short(value: float) -> str:
    return f"{value:.0f}" if 100 <= value < 10_000 else f"{value:.2g}"


def _image(
    layout: Layout, shown: _Floats, most: float, signed: bool, circle: tuple[float, float, float], reach: float
) -> str:
    x, y, _ = layout.head
    line_ = np.linspace(-reach, reach, _GRID)
    grid = np.stack(np.meshgrid(line_, -line_), axis=-1).reshape(-1, 2)
    places = layout.places - [x, y]
    apart = cdist(grid, places).min(axis=1)
    neighbour = np.sort(cdist(places, places), axis=1)[:, 1]
    # Not where no sensor is near.
    inside = (np.linalg.norm(grid, axis=1) <= reach) & (apart <= 1.6 * float(np.median(neighbour)))
    try:
        smooth = RBFInterpolator(places, shown, kernel="thin_plate_spline", smoothing=1e-6)(grid)
    except (np.linalg.LinAlgError, ValueError):
        smooth = shown[cdist(grid, places).argmin(axis=1)]
    # Between sensors nothing is larger than at them.
    smooth = np.clip(smooth, shown.min(), shown.max())
    low = -1.0 if signed else 0.0
    levels = 1 + ((smooth / most - low) / (1 - low) * (_N_LEVELS - 1)).round().astype(np.int64)
    pixels = np.where(inside, levels, 0).astype(np.uint8).reshape(_GRID, _GRID)
    data = base64.b64encode(_png(pixels, _colours(np.linspace(low, 1, _N_LEVELS), signed))).decode("ascii")
    left, top, size = circle[0] - circle[2], circle[1] - circle[2], 2 * circle[2]
    place = f'x="{left:.1f}" y="{top:.1f}" width="{size:.1f}" height="{size:.1f}"'
    return f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'


# Both can be told apart by who does not see red and green alike: after ColorBrewer's RdBu, and matplotlib's cividis.
_SIGNED = [(33, 102, 172), (103, 169, 207), (209, 229, 240), (247, 247, 247), (253, 219, 199), (239, 138, 98),
           (178, 24, 43)]  # fmt: skip
_UNSIGNED = [(0, 34, 78), (53, 69, 108), (102, 105, 112), (148, 142, 119), (200, 184, 102), (254, 232, 56)]


def _colours(values: _Floats, signed: bool) -> NDArray[np.int64]:
    """Return colours (n, 3) of values: within -1 and 1, or 0 and 1."""
    table = np.array(_SIGNED if signed else _UNSIGNED, float)
    at = ((values + 1) / 2 if signed else values) * (len(table) - 1)
    known = np.arange(len(table))
    return np.stack([np.interp(at, known, table[:, i]) for i in range(3)], axis=1).round().astype(np.int64)


def _hex(colour: NDArray[np.int64]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour.tolist())


def _png(pixels: NDArray[np.uint8], colours: NDArray[np.int64]) -> bytes:
    """Return an image (height, width) of numbers of colours as a PNG file; 0 is transparent."""
    height, width = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3) + colours.astype(np.uint8).tobytes()) + chunk(b"tRNS", b"\0")
    body = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + body


def draw_bars(names: Sequence[str], values: _Floats, unit: str, left: float, top: float, title: str) -> list[str]:
    """Draw values of sensors whose place nobody knows, the largest first, as high as a map."""
    best = np.argsort(-np.abs(values), kind="stable")[:10]
    most = float(np.abs(values).max()) or 1.0
    middle, wide = left + CELL / 2 + 14, CELL / 2 - 22
    parts = [text(left + CELL / 2, top + 10, fitting(CELL, title, title[:18] + "..."), "small strong", "middle")]
    for row, i in enumerate(best.tolist()):
        y, length = top + 22 + 12 * row, wide * abs(values[i]) / most
        start = middle - length if values[i] < 0 else middle
        parts.append(rect(start, y, length, 9, "heat", f"{names[i]}: {values[i]:.3g} {unit}"))
        parts.append(text(left + 2, y + 8, fitting(50, names[i], names[i][-7:]), "tick"))
    parts.append(line(middle, top + 20, middle, top + 22 + 12 * len(best), "axis"))
    parts.append(text(middle, top + TALL - 6, f"up to {_short(most)} {unit}", "tick", "middle"))
    return parts
