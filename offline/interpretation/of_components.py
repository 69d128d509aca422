"""The sections of a report on all components, of one decoder and over folds."""

from html import escape

import numpy as np

from offline.interpretation.drawing import (
    HALF,
    N_COLOURS,
    draw_components,
    draw_curves,
    keys,
    style_of,
)
from offline.interpretation.explanation import MEASURES
from offline.interpretation.sheet import FORMS, Sheet, decibels, in_pairs
from offline.interpretation.topography import Cell
from rtdecode.page import table


def component_sections(sheet: Sheet) -> list[str]:
    """Return the section on how relevant each component is, by every measure."""
    e = sheet.e
    if not e.components or not e.relevance:
        return []
    styles = [f"f{i % N_COLOURS}" for i in range(len(e.examined.names))]
    parts = ['<h2 class="class">Components</h2>']
    n = f"n = {len(e.material.windows)} windows of {e.material.n_trials} trials" if e.material else "no data needed"
    halves = []
    for name in [m for m in MEASURES if m in e.relevance]:
        drawing, told = draw_components(e.relevance[name], styles, name, width=HALF)
        words = f"{keys(e.examined.names)}; {MEASURES[name]}; {n}{told}"
        halves.append(sheet.figure(f"relevance-{name.replace(' ', '-')}", f"Relevance: {name}", words, drawing))
    halves += [*_elimination(sheet), *_permuted(sheet), *_kernels(sheet)]
    return [*parts, *in_pairs(halves), _table(sheet)]


def _elimination(sheet: Sheet) -> list[str]:
    e = sheet.e
    if e.elimination is None or e.material is None:
        return []
    losses = e.elimination.losses
    unit = "cross-entropy in nats" if e.examined.classifies else "mean squared error"
    drawing = draw_curves(np.arange(len(losses)).astype(float), [("loss", losses, None, "line c0")],
                          "components left out, the least relevant first", unit)  # fmt: skip
    last = ", ".join(map(str, e.elimination.order[::-1][:6].tolist()))
    words = (
        f"what is left out counts as its mean; kept to the last: {last}; n = {len(e.material.windows)} windows of "
        f"{e.material.n_trials} trials"
    )
    return [sheet.figure("elimination", "Recursive elimination", words, drawing)]


def _permuted(sheet: Sheet) -> list[str]:
    e = sheet.e
    if e.permuted is None:
        return []
    drawing, told = draw_components(e.permuted.mean(axis=0)[:, None], ["f0"], "growth of the loss",
                                    e.permuted.std(axis=0)[:, None], HALF)  # fmt: skip
    words = (
        f"features of other windows, perhaps of the same trial, in their place, {len(e.permuted)} times; bars: "
        f"standard deviation over permutations{told}"
    )
    parts = [sheet.figure("permutation", "Permutation importance", words, drawing)]
    if e.shapley is not None:
        drawing, told = draw_components(e.shapley.mean(axis=0)[:, None], ["f0"], "fall of the loss",
                                        e.shapley.std(axis=0)[:, None], HALF)  # fmt: skip
        words = f"fall of the loss as components come in, in {len(e.shapley)} random orders; bars: s.d.{told}"
        parts.append(sheet.figure("shapley", "Shapley values", words, drawing))
    return parts


def _kernels(sheet: Sheet) -> list[str]:
    e = sheet.e
    if e.freqs is None or e.gain is None:
        return []
    best = list(dict.fromkeys(k for i in range(len(e.examined.names)) for k in e.best(i, 2)))[:7]
    best = best or list(range(min(len(e.gain), 7)))
    curves = [(str(k), decibels(e.gain[k]), None, style_of(i)) for i, k in enumerate(best)]
    drawing = draw_curves(
        e.freqs, [(n, np.maximum(y, y.max() - 40), s, t) for n, y, s, t in curves], "Hz", "|H|^2 in dB"
    )
    words = f"{keys([f'component {k}' for k in best])}; down to 40 dB below each maximum"
    return [sheet.figure("kernels", "Response of the temporal kernels", words, drawing)]


def _table(sheet: Sheet) -> str:
    e = sheet.e
    heads = "".join(f"<th>{escape(n)}</th>" for n in e.examined.names)
    rows = []
    for name, values in e.relevance.items():
        strength = np.abs(values) if name == "own weight" else values
        cells = "".join(
            f"<td>{', '.join(str(k) for k in np.argsort(-strength[:, o], kind='stable')[:5].tolist())}</td>"
            for o in range(values.shape[1])
        )
        rows.append(f'<tr><th>{name}</th>{cells}<td class="words">{MEASURES[name]}</td></tr>')
    return table(f"<th>five most relevant components by</th>{heads}<th></th>", rows)


def fold_sections(sheet: Sheet) -> list[str]:
    """Return the section on what the folds of the training run have in common, if they were asked for."""
    e, f = sheet.e, sheet.folds
    if f is None:
        return []
    parts = [f'<h2 class="class">Over {len(f.names)} folds</h2>']
    drawing, told = draw_components(
        f.alike.mean(axis=0)[:, None], ["f0"], "likeness (0 to 1)", f.alike.std(axis=0, ddof=1)[:, None]
    )
    words = (
        "of each component's pattern and the most alike one of each fold (this one among them), signs aligned; "
        f"bars: standard deviation over folds; components that are not matched: {f.by_chance:.2f}{told}"
    )
    parts.append(sheet.figure("folds-likeness", "Consistency of patterns", words, drawing))
    best = list(dict.fromkeys(k for i in range(len(e.examined.names)) for k in e.best(i)))[:6]
    cells = [Cell(f"{k} {what}", values[k]) for k in best for what, values in (("mean", f.mean), ("s.d.", f.spread))]
    if cells:
        words = f"mean and standard deviation over {len(f.names)} folds; {FORMS[f.form]}, by s.d. of the component"
        parts.append(sheet.figure("folds-patterns", "Patterns over folds", words, sheet.maps(cells)))
    if f.relevance is not None:
        styles = [f"f{i % N_COLOURS}" for i in range(len(e.examined.names))]
        drawing, told = draw_components(f.relevance, styles, f.measure, f.relevance_spread)
        words = f"{keys(e.examined.names)}; {MEASURES[f.measure]}; bars: standard deviation over folds{told}"
        parts.append(sheet.figure("folds-relevance", "Relevance over folds", words, drawing))
    return parts
