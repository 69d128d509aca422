"""A frame with two linear axes, their ticks and titles."""

from collections.abc import Iterable, Sequence
from math import floor, log10

from rtdecode.page.svg import line, text, upright

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 38


class Scale:
    """A linear axis between two places."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self._start, self._end = low, high if high > low else low + 1.0, start, end

    def __call__(self, value: float) -> float:
        """Return where a value stands."""
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self, most: int = 7) -> list[float]:
        """Return round values, at most so many."""
        span = self.high - self.low
        size = 10.0 ** floor(log10(span / most))
        step = next(s * size for s in (1, 2, 5, 10, 20) if span / (s * size) <= most)
        first = -int(-(self.low / step - 1e-9) // 1)
        return [round(i * step, 12) for i in range(first, first + most + 2) if i * step <= self.high + 1e-9 * span]


class Axes:
    """Places in a drawing, and the frame about them.

    Attributes
    ----------
    x, y : Scale
        From values to places.
    """

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], width: int, height: int, square: bool = False
    ) -> None:
        left, right, top, bottom = _LEFT, width - _RIGHT, _TOP, height - _BOTTOM
        if square:
            side = min(right - left, bottom - top)
            left, right = left + (right - left - side) // 2, left + (right - left - side) // 2 + side
        self.left, self.right, self.top, self.bottom = left, right, top, bottom
        self.x, self.y = Scale(*x, left, right), Scale(*y, bottom, top)

    def frame(self, x_title: str, y_title: str) -> list[str]:
        """Draw ticks, grid and titles."""
        middle = (self.top + self.bottom) / 2
        parts = []
        for tick in self.y.ticks():
            at = self.y(tick)
            parts += [
                line(self.left, at, self.right, at, "grid"),
                text(self.left - 6, at + 3.5, f"{tick:g}", "tick", "end"),
            ]
        for tick in self.x.ticks():
            at = self.x(tick)
            parts += [
                line(at, self.bottom, at, self.bottom + 4, "axis"),
                text(at, self.bottom + 15, f"{tick:g}", "tick", "middle"),
            ]
        parts += [
            line(self.left, self.bottom, self.right, self.bottom, "axis"),
            text((self.left + self.right) / 2, self.bottom + 31, x_title, "tick", "middle"),
            upright(self.left - 34, middle, y_title),
        ]
        return parts

    def curve(self, x: Sequence[float], y: Sequence[float], style: str) -> str:
        """Draw a line through points."""
        return f'<polyline points="{self._points(zip(x, y, strict=True))}" class="{style}"/>'

    def steps(self, x: Sequence[float], y: Sequence[float], style: str) -> str:
        """Draw a line that keeps each value until the next place."""
        corners = [point for i in range(len(x)) for point in ((x[i], y[max(i - 1, 0)]), (x[i], y[i]))]
        return f'<polyline points="{self._points(corners)}" class="{style}"/>'

    def band(self, x: Sequence[float], low: Sequence[float], high: Sequence[float], style: str) -> str:
        """Fill what lies between two lines."""
        there = self._points(zip(x, low, strict=True))
        back = self._points(reversed([*zip(x, high, strict=True)]))
        return f'<polygon points="{there} {back}" class="{style}"/>'

    def _points(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
