"""Patterns and relevance over the folds of a training run: what of one fold the others found as well."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from offline.checkpoint import read_held
from offline.interpretation.examined import Examined, read_examined
from offline.interpretation.explaining import explain
from offline.interpretation.explanation import Explanation
from rtdecode.contract import Contract
from rtdecode.errors import ConfigurationError

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OverFolds:
    """Components of a decoder, with those of its run's folds that are most like them.

    Attributes
    ----------
    names : tuple of str
        The folds.
    form : str
        Of the patterns.
    mean, spread : array, (n_components, n_sensors)
        Mean and standard deviation of the patterns over the folds, each turned the way of the decoder's own.
    alike : array, (n_folds, n_components)
        Correlation over sensors of each fold's pattern with the decoder's own, sensors by their standard deviation.
    by_chance : float
        Mean of the same of components that are not matched: what any two of this decoder have in common.
    measure : str
        Of the relevance; empty if there is none that needs no data.
    relevance, relevance_spread : array, (n_components, n_outputs), or None
        Mean and standard deviation over the folds.
    """

    names: tuple[str, ...]
    form: str
    mean: _Floats
    spread: _Floats
    alike: _Floats
    by_chance: float
    measure: str
    relevance: _Floats | None
    relevance_spread: _Floats | None


def over_folds(explanation: Explanation, run: Path) -> OverFolds:
    """Compare a decoder's components with those of all folds of its training run.

    Folds have no order of components, and the sign of each is arbitrary: those of a fold are matched to the decoder's
    one to one, so that patterns are most alike, and turned the same way round.

    Raises
    ------
    ConfigurationError
        The folder is not of the decoder's run, or has a single fold, or there are no components or covariances.
    """
    examined = explanation.examined
    if explanation.components is None or not explanation.patterns or explanation.moments is None:
        raise ConfigurationError(f"--folds: {examined.path} has no components with patterns to compare.")
    paths = _folds_of(examined, run)
    form = "mneflow" if explanation.form == "band" else explanation.form
    own, n_sensors = explanation.patterns[form], explanation.parts.signal.n_channels
    std = np.sqrt(np.maximum(np.diag(explanation.moments.pooled)[:n_sensors], 1e-300))
    patterns, alike, others, relevances = [], [], [], []
    measure = next((name for name in ("own weight", "l2") if name in explanation.relevance), "")
    # Its code was run for the decoder itself.
    provenance = examined.contract.provenance
    network = provenance.configuration["model"]["network"]
    for path in paths:
        fold = explain(read_examined(path, provenance.subject, network), None)
        if form not in fold.patterns:
            raise ConfigurationError(f"--folds: {path} does not hold the covariances of its sensors.")
        found = _correlations(own / std, fold.patterns[form] / std)
        rows, columns = linear_sum_assignment(-np.abs(found))
        signs = np.where(found[rows, columns] < 0, -1.0, 1.0)
        patterns.append(fold.patterns[form][columns] * signs[:, None])
        alike.append(np.abs(found[rows, columns]))
        matched = np.zeros(found.shape, bool)
        matched[rows, columns] = True
        others.append(np.abs(found[~matched]).mean() if not matched.all() else 0.0)
        if measure:
            relevances.append(fold.relevance[measure][columns])
    stacked = np.stack(patterns)
    return OverFolds(
        names=tuple(path.stem for path in paths),
        form=form,
        mean=stacked.mean(axis=0),
        spread=stacked.std(axis=0, ddof=1),
        alike=np.stack(alike),
        by_chance=float(np.mean(others)),
        measure=measure,
        relevance=np.mean(relevances, axis=0) if measure else None,
        relevance_spread=np.std(relevances, axis=0, ddof=1) if measure else None,
    )


def _correlations(some: _Floats, others: _Floats) -> _Floats:
    """Return how alike patterns are (n_some, n_others), of their values, not about a mean: a sign may differ."""
    norms = np.linalg.norm(some, axis=1)[:, None] * np.linalg.norm(others, axis=1)
    return np.asarray(some @ others.T / np.maximum(norms, 1e-300))


def _folds_of(examined: Examined, run: Path) -> list[Path]:
    """Return the checkpoints of all folds of a decoder."""
    if not (run / "partition.json").exists():
        raise ConfigurationError(f"--folds: {run} is no folder of a training run (now in {Path.cwd()}).")
    for group in sorted(path for path in run.iterdir() if path.is_dir()):
        folds = sorted(group.glob("*.pt"))
        candidates = [*folds, *[path for path in (run / f"{group.name}.pt",) if path.exists()]]
        if any(_same(examined.contract, contract) for contract in _contracts(candidates)):
            if len(folds) < 2:
                raise ConfigurationError(
                    f"--folds: {run} has a single fold of this decoder; there is no spread of one."
                )
            return folds
    raise ConfigurationError(
        f"--folds: {examined.path} was not made by the run in {run}: none of its checkpoints has its configuration, "
        "channels, data and date."
    )


def _contracts(paths: list[Path]) -> Iterator[Contract]:
    for path in paths:
        yield read_held(path)[0]


def _same(some: Contract, other: Contract) -> bool:
    told = [
        (c.signal, c.provenance.configuration, c.provenance.data_fingerprint, c.provenance.created)
        for c in (some, other)
    ]
    return told[0] == told[1]
