"""Scores on trials that were not learned from, of the network and of CSP+LDA on the same folds."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from offline.dataset import Cutter, Dataset, Trial
from offline.models import CSPLDA
from offline.partition import Fold
from offline.recipes import build_steps
from offline.training import Fitted, fit_network, n_samples
from rtdecode.preprocessing import Chain
from rtdecode.scoring import Accuracy, accuracy


@dataclass(frozen=True)
class FoldResult:
    """What one fold gave.

    Attributes
    ----------
    fold : Fold
        Its trials.
    fitted : Fitted
        The network.
    truth, network, baseline : arrays of int, (n_trials,)
        Classes of the tested trials: true, by the network, by CSP+LDA (None without a baseline).
    """

    fold: Fold
    fitted: Fitted
    truth: NDArray[np.int64]
    network: NDArray[np.int64]
    baseline: NDArray[np.int64] | None


@dataclass(frozen=True)
class Comparison:
    """Accuracy over all tested trials of one decoder: network and baseline."""

    network: Accuracy
    baseline: Accuracy | None


def summarise(results: list[FoldResult]) -> Comparison:
    """Put the folds' decisions together: every tested trial counts once."""
    truth = np.concatenate([r.truth for r in results])
    decided = [r.baseline for r in results if r.baseline is not None]
    baseline = accuracy(truth, np.concatenate(decided)) if decided else None
    return Comparison(accuracy(truth, np.concatenate([r.network for r in results])), baseline)


def run_fold(dataset: Dataset, fold: Fold, progress: Callable[[str], None] | None = None) -> FoldResult:
    """Fit on a fold's training trials and decide its test trials."""
    by_id = {t.id: t for t in dataset.trials}
    train, validation, test = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation, fold.test))
    fitted = fit_network(dataset, train, validation, progress)
    baseline = None
    if dataset.configuration.baseline == "csp-lda":
        baseline = csp_lda(dataset, train + validation, test)
    truth = np.array([t.truth for t in test])
    return FoldResult(fold, fitted, truth, decide(dataset, fitted, test), baseline)


def decide(dataset: Dataset, fitted: Fitted, trials: list[Trial]) -> NDArray[np.int64]:
    """Decide trials (n,) by the mean log probability over their windows."""
    output = Chain(fitted.steps, dataset.signal).output
    stride = n_samples(dataset.configuration.window.stride_s, output.sfreq)
    windows = Cutter(dataset, fitted.steps).cut(trials, fitted.n_times, stride)
    log_proba = np.log(np.maximum(fitted.proba(windows.x), 1e-12))
    return np.array([log_proba[windows.trial == i].mean(axis=0).argmax() for i in range(len(trials))])


def csp_lda(dataset: Dataset, train: list[Trial], test: list[Trial]) -> NDArray[np.int64]:
    """Decide trials (n,) by common spatial patterns and linear discriminant analysis on the whole trial.

    The usual pipeline of motor imagery, behind the same causal preprocessing as the network.
    """
    # Up to the first step that learns: what follows (a clamp, say) is made for that step's output.
    recipes = list(takewhile(lambda recipe: not recipe.fitted, dataset.configuration.preprocessing))
    steps = build_steps(recipes, dataset.signal, lambda so_far: dataset.samples_of(so_far, train))
    chain = Chain(steps, dataset.signal)
    output, (n_times, _) = chain.output, chain.outputs_within(dataset.trial_length)
    cutter = Cutter(dataset, steps)
    fitting, tested = (cutter.cut(chosen, n_times, n_times) for chosen in (train, test))
    network = CSPLDA(output.n_channels, n_times, len(dataset.configuration.class_names))
    network.fit(fitting.x, fitting.y)
    decided: NDArray[np.int64] = Fitted(network.eval(), steps, n_times, n_times, 1).proba(tested.x).argmax(axis=1)
    return decided
