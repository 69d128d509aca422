"""Probabilities that mean what they say: one temperature, fitted on trials that the network did not learn from."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from offline.dataset import Cutter, Dataset, Trial
from offline.learning import Progress
from offline.models.closed_form import ClosedForm
from offline.partition import blocks, divide_for_stopping, own_trials
from offline.sensors import sensor_moments
from offline.training import Fitted, by_trial, class_weights, fit_network, n_samples
from rtdecode.contract import Calibration
from rtdecode.errors import RecordingError
from rtdecode.preprocessing import Chain

_Floats = NDArray[np.float64]
_N_BLOCKS = 4
# Before any trial is seen, two temperatures in three lie within a factor of 2 of none: a few trials that all go well
# would otherwise make it endlessly sure.
_PRIOR_STD = math.log(2)
_WIDEST = math.log(50)


def fit_calibrated(
    dataset: Dataset,
    train: list[Trial],
    validation: list[Trial],
    progress: Progress | None = None,
    start: Fitted | None = None,
    state: Path | None = None,
) -> Fitted:
    """Fit the configured preprocessing and network (see `fit_network`), and the temperature of its probabilities.

    What the sensors did in these trials is kept with it, so that it can be explained (see `offline.sensors`).

    A network that stops early is calibrated on `validation`. One in closed form learns from that too; its like are
    fitted on all blocks of trials but one, and tried on that one. No other trial is seen. Where trials are too few
    to be divided so, probabilities stay as they are.
    """
    fitted = fit_network(dataset, train, validation, progress, start, state)
    fitted = replace(fitted, moments=sensor_moments(dataset, fitted.steps, [*train, *validation]))
    if dataset.configuration.targets is not None:
        return fitted
    try:
        tried = list(_tried(dataset, fitted, train, validation))
    except RecordingError:
        return fitted
    log_p = [part for parts, _ in tried for part in parts]
    truth = np.array([label for _, labels in tried for label in labels])
    weights = class_weights(dataset.configuration, truth)
    calibration = temperature(log_p, truth, np.ones(len(truth)) if weights is None else weights[truth])
    fitted.network.set_temperature(calibration.temperature)
    return replace(fitted, calibration=calibration)


def _tried(
    dataset: Dataset, fitted: Fitted, train: list[Trial], validation: list[Trial]
) -> Iterator[tuple[list[_Floats], list[int]]]:
    """Give log probabilities (n_windows, n_classes), and truths, of trials that had not been learned from."""
    if not isinstance(fitted.network, ClosedForm):
        yield _log_proba(dataset, fitted, validation)
        return
    own = set(own_trials(dataset, train + validation))
    for rest, held_out in blocks(train + validation, _N_BLOCKS):
        if tried := [trial for trial in held_out if trial in own]:
            yield _log_proba(dataset, fit_network(dataset, *divide_for_stopping(dataset, rest)), tried)


def _log_proba(dataset: Dataset, fitted: Fitted, trials: list[Trial]) -> tuple[list[_Floats], list[int]]:
    stride = n_samples(dataset.configuration.stride_s, Chain(fitted.steps, dataset.signal).output.sfreq)
    windows = Cutter(dataset, fitted.steps).cut(trials, fitted.n_times, stride)
    log_p = np.log(np.maximum(fitted.outputs(windows).astype(np.float64), 1e-12))
    return list(by_trial(log_p, windows)), [trial.truth for trial in trials]


def temperature(log_p: list[_Floats], truth: NDArray[np.int64], weights: _Floats) -> Calibration:
    """Find the temperature under which the trials' windows are most likely (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    log_p : list of array, (n_windows, n_classes)
        Log probabilities of each trial's windows at temperature 1. Windows of a trial share their samples and their
        truth, so a trial counts as one, whatever it holds.
    truth : array of int, (n_trials,)
        Class of each trial.
    weights : array, (n_trials,)
        How much each counts.
    """
    trials = list(zip(log_p, truth, weights, strict=True))

    def nll(log_temperature: float) -> float:
        return float(np.mean([w * _nll(p * math.exp(-log_temperature), label) for p, label, w in trials]))

    def cost(log_temperature: float) -> float:
        return len(truth) * nll(log_temperature) + (log_temperature / _PRIOR_STD) ** 2 / 2

    found = float(minimize_scalar(cost, bounds=(-_WIDEST, _WIDEST), method="bounded", options={"xatol": 1e-6}).x)
    return Calibration(temperature=math.exp(found), nll_before=nll(0.0), nll_after=nll(found), n_trials=len(truth))


def _nll(logits: _Floats, label: int) -> float:
    highest = logits.max(axis=1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return float(np.mean(log_sum - logits[:, label]))
