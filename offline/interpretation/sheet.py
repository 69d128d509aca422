"""What a report's sections are drawn with: the explanation, where its sensors are, and how it is to be shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offline.interpretation.drawing import draw_maps
from offline.interpretation.explanation import Explanation
from offline.interpretation.folds import OverFolds
from offline.interpretation.topography import Cell, Layout, layouts
from rtdecode.errors import ConfigurationError
from rtdecode.page import figure, pair

_Floats = NDArray[np.float64]
FORMS = {
    "haufe": "all components together (Haufe's transform, Cov(x) W Cov(s)^-1)",
    "mneflow": "each component by itself (Cov(x) w, as MNEflow)",
    "band": "each component by itself behind its temporal kernel (the nearest product of a map and a course)",
}
LABELS = {"eeg": "EEG", "mag": "magnetometers", "grad": "gradiometers"}


class Sheet:
    """Draws an explanation; keeps every figure by its name.

    Parameters
    ----------
    explanation : Explanation
        What is drawn.
    form : str or None
        Of the patterns, see FORMS; None: behind kernels where recordings tell that, otherwise all together unless
        there are more components than sensors, among which a source would be divided.
    hidden : sequence of str
        Sensors that no map shows.
    folds : OverFolds or None
        The same over the folds of the training run.

    Attributes
    ----------
    figures : dict of str to str
        SVG of each figure, in order.
    """

    def __init__(
        self,
        explanation: Explanation,
        form: str | None = None,
        hidden: Sequence[str] = (),
        folds: OverFolds | None = None,
    ) -> None:
        self.e, self.folds = explanation, folds
        self.form = form or explanation.form
        if explanation.patterns and self.form not in explanation.patterns:
            raise ConfigurationError(
                f"There are no patterns {self.form!r} here: --form is one of {', '.join(explanation.patterns)} "
                "(`band` needs recordings, and preprocessing and kernels that are fixed)."
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

    def figure(self, name: str, title: str, words: str, drawing: str) -> str:
        """Keep a drawing by its name, and return it with its caption; `words` are markup."""
        self.figures[name] = drawing
        return figure(title, words, drawing)

    def maps(self, cells: Sequence[Cell]) -> str:
        """Draw maps of the head."""
        return draw_maps(cells, self.e.sensors, self.e.bands, self._layouts, self._hidden)


def in_pairs(halves: Sequence[str]) -> list[str]:
    """Put drawings of half the width side by side."""
    return [pair(left, right) for left, right in zip(halves[::2], [*halves[1::2], ""], strict=False)]


def decibels(power: _Floats) -> _Floats:
    """Return powers in dB."""
    return np.asarray(10 * np.log10(np.maximum(power, 1e-30)))
