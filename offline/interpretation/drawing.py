"""The figures of an explanation but for its maps, as SVG to stand in HTML; its style sheet gives the colours."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from offline.interpretation.topography import CELL, TALL, Cell, Layout, draw_bars, draw_map
from rtdecode.contract import Signal
from rtdecode.evaluation.axes import Axes
from rtdecode.page.svg import line, rect, svg, text

WIDE, HALF, HEIGHT = 860, 424, 250
N_COLOURS = 7
_IN_ROW = 6
_MOST_BARS = 32
_MOST_POINTS = 400
_DEPTH_DB = 40
_Floats = NDArray[np.float64]
# Name, values, half the height of a band about them, style.
Curve = tuple[str, _Floats, _Floats | None, str]


def style_of(number: int) -> str:
    """Return the style of a class: seven colours, after which the same ones come dashed."""
    return f"line c{number % N_COLOURS}" + (" dashed" if number >= N_COLOURS else "")


def keys(names: Sequence[str]) -> str:
    """Return markup that says which class has which colour."""
    told = "".join(
        f'<i class="key k{i % N_COLOURS}"></i>{escape(name)}{" (dashed)" if i >= N_COLOURS else ""} '
        for i, name in enumerate(names)
    )
    return told + ("; colours come again, dashed, after seven" if len(names) > N_COLOURS else "")


def draw_maps(
    cells: Sequence[Cell],
    signal: Signal,
    bands: Sequence[str],
    found: Sequence[Layout],
    hidden: Collection[str] = (),
) -> str:
    """Draw values of all sensors as maps, one for every type of sensor and band.

    Parameters
    ----------
    cells : sequence of Cell
        What they show.
    signal : Signal
        The sensors of one band.
    bands : sequence of str
        Their names, or one empty one.
    found : sequence of Layout
        The sensors that can be placed; others are drawn as bars.
    hidden : collection of str
        Sensors that are not drawn.
    """
    maps = list[str]()
    placed = {i for layout in found for pair in layout.pairs for i in pair.tolist()}
    rest = [i for i, name in enumerate(signal.ch_names) if i not in placed and name not in hidden]
    n_maps = 0

    def next_place() -> tuple[float, float]:
        nonlocal n_maps
        n_maps += 1
        return (n_maps - 1) % _IN_ROW * CELL + 6.0, float((n_maps - 1) // _IN_ROW * TALL)

    for cell in cells:
        for number, band in enumerate(bands):
            own = cell.values[number * signal.n_channels : (number + 1) * signal.n_channels]
            for layout in found:
                kind = layout.short if len(found) > 1 or layout.in_pairs else ""
                title = " ".join(filter(None, (cell.title, band, kind)))
                maps += draw_map(layout, replace(cell, title=title, values=own), *next_place())
            if rest:
                unit, names = cell.unit or signal.units[rest[0]], [signal.ch_names[i] for i in rest]
                maps += draw_bars(names, own[rest], unit, *next_place(), f"{cell.title} {band}")
    label = "Maps of the head: " + ", ".join(cell.title for cell in cells)
    return svg(WIDE, TALL * -(-n_maps // _IN_ROW) + 6, label, maps)


def draw_curves(
    x: _Floats,
    curves: Sequence[Curve],
    x_title: str,
    y_title: str,
    width: int = HALF,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw lines (name, values, half a band's height, style) over x; `marks` are places on it with words."""
    every = max(1, len(x) // _MOST_POINTS)
    x = x[::every]
    finite = [(n, y[::every], None if e is None else np.nan_to_num(e[::every]), s) for n, y, e, s in curves
              if np.isfinite(y).any()]  # fmt: skip
    values = np.concatenate([y + sign * (0 if e is None else e) for _, y, e, _ in finite for sign in (-1, 1)] or [x])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.05 * (high - low) or 0.5
    axes = Axes((float(x[0]), float(x[-1])), (low - room, high + room), width, HEIGHT)
    parts = axes.frame(x_title, y_title)
    if low < 0 < high:
        parts.append(line(axes.left, axes.y(0), axes.right, axes.y(0), "chance"))
    for at, words in marks:
        if x[0] <= at <= x[-1]:
            parts += [line(axes.x(at), axes.top, axes.x(at), axes.bottom, "mark"),
                      text(axes.x(at) + 3, axes.top + 9, words, "small mark-text")]  # fmt: skip
    for _, y, error, style in finite:
        if error is not None:
            parts.append(axes.band(x.tolist(), (y - error).tolist(), (y + error).tolist(), style + " spread"))
    parts += [axes.curve(x.tolist(), y.tolist(), style) for _, y, _, style in finite]
    return svg(width, HEIGHT, f"{y_title} over {x_title}", parts)


def draw_spectra(freqs: _Floats, curves: Sequence[Curve], y_title: str, width: int = HALF) -> str:
    """Draw spectra in dB down to 40 dB below the highest, from above 0 Hz."""
    floor = max((float(np.nanmax(y)) for _, y, _, _ in curves), default=0.0) - _DEPTH_DB
    shown = [(name, np.maximum(y, floor)[1:], error, style) for name, y, error, style in curves]
    return draw_curves(freqs[1:], shown, "Hz", y_title, width)


def draw_components(
    values: _Floats,
    styles: Sequence[str],
    y_title: str,
    spread: _Floats | None = None,
    width: int = WIDE,
    x_title: str = "component",
) -> tuple[str, str]:
    """Draw bars of each component (n_components, n_series), and say how many of them are shown."""
    best = np.arange(len(values))
    if len(values) > _MOST_BARS:
        best = np.sort(np.argsort(-np.abs(values).max(axis=1), kind="stable")[:_MOST_BARS])
    shown, error = values[best], None if spread is None else spread[best]
    reach = np.zeros_like(shown) if error is None else error
    ends: _Floats = np.concatenate([shown + reach, shown - reach, np.zeros((1, shown.shape[1]))])
    low, high = float(ends.min()), float(ends.max())
    room = 0.05 * (high - low) or 0.5
    axes = Axes((0, 1), (low - (room if low < 0 else 0), high + room), width, HEIGHT)
    parts = [p for p in axes.frame("", y_title) if 'class="axis"' not in p or "polyline" in p]
    parts = parts[: 2 * len(axes.y.ticks())] + parts[-1:]
    step = (axes.right - axes.left) / len(best)
    bar = 0.8 * step / shown.shape[1]
    for i, k in enumerate(best.tolist()):
        for j, value in enumerate(shown[i].tolist()):
            left = axes.left + i * step + 0.1 * step + j * bar
            ends_at = sorted((axes.y(value), axes.y(0)))
            parts.append(rect(left, ends_at[0], bar * 0.92, ends_at[1] - ends_at[0], f"bar {styles[j]}",
                              f"component {k}: {value:.3g}"))  # fmt: skip
            if error is not None:
                middle = left + bar * 0.46
                parts.append(line(middle, axes.y(value - error[i, j]), middle, axes.y(value + error[i, j]), "mark"))
        if len(best) <= 16 or i % 2 == 0:
            parts.append(text(axes.left + (i + 0.5) * step, axes.bottom + 14, str(k), "tick", "middle"))
    parts += [line(axes.left, axes.y(0), axes.right, axes.y(0), "axis"),
              text((axes.left + axes.right) / 2, axes.bottom + 31, x_title, "tick", "middle")]  # fmt: skip
    told = f"; the {_MOST_BARS} largest of {len(values)}" if len(values) > _MOST_BARS else ""
    return svg(width, HEIGHT, f"{y_title} of each component", parts), told
