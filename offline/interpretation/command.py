"""What `rtdecode explain` does."""

import json as json_text
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from offline.interpretation.examined import look_at, read_examined
from offline.interpretation.explaining import explain as explain_decoder
from offline.interpretation.explanation import MEASURES, Explanation
from offline.interpretation.folds import OverFolds, over_folds
from offline.interpretation.report import report
from offline.interpretation.rests_on import RestsOn, check_controls, rest_sections, rests_on
from offline.interpretation.sheet import Sheet
from rtdecode.errors import ConfigurationError
from rtdecode.files import write_text


def explain(
    model: Path,
    recordings: Sequence[Path],
    output: Path,
    json: Path | None,
    figures: Path | None,
    folds: Path | None,
    form: str | None,
    hidden: Sequence[str],
    subject: str | None,
    controls: Sequence[str],
    n_repeats: int,
    seed: int,
    network: str | None = None,
) -> None:
    """Look into a decoder, write the report and what else is asked for, and tell the main of it."""
    check_controls(controls)
    if controls and not recordings:
        raise ConfigurationError("--control needs recordings: what is controlled is of these.")
    with Console(stderr=True).status("reading") as status:
        examined = read_examined(model, subject, network)
        material = look_at(examined, recordings) if recordings else None
        explanation = explain_decoder(examined, material, n_repeats, seed, status.update)
        status.update("folds")
        found = None if folds is None else over_folds(explanation, folds)
        sheet, rests, sections = Sheet(explanation, form, hidden, found), None, list[str]()
        if material is not None:
            rests = rests_on(material, tuple(controls), seed, status.update)
            sections = rest_sections(sheet, rests)
        write_text(output, report(sheet, sections, rests.warnings if rests else ()))
    if figures is not None:
        _write_figures(sheet.figures, figures)
    if json is not None:
        told = _plain({**document(explanation, found), **rest_document(rests)})
        write_text(json, json_text.dumps(told, ensure_ascii=False, allow_nan=False))
    _tell(explanation, rests)
    print(f"written to {output}")


