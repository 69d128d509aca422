"""A decoder to be looked into, and what it sees of recordings: windows, truths, and the sensors behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from offline.checkpoint import configuration_for_files, network_with, read_checkpoint, read_held
from offline.dataset import Cutter, Dataset, Preprocess, from_sensors, load_dataset
from offline.models import Network
from offline.sensors import SensorMoments
from offline.sources import named_sources
from offline.stored import refuse_copies
from offline.training import AT_ONCE, n_samples
from offline.windows import Cuts
from rtdecode.contract import Contract, Signal
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Chain, Step, read_steps
from rtdecode.preprocessing.base import Samples
from rtdecode.recording import Positions

# Values of windows that are looked at; of more windows, every n-th of each trial.
_MOST = 1 << 26

Change = Callable[[Samples], Samples]


@dataclass(frozen=True)
class Examined:
    """A decoder with its network as trained, before anything was merged for export.

    Attributes
    ----------
    path : Path
        The decoder file, or the checkpoint.
    contract : Contract
        What it promises; its preprocessing is what the network was trained behind.
    network : Network
        In evaluation mode.
    positions : Positions
        Where the sensors are on a plane, as far as the file tells: none in a decoder file that is older than that.
    moments : SensorMoments or None
        What the sensors did in the trials it was trained on; None in an older file.
    """

    path: Path
    contract: Contract
    network: Network
    positions: Positions
    moments: SensorMoments | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The preprocessing."""
        return read_steps(self.contract.preprocessing)

    @property
    def signal(self) -> Signal:
        """The sensors, in the decoder's order and units."""
        return self.contract.signal

    @cached_property
    def seen(self) -> Signal:
        """The channels that the network sees, with their names, types, units and rate."""
        return Chain(self.steps, self.signal).output

    @property
    def classifies(self) -> bool:
        """Whether the outputs are probabilities of classes; otherwise they are values."""
        return self.contract.targets is None

    @property
    def names(self) -> tuple[str, ...]:
        """What each output is called."""
        return self.contract.outputs.names

    def predict(self, windows: NDArray[np.float32], trial: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return what the decoder file gives for windows: class probabilities, or values in the targets' units.

        Parameters
        ----------
        windows : array of float32, (n_windows, n_channels', n_times)
            As the network sees them.
        trial : array of int64, (n_windows,), optional
            Which windows follow each other: a network with a memory goes through those of a trial in their order.
            Without it each window is the first of its own.

        Returns
        -------
        array of float64, (n_windows, n_outputs)
        """
        x = torch.from_numpy(np.ascontiguousarray(windows, np.float32))
        given = torch.empty((len(x), len(self.names)))
        with torch.no_grad():
            if self.network.state_names:
                trials = np.arange(len(x)) if trial is None else trial
                for number in np.unique(trials):
                    own = torch.from_numpy(trials == number)
                    given[own] = self.network.outputs(x[own][None])[0].float()
            else:
                for start in range(0, len(x), AT_ONCE):
                    given[start : start + AT_ONCE] = self.network.outputs(x[start : start + AT_ONCE]).float()
        return given.numpy().astype(np.float64)


def read_examined(path: Path, subject: str | None = None, network: str | None = None) -> Examined:
    """Read a decoder file or a checkpoint (.pt) with its network as trained.

    Raises
    ------
    ConfigurationError
        Its network tells people apart, and `subject` is none of them; or it is a module of somebody's own, and not
        the one that was named (`network`).
    ModelError
        It is neither, or the file does not hold the weights.
    """
    if path.suffix == ".pt":
        checkpoint = read_checkpoint(path, network)
        if checkpoint.network.conditioned or subject is not None:
            known = ", ".join(checkpoint.subjects)
            if subject is None:
                raise ConfigurationError(f"{path} tells people apart: say whose it is (--subject): {known}.")
            checkpoint = checkpoint.for_subject(subject)
        found = checkpoint.contract, checkpoint.network, checkpoint.probe.positions, checkpoint.moments
        return Examined(path, *found)
    if subject is not None:
        raise ConfigurationError(f"{path} is of one person already: --subject is for a checkpoint of several.")
    contract, weights, moments = read_held(path)
    positions = moments.positions if moments else {}
    rebuilt = network_with(weights, contract, path, positions, named=network)
    return Examined(path, contract, rebuilt, positions, moments)


@dataclass(frozen=True)
class Material:
    """What a decoder sees of recordings, cut as training and evaluation cut it.

    Attributes
    ----------
    examined : Examined
        Whose windows they are.
    dataset : Dataset
        The recordings and their trials.
    windows : array of float32, (n_windows, n_channels', n_times)
        As the network sees them.
    truth : array of int64, (n_windows,), or of float32, (n_windows, n_targets)
        Class indices, or values.
    trial : array of int64, (n_windows,)
        Index into `dataset.trials`; windows of one share samples and are not independent.
    recording : array of int64, (n_windows,)
        Index of each one's file into `names`: the groups.
    at : array of int64, (n_windows,)
        The newest input sample of each, counted from the beginning of its unbroken stretch.
    kept : array of int64, (n_windows,)
        Which windows of all there are: those of `windows`, in order.
    n_cut : int
        How many windows there are; of more than should be in memory, every n-th of each trial is looked at.
    """

    examined: Examined
    dataset: Dataset
    windows: NDArray[np.float32]
    truth: NDArray[np.int64] | NDArray[np.float32]
    trial: NDArray[np.int64]
    recording: NDArray[np.int64]
    at: NDArray[np.int64]
    kept: NDArray[np.int64]
    n_cut: int

    @property
    def names(self) -> tuple[str, ...]:
        """The recordings' files."""
        return tuple(source.path.name for source in self.dataset.sources)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Those of them that the decoder was trained on, or on parts of which: nothing about new data."""
        known = set(self.examined.contract.provenance.data_fingerprint.split("+"))
        seen = zip(self.names, self.dataset.fingerprints, strict=True)
        return tuple(name for name, fingerprint in seen if fingerprint[:16] in known)

    @property
    def positions(self) -> Positions:
        """Where the sensors are on a plane, as far as decoder or recordings tell."""
        return {**self.dataset.positions, **self.examined.positions}

    @property
    def n_trials(self) -> int:
        """How many trials, or segments, the windows are of."""
        return len(np.unique(self.trial))

    def predict(self, windows: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Return what the decoder gives for its windows, or for as many in their place (see `Examined.predict`)."""
        return self.examined.predict(self.windows if windows is None else windows, self.trial)

    def changed(self, change: Change) -> NDArray[np.float32]:
        """Return the windows as they would be had the sensors given something else.

        The whole recording is changed and goes through the preprocessing anew, with its filters' past and what
        running steps learn as it goes.

        Parameters
        ----------
        change : callable
            Takes the samples of an unbroken stretch, (n_samples, n_channels) of float64, in the decoder's order and
            units at the rate of the recording, and returns as many.
        """
        preprocess = from_sensors(self.dataset, self.examined.steps, change)
        return _windows(self.dataset, self.examined, preprocess)[0][self.kept]


def look_at(examined: Examined, paths: Sequence[Path], stride_s: float | None = None) -> Material:
    """Cut recordings into the windows that a decoder would be trained or judged on.

    Parameters
    ----------
    examined : Examined
        The decoder.
    paths : sequence of Path
        Recordings with their events; not every class needs to be among them.
    stride_s : float, optional
        From one window of a trial to the next; as in its training.

    Raises
    ------
    ConfigurationError
        The decoder was trained on what a file by itself does not tell.
    RecordingError
        A recording cannot be read, does not fit, holds no trial, or is given twice.
    """
    dataset = dataset_of(examined, paths)
    if stride_s is not None and dataset.configuration.window:
        window = dataset.configuration.window.model_copy(update={"stride_s": stride_s})
        dataset = replace(dataset, configuration=dataset.configuration.model_copy(update={"window": window}))
    cuts, truth, trial, at = _windows(dataset, examined)
    every = -(-len(cuts) * examined.seen.n_channels * examined.contract.window.n_times // _MOST)
    kept = np.flatnonzero(_within_trial(trial) % every == 0)
    return Material(
        examined=examined,
        dataset=dataset,
        windows=cuts[kept],
        truth=truth[kept],
        trial=trial[kept],
        recording=np.array([dataset.source_of[dataset.trials[i].recording] for i in trial[kept]], np.int64),
        at=at[kept],
        kept=kept,
        n_cut=len(cuts),
    )


def dataset_of(examined: Examined, paths: Sequence[Path]) -> Dataset:
    """Return recordings as the data set of a decoder, whatever they are called; see `look_at`."""
    configuration = configuration_for_files(examined.contract, examined.path, split={"kind": "blocks"})
    dataset = load_dataset(configuration, named_sources(paths), every_class=False)
    refuse_copies(dataset.stored)
    return replace(dataset, signal=examined.signal)


def _windows(
    dataset: Dataset, examined: Examined, preprocess: Preprocess | None = None
) -> tuple[Cuts, NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Cut all trials: the windows, and of each truth, trial, and newest input sample."""
    chain, n_times = Chain(examined.steps, dataset.signal), examined.contract.window.n_times
    cutter = Cutter(dataset, examined.steps, preprocess)
    stride = n_samples(dataset.configuration.stride_s, chain.output.sfreq)
    found = cutter.cut(dataset.trials, n_times, stride)
    firsts = np.array([chain.n_outputs(dataset.trials[i].start) for i in found.trial])
    newest = firsts + _within_trial(found.trial) * stride + cutter.before + n_times - 1
    at = np.array([chain.newest_input(int(output)) for output in newest], np.int64)
    return found.x, found.y, found.trial, at


def _within_trial(trial: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each window among those of its trial, which stand together."""
    first = np.searchsorted(trial, trial)
    return np.arange(len(trial)) - first
