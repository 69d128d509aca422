"""The figures of the certificate, as SVG to stand in HTML; its style sheet gives the colours."""

import numpy as np

from rtdecode.latency.report import Report
from rtdecode.latency.stages import STAGES, Seconds
from rtdecode.page.svg import dot, fitting, line, rect, svg, text

_BINS = 56
_SLICES = 110
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 46, 30


def ms(value: float) -> str:
    """Write milliseconds with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class _Scale:
    """Milliseconds on a logarithmic axis between two places."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high
        self._log, self._start, self._span = np.log(low), start, end - start

    def __call__(self, value: float) -> float:
        share = (np.log(value) - self._log) / (np.log(self.high) - self._log)
        return float(self._start + share * self._span)

    def ticks(self) -> list[float]:
        """Return round values, not more than there is room for."""
        for steps in ((1, 2, 5), (1, 3), (1,)):
            values = [s * 10.0**e for e in range(-3, 6) for s in steps]
            inside = [v for v in values if self.low <= v <= self.high]
            if len(inside) <= 8:
                break
        return inside


def _range_ms(report: Report) -> tuple[float, float]:
    """Return what both axes of totals show: everything that was measured, and the budget."""
    totals = 1e3 * np.concatenate([report.timing.total, report.echo])
    low, high = max(float(totals.min()), 1e-3), max(float(totals.max()), report.budget_ms or 0.0)
    return low / 1.15, high * 1.15


def past(report: Report, width: int = 860) -> str:
    """Draw what a prediction rests on, to scale, and the machine's part of it enlarged."""
    design, mean_ms = report.design, 1e3 * float(report.timing.total.mean())
    margin, y, height = 8, 44, 30
    span = design.window + design.group_delay + mean_ms + design.hop
    scale = (width - 2 * margin) / span
    window_end = margin + design.window * scale
    newest = window_end + design.group_delay * scale
    now = newest + mean_ms * scale
    end = margin + span * scale
    told, in_hand = f"window {ms(design.window)} ms", "in the listener's hands"
    parts = [
        rect(margin, y, window_end - margin - 1, height, "window"),
        rect(window_end, y, newest - window_end, height, "delay"),
        rect(newest, y, max(now - newest, 2), height, "machine"),
        rect(max(now, newest + 2) + 1, y, end - now - 1, height, "hop"),
        line(now, y - 24, now, y + height, "mark"),
        text(
            margin + 8,
            y + 19,
            fitting(window_end - margin - 12, told + ": what the prediction looks back on", told),
            "in",
        ),
        # Right of the mark only where there is no room left of it, and then beside the label of the delay.
        text(now - 5, y - 14, in_hand, "strong", "end")
        if now > width / 2
        else text(max(now + 5, margin + (200 if design.group_delay else 0)), y - 14, in_hand, "strong"),
        text(end, y - 30, f"the next one: a hop of {ms(design.hop)} ms later", "muted", "end"),
        line(end, y - 25, end, y + height, "leader"),
    ]
    if design.group_delay:
        parts += [
            text(margin, y - 14, f"filters' group delay {ms(design.group_delay)} ms", "strong"),
            line(margin, y - 9, (window_end + newest) / 2, y - 9, "leader"),
            line((window_end + newest) / 2, y - 9, (window_end + newest) / 2, y, "leader"),
        ]
    below = y + height
    top = below + 26
    zoom = f"{newest:.1f},{below} {max(now, newest + 2):.1f},{below} {width - margin},{top} {margin},{top}"
    return svg(
        width,
        190,
        "What a prediction rests on",
        [*parts, f'<polygon points="{zoom}" class="zoom"/>', *_bar(report, margin, top, width)],
    )


def _bar(report: Report, margin: float, top: float, width: float) -> list[str]:
    """Draw the stages' means side by side, and which latency each belongs to."""
    means = {stage: 1e3 * float(report.timing.stages[stage.name].mean()) for stage in STAGES}
    total = sum(means.values())
    scale, x, height = (width - 2 * margin) / total, margin, 34
    parts: list[str] = []
    ends: dict[str, tuple[float, float]] = {}
    for stage, mean in means.items():
        wide = mean * scale
        title = f"{stage.name}: {ms(mean)} ms on average"
        parts.append(rect(x + 0.75, top, wide - 1.5, height, f"stage {stage.name}", title))
        parts.append(text(x + 6, top + 15, fitting(wide - 24, stage.name), f"strong on-{stage.name}"))
        parts.append(text(x + 6, top + 28, fitting(wide - 10, ms(mean)), f"on-{stage.name}"))
        first = ends.get(stage.part, (x, 0.0))[0]
        x += wide
        ends[stage.part] = first, x
    limit = width - margin
    for part, (first, last) in reversed(ends.items()):
        value = sum(mean for stage, mean in means.items() if stage.part == part)
        under = top + height + 7
        path = f"M{first + 2:.1f},{under} v5 H{last - 2:.1f} v-5"
        parts.append(f'<path d="{path}" class="bracket"/>')
        told = f"{part} latency {ms(value)} ms"
        # In its middle, but clear of the one to its right; the first has room enough.
        half = 3.1 * len(told)
        middle = max(min((first + last) / 2, limit - half), margin + half)
        limit = middle - half - 14
        parts.append(text(middle, under + 19, told, "small", "middle"))
    return parts


