"""Decoding a recording as fast as it goes, with the decoder of the live run, and scoring it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Trials
from rtdecode.decoder import Decoder, Prediction
from rtdecode.errors import refuse_output
from rtdecode.recording import Recording
from rtdecode.scoring import Accuracy, accuracy

_CHUNK = 1 << 12


@dataclass(frozen=True)
class TrialDecision:
    """What the windows of one trial add up to.

    Attributes
    ----------
    timestamp : float
        Of the event.
    truth, decided : int
        Class indices; `decided` has the largest mean log probability over the trial's windows.
    windows : tuple of int
        Labels of those windows.
    """

    timestamp: float
    truth: int
    decided: int
    windows: tuple[int, ...]


@dataclass(frozen=True)
class Replay:
    """A decoded recording.

    Attributes
    ----------
    predictions : list of Prediction
        One per hop.
    trials : list of TrialDecision
        One per event of a known class with at least one decoded window.
    """

    contract: Contract
    predictions: list[Prediction]
    trials: list[TrialDecision]

    def trial_accuracy(self) -> Accuracy | None:
        """Accuracy over trials; None without any."""
        if not self.trials:
            return None
        return accuracy([t.truth for t in self.trials], [t.decided for t in self.trials])

    def window_accuracy(self) -> Accuracy | None:
        """Accuracy over single windows, which overlap: its interval is too narrow."""
        if not self.trials:
            return None
        truth = [t.truth for t in self.trials for _ in t.windows]
        return accuracy(truth, [label for t in self.trials for label in t.windows])

    def write(self, path: str | Path) -> None:
        """Write the predictions as .csv or .npz, by the ending of `path`."""
        path, names = Path(path), self.contract.outputs.class_names
        refuse_output(path, ".csv", ".npz")
        if path.suffix == ".npz":
            with path.open("wb") as file:
                np.savez(file, class_names=np.array(names), **prediction_arrays(self.predictions, len(names)))  # type: ignore[arg-type]
        else:
            with path.open("w", encoding="utf-8", newline="") as text:
                rows = csv.writer(text)
                rows.writerow(["timestamp", "sample", "label", "reason", *(f"proba_{n}" for n in names)])
                for p in self.predictions:
                    proba = [""] * len(names) if p.proba is None else [repr(float(v)) for v in p.proba]
                    label = names[p.label] if p.label >= 0 else ""
                    rows.writerow([repr(p.timestamp), p.sample, label, p.reason or "", *proba])


def prediction_arrays(predictions: list[Prediction], n_classes: int) -> dict[str, NDArray[np.generic]]:
    """Return predictions as arrays of equal length: stamps, samples, proba, labels, reasons."""
    proba = np.full((len(predictions), n_classes), np.nan, np.float32)
    for row, p in zip(proba, predictions, strict=True):
        if p.proba is not None:
            row[:] = p.proba
    return {
        "prediction_timestamps": np.array([p.timestamp for p in predictions], np.float64),
        "prediction_samples": np.array([p.sample for p in predictions], np.int64),
        "prediction_proba": proba,
        "prediction_labels": np.array([p.label for p in predictions], np.int64),
        "prediction_reasons": np.array([p.reason or "" for p in predictions], dtype=np.str_),
    }


def decode_recording(recording: Recording, decoder: Decoder, progress: Callable[[int], None] | None = None) -> Replay:
    """Push a whole recording through a fresh decoder.

    Parameters
    ----------
    recording : Recording
        Its signal must be the decoder's source.
    decoder : Decoder
        One that nothing was pushed to yet.
    progress : callable, optional
        Called with the number of samples done.
    """
    predictions: list[Prediction] = []
    for start in range(0, len(recording.samples), _CHUNK):
        cut = slice(start, start + _CHUNK)
        predictions += decoder.push(recording.samples[cut], recording.timestamps[cut])
        if progress:
            progress(min(start + _CHUNK, len(recording.samples)))
    return Replay(decoder.contract, predictions, score(recording, decoder, predictions))


def score(recording: Recording, decoder: Decoder, predictions: list[Prediction]) -> list[TrialDecision]:
    """Compare predictions with the recording's events, by the trials of the decoder file.

    A window counts for a trial when it lies in the trial's span whole, by samples.
    """
    trials = decoder.contract.trials
    if trials is None:
        return []
    decoded = [p for p in predictions if p.proba is not None]
    newest = np.array([p.sample for p in decoded], np.int64)
    # A window holds the last n_times outputs; the oldest rests on an input this long before its end, at most.
    length = decoder.chain.newest_input(decoder.contract.window.n_times - 1)
    decisions = []
    for timestamp, truth, start, stop in spans(recording, trials, decoder.contract.outputs.class_names):
        inside = np.flatnonzero((newest - length >= start) & (newest < stop))
        if len(inside):
            chosen = [decoded[i] for i in inside]
            proba = np.array([p.proba for p in chosen], np.float64)
            evidence = np.log(np.maximum(proba, 1e-12)).mean(axis=0)
            labels = tuple(p.label for p in chosen)
            decisions.append(TrialDecision(timestamp, truth, int(np.argmax(evidence)), labels))
    return decisions


def spans(recording: Recording, trials: Trials, class_names: tuple[str, ...]) -> list[tuple[float, int, int, int]]:
    """Return (event stamp, class index, first, stop sample) of every trial inside the recording."""
    found, sfreq = [], recording.signal.sfreq
    for event in recording.events:
        name = trials.class_of(event.label)
        if name is None or not recording.covers(event.timestamp):
            continue
        at = recording.sample_at(event.timestamp)
        start, stop = at + round(trials.tmin_s * sfreq), at + round(trials.tmax_s * sfreq)
        if start >= 0 and stop <= len(recording.samples):
            found.append((event.timestamp, class_names.index(name), start, stop))
    return found
