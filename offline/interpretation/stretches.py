"""The signals of trials, at the sensors or as the network sees them, for what exchanges parts of them."""

import copy

import numpy as np
from numpy.typing import NDArray

from offline.interpretation.examined import Material
from offline.interpretation.occlusion import Signals
from offline.store import scratch
from offline.stored import sensor_samples
from rtdecode.contract import Signal
from rtdecode.preprocessing import Chain, FilterBank, Linear, RunningAlign
from rtdecode.preprocessing.base import Samples
from rtdecode.recording import Recording

_MOST_LEAD_S = 2.0
# Samples that are preprocessed at once.
_BLOCK = 1 << 13


def window_signals(material: Material) -> Signals:
    """Return the windows as the network sees them."""
    numbers = np.arange(len(material.windows))

    def predict(x: NDArray[np.float32], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        return material.examined.predict(x, material.trial[chosen])

    seen = material.examined.seen
    return Signals(
        material.windows,
        material.trial,
        material.recording,
        numbers,
        material.truth,
        seen.sfreq,
        seen.ch_names,
        predict,
    )


def sensor_signals(material: Material) -> Signals:
    """Return the trials at the sensors, each with what filters remember from before it.

    What is exchanged goes through the decoder's own preprocessing, which begins each stretch with what it had
    learned and remembered of the recording until then: with nothing exchanged, the network sees its windows. The
    stretch reaches back as far as the filters settle, but no more than 2 s.
    """
    stretches = _Stretches(material)
    truths = material.truth[stretches.windows]
    signal = material.examined.signal
    return Signals(
        stretches.x,
        stretches.trials,
        stretches.blocks,
        stretches.row,
        truths,
        signal.sfreq,
        signal.ch_names,
        stretches.predict,
    )


def channel_signals(material: Material) -> Signals:
    """Return the signals whose channels are to be exchanged: the windows, unless they mix the sensors."""
    mixing = (Linear, RunningAlign, FilterBank)
    mixed = any(isinstance(step, mixing) for step in material.examined.steps)
    return sensor_signals(material) if mixed else window_signals(material)


class _Stretches:
    """Trials at the sensors, and the preprocessing as it was where each begins.

    Attributes
    ----------
    x : array of float32, (n_trials, n_channels, n_samples)
        In the decoder's order and units, in a file. A trial at the very beginning of a recording has zeros before
        that.
    trials : array of int64, (n_trials,)
        Their indices into those of the data set.
    blocks : array of int64, (n_trials,)
        Which file each is of.
    windows : array of int64, (n_windows,)
        The windows of the material, trial by trial.
    row : array of int64, (n_windows,)
        Which of the trials each is of.
    """

    def __init__(self, material: Material) -> None:
        examined, dataset = material.examined, material.dataset
        self._material = material
        chain = Chain(examined.steps, examined.signal)
        self.trials = np.unique(material.trial)
        self.windows = np.argsort(material.trial, kind="stable")
        self.row = np.searchsorted(self.trials, material.trial[self.windows])
        trials = [dataset.trials[i] for i in self.trials]
        self.blocks = np.array([dataset.source_of[trial.recording] for trial in trials], np.int64)
        lead = min(chain.settling, round(_MOST_LEAD_S * examined.signal.sfreq))
        length = lead + dataset.trial_length
        self.x = scratch((len(trials), examined.signal.n_channels, length), np.float32)
        self._begins = [max(lead - trial.start, 0) for trial in trials]
        self._firsts = [trial.start - lead for trial in trials]
        self._chains: list[Chain] = [chain] * len(trials)
        self._fill(chain)

    def _fill(self, chain: Chain) -> None:
        dataset, signal = self._material.dataset, self._material.examined.signal
        recordings = np.array([dataset.trials[i].recording for i in self.trials])
        before = -1
        for number, (source, _, _) in enumerate(dataset.stretches):
            chosen = np.flatnonzero(recordings == number)
            if source != before:
                chain = Chain(chain.steps, signal)
            chain.reset()
            before = source
            recording, done = dataset.recording(number), 0
            for row in sorted(chosen.tolist(), key=lambda row: self._firsts[row]):
                first, begin = self._firsts[row], self._begins[row]
                _pass(chain, recording, signal, done, first + begin)
                done = first + begin
                self._chains[row] = _copied(chain)
                stretch = sensor_samples(recording, signal, slice(done, first + self.x.shape[2]))
                self.x[row, :, begin:] = stretch.T
            _pass(chain, recording, signal, done, dataset.length(number))

    def predict(self, x: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what the decoder gives for the windows of changed trials, whose rows these are."""
        of_rows = np.flatnonzero(np.isin(self.row, rows))
        windows = np.concatenate([self._cut(x[i].T, int(row)) for i, row in enumerate(rows)])
        return self._material.examined.predict(windows, self._material.trial[self.windows[of_rows]])

    def _cut(self, samples: Samples, row: int) -> NDArray[np.float32]:
        """Preprocess a changed trial (n_samples, n_channels) and cut its windows."""
        material = self._material
        chain, events = _copied(self._chains[row]), material.examined.contract.events
        begin = self._begins[row]
        before = chain.n_outputs(self._firsts[row] + begin)
        features = chain.process(samples[begin:].astype(np.float64)).T.astype(np.float32)
        reach = material.windows.shape[2] + (events.before if events else 0)
        cut = []
        for at in material.at[self.windows[self.row == row]].tolist():
            stop = chain.n_outputs(at + 1) - before
            window = features[:, stop - reach : stop]
            cut.append(events.corrected(window) if events else window)
        return np.stack(cut)


def _pass(chain: Chain, recording: Recording, signal: Signal, start: int, stop: int) -> None:
    """Let a chain remember samples [start, stop) of a recording."""
    for at in range(start, stop, _BLOCK):
        chain.process(sensor_samples(recording, signal, slice(at, min(at + _BLOCK, stop))))


def _copied(chain: Chain) -> Chain:
    """Return a chain in the same state; its steps, which are frozen and may be large, are shared."""
    return copy.deepcopy(chain, {id(step): step for step in chain.steps})
