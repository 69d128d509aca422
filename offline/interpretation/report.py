"""The report of an explanation: one page of HTML that needs nothing but itself."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from math import isfinite

from offline.interpretation.of_classes import class_sections
from offline.interpretation.of_components import component_sections, fold_sections
from offline.interpretation.of_trials import trial_sections
from offline.interpretation.sheet import Sheet
from rtdecode.page import badge, facts, header, page, pair, tiles
from rtdecode.scoring import Figure


def report(sheet: Sheet, sections: Sequence[str] = (), warnings: Sequence[str] = ()) -> str:
    """Return the page, with more sections and warnings than those of the explanation."""
    e = sheet.e
    body = [
        header("explanation", e.examined.path.name, _lead(sheet), _badge(sheet)),
        *(f'<p class="warning">{escape(told)}</p>' for told in (*e.warnings, *warnings)),
        tiles(_tiles(sheet)),
        *_notes(sheet),
        *class_sections(sheet),
        *component_sections(sheet),
        *trial_sections(sheet),
        *sections,
        *fold_sections(sheet),
        pair(facts("The decoder", _decoder(sheet)), facts("What is told of what", _rests_on(sheet))),
        _FOOTER,
    ]
    style = "".join(
        (files(package) / name).read_text(encoding="utf-8")
        for package, name in (
            ("rtdecode.evaluation", "report.css"),
            ("offline.interpretation", "explain.css"),
        )
    )
    return page(f"Explanation of {e.examined.path.name}", style, body)


def _chance(f: Figure) -> str:
    return f", chance {f.chance:.2f}" if isfinite(f.chance) else ""


def _lead(sheet: Sheet) -> str:
    e = sheet.e
    figures = [f"<b>{escape(f.name)} {f.value:.3f}</b> {f.between(2)}{_chance(f)}, n = {f.n}" for f in e.score[:2]]
    score = "; ".join(figures)
    of = f" on {escape(', '.join(e.material.names))}" if e.material else "of the file alone"
    gives = " | ".join(map(escape, e.examined.names))
    return f"{escape(e.examined.contract.provenance.network)}: {gives}; {score}{of}"


def _badge(sheet: Sheet) -> str:
    if sheet.e.material is None:
        return ""
    if sheet.e.material.trained_on:
        return badge(False, "trained on these")
    return badge(True, "held out") if sheet.e.examined.contract.provenance.recordings else ""


def _tiles(sheet: Sheet) -> list[tuple[str, str, str]]:
    e = sheet.e
    told = [("sensors", str(e.sensors.n_channels), ""), ("outputs", str(len(e.examined.names)), "")]
    if e.components:
        told.append(("components", str(e.components.n), ""))
    if e.moments:
        told.append(("trials of the patterns", str(sum(e.moments.n_trials)), ""))
    if e.material:
        told += [
            ("trials looked at", str(e.material.n_trials), ""),
            ("windows", str(len(e.material.windows)), ""),
        ]
    return told


def _notes(sheet: Sheet) -> list[str]:
    told = [*sheet.e.notes, *sheet.unplaced]
    return [f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in told)}</ul>'] if told else []


def _decoder(sheet: Sheet) -> dict[str, str]:
    e, provenance = sheet.e, sheet.e.examined.contract.provenance
    return {
        "network": f"{provenance.network}, {e.examined.signal.n_channels} channels",
        "rate": f"{e.examined.signal.sfreq:g} Hz, {e.examined.seen.sfreq:g} Hz in the network",
        "gives": " | ".join(e.examined.names),
        "trained on": ", ".join(provenance.recordings) or "not told",
        "preprocessing": "; ".join(step.describe() for step in e.examined.steps) or "none",
        **({"components": e.components.what} if e.components else {}),
    }


def _rests_on(sheet: Sheet) -> dict[str, str]:
    e = sheet.e
    told = {"when": e.created}
    if e.of_moments:
        told["patterns"] = f"of {e.of_moments}"
    if e.material:
        told["recordings"] = ", ".join(e.material.names)
        told["windows"] = f"{len(e.material.windows)} of {e.material.n_trials} trials; of one trial they overlap"
    return told


_FOOTER = (
    "<footer><p>Patterns, not weights: a filter also cancels what disturbs it, so its weights do not show where a "
    "component comes from (Haufe et al. 2014, doi 10.1016/j.neuroimage.2013.10.067). Patterns are of the sensors "
    "behind the filters alone: references, whitening and standardisation are taken back. A clamp is passed over. "
    "Maps between sensors are interpolated (thin-plate splines), not far from any; outlines are schematic.</p>"
    "</footer>"
)
