"""Decoding a recording as fast as it goes, with the decoder of the live run, and scoring it."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Classification, Contract, Policy, Regression
from rtdecode.decisions import NOT_COUNTED, OUTSIDE, Course, decision_figures
from rtdecode.decoder import Decoder
from rtdecode.errors import RecordingWarning
from rtdecode.files import refuse_output, write_rows, writing
from rtdecode.prediction import Prediction
from rtdecode.recording import Recording
from rtdecode.scoring import Figure, accuracy, auc, regression
from rtdecode.truth import channel_values, responses, spans, trial_span

_CHUNK = 1 << 12


@dataclass(frozen=True)
class TrialDecision:
    """What the windows of one trial add up to.

    Attributes
    ----------
    timestamp : float
        Of the event.
    truth : int
        Class index.
    windows : array of float32, (n_windows, n_outputs)
        Probabilities, or a regression's values, of its decoded windows.
    """

    timestamp: float
    truth: int
    windows: NDArray[np.float32]

    @property
    def evidence(self) -> NDArray[np.float64]:
        """Mean log probability (n_classes,) over the windows."""
        evidence: NDArray[np.float64] = np.log(np.maximum(self.windows.astype(np.float64), 1e-12)).mean(axis=0)
        return evidence

    @property
    def decided(self) -> int:
        """Index of the class with the most evidence."""
        return int(np.argmax(self.evidence))


@dataclass(frozen=True)
class Replay:
    """A decoded recording.

    Attributes
    ----------
    contract : Contract
        Of the decoder.
    predictions : list of Prediction
        One per hop, or event.
    trials : list of TrialDecision
        One per event of a known class with at least one decoded window.
    segments : tuple of arrays, (n_segments, n_windows, n_targets), or None
        Truth and predictions of a regression on channels, where the recording has these.
    policy : Policy or None
        What decided.
    course : Course or None
        What decisions are judged by; None without trials of classes.
    """

    contract: Contract
    predictions: list[Prediction]
    trials: list[TrialDecision]
    segments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    policy: Policy | None = None
    course: Course | None = None

    def figures(self) -> list[Figure]:
        """Return what the recording's own truth says of the predictions; none without it."""
        outputs = self.contract.outputs
        if isinstance(outputs, Classification):
            # At events a trial is one window.
            windows = None if self.contract.events else self.window_accuracy()
            of_predictions = [f for f in (self.trial_accuracy(), self.trial_auc(), windows) if f]
            # First what its training was judged by: of rare targets an accuracy says little.
            measure = next((score.name for score in self.contract.provenance.scores), "")
            return sorted(of_predictions, key=lambda f: f.name != measure) + self.decision_figures()
        pairs = self.pairs
        if pairs is None or len(pairs[0]) < 2:
            return []
        return regression(*pairs, outputs.names, None if self.segments is None else [0] * len(pairs[0]))

    def decision_figures(self) -> list[Figure]:
        """Return what the policy's decisions are worth; none without a policy or without trials."""
        if self.policy is None or self.course is None:
            return []
        decided = prediction_arrays(self.predictions, self.contract)["prediction_decisions"].astype(np.int64)
        return decision_figures([self.course], [decided])

    def trial_accuracy(self) -> Figure | None:
        """Accuracy over trials; None without any."""
        if not self.trials:
            return None
        return accuracy([t.truth for t in self.trials], [t.decided for t in self.trials], "accuracy over trials")

    def trial_auc(self) -> Figure | None:
        """Area under the ROC curve over trials of two classes; None without trials of both, or with more classes."""
        truth = [t.truth for t in self.trials]
        if len(self.contract.outputs.names) != 2 or set(truth) != {0, 1}:
            return None
        return auc(truth, [t.evidence[1] - t.evidence[0] for t in self.trials])

    def window_accuracy(self) -> Figure | None:
        """Accuracy over single windows, which overlap: its interval is too narrow."""
        if not self.trials:
            return None
        truth = [t.truth for t in self.trials for _ in t.windows]
        decided = [int(np.argmax(w)) for t in self.trials for w in t.windows]
        return accuracy(truth, decided, "accuracy over windows, which overlap (its interval is too narrow)")

    @property
    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Truth and values (n_segments, n_windows, n_targets) of a regression; None if nothing tells its truth."""
        if self.segments is not None:
            return self.segments
        targets, trials = self.contract.targets, self.contract.trials
        if targets is None or trials is None or not self.trials:
            return None
        by_class = np.array([targets.values[name] for name in trials.classes])
        truth = by_class[[t.truth for t in self.trials]]
        return truth[:, None], np.stack([t.windows.mean(axis=0, dtype=np.float64) for t in self.trials])[:, None]

    def write(self, path: str | Path) -> None:
        """Write the predictions as .csv or .npz, by the ending of `path`."""
        path, outputs = Path(path), self.contract.outputs
        refuse_output(path, ".csv", ".npz")
        arrays, decided = (
            prediction_arrays(self.predictions, self.contract),
            self.contract.decision_names(self.policy),
        )
        if path.suffix == ".npz":
            with writing(path) as file:
                np.savez(file, output_names=np.array(outputs.names), decision_names=np.array(decided), **arrays)  # type: ignore[arg-type]
        else:
            write_rows(path, self._rows(decided))

    def _rows(self, decided: Sequence[str]) -> Iterator[list[Any]]:
        outputs = self.contract.outputs
        columns = ["event", "event_timestamp"] if self.contract.events else []
        named = (f"{outputs.column}_{n}" for n in outputs.names)
        yield ["timestamp", "sample", "label", "reason", "decision", *named, *columns]
        for p in self.predictions:
            shown = [""] * len(outputs.names) if p.outputs is None else [repr(float(v)) for v in p.outputs]
            label = outputs.names[p.label] if p.label >= 0 else ""
            decision = "" if p.decision is None else decided[p.decision]
            event = [p.event.label, repr(p.event.timestamp)] if p.event else []
            yield [repr(p.timestamp), p.sample, label, p.reason or "", decision, *shown, *event]


def prediction_arrays(predictions: Sequence[Prediction], contract: Contract) -> dict[str, NDArray[np.generic]]:
    """Return predictions as arrays of equal length: stamps, samples, proba (or values), labels, reasons, decisions.

    A label or decision of -1 is none. With windows at events also the events' labels and stamps; empty and NaN where
    a row belongs to none.
    """
    outputs = contract.outputs
    rows = np.full((len(predictions), len(outputs.names)), np.nan, np.float32)
    for row, p in zip(rows, predictions, strict=True):
        if p.outputs is not None:
            row[:] = p.outputs
    at_events = {
        "prediction_events": np.array([p.event.label if p.event else "" for p in predictions], np.str_),
        "prediction_event_timestamps": np.array([p.event.timestamp if p.event else np.nan for p in predictions]),
    }
    return {
        "prediction_timestamps": np.array([p.timestamp for p in predictions], np.float64),
        "prediction_samples": np.array([p.sample for p in predictions], np.int64),
        f"prediction_{outputs.column}": rows,
        "prediction_labels": np.array([p.label for p in predictions], np.int64),
        "prediction_reasons": np.array([p.reason or "" for p in predictions], dtype=np.str_),
        "prediction_decisions": np.array([-1 if p.decision is None else p.decision for p in predictions], np.int64),
        **(at_events if contract.events else {}),
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

    Warns
    -----
    RecordingWarning
        What is not scored, as samples of it are marked bad: how many trials, or windows of a regression, of how many.
    """
    predictions: list[Prediction] = []
    for start in range(0, len(recording.samples), _CHUNK):
        cut = slice(start, start + _CHUNK)
        predictions += decoder.push(
            recording.samples[cut], recording.timestamps[cut], () if start else recording.events
        )
        if progress:
            progress(min(start + _CHUNK, len(recording.samples)))
    predictions += decoder.finish()
    trials = score(recording, decoder, predictions)
    segments = _segments(recording, decoder, predictions)
    return Replay(
        decoder.contract, predictions, trials, segments, decoder.policy, course(recording, decoder, predictions)
    )


