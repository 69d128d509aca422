"""All that is told of a decoder: its components at the sensors, how relevant each is, and what they do in trials."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline.interpretation.components import Components
from offline.interpretation.examined import Examined, Material
from offline.interpretation.in_trials import InTrials
from offline.interpretation.relevance import (
    Elimination,
)
from offline.sensors import AtSensors, SensorMoments
from rtdecode.contract import Signal
from rtdecode.preprocessing import Chain, FilterBank
from rtdecode.recording import Positions
from rtdecode.scoring import Figure

_Floats = NDArray[np.float64]
# What each measure is, in words; the first that is there says which components are shown first.
MEASURES = {
    "elimination": "growth of the loss when the component counts as its mean in this output",
    "left out": "growth of the loss of this class's windows when the component is left out of the network",
    "own weight": "weight of the component in the network's own linear model",
    "l2": "norm of its weights in the last layer",
    "weight": "largest of its weights in the last layer",
    "output_corr": "largest correlation of its features with the output's truth",
    "weight_corr": "largest |weight times correlation|",
    "cross_entropy": "minus the cross-entropy (nats) between its best feature and the class",
    "combined": "largest product of weight and the class's mean feature",
}


@dataclass(frozen=True)
class Explanation:
    """What is known of a decoder, from its file and, where they are given, from recordings.

    Attributes
    ----------
    examined : Examined
        The decoder.
    material : Material or None
        What it sees of the recordings.
    parts : AtSensors
        Its preprocessing, taken apart.
    moments : SensorMoments or None
        Of the sensors.
    of_moments : str
        Of which trials these are.
    components : Components or None
        What it reads off the channels.
    filters : array, (n_components, n_moments) or None
        The components' filters for what the moments are of.
    patterns : dict of str to array, (n_components, n_sensors)
        By the form: what a component of one standard deviation is at the sensors, in their units.
    evidence : array, (n_components, n_outputs) or None
        Where a component's power counts: whether more of it speaks for an output (above 0) or against it.
    class_patterns : dict of str to array, (n_outputs, n_sensors)
        By the form: the components' patterns together, each by its relevance for the output.
    relevance : dict of str to array, (n_components, n_outputs)
        By the measure.
    elimination : Elimination or None
        Components left out one after the other.
    shapley : array, (n_repeats, n_components) or None
        How much the loss falls as components come in, in random orders.
    permuted : array, (n_repeats, n_components) or None
        Growth of the loss when a component's features are from other windows.
    freqs, gain : arrays, (n_freqs,) and (n_filters, n_freqs), or None
        |H|^2 of the kernels; over several components the largest of each filter.
    found : InTrials or None
        What sensors and components do in trials; None without recordings or events.
    score : tuple of Figure
        How the decoder does on these recordings.
    notes : tuple of str
        What is not exact, and what is missing and why.
    warnings : tuple of str
        What must not be overlooked.
    created : str
        When.
    """

    examined: Examined
    material: Material | None
    parts: AtSensors
    moments: SensorMoments | None
    of_moments: str
    components: Components | None
    filters: _Floats | None
    patterns: dict[str, _Floats]
    evidence: _Floats | None
    class_patterns: dict[str, _Floats]
    relevance: dict[str, _Floats]
    elimination: Elimination | None
    shapley: _Floats | None
    permuted: _Floats | None
    freqs: _Floats | None
    gain: _Floats | None
    found: InTrials | None
    score: tuple[Figure, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    created: str

    @property
    def positions(self) -> Positions:
        """Where the sensors are, as far as file or recordings tell."""
        return {**(self.material.positions if self.material else {}), **self.examined.positions}

    @property
    def sensors(self) -> Signal:
        """The sensors behind the filters; with a filter bank those of one band."""
        return Chain([s for s in self.parts.steps if not isinstance(s, FilterBank)], self.examined.signal).output

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of a filter bank; one without a name if there is none."""
        for step in self.parts.steps:
            if isinstance(step, FilterBank):
                return tuple(f"{low:g}-{high:g} Hz" for low, high in step.bands_hz)
        return ("",)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of trials; of a regression by classes these are not its outputs."""
        return self.material.dataset.configuration.class_names if self.material else ()

    @property
    def form(self) -> str:
        """The form of patterns that shows most: see `offline.interpretation.report.Pages`."""
        if "band" in self.patterns:
            return "band"
        n_sensors = self.parts.signal.n_channels
        return "mneflow" if self.components and self.components.n > n_sensors else "haufe"

    @property
    def measure(self) -> str:
        """The measure by which components are ranked; empty if there is none."""
        return next((name for name in MEASURES if name in self.relevance), "")

    def best(self, output: int, n: int = 3) -> list[int]:
        """Return the components that are most relevant for an output, those that speak for it first.

        None where there is no measure, or it is one of trials and there is none of that class.
        """
        truth = None if self.material is None else self.material.truth
        is_there = truth is None or truth.ndim > 1 or (truth == output).any() or self.measure == "own weight"
        if not self.measure or not is_there:
            return []
        relevance = self.relevance[self.measure][:, output]
        strength = np.abs(relevance) if self.measure == "own weight" else relevance
        found = [int(i) for i in np.argsort(-strength, kind="stable") if strength[i] > 0]
        if self.evidence is None:
            return found[:n]
        speaks_for = [i for i in found if self.evidence[i, output] > 0]
        return [*speaks_for, *(i for i in found if i not in speaks_for)][:n]
