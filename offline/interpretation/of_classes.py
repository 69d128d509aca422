"""The sections of a report on each class or target."""

from collections.abc import Sequence
from html import escape

import numpy as np

from offline.interpretation.drawing import (
    draw_curves,
    draw_spectra,
    keys,
    style_of,
)
from offline.interpretation.explanation import MEASURES
from offline.interpretation.sheet import FORMS, Sheet, decibels, in_pairs
from offline.interpretation.topography import Cell
from offline.interpretation.waveforms import Latency


def class_sections(sheet: Sheet) -> list[str]:
    """Return a section for each class or target: patterns, and what its best component does."""
    e = sheet.e
    if not e.components or not e.patterns:
        return []
    return [part for i in range(len(e.examined.names)) for part in _class(sheet, i)]


def _class(sheet: Sheet, output: int) -> list[str]:
    """Return the section of one class or target."""
    e = sheet.e
    assert e.components
    name, best = e.examined.names[output], e.best(output)
    parts = [f'<h2 class="class">{escape(name)}</h2>']
    cells = [*_combined(sheet, output), *(_cell(sheet, k, output) for k in best)]
    told = ""
    if sheet.form in e.class_patterns:
        power = "of their squares by weight, red where more power speaks for it"
        told = f"all: sum of all patterns, {power if e.components.in_power else 'each by weight times class mean'}; "
    words = (
        f"{told}the most relevant components ({MEASURES.get(e.measure, '')}); {FORMS[sheet.form]}: what one "
        f"standard deviation of each is at the sensors, over {_of_patterns(sheet)}; the sign of a single one is "
        "arbitrary"
    )
    if not best:
        parts.append('<p class="none">No component of this output has a relevance above 0 here.</p>')
    if cells:
        parts.append(sheet.figure(f"patterns-{name}", f"Patterns for {escape(name)}", words, sheet.maps(cells)))
    if e.found and e.found.evoked is not None and best:
        cells = [Cell(str(k), e.found.evoked[output, k], "a.u.") for k in best]
        words = (
            "the same components in what goes along with this output from trial to trial, where activity that "
            f"goes on all the time does not show; n = {len(e.found.trials.truth)} trials"
        )
        title = f"Evoked patterns for {escape(name)}"
        parts.append(sheet.figure(f"evoked-{name}", title, words, sheet.maps(cells)))
    halves = [*_spectrum(sheet, output, best), *_waveform(sheet, output, best)]
    return [*parts, *in_pairs(halves)]


def _of_patterns(sheet: Sheet) -> str:
    e = sheet.e
    return (
        f"{len(e.found.trials.truth)} trials of the recordings" if sheet.form == "band" and e.found else e.of_moments
    )


def _cell(sheet: Sheet, k: int, output: int) -> Cell:
    """Return the map of a component; its largest value is drawn red, as its sign is arbitrary."""
    e = sheet.e
    pattern = e.patterns[sheet.form][k]
    way = "" if e.evidence is None else " for" if e.evidence[k, output] > 0 else " against"
    return Cell(f"{k}{way}", pattern * (np.sign(pattern[np.abs(pattern).argmax()]) or 1.0))


def _combined(sheet: Sheet, output: int) -> list[Cell]:
    if sheet.form not in sheet.e.class_patterns or sheet.e.components is None:
        return []
    values, in_power = sheet.e.class_patterns[sheet.form][output], sheet.e.components.in_power
    return [Cell("all", values, "a.u.", in_power)]


def _spectrum(sheet: Sheet, output: int, best: Sequence[int]) -> list[str]:
    e = sheet.e
    if not e.found or e.found.spectra is None or e.found.class_spectra is None or not best:
        return []
    k, name = best[0], e.examined.names[output]
    counts = np.bincount(e.found.trials.truth, minlength=len(e.class_names))
    curves = [
        (n, decibels(e.found.class_spectra[c, k]), None, style_of(c))
        for c, n in enumerate(e.class_names)
        if counts[c]
    ]
    told = ", ".join(f"{n} n = {counts[c]}" for c, n in enumerate(e.class_names))
    words = (
        f"{keys(e.class_names)}; behind its kernel, Welch, down to 40 dB below the highest; trials: {escape(told)}"
    )
    drawing = draw_spectra(e.found.spectra.freqs, curves, "power in dB (component's unit)")
    return [sheet.figure(f"spectrum-{name}", f"Spectrum of component {k}", words, drawing)]


def _waveform(sheet: Sheet, output: int, best: Sequence[int]) -> list[str]:
    e = sheet.e
    if not e.found or e.found.waveforms is None or e.components is None or not best:
        return []
    k, name = best[0], e.examined.names[output]
    curves = [
        (n, e.found.waveforms.mean[c, k], e.found.waveforms.sem[c, k], style_of(c))
        for c, n in enumerate(e.class_names)
    ]
    peaks = [_peak(n, found, k) for n, found in zip(e.class_names, e.found.latency, strict=True) if found]
    what = "power, means of 0.1 s" if e.components.in_power else "behind its kernel"
    whence = "the others" if e.components.in_power else "zero"
    words = f"{keys(e.class_names)}; {what}; band: standard error over trials"
    if peaks:
        words += f"; farthest from {whence} at {escape(', '.join(peaks))}"
    if any(found and np.isfinite(found.low[k]) for found in e.found.latency):
        words += " (95 %, trials resampled)"
    unit = "component's unit" + (" squared" if e.components.in_power else "")
    drawing = draw_curves(e.found.trials.time_s, curves, "s from the event (delay of the filters included)", unit)
    return [sheet.figure(f"waveform-{name}", f"Waveform of component {k}", words, drawing)]


def _peak(name: str, found: Latency, k: int) -> str:
    """Return when a component is farthest, with the interval where there is one."""
    interval = f" [{found.low[k]:.3f}, {found.high[k]:.3f}]" if np.isfinite(found.low[k]) else ""
    return f"{name} {found.peak[k]:.3f} s{interval}"
