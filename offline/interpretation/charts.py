"""Figures of what decoders rest on, as SVG to stand in HTML.

Their colours are those of `explain.css` and `rtdecode/evaluation/report.css`: blue for what speaks for an output,
vermilion for what speaks against it, which the colour-blind can tell apart too.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline.interpretation.controls import Randomised
from offline.interpretation.parts import Part
from rtdecode.evaluation.axes import Axes, Scale
from rtdecode.page.svg import dot, fitting, line, rect, svg, text, upright
from rtdecode.scoring import Figure

_WIDE, _HALF, _HEIGHT = 860, 424, 270
_MOST_ROWS, _MOST_COLUMNS = 24, 120
_ROW, _LABELS, _RIGHT, _BOTTOM = 17, 150, 14, 38


def draw_figures(
    rows: Sequence[tuple[str, Figure]],
    axis: str,
    title: str,
    n: int,
    largest_first: bool = True,
    unit: str = "trials",
) -> str:
    """Draw figures of parts as bars with their 95 % intervals; of many only the largest.

    Parameters
    ----------
    rows : sequence of (str, Figure)
        Name and figure of each part.
    axis : str
        What is measured, with its unit.
    title : str
        What is shown, to who cannot see it.
    n : int
        How many trials, or windows, it rests on.
    largest_first : bool
        Whether to put them in order; else they stay in theirs.
    unit : str
        What `n` counts.
    """
    ordered = sorted(rows, key=lambda row: -row[1].value) if largest_first else list(rows)
    shown, top = ordered[:_MOST_ROWS], 6
    bottom = top + _ROW * len(shown)
    finite = [v for _, f in shown for v in (f.low, f.high, f.value) if np.isfinite(v)]
    x = Scale(min([0.0, *finite]), max([0.0, *finite]), _LABELS, _HALF - _RIGHT)
    parts = []
    for tick in x.ticks(5):
        parts += [
            line(x(tick), top, x(tick), bottom, "grid"),
            text(x(tick), bottom + 14, f"{tick:g}", "tick", "middle"),
        ]
    for number, (name, figure) in enumerate(shown):
        parts += _bar(x, top + number * _ROW, name, figure)
    more = f"; {len(rows) - len(shown)} smaller ones are not shown" if len(rows) > len(shown) else ""
    parts += [
        line(x(0), top, x(0), bottom, "axis"),
        text((_LABELS + _HALF - _RIGHT) / 2, bottom + 30, f"{axis}, n = {n} {unit}", "tick", "middle"),
    ]
    return svg(_HALF, bottom + _BOTTOM, f"{title}{more}", parts)


def _bar(x: Scale, y: float, name: str, figure: Figure) -> list[str]:
    middle, start, stop = y + _ROW / 2, *sorted((x(0), x(figure.value)))
    style = "f0" if figure.value >= 0 else "f1"
    told = f"{name}: {figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
    label = fitting(_LABELS - 8, name, f"{name[:19]}...")
    parts = [
        text(_LABELS - 8, middle + 4, label, "small", "end"),
        rect(start, y + 3, stop - start, _ROW - 6, style, told, 0.6),
    ]
    if np.isfinite([figure.low, figure.high]).all():
        parts.append(line(x(figure.low), middle, x(figure.high), middle, "whisker"))
    return parts


def draw_over_time(
    parts: Sequence[Part], figures: Sequence[Figure], axis: str, title: str, sfreq: float, first_s: float = 0.0
) -> str:
    """Draw figures of the segments of a window over its time, with their 95 % intervals.

    Parameters
    ----------
    parts : sequence of Part
        The segments, in order.
    figures : sequence of Figure
        Of each.
    axis, title : str
        See `draw_figures`.
    sfreq : float
        Rate of the window's samples in Hz.
    first_s : float
        Where the window begins, in seconds.
    """
    edges = [first_s + part.span[0] / sfreq for part in parts if part.span]
    edges.append(first_s + (parts[-1].span or (0, 0))[1] / sfreq)
    bounds = [0.0, *(v for f in figures for v in (f.low, f.high) if np.isfinite(v))]
    axes = Axes((edges[0], edges[-1]), (min(bounds), max(bounds)), _WIDE, _HEIGHT)
    drawn = axes.frame(f"s in the window, n = {figures[0].n} trials", axis)
    drawn.append(line(axes.left, axes.y(0), axes.right, axes.y(0), "chance"))
    for (start, stop), figure in zip(pairwise(edges), figures, strict=True):
        middle = (start + stop) / 2
        told = f"{start:.3g} to {stop:.3g} s: {figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
        drawn += [
            line(axes.x(start), axes.y(figure.value), axes.x(stop), axes.y(figure.value), "curve"),
            line(axes.x(middle), axes.y(figure.low), axes.x(middle), axes.y(figure.high), "whisker"),
            dot(axes.x(middle), axes.y(figure.value), 3, "decoder-dot", told),
        ]
    return svg(_WIDE, _HEIGHT, title, drawn)


def draw_attributions(
    values: ArrayLike, ch_names: Sequence[str], title: str, sfreq: float, n: int, unit: str, first_s: float = 0.0
) -> str:
    """Draw attributions of channels over time: blue for the output, vermilion against it.

    Parameters
    ----------
    values : array, (n_channels, n_times)
        Of many channels those are drawn of which the mean absolute value is largest, in their order; of many
        samples, means of neighbours.
    ch_names : sequence of str
        Names of the channels.
    title : str
        What is shown, to who cannot see it.
    sfreq : float
        Rate of the samples in Hz.
    n : int
        How many windows they are the mean of.
    unit : str
        Of the values.
    first_s : float
        Where the window begins, in seconds.
    """
    values = np.asarray(values, np.float64)
    strongest = np.sort(np.argsort(-np.abs(values).mean(axis=1), kind="stable")[: 2 * _MOST_ROWS])
    edges = np.linspace(0, values.shape[1], min(values.shape[1], _MOST_COLUMNS) + 1).astype(int)
    means = np.add.reduceat(values[strongest], edges[:-1], axis=1) / np.diff(edges)
    largest = float(np.abs(means).max()) or 1.0
    row, top = max(6, min(_ROW, 480 // len(strongest))), 22
    bottom, x = top + row * len(strongest), Scale(0.0, values.shape[1] / sfreq, _LABELS / 2, _WIDE - _RIGHT)
    parts = [text(_LABELS / 2, 12, f"full colour: {largest:.2g} {unit}; blue for it, vermilion against it", "small")]
    if len(strongest) < len(values):
        told = f"the {len(strongest)} strongest of {len(values)} channels"
        parts.append(text(_WIDE - _RIGHT, 12, told, "small", "end"))
    for number, channel in enumerate(strongest):
        y = top + number * row
        if row >= 10 or number % 2 == 0:
            parts.append(text(_LABELS / 2 - 6, y + row / 2 + 3.5, ch_names[channel][:10], "tick", "end"))
        parts += _cells(x, edges / sfreq, y, row, means[number], largest)
    for tick in x.ticks(9):
        parts.append(text(x(tick), bottom + 14, f"{first_s + tick:g}", "tick", "middle"))
    parts += [
        line(_LABELS / 2, bottom, _WIDE - _RIGHT, bottom, "axis"),
        text((_LABELS / 2 + _WIDE) / 2, bottom + 30, f"s in the window, n = {n} windows", "tick", "middle"),
        upright(10, (top + bottom) / 2, "channel"),
    ]
    return svg(_WIDE, bottom + _BOTTOM, title, parts)


def _cells(
    x: Scale, edges_s: NDArray[np.float64], y: float, row: int, means: NDArray[np.float64], largest: float
) -> list[str]:
    # What is too faint to be seen is not drawn: a map of many channels is a large page.
    return [
        rect(x(start), y, x(stop) - x(start), row - 0.5, "f0" if v > 0 else "f1", "", abs(v) / largest)
        for (start, stop), v in zip(pairwise(edges_s.tolist()), means.tolist(), strict=True)
        if abs(v) > 0.01 * largest
    ]


def draw_randomised(found: Randomised, title: str) -> str:
    """Draw how alike maps are to the original's, with ever more layers drawn anew; lines: lowest to highest."""
    rows = [
        (f"{'' if number == 0 else '+ '}{name}", Figure(name, *_range(values), 0.0, len(values)))
        for number, (name, values) in enumerate(zip(found.layers, found.correlation, strict=True))
    ]
    n = found.correlation.shape[1]
    return draw_figures(rows, "correlation with the map as it is", title, n, largest_first=False, unit="draws")


def _range(values: NDArray[np.float64]) -> tuple[float, float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.mean()), float(finite.min()), float(finite.max())) if len(finite) else (0.0, np.nan, np.nan)
