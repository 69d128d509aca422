"""A whole training run: folds of every decoder, the table, checkpoints, the exported file."""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import joblib
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from offline.calibration import fit_calibrated
from offline.checkpoint import make_checkpoint
from offline.configuration import TrainingConfiguration
from offline.dataset import Dataset, load_dataset
from offline.evaluation import Comparison, FoldResult, run_fold, summarise
from offline.partition import Fold, divide_for_stopping, make_folds
from offline.sources import Source, find_sources
from offline.stored import store_recording
from offline.training import build
from rtdecode.contract import Score
from rtdecode.engine import runtime_version
from rtdecode.errors import ConfigurationError
from rtdecode.scoring import Figure, mean_interval


@dataclass(frozen=True)
class Job:
    """One fold of one decoder."""

    group: str
    sources: list[Source]
    fold: Fold


@dataclass(frozen=True)
class Run:
    """What a training run left.

    Attributes
    ----------
    folder : Path
        Configuration, partition, scores, checkpoints.
    comparisons : dict of str to Comparison
        Scores of each decoder.
    finals : dict of str to Path
        Checkpoints trained on all runs of a decoder, for those asked for.
    """

    folder: Path
    comparisons: dict[str, Comparison]
    finals: dict[str, Path]


def train(
    configuration: TrainingConfiguration,
    data: Path,
    folder: Path | None,
    only: list[str],
    final: list[str],
    jobs: int,
    console: Console,
) -> Run:
    """Cross-validate every decoder, then fit those in `final` on all of their runs.

    Parameters
    ----------
    configuration : TrainingConfiguration
        What to do.
    data : Path
        Folder the recordings' pattern is relative to.
    folder : Path or None
        Where the run is kept; `runs/NAME-DATE` when not given. It must not exist.
    only : list of str
        Values of `decoder_per` to train; all when empty.
    final : list of str
        Those to fit on all runs as well.
    jobs : int
        Folds fitted at once, each in a process of its own. The result does not depend on it.
    """
    groups = find_sources(configuration, data)
    _refuse_unknown(groups, [*only, *final], configuration)
    groups = {g: s for g, s in groups.items() if not only or g in only or g in final}
    # Several decoders may be trained on the same recordings.
    read = cache(store_recording)
    datasets = {g: load_dataset(configuration, sources, read) for g, sources in groups.items()}
    work = [Job(g, groups[g], fold) for g, dataset in datasets.items() for fold in make_folds(dataset)]
    # What would otherwise be noticed after the folder was made, or after the first fold.
    runtime_version()
    for dataset in datasets.values():
        build(dataset, dataset.trials)
    folder = folder or Path("runs") / f"{configuration.name}-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise ConfigurationError(f"{folder} exists already; give another --output. Nothing is overwritten.")
    try:
        for group in groups:
            (folder / group).mkdir(parents=True)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {folder}: {error.strerror}.") from None
    partition = {g: [j.fold.document() for j in work if j.group == g] for g in groups}
    _write_json(folder / "configuration.json", configuration.model_dump(mode="json"))
    _write_json(folder / "partition.json", partition)
    results: dict[str, list[FoldResult]] = {g: [] for g in groups}
    for job, result in _fit_all(datasets, work, jobs, console):
        results[job.group].append(result)
        ids = {*job.fold.train, *job.fold.validation}
        seen = {t.recording for t in datasets[job.group].trials if t.id in ids}
        split = f"{configuration.split.kind}, on {job.fold.name}"
        scores = [_score(figure, split) for figure in result.figures(configuration)]
        checkpoint = make_checkpoint(datasets[job.group], result.fitted, seen, scores)
        checkpoint.save(folder / job.group / f"{job.fold.name}.pt")
    comparisons = {g: summarise(r, configuration) for g, r in results.items()}
    _write_scores(folder / "scores.csv", comparisons)
    _write_folds(folder / "folds.csv", results)
    finals = {}
    for group in final:
        dataset = datasets[group]
        with console.status(f"fitting {group} on all of its runs") as status:
            fitted = fit_calibrated(
                dataset,
                *divide_for_stopping(dataset, dataset.trials),
                lambda text: status.update(f"fitting {group} on all of its runs: {text}"),  # noqa: B023
            )
        split = (
            f"of decoders trained like this one on part of its data ({configuration.split.kind}, "
            f"folds: {len(results[group])}), each on trials it never saw"
        )
        scores = [_score(figure, split) for figure in comparisons[group].network]
        everything = set(range(len(dataset.stretches)))
        finals[group] = folder / group / "final.pt"
        make_checkpoint(dataset, fitted, everything, scores).save(finals[group])
    return Run(folder, comparisons, finals)


