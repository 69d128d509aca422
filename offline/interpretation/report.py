"""The report of an explanation: one page of HTML that needs nothing but itself."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from offline.interpretation.drawing import (
    HALF,
    WIDE,
    draw_components,
    draw_curves,
    draw_maps,
    draw_spectra,
    keys,
    style_of,
)
from offline.interpretation.explanation import MEASURES, Explanation
from offline.interpretation.topography import Cell, Layout, layouts
from rtdecode.errors import ConfigurationError
from rtdecode.page import badge, facts, figure, header, page, pair, table, tiles

_Floats = NDArray[np.float64]
FORMS = {
    "haufe": "all components together (Haufe's transform, Cov(x) W Cov(s)^-1)",
    "mneflow": "each component by itself (Cov(x) w, as MNEflow)",
    "band": "each component by itself behind its temporal kernel (the nearest product of a map and a course)",
}
_LABELS = {"eeg": "EEG", "mag": "magnetometers", "grad": "gradiometers"}


class Pages:
    """Draws an explanation; keeps every figure by its name.

    Parameters
    ----------
    explanation : Explanation
        What is drawn.
    form : str or None
        Of the patterns, see FORMS; None: behind kernels where recordings tell that, otherwise all together unless there
        are more components than sensors, among which a source would be divided.
    hidden : sequence of str
        Sensors that no map shows.

    Attributes
    ----------
    figures : dict of str to str
        SVG of each figure, in order.
    """

    def __init__(self, explanation: Explanation, form: str | None = None, hidden: Sequence[str] = ()) -> None:
        self.e = explanation
        self.form = form or explanation.form
        if explanation.patterns and self.form not in explanation.patterns:
            raise ConfigurationError(
                f"There are no patterns {self.form!r} here: --form is one of {', '.join(explanation.patterns)} (`band` "
                "needs recordings, and preprocessing and kernels that are fixed)."
            )
        signal = explanation.sensors
        if unknown := [name for name in hidden if name not in signal.ch_names]:
            raise ConfigurationError(f"--hide {unknown[0]!r} is no sensor of this decoder.")
        self._layouts: list[Layout]
        self._layouts, self.unplaced = layouts(
            signal.ch_names, signal.ch_types, signal.units, explanation.positions, hidden
        )
        self._hidden = frozenset(hidden)
        if hidden:
            self.unplaced.append(f"Not shown in maps, though the decoder uses them: {', '.join(hidden)}.")
        self.figures: dict[str, str] = {}

    def _figure(self, name: str, title: str, words: str, drawing: str) -> str:
        self.figures[name] = drawing
        return figure(title, words, drawing)

    def _maps(self, cells: Sequence[Cell]) -> str:
        return draw_maps(cells, self.e.sensors, self.e.bands, self._layouts, self._hidden)

    def report(self) -> str:
        """Return the page."""
        e = self.e
        body = [
            header("explanation", e.examined.path.name, self._lead(), self._badge()),
            *(f'<p class="warning">{escape(told)}</p>' for told in e.warnings),
            tiles(self._tiles()),
            *self._notes(),
            *self._classes(),
            *self._components(),
            *self._responses(),
            *e.sections,
            pair(facts("The decoder", self._decoder()), facts("What is told of what", self._rests_on())),
            _FOOTER,
        ]
        style = "".join(
            (files(package) / name).read_text(encoding="utf-8")
            for package, name in (("rtdecode.evaluation", "report.css"), ("offline.interpretation", "explain.css"))
        )
        return page(f"Explanation of {e.examined.path.name}", style, body)

    def _lead(self) -> str:
        e = self.e
        score = "; ".join(f"<b>{escape(f.name)} {f.value:.3f}</b> [{f.low:.2f}, {f.high:.2f}], chance {f.chance:.2f}, "
                          f"n = {f.n}" for f in e.score[:2])  # fmt: skip
        of = f" on {escape(', '.join(e.material.names))}" if e.material else "of the file alone"
        gives = " | ".join(map(escape, e.examined.names))
        return f"{escape(e.examined.contract.provenance.network)}: {gives}; {score}{of}"

    def _badge(self) -> str:
        if self.e.material is None:
            return ""
        if self.e.material.trained_on:
            return badge(False, "trained on these")
        return badge(True, "held out") if self.e.examined.contract.provenance.recordings else ""

    def _tiles(self) -> list[tuple[str, str, str]]:
        e = self.e
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

    def _notes(self) -> list[str]:
        told = [*self.e.notes, *self.unplaced]
        return [f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in told)}</ul>'] if told else []

    def _classes(self) -> list[str]:
        e = self.e
        if not e.components or not e.patterns:
            return []
        return [part for i in range(len(e.examined.names)) for part in self._class(i)]

    def _class(self, output: int) -> list[str]:
        """Return the section of one class or target."""
        e = self.e
        assert e.components
        name, best = e.examined.names[output], e.best(output)
        parts = [f'<h2 class="class">{escape(name)}</h2>']
        cells = [*self._combined(output), *(self._cell(k, output) for k in best)]
        told = ""
        if self.form in e.class_patterns:
            power = "of their squares by weight, red where more power speaks for it"
            told = (
                f"all: sum of all patterns, {power if e.components.in_power else 'each by weight times class mean'}; "
            )
        words = (
            f"{told}the most relevant components ({MEASURES.get(e.measure, '')}); {FORMS[self.form]}: what one standard "
            f"deviation of each is at the sensors, over {self._of_patterns()}; the sign of a single one is arbitrary"
        )
        if not best:
            parts.append('<p class="none">No component of this output has a relevance above 0 here.</p>')
        if cells:
            parts.append(self._figure(f"patterns-{name}", f"Patterns for {escape(name)}", words, self._maps(cells)))
        if e.evoked is not None and e.trials is not None and best:
            cells = [Cell(str(k), e.evoked[output, k], "a.u.") for k in best]
            words = (
                "the same components in what goes along with this output from trial to trial, where activity that goes "
                f"on all the time does not show; n = {len(e.trials.truth)} trials"
            )
            title = f"Evoked patterns for {escape(name)}"
            parts.append(self._figure(f"evoked-{name}", title, words, self._maps(cells)))
        halves = [*self._spectrum(output, best), *self._waveform(output, best)]
        return [*parts, *_in_pairs(halves)]

    def _of_patterns(self) -> str:
        e = self.e
        return f"{len(e.trials.truth)} trials of the recordings" if self.form == "band" and e.trials else e.of_moments

    def _cell(self, k: int, output: int) -> Cell:
        """Return the map of a component; its largest value is drawn red, as its sign is arbitrary."""
        e = self.e
        pattern = e.patterns[self.form][k]
        way = "" if e.evidence is None else " for" if e.evidence[k, output] > 0 else " against"
        return Cell(f"{k}{way}", pattern * (np.sign(pattern[np.abs(pattern).argmax()]) or 1.0))

    def _combined(self, output: int) -> list[Cell]:
        if self.form not in self.e.class_patterns or self.e.components is None:
            return []
        values, in_power = self.e.class_patterns[self.form][output], self.e.components.in_power
        return [Cell("all", values, "a.u.", in_power)]

    def _spectrum(self, output: int, best: Sequence[int]) -> list[str]:
        e = self.e
        if e.spectra is None or e.class_spectra is None or e.trials is None or not best:
            return []
        k, name = best[0], e.examined.names[output]
        counts = np.bincount(e.trials.truth, minlength=len(e.class_names))
        curves = [
            (n, _db(e.class_spectra[c, k]), None, style_of(c)) for c, n in enumerate(e.class_names) if counts[c]
        ]
        told = ", ".join(f"{n} n = {counts[c]}" for c, n in enumerate(e.class_names))
        words = f"{keys(e.class_names)}; behind its kernel, Welch, down to 40 dB below the highest; trials: {escape(told)}"
        drawing = draw_spectra(e.spectra.freqs, curves, "power in dB (component's unit)")
        return [self._figure(f"spectrum-{name}", f"Spectrum of component {k}", words, drawing)]

    def _waveform(self, output: int, best: Sequence[int]) -> list[str]:
        e = self.e
        if e.waveforms is None or e.trials is None or e.components is None or not best:
            return []
        k, name = best[0], e.examined.names[output]
        curves = [
            (n, e.waveforms.mean[c, k], e.waveforms.sem[c, k], style_of(c)) for c, n in enumerate(e.class_names)
        ]
        peaks = [
            f"{n} {found.peak[k]:.3f} s [{found.low[k]:.3f}, {found.high[k]:.3f}]"
            for n, found in zip(e.class_names, e.latency, strict=True)
            if found
        ]
        what = "power, means of 0.1 s" if e.components.in_power else "behind its kernel"
        words = f"{keys(e.class_names)}; {what}; band: standard error over trials; farthest {'from the others' if e.components.in_power else 'from zero'} at {escape(', '.join(peaks))} (95 %, trials resampled)"
        unit = "component's unit" + (" squared" if e.components.in_power else "")
        drawing = draw_curves(e.trials.time_s, curves, "s from the event (delay of the filters included)", unit)
        return [self._figure(f"waveform-{name}", f"Waveform of component {k}", words, drawing)]

    def _components(self) -> list[str]:
        e = self.e
        if not e.components or not e.relevance:
            return []
        styles = [f"f{i % 7}" for i in range(len(e.examined.names))]
        parts = ['<h2 class="class">Components</h2>']
        n = (
            f"n = {len(e.material.windows)} windows of {e.material.n_trials} trials"
            if e.material
            else "no data needed"
        )
        halves = []
        for name in [m for m in MEASURES if m in e.relevance]:
            drawing, told = draw_components(e.relevance[name], styles, name, width=HALF)
            words = f"{keys(e.examined.names)}; {MEASURES[name]}; {n}{told}"
            halves.append(self._figure(f"relevance-{name.replace(' ', '-')}", f"Relevance: {name}", words, drawing))
        halves += [*self._elimination(), *self._permuted(), *self._kernels()]
        return [*parts, *_in_pairs(halves), self._table()]

    def _elimination(self) -> list[str]:
        e = self.e
        if e.elimination is None or e.material is None:
            return []
        losses = e.elimination.losses
        unit = "cross-entropy in nats" if e.examined.classifies else "mean squared error"
        drawing = draw_curves(np.arange(len(losses)).astype(float), [("loss", losses, None, "line c0")],
                              "components left out, the least relevant first", unit)  # fmt: skip
        last = ", ".join(map(str, e.elimination.order[::-1][:6].tolist()))
        words = f"kept to the last: {last}; n = {len(e.material.windows)} windows of {e.material.n_trials} trials"
        return [self._figure("elimination", "Recursive elimination", words, drawing)]

    def _permuted(self) -> list[str]:
        e = self.e
        if e.permuted is None:
            return []
        drawing, told = draw_components(e.permuted.mean(axis=0)[:, None], ["f0"], "growth of the loss",
                                        e.permuted.std(axis=0)[:, None], HALF)  # fmt: skip
        words = f"features of other windows in their place, {len(e.permuted)} times; bars: standard deviation{told}"
        parts = [self._figure("permutation", "Permutation importance", words, drawing)]
        if e.shapley is not None:
            drawing, told = draw_components(e.shapley.mean(axis=0)[:, None], ["f0"], "fall of the loss",
                                            e.shapley.std(axis=0)[:, None], HALF)  # fmt: skip
            words = f"fall of the loss as components come in, in {len(e.shapley)} random orders; bars: s.d.{told}"
            parts.append(self._figure("shapley", "Shapley values", words, drawing))
        return parts

    def _kernels(self) -> list[str]:
        e = self.e
        if e.freqs is None or e.gain is None:
            return []
        best = list(dict.fromkeys(k for i in range(len(e.examined.names)) for k in e.best(i, 2)))[:7]
        best = best or list(range(min(len(e.gain), 7)))
        curves = [(str(k), _db(e.gain[k]), None, style_of(i)) for i, k in enumerate(best)]
        drawing = draw_curves(
            e.freqs, [(n, np.maximum(y, y.max() - 40), s, t) for n, y, s, t in curves], "Hz", "|H|^2 in dB"
        )
        words = f"{keys([f'component {k}' for k in best])}; down to 40 dB below each maximum"
        return [self._figure("kernels", "Response of the temporal kernels", words, drawing)]

    def _table(self) -> str:
        e = self.e
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

    def _responses(self) -> list[str]:
        e = self.e
        if e.responses is None or e.trials is None:
            return []
        parts = ['<h2 class="class">Responses at the sensors</h2>']
        types = np.array(e.parts.signal.ch_types)
        cells, told = [], []
        for c, name in enumerate(e.class_names):
            if e.responses.n_windows[c] < 2:
                continue
            values = np.zeros(len(types))
            for kind in dict.fromkeys(e.parts.signal.ch_types):
                found = e.tested[c, kind]
                values[types == kind] = e.responses.mean[c][types == kind, found.at]
                verdict = "" if found.p <= 0.05 else ", no more than chance gives"
                told.append(f"{name}, {_LABELS.get(kind, kind)}: {e.trials.time_s[found.at]:.3f} s, p = {found.p:.2g}"
                            f"{verdict} (n = {e.responses.n_windows[c]})")  # fmt: skip
            cells.append(Cell(name, values))
        if cells and len(e.bands) == 1:
            words = (
                "mean over trials, when it is strongest; times include the filters' delay of about "
                f"{1e3 * self._delay():.0f} ms; p: signs of trials at random. {escape('; '.join(told))}"
            )
            parts.append(self._figure("responses", "Evoked responses", words, self._maps(cells)))
        if e.power is not None:
            ps = ", ".join(f"{n} p = {p:.2g}" for n, p in zip(e.class_names, e.power.p, strict=True))
            words = (
                "log power of its trials less that of the others'; p: classes exchanged between trials, any sensor: "
                f"{escape(ps)}; n = {len(e.trials.truth)} trials"
            )
            shown = [
                Cell(n, e.power.db[c], "dB", True) for c, n in enumerate(e.class_names) if e.responses.n_windows[c]
            ]
            parts.append(self._figure("power", "Power of each class", words, self._maps(shown)))
        return [*parts, *self._along(), *self._sensor_spectra()]

    def _sensor_spectra(self) -> list[str]:
        e = self.e
        if e.sensor_spectra is None or e.trials is None or e.spectra_at is None:
            return []
        counts = np.bincount(e.trials.truth, minlength=len(e.class_names))
        kind, unit = e.parts.signal.ch_types[0], e.parts.signal.units[0]
        curves = [(n, _db(e.sensor_spectra[c]), None, style_of(c)) for c, n in enumerate(e.class_names) if counts[c]]
        told = ", ".join(f"{n} n = {counts[c]}" for c, n in enumerate(e.class_names))
        words = (
            f"{keys(e.class_names)}; mean over the {_LABELS.get(kind, kind)} behind the filters, Welch, down to 40 dB "
            f"below the highest; trials: {escape(told)}"
        )
        drawing = draw_spectra(e.spectra_at, curves, f"dB of {unit}^2/Hz", WIDE)
        return [self._figure("spectra", "Spectra at the sensors", words, drawing)]

    def _along(self) -> list[str]:
        """Return what goes along with the outputs of the decoder as a whole, whatever its network."""
        e = self.e
        if e.along is None or e.trials is None:
            return []
        names, n = e.examined.names, len(e.trials.truth)
        if e.along.ndim == 2:
            cells = [Cell(name, e.along[i], "dB a unit", True) for i, name in enumerate(names)]
            words = "change of the sensors' power with each unit of log probability (or of the value)"
        else:
            spread = np.maximum(e.trials.sensors.std(axis=(0, 2)), 1e-300)
            at = [int((along / spread[:, None]).std(axis=0).argmax()) for along in e.along]
            cells = [
                Cell(f"{name} {e.trials.time_s[t]:.3f} s", e.along[i, :, t])
                for i, (name, t) in enumerate(zip(names, at, strict=True))
            ]
            words = "change of the sensors with each unit of log probability (or of the value), when it is strongest"
        words += f"; the regression of the sensors on all outputs, trial by trial; n = {n} trials"
        return [self._figure("along", "What goes along with each output", words, self._maps(cells))]

    def _delay(self) -> float:
        from rtdecode.preprocessing import Chain

        return Chain(self.e.examined.steps, self.e.examined.signal).group_delay_s

    def _decoder(self) -> dict[str, str]:
        e, provenance = self.e, self.e.examined.contract.provenance
        return {
            "network": f"{provenance.network}, {e.examined.signal.n_channels} channels at {e.examined.signal.sfreq:g} Hz",
            "gives": " | ".join(e.examined.names),
            "trained on": ", ".join(provenance.recordings) or "not told",
            "preprocessing": "; ".join(step.describe() for step in e.examined.steps) or "none",
            **({"components": e.components.what} if e.components else {}),
        }

    def _rests_on(self) -> dict[str, str]:
        e = self.e
        told = {"when": e.created}
        if e.of_moments:
            told["patterns"] = f"of {e.of_moments}"
        if e.material:
            told["recordings"] = ", ".join(e.material.names)
            told["windows"] = f"{len(e.material.windows)} of {e.material.n_trials} trials; of one trial they overlap"
        return told


def _in_pairs(halves: Sequence[str]) -> list[str]:
    return [pair(left, right) for left, right in zip(halves[::2], [*halves[1::2], ""], strict=False)]


def _db(power: _Floats) -> _Floats:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-30)))


_FOOTER = (
    "<footer><p>Patterns, not weights: a filter also cancels what disturbs it, so its weights do not show where a "
    "component comes from (Haufe et al. 2014, doi 10.1016/j.neuroimage.2013.10.067). Patterns are of the sensors "
    "behind the filters alone: references, whitening and standardisation are taken back. A clamp is passed over. "
    "Maps between sensors are interpolated (thin-plate splines), not far from any; outlines are schematic.</p></footer>"
)
