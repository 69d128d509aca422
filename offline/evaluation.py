"""Figures on trials that were not learned from, of the network and of CSP+LDA on the same folds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offline.calibration import fit_calibrated
from offline.configuration import TrainingConfiguration
from offline.dataset import Cutter, Dataset, Trial
from offline.models import CSPLDA
from offline.partition import Fold, own_trials
from offline.recipes import build_steps
from offline.training import Fitted, by_trial, class_weights, fit_closed_form, n_samples
from rtdecode.errors import RecordingError
from rtdecode.preprocessing import Chain
from rtdecode.scoring import Figure, accuracy, auc, regression

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FoldResult:
    """What one fold gave.

    Attributes
    ----------
    fold : Fold
        Its trials.
    fitted : Fitted
        The network.
    truth : array of int, (n_trials,), or of float, (n_trials, n_windows, n_targets)
        Of the tested trials: classes, or values.
    network, baseline : arrays, (n_trials, n_classes), or (n_trials, n_windows, n_targets)
        By the network and by CSP+LDA (None without a baseline): evidence for each class, or predicted values.
    seconds : float
        How long the network took to fit and to decide.
    """

    fold: Fold
    fitted: Fitted
    truth: NDArray[np.int64] | _Floats
    network: _Floats
    baseline: _Floats | None
    seconds: float

    def figures(self, configuration: TrainingConfiguration) -> list[Figure]:
        """Return the network's figures on this fold; none where its trials are too few or all alike."""
        try:
            figures = summarise([self], configuration).network
        except RecordingError:
            return []
        return [figure for figure in figures if figure.told_whole]


@dataclass(frozen=True)
class Comparison:
    """Figures over all tested trials of one decoder: of the network, and in the same order of the baseline."""

    network: list[Figure]
    baseline: list[Figure]


def summarise(results: list[FoldResult], configuration: TrainingConfiguration) -> Comparison:
    """Put the folds' trials together: every tested one counts once.

    RecordingError says why the tested trials give no figure.
    """
    # Segments hold equally many windows, but for a rounding of their borders.
    shortest = min(r.truth.shape[1] for r in results) if configuration.targets else None
    truth = np.concatenate([r.truth[:, :shortest] if shortest else r.truth for r in results])
    targets = configuration.targets

    def figures(parts: list[_Floats]) -> list[Figure]:
        given = np.concatenate([part[:, :shortest] if shortest else part for part in parts])
        if targets is not None and targets.channels:
            order, recordings = in_time(results)
            return regression(truth[order], given[order], targets.channels, recordings)
        if targets is not None:
            return regression(truth, given, targets.names)
        if configuration.measure == "auc":
            return [auc(truth, given[:, 1] - given[:, 0])]
        return [accuracy(truth, given.argmax(axis=1))]

    baselines = [r.baseline for r in results if r.baseline is not None]
    try:
        return Comparison(figures([r.network for r in results]), figures(baselines) if baselines else [])
    except ValueError as error:
        raise RecordingError(f"What was tested gives no figure: {error}.") from None


def in_time(results: Sequence[FoldResult]) -> tuple[NDArray[np.int64], list[int]]:
    """Return the order in time of all tested segments, and the recording of each in that order, by number."""
    named = [id_.rpartition("#") for result in results for id_ in result.fold.test]
    names = sorted({name for name, _, _ in named})
    found = [(names.index(name), int(number)) for name, _, number in named]
    order = sorted(range(len(found)), key=found.__getitem__)
    return np.array(order, np.int64), [found[i][0] for i in order]


def run_fold(
    dataset: Dataset, fold: Fold, progress: Callable[[str], None] | None = None, state: Path | None = None
) -> FoldResult:
    """Fit on a fold's training trials (see `fit_calibrated`) and decode its test trials."""
    by_id = {t.id: t for t in dataset.trials}
    train, validation, test = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation, fold.test))
    start = time.perf_counter()
    fitted = fit_calibrated(dataset, train, validation, progress, state=state)
    truth, decided = decode(dataset, fitted, test)
    seconds, baseline = time.perf_counter() - start, None
    if dataset.configuration.baseline == "csp-lda":
        baseline = csp_lda(dataset, own_trials(dataset, train + validation), test)
    return FoldResult(fold, fitted, truth, decided, baseline, seconds)


def decode(dataset: Dataset, fitted: Fitted, trials: list[Trial]) -> tuple[NDArray[np.int64] | _Floats, _Floats]:
    """Return truth and outputs of trials, as FoldResult has them.

    A trial's evidence is the mean log probability over its windows, its values are their mean; where target
    channels tell the truth, every window of a segment has its own.
    """
    output = Chain(fitted.steps, dataset.signal).output
    stride = n_samples(dataset.configuration.stride_s, output.sfreq)
    windows = Cutter(dataset, fitted.steps).cut(trials, fitted.n_times, stride)
    outputs = fitted.outputs(windows).astype(np.float64)
    targets = dataset.configuration.targets
    if targets is None:
        evidence = by_trial(np.log(np.maximum(outputs, 1e-12)), windows).mean(axis=1)
        return np.array([t.truth for t in trials]), evidence
    truth, predicted = by_trial(windows.y.astype(np.float64), windows), by_trial(outputs, windows)
    if targets.values:
        truth, predicted = (part.mean(axis=1, keepdims=True) for part in (truth, predicted))
    return truth, predicted


def csp_lda(dataset: Dataset, train: list[Trial], test: list[Trial]) -> _Floats:
    """Return evidence (n_trials, n_classes) of common spatial patterns and LDA on the whole trial.

    The usual pipeline of motor imagery, behind the same causal preprocessing as the network.
    """
    # Up to the first step that learns: what follows (a clamp, say) is made for that step's output.
    recipes = list(takewhile(lambda recipe: not recipe.fitted, dataset.configuration.preprocessing))
    steps = build_steps(recipes, dataset.signal, lambda so_far: dataset.samples_of(so_far, train))
    chain = Chain(steps, dataset.signal)
    output, cutter = chain.output, Cutter(dataset, steps)
    n_times = cutter.longest
    fitting, tested = (cutter.cut(chosen, n_times, n_times) for chosen in (train, test))
    network = CSPLDA(output.n_channels, n_times, len(dataset.configuration.class_names))
    fit_closed_form(network, fitting.x, fitting.y, class_weights(dataset.configuration, fitting.y))
    proba = Fitted(network.eval(), steps, n_times, n_times, 1).outputs(tested)
    return np.log(np.maximum(proba.astype(np.float64), 1e-12))
