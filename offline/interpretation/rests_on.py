"""What a decoder rests on: what is lost without each channel, time and band; gradients; controls of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.dataset import Cutter
from offline.interpretation.charts import draw_attributions, draw_figures, draw_randomised
from offline.interpretation.controls import Randomised, Shuffled, randomise_layers, shuffle_labels
from offline.interpretation.examined import Material
from offline.interpretation.gradients import Gradients, integrated_gradients
from offline.interpretation.occlusion import Occlusion, band_parts, channel_parts, occlude, time_parts
from offline.interpretation.sanity import Rest, Sanity, find_regions, look_for_artifacts
from offline.interpretation.sheet import Sheet, in_pairs
from offline.interpretation.stretches import channel_signals, sensor_signals, window_signals
from offline.interpretation.topography import Cell
from offline.training import Fitted, as_fitted, n_samples
from rtdecode.errors import ConfigurationError, ModelError, RecordingError
from rtdecode.page import table
from rtdecode.preprocessing import Chain
from rtdecode.scoring import Figure

CONTROLS = ("randomised", "labels")
_N_SEGMENTS = 10
_MOST_WINDOWS = 128
_MOST_EXCHANGES = 400
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RestsOn:
    """What was found; None of what could not be, which a note says.

    Attributes
    ----------
    channels, times, bands : Occlusion or None
        What is lost without each.
    sanity : Sanity or None
        What looks like eyes or muscles.
    gradients : Gradients or None
        What adds up to the outputs.
    randomised : Randomised or None
        Gradients while layers lose what they learned.
    shuffled : Shuffled or None
        Gradients of decoders that learned from shuffled labels.
    notes : tuple of str
        What is not known and why.
    """

    channels: Occlusion | None
    times: Occlusion | None
    bands: Occlusion | None
    sanity: Sanity | None
    gradients: Gradients | None
    randomised: Randomised | None
    shuffled: Shuffled | None
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must not be overlooked."""
        return self.sanity.warnings if self.sanity else ()


def check_controls(names: Sequence[str]) -> None:
    """Raise ConfigurationError if one of these is no control: to be called before anything is computed."""
    if unknown := [name for name in names if name not in CONTROLS]:
        raise ConfigurationError(f"There is no control {unknown[0]!r}; there is {', '.join(CONTROLS)}.")


