"""The networks as a classifier of scikit-learn, for those who live there; what it has learned leaves as a decoder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from offline.calibration import fit_calibrated
from offline.checkpoint import make_checkpoint
from offline.configuration import Training, TrainingConfiguration
from offline.dataset import Cutter, Dataset, Trial
from offline.export import export
from offline.partition import divide_for_stopping
from offline.sources import Source
from offline.stored import amplitude_of
from offline.tasks import alone
from offline.training import n_samples
from rtdecode.configuration import validate
from rtdecode.contract import Amplitude, Event, Signal
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.model_file import ModelFile
from rtdecode.preprocessing import Chain, Step
from rtdecode.preprocessing.base import Samples
from rtdecode.recording import Recording

# What networks are told that ask, when nobody says.
_SFREQ = 1000.0
_NAME = "arrays"


class _Arrays(Dataset):
    """Trials that are in memory: one after the other they make up a recording.

    Parameters
    ----------
    configuration : TrainingConfiguration
        What to do; none of its steps may remember samples, as the trials were not neighbours.
    signal : Signal
        What their channels are.
    x : array of float32, (n_trials, n_channels, n_times)
        All there are.
    labels : sequence of int, (n_trials,)
        The class index of each.
    """

    def __init__(
        self, configuration: TrainingConfiguration, signal: Signal, x: NDArray[np.float32], labels: Sequence[int]
    ) -> None:
        n_times = x.shape[2]
        trials = [
            Trial(f"{_NAME}#{i}", 0, int(label), i * n_times, (i + 1) * n_times) for i, label in enumerate(labels)
        ]
        super().__init__(
            configuration,
            signal,
            sources=[Source(Path(_NAME), _NAME, {})],
            stored=[],
            stretches=[(0, 0, len(x) * n_times)],
            trials=trials,
            values=[],
        )
        self._x = x

    @property
    def fingerprints(self) -> list[str]:
        """See Dataset."""
        return [self.recording(0).fingerprint()]

    def recording(self, number: int) -> Recording:
        """See Dataset."""
        samples = np.concatenate(self._x, axis=1).T
        stamps = np.arange(len(samples)) / self.signal.sfreq
        names = self.configuration.class_names
        events = tuple(Event(float(stamps[trial.start]), names[trial.truth]) for trial in self.trials)
        return Recording(self.signal, samples, stamps, events, _NAME)

    def amplitude(self, numbers: Iterable[int]) -> Amplitude:
        """See Dataset; there is one recording, and nothing of it is kept."""
        return amplitude_of([self.recording(0)], self.length(0), self.signal)

    def preprocessor(self, steps: Sequence[Step]) -> Callable[[int], dict[int, Samples]]:
        """See Dataset."""
        return lambda source: {0: Chain(steps, self.signal).process(self.recording(0).samples.astype(np.float64))}


class DecoderClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network of `offline.models`, fitted and calibrated as `rtdecode train` does it.

    The same windows, labels and settings give the same weights to the last bit, on however many threads.

    Parameters
    ----------
    network : str
        Its name, or the import path of a torch module.
    signal : Signal or None
        Names, types and units of the channels, and the rate of the samples. What leaves as a decoder needs it; so
        do networks that ask for names or the rate (1000 Hz when not given).
    standardize : bool
        Whether each channel is brought to zero mean and unit standard deviation over the training windows. The
        decoder does the same.
    **settings
        Of the training (`learning_rate`, `max_epochs`, `seed`, ...: `offline.configuration.Training`) and of the
        network (`rtdecode models NAME --settings`), by their names.

    Attributes
    ----------
    classes_ : array, (n_classes,)
        The labels, sorted.
    fitted_ : offline.training.Fitted
        The network.
    n_features_in_ : int
        Channels.

    Examples
    --------
    >>> classifier = DecoderClassifier("lfcnn", signal=recording.signal, max_epochs=50)
    >>> search = GridSearchCV(classifier, {"learning_rate": [1e-3, 3e-4], "n_latent": [8, 32]}).fit(X, y)
    >>> search.best_estimator_.export(Path("best.onnx"), hop_s=0.05)
    """

    def __init__(
        self, network: str = "lfcnn", *, signal: Signal | None = None, standardize: bool = True, **settings: Any
    ) -> None:
        self.network = network
        self.signal = signal
        self.standardize = standardize
        self.settings = settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, settings included that were given."""
        return {**super().get_params(deep), **self.settings}

    def set_params(self, **params: Any) -> Self:
        """Set parameters; a name that is none of its own is a setting."""
        own = {name: value for name, value in params.items() if name in self._get_param_names()}
        super().set_params(**own)
        self.settings = {**self.settings, **{name: value for name, value in params.items() if name not in own}}
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to windows.

        Parameters
        ----------
        X : array, (n_trials, n_channels, n_times), or (n_trials, n_channels) for windows of one sample
            In the units of `signal`. It is kept, as a decoder file is proven on it.
        y : array, (n_trials,)
            Labels of any type.

        Raises
        ------
        ValueError
            X or y cannot be learned from.
        ConfigurationError
            There is no such network or setting.
        """
        x, given = validate_data(self, X, y, dtype=np.float32, allow_nd=True)
        check_classification_targets(given)
        self.classes_, labels = np.unique(given, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only, {self.classes_[0]!r}; two classes at least are needed.")
        self._x, self._labels = _windows(x), labels
        dataset = self._dataset(self._x, labels)
        try:
            with alone():
                self.fitted_ = fit_calibrated(dataset, *divide_for_stopping(dataset, dataset.trials))
        except RecordingError as error:
            raise ValueError(str(error)) from None
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class (n_trials, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        x = _windows(validate_data(self, X, dtype=np.float32, allow_nd=True, reset=False))
        n_times = self._x.shape[2]
        if x.shape[2] != n_times:
            raise ValueError(f"X has windows of {x.shape[2]} samples; it was fitted to windows of {n_times}.")
        dataset = self._dataset(x, np.zeros(len(x), np.int64))
        with alone():
            windows = Cutter(dataset, self.fitted_.steps).cut(dataset.trials, n_times, n_times)
            return self.fitted_.outputs(windows).astype(np.float64)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label of each window (n_trials,)."""
        proba = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[proba.argmax(axis=1)]
        return labels

    def export(self, path: Path, hop_s: float = 0.1, tmin_s: float = 0.0, name: str = "decoder") -> ModelFile:
        """Write the decoder file, which `rtdecode run` and `rtdecode replay` take; see `offline.export.export`.

        Of a pipeline it is this step alone: what stands before it has to be done to the stream too.

        Parameters
        ----------
        path : Path
            Where.
        hop_s : float
            Seconds between live predictions.
        tmin_s : float
            Where the windows began, in seconds after the events whose labels y holds: `replay` scores them there.
        name : str
            What the decoder is called.
        """
        check_is_fitted(self)
        if self.signal is None:
            raise ConfigurationError(
                f"{path} was not written: a decoder has to know its channels and their rate. Give the classifier a "
                "signal: set_params(signal=rtdecode.Signal(...))."
            )
        dataset = self._dataset(self._x, self._labels, hop_s=hop_s, tmin_s=tmin_s, name=name)
        fitted = replace(self.fitted_, hop=n_samples(hop_s, self.signal.sfreq))
        return export(make_checkpoint(dataset, fitted, {0}, []), path)

    def _dataset(self, x: NDArray[np.float32], labels: NDArray[np.int64], **more: Any) -> _Arrays:
        n_channels, n_times = x.shape[1:]
        signal = self.signal or Signal(
            ch_names=tuple(f"channel {i}" for i in range(n_channels)),
            ch_types=("misc",) * n_channels,
            units=("none",) * n_channels,
            sfreq=_SFREQ,
        )
        if signal.n_channels != n_channels:
            raise ValueError(f"X has {n_channels} channels, the signal {signal.n_channels}.")
        return _Arrays(self._configuration(n_times / signal.sfreq, **more), signal, x, labels.tolist())

    def _configuration(
        self, length_s: float, hop_s: float = 0.1, tmin_s: float = 0.0, name: str = "decoder"
    ) -> TrainingConfiguration:
        """Return the training run that does the same with these windows."""
        training = {key: value for key, value in self.settings.items() if key in Training.model_fields}
        network = {key: value for key, value in self.settings.items() if key not in training}
        if isinstance(weights := training.get("class_weight"), dict):
            # By labels of any type, as those of y; 0 is 0.0.
            names = {label: str(label) for label in self.classes_}
            training["class_weight"] = {names.get(label, str(label)): value for label, value in weights.items()}
        document = {
            "name": name,
            "recordings": {"pattern": _NAME},
            "channels": {"types": ("any",)},
            "trials": {
                "classes": {str(label): (str(label),) for label in self.classes_},
                "tmin_s": tmin_s,
                "tmax_s": tmin_s + length_s,
            },
            "window": {"length_s": length_s, "stride_s": length_s, "hop_s": hop_s},
            "preprocessing": [{"step": "standardize"}] if self.standardize else [],
            "model": {"network": self.network, "settings": network},
            "training": training,
            "split": {"kind": "stratified-blocks"},
        }
        return validate(TrainingConfiguration, document, "DecoderClassifier")


def _windows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return windows (n_trials, n_channels, n_times); ValueError if these are none."""
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ValueError(f"X has the shape {x.shape}; (n_trials, n_channels, n_times) is needed.")
    return x.reshape(*x.shape[:2], -1)
