"""Parts of drawings, as SVG to stand in HTML; the page's style sheet gives the colours."""

from collections.abc import Iterable
from html import escape


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Write words; `anchor`: start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """Draw a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def rect(
    x: float, y: float, width: float, height: float, style: str, title: str = "", opacity: float | None = None
) -> str:
    """Draw a rectangle; `title` is told where the pointer rests on it."""
    box = f'x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" height="{max(height, 0):.2f}"'
    box += "" if opacity is None else f' fill-opacity="{opacity:.3f}"'
    return f'<rect {box} class="{style}">{_title(title)}</rect>'


def dot(x: float, y: float, radius: float, style: str, title: str = "") -> str:
    """Draw a point; `title` as of a rectangle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{style}">{_title(title)}</circle>'


def upright(x: float, y: float, words: str) -> str:
    """Write the title of an axis from below to above, its middle here."""
    return f'<g transform="rotate(-90 {x:.1f} {y:.1f})">{text(x, y, words, "tick", "middle")}</g>'


def fitting(room: float, *texts: str) -> str:
    """Return the first of some texts that there is room for; none, if there is for none."""
    return next((words for words in texts if 6.3 * len(words) <= room), "")


def svg(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    """Put parts together; `label` says what they show to who cannot see it."""
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return "\n".join([head, *parts, "</svg>"])


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""