def _write_figures(figures: dict[str, str], folder: Path) -> None:
    """Write each figure as a file of its own, with the style it has on the page."""
    style = "".join(
        (files(package) / name).read_text(encoding="utf-8")
        for package, name in (
            ("rtdecode.page", "page.css"),
            ("rtdecode.evaluation", "report.css"),
            ("offline.interpretation", "explain.css"),
        )
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {folder}: {error.strerror}.") from None
    for name, drawing in figures.items():
        whole = drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        head, _, rest = whole.partition(">")
        write_text(folder / f"{_safe(name)}.svg", f"{head}>\n<style>{style}svg {{ width: auto; }}</style>{rest}")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def document(e: Explanation, folds: OverFolds | None = None) -> dict[str, Any]:
    """Return an explanation as JSON can hold it; NaN as null."""
    sensors, components = e.parts.signal, e.components
    return {
        "model": e.examined.path.name,
        "created": e.created,
        "outputs": list(e.examined.names),
        "warnings": list(e.warnings),
        "notes": list(e.notes),
        "sensors": {"ch_names": sensors.ch_names, "ch_types": sensors.ch_types, "units": sensors.units},
        "recordings": list(e.material.names) if e.material else [],
        "trained_on": list(e.material.trained_on) if e.material else [],
        "score": [_plain(asdict(f)) for f in e.score],
        "components": None if components is None else {
            "what": components.what,
            "filters": _plain(components.filters),
            "kernels": _plain(components.kernels),
            "share": _plain(components.share),
            "in_power": components.in_power,
        },
        "patterns": {
            "of": e.of_moments,
            "unit": "the sensor's, for one standard deviation of the component",
            **{form: _plain(values) for form, values in e.patterns.items()},
        },
        "class_patterns": {form: _plain(values) for form, values in e.class_patterns.items()},
        "relevance": {name: {"what": MEASURES[name], "values": _plain(v)} for name, v in e.relevance.items()},
        "elimination": e.elimination and {
            "order": _plain(e.elimination.order), "losses": _plain(e.elimination.losses)
        },
        "permutation": _plain(e.permuted),
        "shapley": _plain(e.shapley),
        "response": None if e.gain is None else {"freqs": _plain(e.freqs), "power": _plain(e.gain)},
        **_trials_document(e),
        "folds": folds and {name: _plain(value) for name, value in vars(folds).items()},
    }  # fmt: skip


def _trials_document(e: Explanation) -> dict[str, Any]:
    found = e.found
    if found is None:
        return {}
    return {
        "evoked_patterns": _plain(found.evoked),
        "spectra": found.spectra and {
            "freqs": _plain(found.spectra.freqs), "latent": _plain(found.spectra.latent),
            "filtered": _plain(found.spectra.filtered), "of_classes": _plain(found.class_spectra),
        },
        "waveforms": found.waveforms and {
            "classes": e.class_names, "time_s": _plain(found.trials.time_s), "mean": _plain(found.waveforms.mean),
            "sem": _plain(found.waveforms.sem), "n": _plain(found.waveforms.n_windows),
            "latency_s": [f and {name: _plain(v) for name, v in f._asdict().items()} for f in found.latency],
        },
        "responses": [
            {"class": e.class_names[c], "ch_type": kind, "time_s": float(found.trials.time_s[each.at]), "p": each.p}
            for (c, kind), each in found.tested.items()
        ],
        "power_db": found.power and {"values": _plain(found.power.db), "p": found.power.p},
    }  # fmt: skip


def rest_document(rests: RestsOn | None) -> dict[str, Any]:
    """Return what a decoder rests on as JSON can hold it."""
    if rests is None:
        return {}
    of_parts = {"channels": rests.channels, "times": rests.times, "bands": rests.bands}
    return {
        "occlusion": {
            name: found and [
                {"part": part.name, "loss_growth": f.value, "low": f.low, "high": f.high, "n_trials": f.n}
                for part, f in zip(found.parts, found.grown, strict=True)
            ]
            for name, found in of_parts.items()
        },
        "sanity": rests.sanity and {
            "warnings": rests.sanity.warnings,
            "unknown": rests.sanity.unknown,
            "rests": [
                {"part": rest.part.name, "share": _plain([rest.share.value, rest.share.low, rest.share.high])}
                for rest in rests.sanity.rests
            ],
        },
        "gradients": rests.gradients and _plain(rests.gradients.maps),
        "control_randomised": rests.randomised and {
            "layers": rests.randomised.layers, "correlation": _plain(rests.randomised.correlation)
        },
        "control_labels": rests.shuffled and {
            "correlation": _plain(rests.shuffled.correlation), "size": _plain(rests.shuffled.size)
        },
    }  # fmt: skip


def _plain(values: Any) -> Any:
    """Return arrays as nested lists, numbers with six digits, NaN as None."""
    if values is None:
        return None
    if isinstance(values, (list, tuple)):
        return [_plain(value) for value in values]
    if isinstance(values, dict):
        return {name: _plain(value) for name, value in values.items()}
    if isinstance(values, (np.ndarray, np.generic)):
        return _plain(values.tolist())
    if isinstance(values, float):
        return float(f"{values:.6g}") if np.isfinite(values) else None
    return values


def _tell(e: Explanation, rests: RestsOn | None) -> None:
    for figure in e.score:
        print(f"{figure.name} over trials: {figure}")
    for note in e.notes:
        print(note)
    for i, name in enumerate(e.examined.names):
        best = e.best(i)
        if best:
            print(f"{name}: components {', '.join(map(str, best))} are the most relevant ({MEASURES[e.measure]})")
    if rests and rests.sanity:
        for rest in (rest for rest in rests.sanity.rests if np.isfinite(rest.share.value)):
            print(f"{rest.part.name}: share of what it tells {rest.share.value:.2f} [{rest.share.low:.2f}, "
                  f"{rest.share.high:.2f}]")  # fmt: skip
        print("\n".join(rests.sanity.unknown), end="\n" if rests.sanity.unknown else "")
    for warning in (*e.warnings, *(rests.warnings if rests else ())):
        Console(stderr=True).print(f"WARNING: {warning}", soft_wrap=True, markup=False, highlight=False)