def histogram(report: Report, width: int = 424, height: int = 232) -> str:
    """Draw how the totals of decoder and echo are distributed."""
    low, high = _range_ms(report)
    x = _Scale(low, high, _LEFT - 30, width - _RIGHT)
    edges = np.geomspace(low, high, _BINS + 1)
    floor = height - _BOTTOM
    parts = []
    shares = {
        style: np.histogram(1e3 * totals, edges)[0] / len(totals)
        for style, totals in (("echo", report.echo), ("decoder", report.timing.total))
    }
    tall = (floor - _TOP) / max(float(share.max()) for share in shares.values())
    for style, share in shares.items():
        for left, right, part in zip(edges[:-1], edges[1:], share, strict=True):
            if part:
                title = f"{100 * part:.1f} % of {style} between {ms(left)} and {ms(right)} ms"
                at, up = x(left), float(part) * tall
                parts.append(rect(at + 0.5, floor - up, x(right) - at - 1, up, f"bars {style}", title))
    parts.append(line(_LEFT - 30, floor, width - _RIGHT, floor, "axis"))
    for tick in x.ticks():
        parts += [
            line(x(tick), floor, x(tick), floor + 4, "axis"),
            text(x(tick), floor + 16, f"{tick:g}", "tick", "middle"),
        ]
    parts.append(text(width - _RIGHT, floor + 28, "ms, acquisition to reception", "tick", "end"))
    found = report.figures_ms["total"]
    lines = [("p50", found["p50"], "mark"), ("p99", found["p99"], "mark")]
    if report.budget_ms:
        lines.append(("budget", report.budget_ms, "budget"))
    for row, (name, value, style) in enumerate(lines):
        at, y = x(value), 12.0 + 12 * row
        anchor, aside = ("end", -4.0) if at > 0.6 * width else ("start", 4.0)
        parts += [
            line(at, y - 8, at, floor, style),
            text(at + aside, y, f"{name} {ms(value)}", f"small {style}-text", anchor),
        ]
    return svg(width, height, "Histogram of the latencies of decoder and echo", parts)


def course(report: Report, width: int = 424, height: int = 232) -> str:
    """Draw the totals of decoder and echo over time: range and median of every slice."""
    low, high = _range_ms(report)
    floor = height - _BOTTOM
    y = _Scale(low, high, floor, 14)
    parts = []
    for tick in y.ticks():
        parts += [
            line(_LEFT - 6, y(tick), width - _RIGHT, y(tick), "grid"),
            text(_LEFT - 10, y(tick) + 3.5, f"{tick:g}", "tick", "end"),
        ]
    starts, lasts = _rounds(report)
    scale = (width - _RIGHT - _LEFT) / lasts[-1]
    for block, start in zip(report.blocks, starts, strict=True):
        timing = block.timing
        for style, stamps, totals in (
            ("echo", block.echo_timestamps, block.echo_total),
            ("decoder", timing.timestamps, timing.total),
        ):
            parts += _slices(_LEFT + scale * (start + stamps - stamps[0]), 1e3 * totals, y, style, width)
        if start:
            parts.append(line(_LEFT + scale * start - 2, 14, _LEFT + scale * start - 2, floor, "break"))
    if report.budget_ms:
        at = y(report.budget_ms)
        parts += [
            line(_LEFT - 6, at, width - _RIGHT, at, "budget"),
            text(width - _RIGHT, at - 4, "budget", "small budget-text", "end"),
        ]
    parts.append(line(_LEFT - 6, floor, width - _RIGHT, floor, "axis"))
    parts.append(text(_LEFT - 6, floor + 16, "0", "tick", "middle"))
    parts.append(text(width - _RIGHT, floor + 16, f"{lasts[-1]:.0f} s", "tick", "end"))
    parts.append(text((_LEFT + width) / 2, floor + 28, "seconds measured; a line parts the rounds", "tick", "middle"))
    return svg(width, height, "Latencies of decoder and echo over time, in milliseconds", parts)


def _rounds(report: Report) -> tuple[list[float], list[float]]:
    """Return at which second of the measured time each block begins and ends."""
    spans = [max(float(np.ptp(b.timing.timestamps)), float(np.ptp(b.echo_timestamps)), 1e-3) for b in report.blocks]
    lasts = np.cumsum(spans)
    return [0.0, *lasts[:-1].tolist()], lasts.tolist()


def _slices(at: Seconds, values: Seconds, y: _Scale, style: str, width: int) -> list[str]:
    step = width / _SLICES
    parts = []
    for number in np.unique(at // step):
        inside = values[at // step == number]
        x = (number + (0.68 if style == "decoder" else 0.32)) * step
        middle = y(float(np.median(inside)))
        parts.append(line(x, y(float(inside.min())), x, y(float(inside.max())), f"range {style}"))
        parts.append(dot(x, middle, 1.5, f"dot {style}"))
    return parts
