"""Controls: a map that stays as it is without what was learned does not show what was learned.

Adebayo et al. 2018, Sanity checks for saliency maps, arXiv 1810.03292.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from torch import nn

from offline.dataset import Dataset
from offline.models import Network
from offline.partition import divide_for_stopping
from offline.training import Fitted, fit_network
from rtdecode.errors import ConfigurationError, RecordingError

_Floats = NDArray[np.float64]
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Randomised:
    """How alike maps are to the original's while layers lose what they learned, from the last one backwards.

    Attributes
    ----------
    layers : tuple of str
        In the order in which they were drawn anew; each row is with all layers up to that one.
    correlation : array, (n_layers, n_repeats)
        Spearman's, of the values of the maps.
    of_sizes : array, (n_layers, n_repeats)
        The same of their absolute values. Where a map is a product with the signal (integrated gradients), some of
        this is the signal's own.
    """

    layers: tuple[str, ...]
    correlation: _Floats
    of_sizes: _Floats


@dataclass(frozen=True)
class Shuffled:
    """What decoders show that learned from shuffled labels.

    Attributes
    ----------
    maps : array, (n_shuffles, ...)
        The map of each.
    correlation : array, (n_shuffles,)
        Spearman's with the original's map.
    size : array, (n_shuffles,)
        Root mean square of each, in that of the original's map.
    """

    maps: _Floats
    correlation: _Floats
    size: _Floats


def randomise_layers(
    network: Network,
    attribute: Callable[[Network], ArrayLike],
    n_repeats: int = 5,
    seed: int = 0,
    tell: Tell | None = None,
) -> Randomised:
    """Draw the weights of layer after layer anew, the last one first, and compare what is attributed.

    Weights are drawn from a normal distribution with the mean and the spread of the trained ones of their layer, so
    that signals stay about as large. Statistics of normalisations are left.

    Parameters
    ----------
    network : Network
        In evaluation mode; left as it is.
    attribute : callable
        Takes a network and returns a map, of any shape; NaN of it count for nothing.
    n_repeats, seed : int
        How often, and from which draws.
    tell : callable, optional
        Called with how many of how many maps are done.
    """
    layers = _layers(network)
    original = np.asarray(attribute(network))
    found = np.empty((2, len(layers), n_repeats))
    for repeat in range(n_repeats):
        changed = copy.deepcopy(network)
        generator = torch.Generator().manual_seed(seed * n_repeats + repeat)
        for number, name in enumerate(layers):
            _draw_anew(changed.get_submodule(name), generator)
            told = np.asarray(attribute(changed))
            found[:, number, repeat] = correlated(told, original), correlated(np.abs(told), np.abs(original))
            if tell:
                tell(repeat * len(layers) + number + 1, n_repeats * len(layers))
    return Randomised(tuple(layers), found[0], found[1])


def _layers(network: Network) -> list[str]:
    """Return the names of the modules that have weights of their own, the last one to work first."""
    names: dict[nn.Module, str] = {
        module: name for name, module in network.named_modules() if [*module.parameters(recurse=False)]
    }
    worked: list[str] = []

    def note(module: nn.Module, *_: Any) -> None:
        if names[module] not in worked:
            worked.append(names[module])

    hooks = [module.register_forward_hook(note) for module in names]
    x = torch.zeros(1, network.n_channels, network.n_times)
    try:
        with torch.no_grad():
            # Sequences of windows, where there is a memory: all that works then is called as a module.
            network(x[:, None] if network.state_names else x)
    finally:
        for hook in hooks:
            hook.remove()
    # What is not called itself belongs to the network as a whole, and goes last.
    return [*reversed(worked), *(name for name in names.values() if name not in worked)]


def _draw_anew(module: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for weights in module.parameters(recurse=False):
            spread = weights.std(correction=0) if weights.numel() > 1 else weights.abs().squeeze()
            weights.copy_(weights.mean() + spread * torch.randn(weights.shape, generator=generator))


def correlated(some: ArrayLike, others: ArrayLike) -> float:
    """Return Spearman's correlation of two maps of one shape; NaN where one of them has one value only."""
    a, b = np.ravel(some), np.ravel(others)
    both = np.isfinite(a) & np.isfinite(b)
    ranks = [rankdata(values[both]) - (both.sum() + 1) / 2 for values in (a, b)]
    norm = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / norm if norm else float("nan")


def shuffle_labels(
    dataset: Dataset,
    original: Fitted,
    attribute: Callable[[Fitted], ArrayLike],
    n_shuffles: int = 3,
    seed: int = 0,
    tell: Tell | None = None,
) -> Shuffled:
    """Train anew on labels that were shuffled within each recording, and compare what is attributed.

    Parameters
    ----------
    dataset : Dataset
        Recordings, and the configuration that decoders are trained by.
    original : Fitted
        The decoder.
    attribute : callable
        Takes a decoder and returns a map, of any shape: of its own windows, as each has a preprocessing of its own.
    n_shuffles, seed : int
        How often, and from which orders.
    tell : callable, optional
        Called with how many of how many decoders are trained.

    Raises
    ------
    ConfigurationError
        Its truth is not that of trials, but runs on in channels.
    RecordingError
        There are too few trials to train on, or no recording has trials of two classes: no label can move.
    """
    if dataset.configuration.target_channels:
        raise ConfigurationError(
            "Labels cannot be shuffled where channels tell the truth from sample to sample; this control is for "
            "trials with a class."
        )
    truths = _truths_by_source(dataset)
    if not any(len(set(truth)) > 1 for truth in truths.values()):
        raise RecordingError(
            f"Labels cannot be shuffled: each of the {len(truths)} recordings holds trials of one class only, and "
            "they are exchanged within recordings. Give recordings of several classes, or leave this control out."
        )
    wanted, maps = np.asarray(attribute(original), np.float64), []
    for number in range(n_shuffles):
        shuffled = with_shuffled_labels(dataset, seed * n_shuffles + number)
        fitted = fit_network(shuffled, *divide_for_stopping(shuffled, shuffled.trials))
        maps.append(np.asarray(attribute(fitted), np.float64))
        if tell:
            tell(number + 1, n_shuffles)
    return Shuffled(np.stack(maps), np.array([correlated(each, wanted) for each in maps]), _sizes(maps, wanted))


def _truths_by_source(dataset: Dataset) -> dict[Any, list[int]]:
    truths: dict[Any, list[int]] = {}
    for trial in dataset.trials:
        truths.setdefault(dataset.source_of[trial.recording], []).append(trial.truth)
    return truths


def with_shuffled_labels(dataset: Dataset, seed: int) -> Dataset:
    """Return a data set whose trials have the labels of others of their recording."""
    rng = np.random.default_rng(seed)
    truth = np.array([trial.truth for trial in dataset.trials])
    sources = np.array([dataset.source_of[trial.recording] for trial in dataset.trials])
    for source in np.unique(sources):
        truth[sources == source] = rng.permutation(truth[sources == source])
    trials = [replace(trial, truth=int(label)) for trial, label in zip(dataset.trials, truth, strict=True)]
    return replace(dataset, trials=trials)


def _sizes(maps: Sequence[_Floats], original: _Floats) -> _Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt([np.nanmean(each**2) / np.nanmean(original**2) for each in maps])
