"""Looking into a decoder: its components at the sensors, how relevant each is, and what they do in trials."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax

from offline.interpretation.components import Components, array, centred, components_of
from offline.interpretation.examined import Examined, Material
from offline.interpretation.explanation import Explanation
from offline.interpretation.in_trials import in_trials
from offline.interpretation.patterns import (
    PatternForm,
    combined_patterns,
    spatial_patterns,
)
from offline.interpretation.relevance import (
    Readout,
    by_correlation,
    by_cross_entropy,
    by_elimination,
    by_norm,
    by_permutation,
    by_shapley,
    by_weight,
    by_weighted_correlation,
    combined_relevance,
    recursive_elimination,
)
from offline.interpretation.spectra import frequency_response
from offline.sensors import AtSensors, SensorMoments, sensor_moments
from rtdecode.scoring import Figure, accuracy, regression

_Floats = NDArray[np.float64]

_FORMS: tuple[PatternForm, ...] = ("haufe", "mneflow")
# Windows that a network is run on once for each component.
_MOST_LEFT_OUT = 128
_MOST_TRIALS = 400
_N_FREQS = 257
# Products of a sample with a sensor at a lag, beyond which patterns behind kernels would take minutes.
_MOST_PRODUCTS = 1 << 34


def explain(
    examined: Examined,
    material: Material | None = None,
    n_repeats: int = 100,
    seed: int = 0,
    progress: Callable[[str], None] = lambda told: None,
) -> Explanation:
    """Look into a decoder. Nothing of it is changed.

    Parameters
    ----------
    examined : Examined
        The decoder.
    material : Material, optional
        What it sees of recordings: without it there are patterns and kernels alone.
    n_repeats : int
        Permutations of each component, and draws of each test.
    seed : int
        Of these.
    progress : callable
        Is told what is being done.
    """
    random, notes, warnings = np.random.default_rng(seed), list[str](), list[str]()
    parts = AtSensors.of(examined.steps, examined.signal)
    found = components_of(examined.network)
    components = None if isinstance(found, str) else found
    notes += [found] if isinstance(found, str) else [found.exact] if found.exact else []
    moments, of_moments = _moments(examined, material, notes)
    filters, patterns = None, dict[str, _Floats]()
    if components and moments:
        filters = _for_moments(components, parts)
        patterns = _patterns(filters, moments, parts)
        if parts.mixing is None:
            notes.append(
                "The preprocessing learns as it runs (an alignment or a running standardisation): patterns are the "
                "regression of the sensors on the components over those trials, and change with what it has learned."
            )
    relevance, elimination, shapley, permuted = dict[str, _Floats](), None, None, None
    readout = None
    if components:
        progress("relevance")
        readout = _readout(components, examined, material)
        relevance = _relevance(components, readout, examined, material)
        if readout is not None and material is not None:
            elimination, shapley = recursive_elimination(readout.centred), by_shapley(readout, n_repeats, random)
            permuted = by_permutation(readout, n_repeats, random)
    evidence = _evidence(components, readout, relevance, material is not None) if components else None
    freqs, gain = _gain(components, examined)
    found_in = None
    if material is None:
        notes.append(
            "No recordings were given: spectra, waveforms, responses, and what relevance needs data are missing."
        )
    else:
        progress("spectra, waveforms and responses")
        found_in = in_trials(material, parts, components if patterns else None, n_repeats, random)
        if found_in is None:
            notes.append("Target channels have no events: there are no averages over trials.")
        else:
            patterns |= found_in.patterns
        if material.trained_on:
            warnings.append(
                f"The decoder was trained on {', '.join(material.trained_on)} (or on parts of them): what is told of "
                "accuracy and relevance there says nothing about new data."
            )
        notes += _left_out(material)
    class_patterns = {
        form: combined
        for form, own in patterns.items()
        if components and (combined := _class_pattern(components, own, relevance, evidence)) is not None
    }
    return Explanation(
        examined=examined,
        material=material,
        parts=parts,
        moments=moments,
        of_moments=of_moments,
        components=components,
        filters=filters,
        patterns=patterns,
        evidence=evidence,
        class_patterns=class_patterns,
        relevance=relevance,
        elimination=elimination,
        shapley=shapley,
        permuted=permuted,
        freqs=freqs,
        gain=gain,
        found=found_in,
        score=_score(material),
        notes=tuple(notes),
        warnings=tuple(warnings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _left_out(material: Material) -> list[str]:
    left = material.n_cut - len(material.windows)
    present = set(material.truth.tolist()) if material.examined.classifies else set()
    missing = [n for i, n in enumerate(material.examined.names) if material.examined.classifies and i not in present]
    return [
        *(f"{note[0].upper()}{note[1:]}." for note in material.dataset.notes),
        *([f"Of {material.n_cut} windows every n-th of each trial is looked at: {left} are not."] if left else []),
        *([f"The recordings hold no trial of {', '.join(missing)}."] if missing else []),
    ]


def _moments(examined: Examined, material: Material | None, notes: list[str]) -> tuple[SensorMoments | None, str]:
    """Return the moments in the file; of an older one those of the recordings."""
    if examined.moments is not None:
        return examined.moments, f"{sum(examined.moments.n_trials)} trials it was trained on, kept in the file"
    if material is None:
        notes.append(
            f"{examined.path.name} does not hold the covariances of its sensors (it is older than that, or they are "
            "too many): give recordings, and patterns are of these."
        )
        return None, ""
    moments = sensor_moments(material.dataset, examined.steps, material.dataset.trials)
    if moments is None:
        notes.append("The sensors are too many for patterns: their covariances would fill the memory.")
        return None, ""
    notes.append("The file does not hold the covariances of its sensors: patterns are of the recordings given here.")
    return moments, f"{sum(moments.n_trials)} trials of the recordings given"


def _for_moments(components: Components, parts: AtSensors) -> _Floats:
    """Return the filters for what moments are of: the sensors, or these and what the network sees beside them."""
    if parts.mixing is not None:
        return np.asarray(components.filters @ parts.mixing)
    return np.concatenate([np.zeros((components.n, parts.signal.n_channels)), components.filters], axis=1)


def _patterns(filters: _Floats, moments: SensorMoments, parts: AtSensors) -> dict[str, _Floats]:
    cov, n = moments.pooled, parts.signal.n_channels
    variance = np.einsum("ki,ij,kj->k", filters, cov, filters)
    std = np.sqrt(np.maximum(variance, 0))
    safe = np.where(std > 0, std, 1)
    scale = {"haufe": std, "mneflow": 1 / safe}
    return {form: spatial_patterns(filters, cov, form)[:, :n] * scale[form][:, None] for form in _FORMS}


def _readout(components: Components, examined: Examined, material: Material | None) -> Readout | None:
    if components.features is None:
        return None
    if material is not None:
        return components.readout(examined.network, material.windows, material.truth)
    # What needs no data is of the weights alone.
    shape = (1, examined.network.n_channels, examined.network.n_times)
    targets = np.zeros(1, np.int64) if examined.classifies else np.ones((1, len(examined.names)))
    return components.readout(examined.network, np.zeros(shape, np.float32), targets)


def _relevance(
    components: Components, readout: Readout | None, examined: Examined, material: Material | None
) -> dict[str, _Floats]:
    found: dict[str, _Floats] = {}
    if components.weights is not None:
        found["own weight"] = components.weights
    if readout is not None:
        found |= {"l2": by_norm(readout), "weight": by_weight(readout)}
        if material is not None:
            found |= {
                "elimination": by_elimination(readout.centred),
                "output_corr": by_correlation(readout),
                "weight_corr": by_weighted_correlation(readout),
            }
            if readout.classifies:
                found["cross_entropy"] = by_cross_entropy(readout)
                present = readout.wanted.sum(axis=0) > 0
                if present.all():
                    found["combined"] = combined_relevance(readout)
    elif components.without is not None and material is not None:
        found["left out"] = _losses_without(components, examined, material)
    return found


def _losses_without(components: Components, examined: Examined, material: Material) -> _Floats:
    """Return the growth of each class's (or value's) loss without each component, (n_components, n_outputs)."""
    assert components.without is not None
    every = -(-len(material.windows) // _MOST_LEFT_OUT)
    x, truth = torch.from_numpy(material.windows[::every]), material.truth[::every]

    def losses(network: torch.nn.Module) -> _Floats:
        with torch.no_grad():
            raw = torch.cat([network(x[i : i + 64]) for i in range(0, len(x), 64)]).double().numpy()
        if truth.ndim == 1:
            loss = -log_softmax(raw, axis=1)[np.arange(len(truth)), truth]
            return np.array([loss[truth == c].mean() if (truth == c).any() else 0.0 for c in range(raw.shape[1])])
        assert examined.network.target_mean is not None and examined.network.target_std is not None
        mean, std = array(examined.network.target_mean), array(examined.network.target_std)
        values = np.log(truth) if examined.network.target_log else truth
        return np.asarray(((raw - (values - mean) / std) ** 2).mean(axis=0))

    whole = losses(examined.network)
    return np.stack([losses(components.without(k)) - whole for k in range(components.n)])


def _evidence(
    components: Components, readout: Readout | None, relevance: dict[str, _Floats], has_material: bool
) -> _Floats | None:
    """Return what a component's power gives each output beyond the mean of outputs, (n_components, n_outputs)."""
    if not components.in_power or readout is None or "own weight" in relevance:
        return relevance.get("own weight") if components.in_power else None
    # Without recordings there are no features but what biases make: the weights alone.
    given = readout.contributions.mean(axis=0) if has_material else readout.weights.sum(axis=2).T
    return centred(given.T).T


