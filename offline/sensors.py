"""What the sensors did in the trials a decoder learned from: means and covariances, which a decoder file keeps.

With them a file tells its patterns at the sensors without the recordings. Nothing else of the recordings is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from offline.dataset import Dataset, Trial, event_window, from_sensors, outputs_of
from offline.moments import Moments
from rtdecode.contract import EventWindow, Signal
from rtdecode.preprocessing import Chain, Clamp, Decimate, Filter, FilterBank, Pick, Resample, Scale, Step
from rtdecode.preprocessing.base import Samples
from rtdecode.preprocessing.running import RunningAlign, RunningStandardize
from rtdecode.recording import Positions

_Floats = NDArray[np.float64]
# Values that are kept of all classes together; of more, all classes are kept as one, and of more still nothing is.
_MOST = 1 << 22


@dataclass(frozen=True)
class AtSensors:
    """Preprocessing taken apart: what is done to each sensor over time, and how sensors are mixed for the network.

    Filters treat all channels alike, so the order in which a chain filters and mixes makes no difference.

    Attributes
    ----------
    steps : tuple of Step
        Filters and changes of rate or unit: behind them a sensor is still a sensor.
    signal : Signal
        What leaves these: with a filter bank each sensor once for every band, band-major.
    n_bands : int
        How many bands there are; 1 without a filter bank.
    mixing : array, (n_channels', n_sensors) or None
        From the sensors to what the network sees, but for what is constant, and for a clamp, which is passed over.
        None where that is no fixed linear map: a step learns as it runs.
    """

    steps: tuple[Step, ...]
    signal: Signal
    n_bands: int
    mixing: _Floats | None

    @classmethod
    def of(cls, steps: Sequence[Step], signal: Signal) -> Self:
        """Take steps apart that stand behind this signal."""
        kept: list[Step] = []
        mixing: _Floats = np.eye(signal.n_channels)
        mixed, entering, n_bands = False, signal, 1
        running = any(isinstance(step, (RunningAlign, RunningStandardize)) for step in steps)
        for step in steps:
            leaving = step.output(entering)
            if isinstance(step, (Filter, Decimate, Resample)):
                kept.append(step)
            elif isinstance(step, (Pick, Scale)) and not mixed:
                kept.append(step)
                mixing = np.eye(leaving.n_channels)
            elif isinstance(step, FilterBank):
                kept.append(step)
                n_bands *= len(step.bands_hz)
                mixing = np.asarray(np.kron(np.eye(len(step.bands_hz)), mixing), np.float64)
            elif not isinstance(step, Clamp) and not running:
                mixing, mixed = np.asarray(_matrix(step, entering) @ mixing, np.float64), True
            else:
                mixed = mixed or not isinstance(step, Clamp)
            entering = leaving
        return cls(tuple(kept), Chain(kept, signal).output, n_bands, None if running else mixing)


def _matrix(step: Step, signal: Signal) -> _Floats:
    rows = np.concatenate([np.zeros((1, signal.n_channels)), np.eye(signal.n_channels)])
    given = Chain([step], signal).process(rows)
    return np.asarray((given[1:] - given[0]).T)


@dataclass(frozen=True)
class SensorMoments:
    """Means and covariances of each class.

    Attributes
    ----------
    n_trials, n_samples : tuple of int
        Of each class; one entry for all where classes are not told apart.
    mean : array, (n_classes, n)
        Of the sensors behind the filters (see `AtSensors`), in their units; where these are not mixed linearly, then
        of what the network sees.
    cov : array, (n_classes, n, n)
        About the mean of each class.
    positions : Positions
        Where the sensors are on a plane.
    """

    n_trials: tuple[int, ...]
    n_samples: tuple[int, ...]
    mean: _Floats
    cov: _Floats
    positions: Positions

    @property
    def pooled(self) -> _Floats:
        """The covariance over all classes about their common mean, (n, n)."""
        n = np.array(self.n_samples, float)
        apart = self.mean - n @ self.mean / n.sum()
        scatter = np.einsum("k,kij->ij", np.maximum(n - 1, 0), self.cov) + np.einsum("k,ki,kj->ij", n, apart, apart)
        return np.asarray(scatter / (n.sum() - 1))

    def document(self) -> dict[str, Any]:
        """Return it as torch keeps it: the covariances as triangles of float32."""
        rows, columns = np.triu_indices(self.cov.shape[1])
        return {
            "n_trials": list(self.n_trials),
            "n_samples": list(self.n_samples),
            "mean": torch.from_numpy(self.mean.astype(np.float32)),
            "cov": torch.from_numpy(self.cov[:, rows, columns].astype(np.float32)),
            "positions": {name: list(place) for name, place in self.positions.items()},
        }

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Self:
        """Read what `document` gave; LookupError, TypeError or ValueError if it is damaged."""
        mean, kept = (document[name].double().numpy() for name in ("mean", "cov"))
        n = mean.shape[1]
        rows, columns = np.triu_indices(n)
        cov = np.zeros((len(mean), n, n))
        cov[:, rows, columns] = cov[:, columns, rows] = kept
        positions = {name: (float(x), float(y)) for name, (x, y) in document["positions"].items()}
        return cls(tuple(document["n_trials"]), tuple(document["n_samples"]), mean, cov, positions)


def sensor_moments(dataset: Dataset, steps: tuple[Step, ...], trials: Iterable[Trial]) -> SensorMoments | None:
    """Return moments of trials; None where there would be too much to keep."""
    parts = AtSensors.of(steps, dataset.signal)
    n = parts.signal.n_channels + (0 if parts.mixing is not None else Chain(steps, dataset.signal).output.n_channels)
    names = dataset.configuration.class_names if dataset.configuration.targets is None else ()
    n_classes = max(len(names), 1)
    if n_classes * n * n > _MOST:
        n_classes = 1
    if n * n > _MOST:
        return None
    counts, moments = [0] * n_classes, [Moments(n) for _ in range(n_classes)]
    for trial, samples in samples_at_sensors(dataset, steps, parts, trials):
        number = trial.truth if n_classes > 1 else 0
        counts[number] += 1
        moments[number].add(samples)
    return SensorMoments(
        tuple(counts),
        tuple(each.n for each in moments),
        np.stack([each.mean for each in moments]),
        np.stack([each.covariance for each in moments]),
        dataset.positions,
    )


def samples_at_sensors(
    dataset: Dataset, steps: tuple[Step, ...], parts: AtSensors, trials: Iterable[Trial]
) -> Iterator[tuple[Trial, Samples]]:
    """Give each trial's samples (n_samples', n) behind the filters: recording after recording, baselines taken off.

    Where sensors are not mixed linearly, then what the network sees beside them.
    """
    chain = Chain(parts.steps, dataset.signal)
    at_events = event_window(dataset.configuration, Chain(steps, dataset.signal), dataset.signal.sfreq)
    before = dataset.before_learning(steps)
    # What is kept for training is often just that.
    is_kept = [*map(id, before.steps)] == [*map(id, parts.steps)]
    chains = [dataset.preprocessor(parts.steps) if is_kept else from_sensors(dataset, parts.steps)]
    chains += [dataset.preprocessor(steps)] if parts.mixing is None else []
    held: list[dict[int, Samples]] = [{} for _ in chains]
    for trial in sorted(trials, key=lambda t: t.recording):
        if trial.recording not in held[0]:
            held = [preprocess(dataset.stretches[trial.recording][0]) for preprocess in chains]
        cut = slice(*outputs_of(trial, chain))
        samples = np.concatenate([features[trial.recording][cut] for features in held], axis=1)
        yield trial, _window(samples, at_events)


def _window(samples: Samples, at_events: EventWindow | None) -> Samples:
    return samples if at_events is None else at_events.corrected(samples.T.astype(np.float32)).T.astype(np.float64)
