"""Fitting a network: skorch, Adam, early stopping, best weights restored."""

import contextlib
import copy
import ctypes
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import Dataset as Examples

from offline.configuration import TrainingConfiguration
from offline.dataset import Cutter, Dataset, Trial
from offline.inputs import inputs_of
from offline.models import Network, make_network
from offline.models.closed_form import ClosedForm
from offline.recipes import build_steps
from offline.windows import Windows
from rtdecode.contract import Calibration
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Chain, Step

Progress = Callable[[str], None]
Curves = tuple[dict[str, float], ...]
_BLOCK_S = 0.01
# Windows that are decided at once.
_AT_ONCE = 256
# As in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class PenalisedNet(NeuralNet):  # type: ignore[misc]
    """A network that learns by a criterion and its own penalty."""

    def get_loss(self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False) -> Tensor:
        """Return the criterion of outputs (batch, n_outputs), or of sequences of them, plus the penalty."""
        if self.module_.state_names:
            # Sequences of windows, each of which counts.
            y_pred, y_true = y_pred.flatten(0, 1), y_true.flatten(0, 1)
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
    calibration : Calibration or None
        How the temperature of its probabilities was found.
    curves : tuple of dict of str to float
        What was measured in each epoch, `train_loss` and `valid_loss` among it; nothing in closed form.
    """

    network: Network
    steps: tuple[Step, ...]
    n_times: int
    hop: int
    n_epochs: int
    calibration: Calibration | None = None
    curves: Curves = ()

    def outputs(self, windows: Windows) -> NDArray[np.float32]:
        """Return class probabilities or values (n_windows, n_outputs)."""
        numbers = np.arange(len(windows.x))
        # Sequences: one a trial, which need not be equally long.
        parts = (
            [numbers[windows.trial == trial][None] for trial in np.unique(windows.trial)]
            if self.network.state_names
            else [numbers[i : i + _AT_ONCE] for i in range(0, len(numbers), _AT_ONCE)]
        )
        with torch.no_grad():
            given = [self.network.outputs(**_given(self.network, windows, part)) for part in parts]
        outputs: NDArray[np.float32] = torch.cat([g.flatten(0, -2) for g in given]).numpy()
        return outputs


def _counted(dataset: Dataset, trials: list[Trial]) -> list[Trial]:
    """Repeat trials as often as they count."""
    times = dataset.configuration.training.own_weight
    return [trial for trial in trials for _ in range(times if dataset.source(trial).own else 1)]


def by_trial(values: NDArray[Any], windows: Windows) -> NDArray[Any]:
    """Stack what belongs to the windows of each trial: (n_trials, n_windows, ...), as many as all trials have."""
    counts = np.bincount(windows.trial)
    starts = np.cumsum(counts) - counts
    return np.stack([values[start : start + counts.min()] for start in starts])


def _given(network: Network, windows: Windows, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
    """Return what the network is called with for windows, or sequences of them, of these numbers."""
    given = {"x": torch.from_numpy(windows.x[numbers])}
    return {**given, "subject": torch.from_numpy(windows.subject[numbers])} if network.conditioned else given


class _Examples(Examples[Any]):
    """What a network learns from: windows, or sequences of them, of which one batch at a time is in memory.

    Parameters
    ----------
    network : Network
        That is to learn.
    windows : Windows
        All there are.
    y : array, (n_windows,) or (n_windows, n_targets)
        What they stand for.
    """

    def __init__(self, network: Network, windows: Windows, y: NDArray[Any]) -> None:
        self._network, self._windows, self._y = network, windows, y
        numbers = np.arange(len(y))
        self._numbers = by_trial(numbers, windows) if network.state_names else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitems__(self, batch: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        numbers = self._numbers[batch]
        return _given(self._network, self._windows, numbers), torch.from_numpy(self._y[numbers])


def n_samples(seconds: float, sfreq: float) -> int:
    """Turn a duration into samples: rounded, at least one."""
    return max(1, round(seconds * sfreq))


def fit_network(
    dataset: Dataset,
    train: list[Trial],
    validation: list[Trial],
    progress: Progress | None = None,
    start: Fitted | None = None,
) -> Fitted:
    """Fit the configured preprocessing and network on whole trials.

    Fitted steps and weights learn from `train`; `validation` decides when to stop, nothing else is seen. With
    `start` it goes on from that one's weights, behind its preprocessing.
    """
    configuration = dataset.configuration
    if start is None:
        steps, network, n_times = build(dataset, train)
    else:
        steps, network, n_times = start.steps, copy.deepcopy(start.network).train(), start.n_times
        network.set_temperature(1.0)
        _begin(configuration)
    output = Chain(steps, dataset.signal).output
    stride = n_samples(configuration.stride_s, output.sfreq)
    cutter = Cutter(dataset, steps)
    fitting, watched = (cutter.cut(_counted(dataset, part), n_times, stride) for part in (train, validation))
    y = [fitting.y, watched.y]
    if configuration.targets is not None:
        mean, std = fitting.y.mean(axis=0), fitting.y.std(axis=0)
        std = np.where(std > 0, std, 1).astype(np.float32)
        y = [((values - mean) / std).astype(np.float32) for values in y]
        network.set_targets(torch.from_numpy(mean), torch.from_numpy(std))
    if isinstance(network, ClosedForm):
        # Nothing to stop early: what would be watched is learned from too.
        x_all, y_all = np.concatenate([fitting.x[:], watched.x[:]]), np.concatenate(y)
        fit_closed_form(network, x_all, y_all, class_weights(configuration, y_all))
        curves: Curves = ()
    else:
        learned, seen = _Examples(network, fitting, y[0]), _Examples(network, watched, y[1])
        curves = _fit(network, learned, seen, class_weights(configuration, fitting.y), configuration, progress)
    network.eval()
    hop = _hop(configuration, Chain(steps, dataset.signal))
    return Fitted(network, steps, n_times, hop, max(len(curves), 1), curves=curves)


def _hop(configuration: TrainingConfiguration, chain: Chain) -> int:
    """Return the samples of a hop; at events, of a block: the longest within 10 ms, at least one."""
    if configuration.window:
        return n_samples(configuration.window.hop_s, chain.output.sfreq)
    return max(math.floor(_BLOCK_S * chain.output.sfreq), chain.outputs_within(1)[1])


def class_weights(configuration: TrainingConfiguration, y: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return how much a window of each class counts (n_classes,), their mean over windows 1; None: all the same."""
    wanted, names = configuration.training.class_weight, configuration.class_names
    if wanted is None:
        return None
    counts = np.bincount(y, minlength=len(names))
    weights = 1 / np.maximum(counts, 1) if wanted == "balanced" else np.array([wanted[name] for name in names])
    normalised: NDArray[np.float64] = weights * len(y) / (weights * counts).sum()
    return normalised


