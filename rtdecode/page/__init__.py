"""Reports: one page of HTML that needs nothing but itself, light, dark and on paper."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files


def page(title: str, style: str, body: Sequence[str]) -> str:
    """Return a page of these parts, with a style of its own after that of all."""
    common = (files("rtdecode.page") / "page.css").read_text(encoding="utf-8")
    parts = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{common}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{parts}\n</main>\n</body>\n</html>\n"
    )


def header(kind: str, name: str, lead: str, badge: str) -> str:
    """Return the head of a page: `lead` and `badge` are markup."""
    return (
        f'<header><div><p class="kind">rtdecode {kind}</p><h1>{escape(name)}</h1>'
        f'<p class="lead">{lead}</p></div>{badge}</header>'
    )


def badge(good: bool, words: str) -> str:
    """Return a verdict with its mark."""
    mark, style = ("&#10003;", "met") if good else ("&#10007;", "missed")
    return f'<div class="badge {style}"><span>{mark}</span>{escape(words)}</div>'


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Return figures in large print: (name, value, unit)."""
    cells = "".join(
        f"<div><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>" for name, value, unit in figures
    )
    return f'<dl class="tiles">{cells}</dl>'


def figure(title: str, words: str, drawing: str) -> str:
    """Return a drawing with its caption; `words` are markup."""
    return f"<figure><figcaption><b>{title}</b> <span>{words}</span></figcaption>\n{drawing}\n</figure>"


def facts(title: str, told: Mapping[str, str]) -> str:
    """Return what is so, by name."""
    cells = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in told.items())
    return f'<section><h2>{title}</h2><dl class="facts">{cells}</dl></section>'


def table(heads: str, rows: Sequence[str]) -> str:
    """Return a table of rows and the cells of its head, both markup."""
    return f"<table><thead><tr>{heads}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table>"


def pair(left: str, right: str) -> str:
    """Put two parts side by side, where there is room."""
    return f'<div class="pair">\n{left}\n{right}\n</div>'
