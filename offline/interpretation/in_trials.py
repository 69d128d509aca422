"""What sensors and components do in the trials of recordings: averages, spectra, and patterns that need them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline.dataset import Cutter, from_sensors
from offline.interpretation.averages import (
    PowerContrast,
    Response,
    Trials,
    about_trial,
    filtered,
    log_power,
    power_contrast,
    response,
    smoothed_power,
)
from offline.interpretation.components import Components
from offline.interpretation.examined import Material
from offline.interpretation.patterns import (
    evoked_patterns,
    filter_patterns,
    joint_filters,
    lagged_covariances,
    output_patterns,
)
from offline.interpretation.spectra import Spectra, component_spectra
from offline.interpretation.waveforms import Latency, Waveforms, class_waveforms, peak_latency
from offline.sensors import AtSensors

_Floats = NDArray[np.float64]
_MOST_TRIALS = 400
# Products of a sample with a sensor at a lag, beyond which patterns behind kernels would take minutes.
_MOST_PRODUCTS = 1 << 34


@dataclass(frozen=True)
class InTrials:
    """What was found in trials.

    Attributes
    ----------
    trials : Trials
        What all of it is of.
    responses : Waveforms
        Of the sensors, each trial about its own mean.
    tested : dict of (int, str) to Response
        The strongest moment by class and type of sensor.
    power : PowerContrast or None
        Of the sensors, where there are two classes.
    spectra_at, sensor_spectra : arrays, (n_freqs,) and (n_classes, n_freqs)
        Mean power spectra of the sensors of the first type, behind the filters, of each class.
    along : array, (n_outputs, n_sensors) or (n_outputs, n_sensors, n_times)
        What goes along with each output of the whole decoder over trials: the sensors' power in dB, or their signals.
    spectra : Spectra or None
        Of the components, over all trials.
    class_spectra : array, (n_classes, n_filters, n_freqs) or None
        Behind their kernels, of each class's trials.
    waveforms : Waveforms or None
        Of the components behind their kernels; their power where that is what counts.
    latency : tuple of Latency or None
        When each class's waveforms are farthest from zero, or from the mean of the other classes' where power counts.
    patterns : dict of str to array, (n_components, n_sensors)
        Patterns that need recordings, by their form.
    evoked : array, (n_outputs, n_components, n_sensors) or None
        Patterns of the components in what goes along with each output, where their waveforms count.
    """

    trials: Trials
    responses: Waveforms
    tested: dict[tuple[int, str], Response]
    power: PowerContrast | None
    spectra_at: _Floats
    sensor_spectra: _Floats
    along: _Floats
    spectra: Spectra | None
    class_spectra: _Floats | None
    waveforms: Waveforms | None
    latency: tuple[Latency | None, ...]
    patterns: dict[str, _Floats]
    evoked: _Floats | None


def in_trials(
    material: Material, parts: AtSensors, components: Components | None, n_repeats: int, random: np.random.Generator
) -> InTrials | None:
    """Look at whole trials; None where target channels tell the truth, which have no events."""
    trials = _trials(material, parts)
    if trials is None:
        return None
    n_classes, sfreq = len(material.dataset.configuration.class_names), material.examined.seen.sfreq
    several = len(set(trials.truth.tolist())) > 1
    in_power = components.in_power if components else parts.n_bands > 1
    spectra = class_spectra = waveforms = None
    latency: tuple[Latency | None, ...] = ()
    if components:
        spectra, class_spectra = _spectra(components, trials, sfreq, n_classes)
        waveforms, latency = _waveforms(components, trials, sfreq, n_classes, n_repeats, random)
    spectra_at, sensor_spectra = _sensor_spectra(trials, parts, sfreq, n_classes)
    return InTrials(
        trials=trials,
        responses=class_waveforms(about_trial(trials.sensors), trials.truth, n_classes),
        tested=_tested(trials, parts, n_classes, n_repeats, random),
        power=power_contrast(trials.sensors, trials.truth, trials.recording, n_classes, n_repeats, random)
        if several
        else None,
        spectra_at=spectra_at,
        sensor_spectra=sensor_spectra,
        along=output_patterns(log_power(trials.sensors) if in_power else trials.sensors, trials.outputs),
        spectra=spectra,
        class_spectra=class_spectra,
        waveforms=waveforms,
        latency=latency,
        patterns=_in_band(components, trials, parts) if components else {},
        evoked=_evoked(components, trials, parts) if components and not in_power else None,
    )


def _trials(material: Material, parts: AtSensors) -> Trials | None:
    dataset, examined = material.dataset, material.examined
    spans = dataset.configuration.trials
    if spans is None:
        return None
    every = -(-len(dataset.trials) // _MOST_TRIALS)
    chosen = dataset.trials[::every]
    whole, sensors = Cutter(dataset, examined.steps), Cutter(dataset, parts.steps, from_sensors(dataset, parts.steps))
    n = min(whole.longest, sensors.longest)
    seen, at_sensors = (cutter.cut(chosen, n, n).x[:].astype(np.float64) for cutter in (whole, sensors))
    time_s = spans.tmin_s + np.arange(n) / examined.seen.sfreq
    given = material.predict()
    told = np.log(np.maximum(given, 1e-12)) if examined.classifies else given
    told = told - told.mean(axis=1, keepdims=True) if examined.classifies else told
    outputs = np.stack(
        [told[material.trial == number].mean(axis=0) for number in range(len(dataset.trials))[::every]]
    )
    recording = np.array([dataset.source_of[trial.recording] for trial in chosen])
    return Trials(at_sensors, seen, np.array([trial.truth for trial in chosen]), outputs, time_s, recording)


def _tested(
    trials: Trials, parts: AtSensors, n_classes: int, n_draws: int, random: np.random.Generator
) -> dict[tuple[int, str], Response]:
    types = np.array(parts.signal.ch_types)
    return {
        (c, kind): response(trials.sensors[trials.truth == c][:, types == kind], n_draws, random)
        for c in range(n_classes)
        for kind in dict.fromkeys(parts.signal.ch_types)
        if (trials.truth == c).sum() > 1
    }


def _latent(components: Components, trials: Trials) -> _Floats:
    return np.asarray(np.einsum("kc,nct->nkt", components.filters, trials.seen, optimize=True))


def _spectra(components: Components, trials: Trials, sfreq: float, n_classes: int) -> tuple[Spectra, _Floats]:
    """Return the components' spectra over all trials, and behind their kernels those of each class."""
    latent = _latent(components, trials)
    kernels = np.ones((components.n, 1)) if components.kernels is None else components.kernels
    n_fft = max(16, min(latent.shape[2], round(4 * sfreq)))
    spectra = component_spectra(latent, kernels, sfreq, n_fft)
    of_classes = np.full((n_classes, *spectra.filtered.shape), np.nan)
    for c in set(trials.truth.tolist()):
        of_classes[c] = component_spectra(latent[trials.truth == c], kernels, sfreq, n_fft).filtered
    return spectra, of_classes


