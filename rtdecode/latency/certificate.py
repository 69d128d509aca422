"""The certificate: one page of HTML that needs nothing but itself."""

from importlib.resources import files

from rtdecode.latency.drawing import course, histogram, ms, past
from rtdecode.latency.report import Report
from rtdecode.latency.stages import STAGES
from rtdecode.page import badge, facts, figure, header, page, pair, tiles

_COLUMNS = ("p50", "p95", "p99", "max", "sd", "p99-p50")
_HEADS = ("p50", "p95", "p99", "max", "jitter (sd)", "p99 - p50")


def certificate(report: Report) -> str:
    """Return the page."""
    style = (files("rtdecode.latency") / "certificate.css").read_text(encoding="utf-8")
    rests = figure(
        "What a prediction rests on, to scale",
        "and below it the machine's part, enlarged: the mean of each stage, in ms",
        past(report),
    )
    body = [
        _head(report),
        _tiles(report),
        rests,
        pair(
            figure("Acquisition to reception", _legend(), histogram(report)),
            figure("Over time", "range and median, ms", course(report)),
        ),
        _table(report),
        pair(facts("This machine", report.machine), facts("What was measured", {**_decoder(report), **report.asked})),
        _notes(report),
    ]
    return page(f"Latency of {report.model['name']}", style, body)


def _head(report: Report) -> str:
    p99 = ms(report.figures_ms["total"]["p99"])
    judged, mark = report.verdict, ""
    told = f"99 of 100 predictions were received within <b>{p99} ms</b> of their newest sample."
    if judged:
        mark = badge(judged.met, f"{judged.budget_ms:g} ms {'met' if judged.met else 'missed'}")
        told += f" Wanted: {judged.budget_ms:g} ms; {100 * judged.within:.4g} % were received within that."
    return header("latency certificate", report.model["name"], told, mark)


def _tiles(report: Report) -> str:
    total = report.figures_ms["total"]
    measured = [
        ("median", ms(total["p50"]), "ms"),
        ("p99", ms(total["p99"]), "ms"),
        ("slowest", ms(total["max"]), "ms"),
        ("jitter (sd)", ms(total["sd"]), "ms"),
        ("bare echo, median", ms(report.figures_ms["echo"]["p50"]), "ms"),
        ("to the echo", f"{report.ratio:.2f}", "times"),
    ]
    return tiles(measured)


def _legend() -> str:
    return '<i class="key decoder"></i>decoder <i class="key echo"></i>bare echo'


def _table(report: Report) -> str:
    rows = [_row(s.name, s.text, report.figures_ms[s.name], f'<i class="key stage {s.name}"></i>') for s in STAGES]
    others = [
        ("total", "system latency: the age of the data at reception", "sum"),
        ("echo", "the same without a decoder: pull, push", ""),
        ("replaced", "their age when the next prediction comes", ""),
    ]
    rows += [_row(n, text, report.figures_ms[n], "", style) for n, text, style in others if n in report.figures_ms]
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    return f"<table><thead><tr><th>ms</th><th></th>{heads}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table>"


def _row(name: str, text: str, figures: dict[str, float], key: str, style: str = "") -> str:
    cells = "".join(f"<td>{figures[column]:.3f}</td>" for column in _COLUMNS)
    return f'<tr class="{style}"><th>{key}{name}</th><td>{text}</td>{cells}</tr>\n'


def _decoder(report: Report) -> dict[str, str]:
    model, design = report.model, report.design
    delays = f"window {ms(design.window)} ms, hop {ms(design.hop)} ms, group delay {ms(design.group_delay)} ms"
    return {
        "decoder": f"{model['name']} ({model['network']}), {model['channels']}",
        "by design": delays,
        "SHA-256": model["sha256"],
    }


def _notes(report: Report) -> str:
    n = len(report.timing.total)
    rounds = len(report.blocks)
    lost = [
        f" {number} were {what}."
        for number, what in (
            (report.n_unheard, "published but not received"),
            (report.n_skipped, "skipped as out of date"),
        )
        if number
    ]
    return (
        f"<footer><p>{n} predictions, {len(report.echo)} echoes, {rounds} round{'s' * (rounds > 1)}; "
        f"{report.created}.{''.join(lost)} The stages sum to the total within 5 % or 20 &micro;s, and none is "
        f"negative, for {report.n_summed_up} of {n} predictions.</p>"
        "<p>Acquisition is the source's own stamp: what the amplifier takes before it stamps a sample, and a "
        "screen after reception, is not in here. Nor is any delay that belongs to the decoder's design: its filters "
        "pass the signal late by their group delay, and a change fills the window only after the window's length. "
        "Vocabulary: Wilson et al. 2010, doi 10.1109/TBME.2010.2047259.</p></footer>"
    )