def course(recording: Recording, decoder: Decoder, predictions: list[Prediction]) -> Course | None:
    """Put predictions beside the trials they may decide (see `truth.responses`).

    None if these are no classes, or windows stand at events: what repeated events decide is no class.
    """
    trials, outputs = decoder.contract.trials, decoder.contract.outputs
    if trials is None or not isinstance(outputs, Classification) or decoder.contract.events:
        return None
    arrays = prediction_arrays(predictions, decoder.contract)
    samples = arrays["prediction_samples"].astype(np.int64)
    length_s = decoder.contract.window.n_times / decoder.chain.output.sfreq
    rest = decoder.policy.rest if decoder.policy else ()
    trial, judged = np.full(len(samples), OUTSIDE, np.int64), list[tuple[int, int]]()
    for truth, start, stop in responses(recording, trials, outputs.names, length_s / 2, rest):
        marked = recording.is_bad(*trial_span(trials, start, recording.signal.sfreq))
        trial[(samples >= start) & (samples < stop)] = NOT_COUNTED if marked else len(judged)
        judged += [] if marked else [(truth, start)]
    truths, events = np.array(judged, np.int64).reshape(-1, 2).T
    proba = arrays["prediction_proba"].astype(np.float32)
    return Course(samples, proba, trial, truths, events, decoder.hop_s, recording.signal.sfreq)


