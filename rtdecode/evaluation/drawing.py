"""The figures of a report, as SVG to stand in HTML; its style sheet gives the colours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtdecode.decisions import Tally
from rtdecode.evaluation.axes import Axes, Scale
from rtdecode.evaluation.course import OverTime
from rtdecode.evaluation.permutation import Null
from rtdecode.evaluation.reliability import N_BINS, Reliability
from rtdecode.page.svg import dot, fitting, line, rect, svg, text, upright
from rtdecode.scoring import Figure

_WIDE, _HALF, _HEIGHT = 860, 424, 270
_MOST_POINTS = 1500
_Floats = NDArray[np.float64]


def draw_over_time(course: OverTime, people: Sequence[OverTime], chance: float, within: tuple[float, float]) -> str:
    """Draw accuracy over time: of all with its interval, and of each person; `within`: windows lie in the trial."""
    times = course.time_s.tolist()
    axes = Axes((times[0], times[-1]), (0.0, 1.0), _WIDE, _HEIGHT)
    first, last = (min(max(time, times[0]), times[-1]) for time in within)
    wide = max(axes.x(last) - axes.x(first), 2)
    parts = [
        rect(axes.x(first), axes.top, wide, axes.bottom - axes.top, "span", "windows that lie in the trial whole")
    ]
    parts += axes.frame("s from the cue to the newest sample of the window", "share of trials right")
    parts.append(line(axes.left, axes.y(chance), axes.right, axes.y(chance), "chance"))
    if times[0] < 0 < times[-1]:
        parts += [
            line(axes.x(0), axes.top, axes.x(0), axes.bottom, "mark"),
            text(axes.x(0) + 4, axes.top + 9, "cue", "small mark-text"),
        ]
    parts += [axes.curve(one.time_s.tolist(), [f.value for f in one.figures], "person") for one in people]
    figures = course.figures
    parts.append(axes.band(times, [f.low for f in figures], [f.high for f in figures], "band"))
    parts.append(axes.curve(times, [f.value for f in figures], "curve"))
    for time, figure in zip(times, figures, strict=True):
        parts.append(dot(axes.x(time), axes.y(figure.value), 2.2, "decoder-dot", f"{time:.2f} s: {figure}"))
    parts.append(text(axes.right - 3, axes.y(chance) - 4, f"chance {chance:.2f}", "small chance-text", "end"))
    return svg(_WIDE, _HEIGHT, "Accuracy over time from the cue", parts)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """Draw how often each class was decided for each true one: rows sum to 100 %."""
    n, left, top = len(names), 92, 34
    side = min(_HALF - left - 8, _HEIGHT - top - 8) / n
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [
        text(left + n * side / 2, 12, "decided", "tick", "middle"),
        upright(10, top + n * side / 2, "truth"),
    ]
    for i, truth in enumerate(names):
        y, middle = top + i * side, left + (i + 0.5) * side
        if side > 10:
            parts.append(
                text(left - 6, y + side / 2 + 4, fitting(left - 20, truth, f"...{truth[-8:]}"), "small", "end")
            )
        parts.append(text(middle, top - 6, fitting(side, truth), "small", "middle"))
        for j, decided in enumerate(names):
            told = f"truth {truth}, decided {decided}: {counts[i, j]} of {counts[i].sum()}"
            parts += _cell(left + j * side, y, side, shares[i, j], str(counts[i, j]), told)
    return svg(_HALF, _HEIGHT, "Confusion matrix, the truth in rows", parts)


def _cell(x: float, y: float, side: float, share: float, count: str, told: str) -> list[str]:
    ink, middle, edge = "on-heat" if share > 0.7 else "strong", x + side / 2 - 1, side - min(2, side / 8)
    parts = [rect(x, y, edge, edge, "cell"), rect(x, y, edge, edge, "heat", told, share)]
    roomy = side > 38
    if side > 12:
        parts.append(text(middle, y + side / 2 + (1 if roomy else 4), fitting(side, count), ink, "middle"))
    if roomy:
        parts.append(text(middle, y + side / 2 + 16, f"{100 * share:.0f} %", f"small {ink}", "middle"))
    return parts


def draw_reliability(found: Reliability) -> str:
    """Draw how often windows are right, by how sure they are, and how many are how sure."""
    axes = Axes((0.0, 1.0), (0.0, 1.0), _HALF, _HEIGHT, square=True)
    parts = axes.frame("probability of the most probable class", "share of windows right")
    parts.append(line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), "chance"))
    width = (axes.right - axes.left) / N_BINS
    for i in np.flatnonzero(found.n):
        share = found.n[i] / found.n.sum()
        high = 0.3 * share * (axes.bottom - axes.top)
        parts.append(
            rect(
                axes.left + i * width + 1,
                axes.bottom - high,
                width - 2,
                high,
                "share",
                f"{100 * share:.1f} % of the windows",
            )
        )
    for i in np.flatnonzero(found.n):
        at, y = axes.x(found.confidence[i]), axes.y(found.accuracy[i])
        interval = f"[{found.low[i]:.2f}, {found.high[i]:.2f}]"
        told = (
            f"{found.n[i]} windows: probability {found.confidence[i]:.2f}, right {found.accuracy[i]:.2f} {interval}"
        )
        parts.append(line(at, axes.y(found.low[i]), at, axes.y(found.high[i]), "whisker"))
        parts.append(dot(at, y, 3.5, "decoder-dot", told))
    return svg(_HALF, _HEIGHT, "Reliability of the probabilities", parts)


def draw_decisions(counted: Tally) -> str:
    """Draw which share of trials had its first decision by when, right ones and wrong ones apart."""
    made = counted.first >= 0
    last = 1.05 * float(counted.time_s[made].max()) if made.any() else 1.0
    axes = Axes((0.0, last), (0.0, 1.0), _HALF, _HEIGHT)
    parts = axes.frame("s from the cue to the first decision", "share of trials")
    for chosen, style in ((made & ~counted.right, "wrong"), (counted.right, "curve")):
        times = np.sort(counted.time_s[chosen])
        n = len(counted.truth)
        x, y = [0.0, *times.tolist(), last], [0.0, *(np.arange(1, len(times) + 1) / n).tolist(), len(times) / n]
        parts.append(axes.steps(x, y, style))
    return svg(_HALF, _HEIGHT, "Time to the first decision of trials", parts)


def draw_null(null: Null, name: str) -> str:
    """Draw what a figure is when truths are exchanged, and what it is."""
    values = np.append(null.values, null.observed)
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or 0.05
    edges = np.linspace(low - room, high + room, min(40, len(np.unique(values)) + 2) + 1)
    shares = np.histogram(null.values, edges)[0] / len(null.values)
    axes = Axes((edges[0], edges[-1]), (0.0, 1.15 * float(shares.max())), _HALF, _HEIGHT)
    parts = axes.frame(name, "share of permutations")
    for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share:
            up = axes.y(0) - axes.y(share)
            parts.append(
                rect(
                    axes.x(left) + 0.5,
                    axes.bottom - up,
                    axes.x(right) - axes.x(left) - 1,
                    up,
                    "null",
                    f"{100 * share:.2f} %",
                )
            )
    at = axes.x(null.observed)
    anchor, aside = ("end", -5.0) if at > (axes.left + axes.right) / 2 else ("start", 5.0)
    parts += [
        line(at, axes.top, at, axes.bottom, "observed"),
        text(at + aside, axes.top + 9, f"observed {null.observed:.3g}", "small mark-text", anchor),
    ]
    return svg(_HALF, _HEIGHT, f"{name} when truths are exchanged", parts)


def draw_forest(rows: Sequence[tuple[str, Figure]], mean: tuple[float, float, float] | None, title: str) -> str:
    """Draw a figure of each recording or person with its interval and chance, and their mean."""
    step, left, top = 18, 130, 8
    told = [*rows] + ([("mean", None)] if mean else [])
    bottom = top + step * len(told)
    bounds = [v for _, f in rows for v in (f.value, f.low, f.high, f.chance)] + list(mean or ())
    finite = [v for v in bounds if np.isfinite(v)]
    shares = min(finite) >= 0 and max(finite) <= 1
    x = Scale(0.0 if shares else min(finite), 1.0 if shares else max(finite), left, _HALF - 12)
    parts = []
    for tick in x.ticks():
        parts += [
            line(x(tick), top, x(tick), bottom, "grid"),
            text(x(tick), bottom + 15, f"{tick:g}", "tick", "middle"),
        ]
    for number, (name, figure) in enumerate(told):
        y = top + (number + 0.5) * step
        value, low, high = (figure.value, figure.low, figure.high) if figure else mean or (0.0, 0.0, 0.0)
        style = "" if figure else " strong"
        parts.append(text(left - 8, y + 4, fitting(left - 8, name, f"{name[:14]}..."), f"small{style}", "end"))
        if np.isfinite(low) and np.isfinite(high):
            parts.append(line(x(max(low, x.low)), y, x(min(high, x.high)), y, "whisker"))
        parts.append(
            dot(
                x(value),
                y,
                3.5 if figure else 4.5,
                "decoder-dot",
                f"{name}: {figure or f'{value:.3f} [{low:.3f}, {high:.3f}]'}",
            )
        )
        if figure and np.isfinite(figure.chance):
            parts.append(line(x(figure.chance), y - 6, x(figure.chance), y + 6, "chance"))
    parts.append(line(left, bottom, _HALF - 12, bottom, "axis"))
    parts.append(text((left + _HALF - 12) / 2, bottom + 31, title, "tick", "middle"))
    return svg(_HALF, bottom + 38, f"{title} of each", parts)


def draw_values(truth: _Floats, predicted: _Floats, name: str, unit: str) -> str:
    """Draw values of a regression against the truth."""
    every = max(1, truth.size // _MOST_POINTS)
    t, p = truth.reshape(-1)[::every], predicted.reshape(-1)[::every]
    low, high = float(min(t.min(), p.min())), float(max(t.max(), p.max()))
    axes = Axes((low, high), (low, high), _HALF, _HEIGHT, square=True)
    told = f"{name} ({unit})" if unit != "none" else name
    parts = axes.frame(f"true {told}", f"decoded {told}")
    parts.append(line(axes.x(low), axes.y(low), axes.x(high), axes.y(high), "chance"))
    parts += [dot(axes.x(a), axes.y(b), 1.6, "cloud") for a, b in zip(t.tolist(), p.tolist(), strict=True)]
    return svg(_HALF, _HEIGHT, f"Decoded against true {name}", parts)