def fit_closed_form(network: ClosedForm, x: ArrayLike, y: NDArray[Any], weights: NDArray[np.float64] | None) -> None:
    """Fit a network that has a way of its own; ConfigurationError if it is not made for such targets."""
    try:
        network.fit(np.asarray(x, np.float32), y, weights)
    except ValueError as error:
        raise ConfigurationError(f"{type(network).__name__} cannot be fitted: {error}.") from None


def build(dataset: Dataset, train: list[Trial]) -> tuple[tuple[Step, ...], Network, int]:
    """Build the preprocessing (what is fitted learns from `train`), a fresh network, and samples in a window.

    ConfigurationError tells what does not fit together.
    """
    configuration = dataset.configuration
    steps = build_steps(configuration.preprocessing, dataset.signal, lambda so_far: dataset.samples_of(so_far, train))
    chain = Chain(steps, dataset.signal)
    output = chain.output
    longest_window = Cutter(dataset, steps).longest
    window = configuration.window
    n_times = n_samples(window.length_s, output.sfreq) if window else longest_window
    if not 1 <= n_times <= longest_window:
        what = "window.length_s is" if window else "one sample at least is needed, that is"
        raise ConfigurationError(
            f"{what} {max(n_times, 1)} samples at {output.sfreq:g} Hz, but a trial may hold {longest_window} only. "
            "Shorten the window, or lengthen trials.tmin_s to trials.tmax_s."
        )
    longest = max(map(dataset.length, range(len(dataset.stretches))))
    needed = chain.newest_input(chain.n_outputs(chain.settling) + n_times - 1) + 1
    if longest < needed:
        rate = dataset.signal.sfreq
        raise ConfigurationError(
            f"No prediction could ever be made: steps settle for {chain.settling / rate:.3g} s before a window of "
            f"{n_times / output.sfreq:.3g} s, but the longest unbroken recording lasts {longest / rate:.3g} s. "
            "Shorten the window, or take filters of lower order or wider bands."
        )
    _begin(configuration)
    network = make_network(
        configuration.model.network,
        inputs_of(
            steps, dataset.signal, n_times, len(dataset.outputs.names), dataset.positions, len(dataset.subjects)
        ),
        configuration.model.settings,
        configuration.model.model_dump()["recurrent"],
    )
    return steps, network.train(), n_times