def rests_on(
    material: Material,
    controls: tuple[str, ...] = (),
    seed: int = 0,
    progress: Callable[[str], None] = lambda told: None,
) -> RestsOn:
    """Find out what a decoder rests on, with the controls that are asked for.

    Raises
    ------
    ConfigurationError
        There is no such control.
    """
    check_controls(controls)
    notes = list[str]()

    def tried(told: str, find: Callable[[], Any]) -> Any:
        progress(told)
        try:
            return find()
        except (RecordingError, ModelError, ConfigurationError) as error:
            notes.append(str(error))
            return None

    def labels() -> Shuffled:
        dataset = material.dataset
        original = as_fitted(material.examined.contract, material.examined.network)
        return shuffle_labels(dataset, original, lambda fitted: _map_of(fitted, material), seed=seed)

    def randomised() -> Randomised:
        x, truth = _some(material)
        network = material.examined.network
        return randomise_layers(network, lambda other: integrated_gradients(other, x, truth).maps, 3, seed)

    examined, signals = material.examined, window_signals(material)
    times = time_parts(material.windows.shape[2], _N_SEGMENTS, examined.seen.sfreq)
    by_channel = channel_signals(material)
    n_repeats = max(1, min(5, _MOST_EXCHANGES // len(by_channel.ch_names)))
    return RestsOn(
        tried("channels", lambda: occlude(by_channel, channel_parts(by_channel.ch_names), n_repeats, seed)),
        tried("times", lambda: occlude(signals, times, 5, seed)),
        tried("bands", lambda: occlude(sensor_signals(material), band_parts(examined.signal.sfreq), 5, seed)),
        tried(
            "eyes and muscles",
            lambda: look_for_artifacts(
                sensor_signals(material), find_regions(examined.signal, material.positions), 5, seed
            ),
        ),
        tried("gradients", lambda: integrated_gradients(examined.network, *_some(material))),
        tried("control: weights drawn anew", randomised) if "randomised" in controls else None,
        tried("control: shuffled labels", labels) if "labels" in controls else None,
        tuple(dict.fromkeys(notes)),
    )


def _some(material: Material) -> tuple[NDArray[np.float32], NDArray[Any]]:
    every = -(-len(material.windows) // _MOST_WINDOWS)
    return material.windows[::every], material.truth[::every]


def _map_of(fitted: Fitted, material: Material) -> _Floats:
    """Return a decoder's gradients over its own windows of the same recordings."""
    dataset = material.dataset
    stride = n_samples(dataset.configuration.stride_s, Chain(fitted.steps, dataset.signal).output.sfreq)
    found = Cutter(dataset, fitted.steps).cut(dataset.trials, fitted.n_times, stride)
    every = -(-len(found.x) // _MOST_WINDOWS)
    return integrated_gradients(fitted.network, found.x[::every], found.y[::every]).maps


def rest_sections(sheet: Sheet, found: RestsOn) -> list[str]:
    """Return the section on what the decoder rests on."""
    e = sheet.e
    assert e.material is not None
    parts = ['<h2 class="class">What it rests on</h2>']
    if found.notes:
        parts.append(f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in found.notes)}</ul>')
    if found.sanity:
        parts += _sanity(found.sanity)
    if found.channels:
        parts += _channels(sheet, found.channels)
    halves = [
        *(_bars(sheet, "times", "Times", found.times, False) if found.times else []),
        *(_bars(sheet, "bands", "Bands", found.bands, False) if found.bands else []),
    ]
    parts += in_pairs(halves)
    if found.gradients:
        parts += _gradients(sheet, found.gradients)
    if found.randomised:
        words = (
            "how alike gradients are to the decoder's while its layers, from the last one on, are drawn anew: what "
            "stays alike does not show what was learned; lines: lowest to highest (arXiv 1810.03292)"
        )
        drawing = draw_randomised(found.randomised, "Gradients with layers drawn anew")
        parts.append(sheet.figure("control-randomised", "Control: weights drawn anew", words, drawing))
    if found.shuffled:
        told = "; ".join(
            f"correlation {c:.2f}, size {s:.2f}"
            for c, s in zip(found.shuffled.correlation, found.shuffled.size, strict=True)
        )
        parts.append(
            '<p class="told"><b>Control: shuffled labels.</b> Gradients of decoders that learned from these '
            f"recordings with labels exchanged, with those of this one (root mean square in its own): {told}. Near "
            "1, they do not show what was learned.</p>"
        )
    return parts


def _sanity(found: Sanity) -> list[str]:
    heads = "".join(f"<th>{head}</th>" for head in ("share of what it tells", "alone: accuracy", "without: accuracy",
                    "of what is above chance lost"))  # fmt: skip
    rows = [
        f"<tr><th>{escape(rest.part.name)}</th><td>{_figure(rest.share)}</td><td>{_figure(rest.alone)}</td>"
        f"<td>{_figure(rest.without)}</td><td>{_percent(rest)}</td></tr>"
        for rest in found.rests
    ]
    told = " ".join(escape(sentence) for sentence in (*found.warnings, *found.unknown)) or (
        "Nothing here looks as if it read eyes or muscles."
    )
    words = (
        f'<p class="told"><b>Eyes and muscles.</b> {told} n = {found.n_trials} trials; the part comes from other '
        "trials of the same recording, or all but the part; 95 % intervals over trials.</p>"
    )
    return [words, table(f"<th>part</th>{heads}", rows)]


def _figure(figure: Figure | None) -> str:
    if figure is None or np.isnan(figure.value):
        return ""
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _percent(rest: Rest) -> str:
    return f"{100 * rest.above_chance:.0f} %" if np.isfinite(rest.above_chance) else ""


def _channels(sheet: Sheet, found: Occlusion) -> list[str]:
    names = [part.name for part in found.parts]
    words = (
        f"growth of the loss ({found.loss_unit}) when a channel is that of other trials of its recording "
        f"({_times(found)}); {_trials(found)}"
    )
    if names == list(sheet.e.sensors.ch_names) and len(sheet.e.bands) == 1:
        values = np.array([figure.value for figure in found.grown])
        drawing = sheet.maps([Cell("loss without", values, found.loss_unit.split()[0], True)])
        return [sheet.figure("channels", "Channels", words, drawing)]
    drawing = draw_figures([*zip(names, found.grown, strict=True)], f"growth of the loss in {found.loss_unit}",
                        "Channels", found.n_trials)  # fmt: skip
    return [sheet.figure("channels", "Channels", words, drawing)]


def _trials(found: Occlusion) -> str:
    return f"n = {found.n_trials} trials" + (f", {found.n_left_out} left out" if found.n_left_out else "")


def _times(found: Occlusion) -> str:
    return "once" if found.n_repeats == 1 else f"{found.n_repeats} times"


def _bars(sheet: Sheet, name: str, title: str, found: Occlusion, largest_first: bool) -> list[str]:
    rows = [*zip([part.name for part in found.parts], found.grown, strict=True)]
    drawing = draw_figures(rows, f"growth of the loss in {found.loss_unit}", title, found.n_trials, largest_first)
    where = "of the window" if name == "times" else "at the sensors"
    words = f"{where}, as in other trials ({_times(found)}); {_trials(found)}; 95 % over trials"
    return [sheet.figure(name, title, words, drawing)]


def _gradients(sheet: Sheet, found: Gradients) -> list[str]:
    seen = sheet.e.examined.seen
    parts = []
    for i, name in enumerate(sheet.e.examined.names):
        if not np.isfinite(found.maps[i]).any():
            continue
        n = int(np.isfinite(found.difference[:, i]).sum())
        unit = "logit" if sheet.e.examined.classifies else "s.d. of the target"
        drawing = draw_attributions(found.maps[i], seen.ch_names, f"Gradients for {name}", seen.sfreq, n, unit)
        words = (
            "integrated from a window of zeros, of the channels as the network sees them: blue for the output, "
            f"vermilion against it; n = {n} windows, {found.n_steps} steps (arXiv 1703.01365)"
        )
        title = f"Integrated gradients for {escape(name)}"
        parts.append(sheet.figure(f"gradients-{name}", title, words, drawing))
    return parts