def _refuse_unknown(groups: dict[str, list[Source]], wanted: list[str], configuration: TrainingConfiguration) -> None:
    for name in wanted:
        if name not in groups:
            per = configuration.recordings.decoder_per or "decoder"
            raise ConfigurationError(f"There is no {per} {name!r}; there is {', '.join(groups)}.")


def _fit_all(
    datasets: dict[str, Dataset], work: list[Job], jobs: int, console: Console
) -> Iterator[tuple[Job, FoldResult]]:
    configuration = next(iter(datasets.values())).configuration
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{configuration.model.network}: folds", total=len(work))
        if jobs == 1:
            for job in work:
                told = f"{job.group} {job.fold.name}"
                yield (
                    job,
                    run_fold(
                        datasets[job.group],
                        job.fold,
                        lambda text, told=told: progress.update(task, description=f"{told}: {text}"),  # type: ignore[misc]
                    ),
                )
                _advance(progress, task, job, len(work))
            return
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
        fits = parallel(joblib.delayed(_fit_job)(configuration, job) for job in work)
        for job, result in zip(work, fits, strict=True):
            yield job, result
            _advance(progress, task, job, len(work))


def _advance(progress: Progress, task: TaskID, job: Job, total: int) -> None:
    progress.advance(task)
    # Where there is no terminal there is no bar: a log file gets a line instead.
    if not progress.console.is_terminal:
        done = int(progress.tasks[task].completed)
        progress.console.print(f"fold {done} of {total} done: {job.group} {job.fold.name}")


def _fit_job(configuration: TrainingConfiguration, job: Job) -> FoldResult:
    return run_fold(load_dataset(configuration, job.sources), job.fold)


def _score(figure: Figure, split: str) -> Score:
    return Score(**asdict(figure), split=split)


def table(run: Run, configuration: TrainingConfiguration) -> Table:
    """Lay the scores out: a row per decoder, then the mean over decoders with its 95 % interval."""
    comparisons = list(run.comparisons.values())
    has_baseline = any(c.baseline for c in comparisons)
    network = configuration.model.network
    names = [figure.name for figure in comparisons[0].network]
    what = "trials" if configuration.trials else "segments"
    out = Table(
        title=f"{', '.join(names)} over {what}, {configuration.split.kind}, [95 % interval]",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    columns = [configuration.recordings.decoder_per or "decoder", what, "chance", network]
    for name in [*columns, *(["csp-lda"] if has_baseline else [])]:
        out.add_column(name, justify="right", no_wrap=True)
    if has_baseline:
        out.add_column("difference", justify="right", min_width=10)
    for group, c in run.comparisons.items():
        for i, figure in enumerate(c.network):
            told = group if len(names) == 1 else f"{group}, {figure.name}"
            row = [told, str(figure.n), f"{figure.chance:.2f}", _shown(figure.value, figure.low, figure.high)]
            if c.baseline:
                other = c.baseline[i]
                row += [_shown(other.value, other.low, other.high), f"{figure.value - other.value:+.3f}"]
            out.add_row(*row)
    if len(comparisons) > 1:
        out.add_section()
        for i, name in enumerate(names):
            told = "mean" if len(names) == 1 else f"mean {name}"
            row = [told, "", "", _shown(*mean_interval([c.network[i].value for c in comparisons]))]
            paired = [(c.network[i].value, c.baseline[i].value) for c in comparisons if c.baseline]
            if paired:
                row.append(_shown(*mean_interval([b for _, b in paired])))
                row.append(_shown(*mean_interval([a - b for a, b in paired]), sign="+"))
            out.add_row(*row)
    return out


def _shown(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.3f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _write_scores(path: Path, comparisons: dict[str, Comparison]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["decoder", "pipeline", "figure", "value", "low", "high", "chance", "n"])
        for group, comparison in comparisons.items():
            for pipeline, figures in (("network", comparison.network), ("csp-lda", comparison.baseline)):
                for figure in figures:
                    rows.writerow([group, pipeline, *asdict(figure).values()])


def _write_folds(path: Path, results: dict[str, list[FoldResult]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["decoder", "fold", "n_train", "n_validation", "n_test", "n_epochs", "seconds"])
        for group, folds in results.items():
            for r in folds:
                sizes = (len(r.fold.train), len(r.fold.validation), len(r.fold.test))
                rows.writerow([group, r.fold.name, *sizes, r.fitted.n_epochs, f"{r.seconds:.2f}"])


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