def _sensor_spectra(trials: Trials, parts: AtSensors, sfreq: float, n_classes: int) -> tuple[_Floats, _Floats]:
    own = [i for i, kind in enumerate(parts.signal.ch_types) if kind == parts.signal.ch_types[0]]
    n_fft = max(16, min(trials.sensors.shape[2], round(4 * sfreq)))
    found = [
        component_spectra(trials.sensors[chosen][:, own], np.ones((len(own), 1)), sfreq, n_fft)
        for c in range(n_classes)
        if (chosen := trials.truth == c).any()
    ]
    spectra = np.full((n_classes, len(found[0].freqs)), np.nan)
    spectra[[c for c in range(n_classes) if (trials.truth == c).any()]] = [each.latent.mean(axis=0) for each in found]
    return found[0].freqs, spectra


def _waveforms(
    components: Components,
    trials: Trials,
    sfreq: float,
    n_classes: int,
    n_repeats: int,
    random: np.random.Generator,
) -> tuple[Waveforms, tuple[Latency | None, ...]]:
    shaped = filtered(_latent(components, trials), components.kernels)
    waves = smoothed_power(shaped, sfreq) if components.in_power else shaped
    found, latency = class_waveforms(waves, trials.truth, n_classes), list[Latency | None]()
    for c in range(n_classes):
        own = trials.truth == c
        if not own.any() or (components.in_power and own.all()):
            latency.append(None)
            continue
        others = waves[~own] if components.in_power else None
        latency.append(_latency(waves[own], others, trials.time_s, n_repeats, random))
    return found, tuple(latency)


def _latency(
    own: _Floats, others: _Floats | None, time_s: _Floats, n_repeats: int, random: np.random.Generator
) -> Latency:
    """Return when the mean over trials is farthest from zero, or from that of others, with trials of both resampled.

    The interval is NaN with fewer than two trials on either side.
    """
    if others is None:
        found = peak_latency(own, time_s, np.arange(len(own)), n_repeats, random)
    else:
        peaks = time_s[
            np.abs(_resampled(own, n_repeats, random) - _resampled(others, n_repeats, random)).argmax(axis=2)
        ]
        low, high = np.percentile(peaks, [2.5, 97.5], axis=0)
        found = Latency(time_s[np.abs(own.mean(axis=0) - others.mean(axis=0)).argmax(axis=1)], low, high)
    if min(len(own), len(own if others is None else others)) < 2:
        unknown = np.full(len(found.peak), np.nan)
        return found._replace(low=unknown, high=unknown)
    return found


def _resampled(waves: _Floats, n_repeats: int, random: np.random.Generator) -> _Floats:
    """Return means over resampled trials, (n_repeats, n_components, n_times)."""
    n = len(waves)
    return np.asarray(np.tensordot(random.multinomial(n, np.full(n, 1 / n), size=n_repeats) / n, waves, axes=1))


def _joint(components: Components, parts: AtSensors) -> _Floats | None:
    """Return the components as filters over sensors and time, if they are fixed ones of a kernel each."""
    kernels = np.ones((components.n, 1)) if components.kernels is None else components.kernels
    if parts.mixing is None or kernels.ndim != 2:
        return None
    return joint_filters(components.filters @ parts.mixing, kernels)


def _in_band(components: Components, trials: Trials, parts: AtSensors) -> dict[str, _Floats]:
    joint = None if components.kernels is None else _joint(components, parts)
    if joint is None or trials.sensors.size * joint.shape[1] * joint.shape[2] > _MOST_PRODUCTS:
        return {}
    found = filter_patterns(joint, lagged_covariances(trials.sensors, joint.shape[2])).spatial
    # The way round of the component, as the other forms have it, rather than of what its kernel gives.
    return {"band": found * components.signs[:, None]}


def _evoked(components: Components, trials: Trials, parts: AtSensors) -> _Floats | None:
    joint = _joint(components, parts)
    return None if joint is None else evoked_patterns(joint, trials.sensors, trials.outputs).spatial
