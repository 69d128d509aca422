"""The section of a report on what sensors do in trials."""

from html import escape

import numpy as np

from offline.interpretation.drawing import (
    WIDE,
    draw_spectra,
    keys,
    style_of,
)
from offline.interpretation.sheet import LABELS, Sheet, decibels
from offline.interpretation.topography import Cell
from rtdecode.preprocessing import Chain


def trial_sections(sheet: Sheet) -> list[str]:
    """Return the section: evoked responses, powers, and what goes along with the decoder's outputs."""
    e = sheet.e
    if e.found is None:
        return []
    parts = ['<h2 class="class">Responses at the sensors</h2>']
    types = np.array(e.parts.signal.ch_types)
    cells, told = [], []
    for c, name in enumerate(e.class_names):
        if e.found.responses.n_windows[c] < 2:
            continue
        values = np.zeros(len(types))
        for kind in dict.fromkeys(e.parts.signal.ch_types):
            found = e.found.tested[c, kind]
            values[types == kind] = e.found.responses.mean[c][types == kind, found.at]
            verdict = "" if found.p <= 0.05 else ", no more than chance gives"
            at_s = e.found.trials.time_s[found.at]
            told.append(f"{name}, {LABELS.get(kind, kind)}: {at_s:.3f} s, p = {found.p:.2g}"
                        f"{verdict} (n = {e.found.responses.n_windows[c]})")  # fmt: skip
        cells.append(Cell(name, values))
    if cells and len(e.bands) == 1:
        words = (
            "mean over trials, each about its own mean over time, when it is strongest; times include the filters' "
            f"delay of about {1e3 * _delay(sheet):.0f} ms; p: signs of trials at random. {escape('; '.join(told))}"
        )
        parts.append(sheet.figure("responses", "Evoked responses", words, sheet.maps(cells)))
    if e.found.power is not None:
        ps = ", ".join(f"{n} p = {p:.2g}" for n, p in zip(e.class_names, e.found.power.p, strict=True))
        words = (
            "log power of its trials less that of the others', within recordings; p: classes exchanged between "
            "trials of the same recording, any sensor: "
            f"{escape(ps)}; n = {len(e.found.trials.truth)} trials"
        )
        shown = [
            Cell(n, e.found.power.db[c], "dB", True)
            for c, n in enumerate(e.class_names)
            if e.found.responses.n_windows[c]
        ]
        parts.append(sheet.figure("power", "Power of each class", words, sheet.maps(shown)))
    return [*parts, *_along(sheet), *_sensor_spectra(sheet)]


def _sensor_spectra(sheet: Sheet) -> list[str]:
    e = sheet.e
    if e.found is None:
        return []
    counts = np.bincount(e.found.trials.truth, minlength=len(e.class_names))
    kind, unit = e.parts.signal.ch_types[0], e.parts.signal.units[0]
    curves = [
        (n, decibels(e.found.sensor_spectra[c]), None, style_of(c)) for c, n in enumerate(e.class_names) if counts[c]
    ]
    told = ", ".join(f"{n} n = {counts[c]}" for c, n in enumerate(e.class_names))
    words = (
        f"{keys(e.class_names)}; mean over the {LABELS.get(kind, kind)} behind the filters, Welch, down to 40 "
        f"dB below the highest; trials: {escape(told)}"
    )
    drawing = draw_spectra(e.found.spectra_at, curves, f"dB of {unit}^2/Hz", WIDE)
    return [sheet.figure("spectra", "Spectra at the sensors", words, drawing)]


def _along(sheet: Sheet) -> list[str]:
    """Return what goes along with the outputs of the decoder as a whole, whatever its network."""
    e = sheet.e
    if e.found is None:
        return []
    names, n = e.examined.names, len(e.found.trials.truth)
    if e.found.along.ndim == 2:
        cells = [Cell(name, e.found.along[i], "dB a unit", True) for i, name in enumerate(names)]
        words = "change of the sensors' power with each unit of log probability (or of the value)"
    else:
        spread = np.maximum(e.found.trials.sensors.std(axis=(0, 2)), 1e-300)
        at = [int((along / spread[:, None]).std(axis=0).argmax()) for along in e.found.along]
        cells = [
            Cell(f"{name} {e.found.trials.time_s[t]:.3f} s", e.found.along[i, :, t])
            for i, (name, t) in enumerate(zip(names, at, strict=True))
        ]
        words = "change of the sensors with each unit of log probability (or of the value), when it is strongest"
    words += f"; the regression of the sensors on all outputs, trial by trial; n = {n} trials"
    return [sheet.figure("along", "What goes along with each output", words, sheet.maps(cells))]


def _delay(sheet: Sheet) -> float:
    return Chain(sheet.e.examined.steps, sheet.e.examined.signal).group_delay_s
