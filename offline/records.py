"""What a run leaves for people: tables and a page with figures, made of what its folds gave."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from offline.configuration import TrainingConfiguration
from offline.evaluation import Comparison, FoldResult
from offline.run_page import run_page
from rtdecode.files import write_rows, write_text

Results = Mapping[str, list[FoldResult]]
Row = list[Any]


def write_records(
    folder: Path, configuration: TrainingConfiguration, results: Results, comparisons: Mapping[str, Comparison]
) -> None:
    """Write scores, folds, curves and predictions as .csv into a run's folder, and its page, `run.html`."""
    predicted = _predicted_values if configuration.targets else _decided_trials
    for name, rows in (
        ("scores", _scores(comparisons)),
        ("folds", _folds(results)),
        ("curves", _curves(results)),
        ("predictions", predicted(results, configuration)),
    ):
        write_rows(folder / f"{name}.csv", rows)
    page = run_page(folder.name, configuration, results, comparisons)
    write_text(folder / "run.html", page)


def _scores(comparisons: Mapping[str, Comparison]) -> Iterator[Row]:
    yield ["decoder", "pipeline", "figure", "value", "low", "high", "chance", "n"]
    for group, comparison in comparisons.items():
        for pipeline, figures in (("network", comparison.network), ("csp-lda", comparison.baseline)):
            for figure in figures:
                yield [group, pipeline, *asdict(figure).values()]


def _folds(results: Results) -> Iterator[Row]:
    yield ["decoder", "fold", "n_train", "n_validation", "n_test", "n_epochs", "seconds"]
    for group, r in _each(results):
        sizes = (len(r.fold.train), len(r.fold.validation), len(r.fold.test))
        yield [group, r.fold.name, *sizes, r.fitted.n_epochs, f"{r.seconds:.2f}"]


def _curves(results: Results) -> Iterator[Row]:
    """Give a row per epoch; none of what was fitted in closed form."""
    names = next((list(r.fitted.curves[0]) for _, r in _each(results) if r.fitted.curves), [])
    yield ["decoder", "fold", "epoch", *names]
    for group, r in _each(results):
        for epoch, measured in enumerate(r.fitted.curves, 1):
            yield [group, r.fold.name, epoch, *measured.values()]


def _decided_trials(results: Results, configuration: TrainingConfiguration) -> Iterator[Row]:
    """Give a row per tested trial: its class, the one decided, the evidence for each (mean log probability)."""
    names = configuration.class_names
    yield ["decoder", "fold", "trial", "truth", "decided", *(f"evidence {name}" for name in names)]
    for group, r in _each(results):
        for trial, truth, evidence in zip(r.fold.test, r.truth.tolist(), r.network, strict=True):
            yield [group, r.fold.name, trial, names[truth], names[evidence.argmax()], *evidence.tolist()]


def _predicted_values(results: Results, configuration: TrainingConfiguration) -> Iterator[Row]:
    """Give a row per window of each tested trial or segment: true and predicted value of each target."""
    assert configuration.targets is not None
    names = configuration.targets.channels or configuration.targets.names
    both = [f"{what} {name}" for what in ("true", "predicted") for name in names]
    yield ["decoder", "fold", "trial", "window", *both]
    for group, r in _each(results):
        for trial, truth, predicted in zip(r.fold.test, r.truth, r.network, strict=True):
            for number, values in enumerate(np.concatenate([truth, predicted], axis=1).tolist()):
                yield [group, r.fold.name, trial, number, *values]


def _each(results: Results) -> Iterator[tuple[str, FoldResult]]:
    return ((group, result) for group, folds in results.items() for result in folds)
