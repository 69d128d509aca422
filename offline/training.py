"""Fitting a network: skorch, Adam, early stopping, best weights restored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import predefined_split
from torch import Tensor, nn

from offline.configuration import TrainingConfiguration
from offline.dataset import Cutter, Dataset, Trial, Windows
from offline.models import Inputs, Network, make_network
from offline.models.closed_form import ClosedForm
from offline.recipes import build_steps
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Chain, Step

Progress = Callable[[str], None]


class _PenalisedClassifier(NeuralNetClassifier):  # type: ignore[misc]
    """Cross-entropy plus the network's own penalty."""

    def get_loss(self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False) -> Tensor:
        loss: Tensor = super().get_loss(y_pred, y_true, X=X, training=training)
        penalty = self.module_.penalty() if training else None
        return loss if penalty is None else loss + penalty


class _Constrain(Callback):  # type: ignore[misc]
    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            net.module_.constrain()


class _Tell(Callback):  # type: ignore[misc]
    def __init__(self, tell: Progress) -> None:
        self.tell = tell

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        self.tell(f"epoch {row['epoch']}, loss {row['train_loss']:.3f}, validation {row['valid_loss']:.3f}")


@dataclass(frozen=True)
class Fitted:
    """A fitted network with the preprocessing it was fitted behind.

    Attributes
    ----------
    network : Network
        In evaluation mode.
    steps : tuple of Step
        With all numbers.
    n_times, hop : int
        Samples at the model's rate.
    n_epochs : int
        Epochs trained, the patience included.
    """

    network: Network
    steps: tuple[Step, ...]
    n_times: int
    hop: int
    n_epochs: int

    def proba(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return class probabilities (n_windows, n_classes) of windows (n_windows, n_channels, n_times)."""
        with torch.no_grad():
            parts = [
                torch.softmax(self.network(torch.from_numpy(x[i : i + 256])), dim=1) for i in range(0, len(x), 256)
            ]
        proba: NDArray[np.float32] = torch.cat(parts).numpy()
        return proba


def n_samples(seconds: float, sfreq: float) -> int:
    """Turn a duration into samples: rounded, at least one."""
    return max(1, round(seconds * sfreq))


def fit_network(
    dataset: Dataset, train: list[Trial], validation: list[Trial], progress: Progress | None = None
) -> Fitted:
    """Fit the configured preprocessing and network on whole trials.

    Fitted steps and weights learn from `train`; `validation` decides when to stop, nothing else is seen.
    """
    configuration = dataset.configuration
    steps, network, n_times = build(dataset, train)
    output = Chain(steps, dataset.signal).output
    stride = n_samples(configuration.window.stride_s, output.sfreq)
    cutter = Cutter(dataset, steps)
    fitting, watched = cutter.cut(train, n_times, stride), cutter.cut(validation, n_times, stride)
    if isinstance(network, ClosedForm):
        # Nothing to stop early: what would be watched is learned from too.
        network.fit(np.concatenate([fitting.x, watched.x]), np.concatenate([fitting.y, watched.y]))
        n_epochs = 1
    else:
        n_epochs = _fit(network, fitting, watched, configuration, progress)
    network.eval()
    return Fitted(network, steps, n_times, n_samples(configuration.window.hop_s, output.sfreq), n_epochs)


def build(dataset: Dataset, train: list[Trial]) -> tuple[tuple[Step, ...], Network, int]:
    """Build the preprocessing (what is fitted learns from `train`), a fresh network, and samples in a window.

    ConfigurationError tells what does not fit together.
    """
    configuration = dataset.configuration
    steps = build_steps(configuration.preprocessing, dataset.signal, lambda so_far: dataset.samples_of(so_far, train))
    chain = Chain(steps, dataset.signal)
    output = chain.output
    n_times = n_samples(configuration.window.length_s, output.sfreq)
    shortest, _ = chain.outputs_within(dataset.trial_length)
    if n_times > shortest:
        raise ConfigurationError(
            f"window.length_s is {n_times} samples at {output.sfreq:g} Hz, but a trial may hold {shortest} only. "
            "Shorten the window, or lengthen trials.tmin_s to trials.tmax_s."
        )
    # torch and numpy's global generators, which skorch and torch draw from; one thread, so that sums are
    # always taken in the same order.
    torch.set_num_threads(1)
    torch.manual_seed(configuration.training.seed)
    np.random.seed(configuration.training.seed)  # noqa: NPY002
    network = make_network(
        configuration.model.network,
        Inputs(output.n_channels, n_times, len(configuration.class_names), output.sfreq, output.ch_names),
        configuration.model.settings,
    )
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, output.n_channels, n_times))
    except ValueError as error:
        raise ConfigurationError(f"Network {configuration.model.network!r} cannot be trained: {error}.") from None
    return steps, network.train(), n_times


def _fit(
    network: nn.Module,
    fitting: Windows,
    watched: Windows,
    configuration: TrainingConfiguration,
    progress: Progress | None,
) -> int:
    settings = configuration.training
    callbacks: list[Any] = [
        ("constrain", _Constrain()),
        ("stopping", EarlyStopping("valid_loss", patience=settings.patience, load_best=True, sink=_silent)),
    ]
    if progress:
        callbacks.append(("tell", _Tell(progress)))
    classifier = _PenalisedClassifier(
        network,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=settings.learning_rate,
        batch_size=settings.batch_size,
        max_epochs=settings.max_epochs,
        iterator_train__shuffle=True,
        train_split=predefined_split(SkorchDataset(watched.x, watched.y)),
        classes=list(range(len(configuration.class_names))),
        callbacks=callbacks,
        callbacks__print_log=None,
        callbacks__valid_acc=None,
        verbose=0,
    )
    classifier.fit(fitting.x, fitting.y)
    # skorch ends quietly on Ctrl-C, as it does when its own stopping says so: only the latter gives a model.
    history, stopping = classifier.history, dict(classifier.callbacks_)["stopping"]
    finished = len(history) == settings.max_epochs and "valid_loss" in history[-1]
    if not finished and stopping.misses_ < settings.patience:
        raise KeyboardInterrupt
    network.load_state_dict(classifier.module_.state_dict())
    return len(classifier.history)


def _silent(text: str) -> None:
    pass