def _class_pattern(
    components: Components, patterns: _Floats, relevance: dict[str, _Floats], evidence: _Floats | None
) -> _Floats | None:
    """Return the patterns of all components together, by their relevance for each output.

    Where a component's power counts, squares of patterns are added up: how much power at each sensor speaks for the
    class, or against it. Otherwise patterns themselves are, each the way round in which its kernel sees it. Neither
    changes when a component and its kernel both change sign.
    """
    if evidence is not None:
        return combined_patterns(patterns**2, evidence)
    if components.in_power or "combined" not in relevance:
        return None
    return combined_patterns(patterns * components.signs[:, None], relevance["combined"])


def _gain(components: Components | None, examined: Examined) -> tuple[_Floats | None, _Floats | None]:
    if components is None or components.kernels is None:
        return None, None
    freqs = np.linspace(0, examined.seen.sfreq / 2, _N_FREQS)
    gain = np.abs(frequency_response(components.kernels, freqs, examined.seen.sfreq)) ** 2
    return freqs, gain if gain.ndim == 2 else gain.max(axis=1)


def _score(material: Material | None) -> tuple[Figure, ...]:
    """Return how the decoder does, trial by trial."""
    if material is None:
        return ()
    given = material.predict()
    of_trials = [material.trial == number for number in np.unique(material.trial)]
    if material.examined.classifies:
        evidence = [np.log(np.maximum(given[own], 1e-12)).mean(axis=0) for own in of_trials]
        return (accuracy([material.truth[own][0] for own in of_trials], np.argmax(evidence, axis=1)),)
    n = min(int(own.sum()) for own in of_trials)
    truth, predicted = (
        np.stack([values[own][:n] for own in of_trials]).astype(np.float64) for values in (material.truth, given)
    )
    dataset, recordings = material.dataset, None
    if dataset.configuration.target_channels:
        recordings = [dataset.source_of[dataset.trials[number].recording] for number in np.unique(material.trial)]
    return tuple(regression(truth, predicted, material.examined.names, recordings)) if len(truth) > 1 else ()