def score(recording: Recording, decoder: Decoder, predictions: list[Prediction]) -> list[TrialDecision]:
    """Put predictions beside the recording's events, by the trials of the decoder file.

    A window counts for a trial when it lies in the trial's span whole, by samples; one at an event is the trial.
    """
    trials, outputs = decoder.contract.trials, decoder.contract.outputs
    if trials is None:
        return []
    class_names = outputs.names if isinstance(outputs, Classification) else tuple(trials.classes)
    if decoder.contract.events:
        return list(_score_events(recording, decoder, class_names, predictions))
    decoded = [p for p in predictions if p.outputs is not None]
    newest = np.array([p.sample for p in decoded], np.int64)
    # A window holds the last n_times outputs; the oldest rests on an input this long before its end, at most.
    length = decoder.chain.newest_input(decoder.contract.window.n_times - 1)
    decisions, found = [], spans(recording, trials, class_names)
    unmarked = _unmarked(recording, "trials", [(start, stop) for _, _, start, stop in found])
    for timestamp, truth, start, stop in compress(found, unmarked):
        inside = np.flatnonzero((newest - length >= start) & (newest < stop))
        if len(inside):
            windows = np.array([decoded[i].outputs for i in inside], np.float32)
            decisions.append(TrialDecision(timestamp, truth, windows))
    return decisions


def _score_events(
    recording: Recording, decoder: Decoder, class_names: tuple[str, ...], predictions: list[Prediction]
) -> Iterator[TrialDecision]:
    trials, window, sfreq = decoder.contract.trials, decoder.contract.events, recording.signal.sfreq
    assert trials is not None and window is not None
    found, looked_at = [], []
    for p in predictions:
        name = trials.class_of(p.event.label) if p.event else None
        if p.event and name is not None and p.outputs is not None:
            at = recording.sample_at(p.event.timestamp)
            found.append(TrialDecision(p.event.timestamp, class_names.index(name), p.outputs[None]))
            # Its baseline, if there is one, begins before it.
            looked_at.append((at + window.first, trial_span(trials, at, sfreq)[1]))
    return compress(found, _unmarked(recording, "trials", looked_at))


def _unmarked(recording: Recording, what: str, samples: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Tell which of several [start, stop) hold no sample that is marked bad; warn of the others."""
    marked = np.array([recording.is_bad(start, stop) for start, stop in samples], bool)
    if marked.any():
        warnings.warn(
            f"Recording {recording.path}: {marked.sum()} of {len(marked)} {what} hold samples that are marked bad, "
            "and are not scored.",
            RecordingWarning,
            stacklevel=2,
        )
    return ~marked


def _segments(
    recording: Recording, decoder: Decoder, predictions: list[Prediction]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Put a regression's predictions beside the target channels, in segments of equally many windows."""
    contract = decoder.contract
    targets, outputs = contract.targets, contract.outputs
    if (
        targets is None
        or not isinstance(outputs, Regression)
        or set(targets.channels) - set(recording.signal.ch_names)
    ):
        return None
    if not targets.channels:
        return None
    values = channel_values(recording, targets, outputs.units)
    known = [p for p in predictions if p.outputs is not None and np.isfinite(values[p.sample]).all()]
    length = decoder.chain.newest_input(contract.window.n_times - 1)
    unmarked = _unmarked(recording, "windows", [(p.sample - length, p.sample + 1) for p in known])
    decoded = list(compress(known, unmarked))
    hop = np.median(np.diff([p.sample for p in decoded])) if len(decoded) > 1 else 1
    size = max(1, round(targets.segment_s * recording.signal.sfreq / hop))
    n = len(decoded) // size
    truth = np.array([values[p.sample] for p in decoded[: n * size]])
    predicted = np.array([p.outputs for p in decoded[: n * size]], np.float64)
    shape = (n, size, len(outputs.names))
    return truth.reshape(shape), predicted.reshape(shape)