def _begin(configuration: TrainingConfiguration) -> None:
    """Prepare torch and numpy, whose global generators skorch and torch draw from, for one fit."""
    _keep_memory()
    # One thread, so that sums are always taken in the same order.
    torch.set_num_threads(1)
    torch.manual_seed(configuration.training.seed)
    np.random.seed(configuration.training.seed)  # noqa: NPY002


def _keep_memory() -> None:
    """Have glibc keep what was freed: asking for it again with every batch took as long as training."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            c_library = ctypes.CDLL(None)
            c_library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            c_library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _fit(
    network: nn.Module,
    train: _Examples,
    watched: _Examples,
    weights: NDArray[np.float64] | None,
    configuration: TrainingConfiguration,
    progress: Progress | None,
) -> Curves:
    """Fit on `train`, stop early by `watched`; return what was measured in each epoch."""
    settings = configuration.training
    callbacks: list[Any] = [
        ("constrain", _Constrain()),
        ("stopping", EarlyStopping("valid_loss", patience=settings.patience, load_best=True, sink=_silent)),
    ]
    if progress:
        callbacks.append(("tell", _Tell(progress)))
    regression = configuration.targets is not None
    net = PenalisedNet(
        network,
        criterion=nn.MSELoss if regression else nn.CrossEntropyLoss,
        **({} if weights is None else {"criterion__weight": torch.from_numpy(weights.astype(np.float32))}),
        optimizer=torch.optim.Adam,
        lr=settings.learning_rate,
        batch_size=settings.batch_size,
        max_epochs=settings.max_epochs,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=_as_it_is,
        iterator_valid__collate_fn=_as_it_is,
        train_split=predefined_split(watched),
        callbacks=callbacks,
        callbacks__print_log=None,
        verbose=0,
    )
    net.fit(train)
    # skorch ends quietly on Ctrl-C, as it does when its own stopping says so: only the latter gives a model.
    history, stopping = net.history, dict(net.callbacks_)["stopping"]
    finished = len(history) == settings.max_epochs and "valid_loss" in history[-1]
    if not finished and stopping.misses_ < settings.patience:
        raise KeyboardInterrupt
    network.load_state_dict(net.module_.state_dict())
    losses = [row["valid_loss"] for row in history if "valid_loss" in row]
    if not np.isfinite(losses).all() or not all(torch.isfinite(p).all() for p in network.parameters()):
        raise ConfigurationError(
            "Training diverged: the loss is not a number. Lower training.learning_rate, or standardise the data."
        )
    return tuple({name: float(row[name]) for name in ("train_loss", "valid_loss")} for row in history)


def _as_it_is(batch: Any) -> Any:
    return batch


def _silent(text: str) -> None:
    pass
