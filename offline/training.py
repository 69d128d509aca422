"""Fitting a decoder: preprocessing and network, from whole trials."""

import contextlib
import copy
import ctypes
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset as Examples

from offline.augmentation import Augmenter
from offline.configuration import TrainingConfiguration
from offline.dataset import Cutter, Dataset, Trial
from offline.inputs import inputs_of
from offline.learning import Curves, Progress, learn, refuse_unfit
from offline.models import Network, make_network
from offline.models.closed_form import ClosedForm
from offline.pretrained import begun_with
from offline.recipes import build_steps
from offline.sensors import SensorMoments
from offline.targets import Scale
from offline.windows import Windows
from rtdecode.contract import Calibration, Contract, Provenance, Signal
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Chain, Step, read_steps

_BLOCK_S = 0.01
# Windows that are decided at once.
AT_ONCE = 256
# As in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


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
        What was measured in each epoch: `train_loss`, `valid_loss`, and `valid_` with the name of each metric. In
        closed form there are none.
    before : Provenance or None
        Where the weights come from that it began with.
    moments : SensorMoments or None
        What the sensors did in the trials it was fitted on.
    """

    network: Network
    steps: tuple[Step, ...]
    n_times: int
    hop: int
    n_epochs: int
    calibration: Calibration | None = None
    curves: Curves = ()
    before: Provenance | None = None
    moments: SensorMoments | None = None

    def outputs(self, windows: Windows) -> NDArray[np.float32]:
        """Return class probabilities or values (n_windows, n_outputs)."""
        numbers = np.arange(len(windows.x))
        # Sequences: one a trial, which need not be equally long.
        parts = (
            [numbers[windows.trial == trial][None] for trial in np.unique(windows.trial)]
            if self.network.state_names
            else [numbers[i : i + AT_ONCE] for i in range(0, len(numbers), AT_ONCE)]
        )
        with torch.no_grad():
            given = [
                self.network.outputs(**_given(self.network, windows.x[part], windows.subject[part])) for part in parts
            ]
        outputs: NDArray[np.float32] = torch.cat([g.flatten(0, -2) for g in given]).numpy()
        return outputs


def as_fitted(contract: Contract, network: Network) -> Fitted:
    """Return a decoder as what it was fitted to be."""
    steps, window = read_steps(contract.preprocessing), contract.window
    return Fitted(network, steps, window.n_times, window.hop, 0, contract.calibration, before=contract.provenance)


def _counted(dataset: Dataset, trials: list[Trial]) -> list[Trial]:
    """Repeat trials as often as they count."""
    times = dataset.configuration.training.own_weight
    return [trial for trial in trials for _ in range(times if dataset.source(trial).own else 1)]


def by_trial(values: NDArray[Any], windows: Windows) -> NDArray[Any]:
    """Stack what belongs to the windows of each trial: (n_trials, n_windows, ...), as many as all trials have."""
    counts = np.bincount(windows.trial)
    starts = np.cumsum(counts) - counts
    return np.stack([values[start : start + counts.min()] for start in starts])


def _given(network: Network, x: NDArray[np.float32], subject: NDArray[np.int64]) -> dict[str, Tensor]:
    """Return what the network is called with for windows, or sequences of them, and whose each is."""
    given = {"x": torch.from_numpy(x)}
    return {**given, "subject": torch.from_numpy(subject)} if network.conditioned else given


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
    augment : Augmenter or None
        What is done to them each time.
    """

    def __init__(self, network: Network, windows: Windows, y: NDArray[Any], augment: Augmenter | None = None) -> None:
        self._network, self._windows, self._y, self._augment = network, windows, y, augment
        numbers = np.arange(len(y))
        self._numbers = by_trial(numbers, windows) if network.state_names else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitems__(self, batch: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        numbers = self._numbers[batch]
        y, subject = self._y[numbers], self._windows.subject[numbers]
        if self._augment is None:
            x = self._windows.x[numbers]
        else:
            # Of torch's generator, so that a training that goes on draws what it would have drawn.
            rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
            by = self._augment.shifts(len(numbers), rng).reshape(-1, *(1,) * (numbers.ndim - 1))
            x, y = self._augment(self._windows.x.moved(numbers, by), y, rng)
        return _given(self._network, x, subject), torch.from_numpy(y)


def n_samples(seconds: float, sfreq: float) -> int:
    """Turn a duration into samples: rounded, at least one."""
    return max(1, round(seconds * sfreq))


def fit_network(
    dataset: Dataset,
    train: list[Trial],
    validation: list[Trial],
    progress: Progress | None = None,
    start: Fitted | None = None,
    state: Path | None = None,
) -> Fitted:
    """Fit the configured preprocessing and network on whole trials.

    Fitted steps and weights learn from `train`; `validation` decides when to stop, nothing else is seen. With
    `start` it goes on from that one's weights, behind its preprocessing; `state` keeps how far it is (see `learn`).
    """
    configuration = dataset.configuration
    if start is None and (found := begun_with(dataset)):
        start = as_fitted(*found)
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
        scale = Scale.fit(fitting.y, configuration.targets)
        y = [scale.learned(values) for values in y]
        network.set_targets(torch.from_numpy(scale.mean), torch.from_numpy(scale.std), scale.log)
    curves: Curves = ()
    if isinstance(network, ClosedForm):
        # Nothing to stop early: what would be watched is learned from too.
        x_all, y_all = np.concatenate([fitting.x[:], watched.x[:]]), np.concatenate(y)
        fit_closed_form(network, x_all, y_all, class_weights(configuration, y_all))
    else:
        augment = _augmenter(configuration, output, cutter.longest - n_times)
        learned = _Examples(network, fitting, y[0], augment)
        seen, weights = _Examples(network, watched, y[1]), class_weights(configuration, fitting.y)
        curves = learn(network, learned, seen, weights, configuration, progress, state)
    network.eval()
    hop = _hop(configuration, Chain(steps, dataset.signal))
    before = start.before if start else None
    return Fitted(network, steps, n_times, hop, max(len(curves), 1), curves=curves, before=before)


def _augmenter(configuration: TrainingConfiguration, output: Signal, room: int) -> Augmenter | None:
    changes = configuration.training.augmentation
    names = configuration.class_names
    return Augmenter(changes, output.ch_names, output.sfreq, names, room) if changes else None


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

    ConfigurationError tells what does not fit together, which what it would begin with instead may not either.
    """
    configuration = dataset.configuration
    begun_with(dataset)
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
    if not isinstance(network, ClosedForm):
        refuse_unfit(network, configuration.training)
        _augmenter(configuration, output, longest_window - n_times)
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
