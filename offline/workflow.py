"""A whole training run: folds of every decoder, the table, checkpoints, the exported file."""

from collections.abc import Callable, Iterator
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
from offline.checkpoint import Checkpoint, make_checkpoint
from offline.configuration import TrainingConfiguration
from offline.dataset import Dataset, load_dataset
from offline.evaluation import Comparison, FoldResult, run_fold, summarise
from offline.origin import origin
from offline.partition import Fold, divide_for_stopping, make_folds
from offline.records import write_records
from offline.runs import RunFolder
from offline.sources import Source, find_sources
from offline.stored import StoredRecording, store_features, store_recording
from offline.training import build
from rtdecode.contract import Score
from rtdecode.errors import ConfigurationError
from rtdecode.runtime import runtime_version
from rtdecode.scoring import Figure, mean_interval


@dataclass(frozen=True)
class Job:
    """One fold of one decoder."""

    group: str
    sources: list[Source]
    fold: Fold


@dataclass(frozen=True)
class Plan:
    """What is to be trained, found to fit the recordings; nothing is written yet.

    Attributes
    ----------
    configuration : TrainingConfiguration
        What to do.
    datasets : dict of str to Dataset
        The recordings of each decoder.
    folds : dict of str to list of Fold
        How the trials of each are divided.
    """

    configuration: TrainingConfiguration
    datasets: dict[str, Dataset]
    folds: dict[str, list[Fold]]

    @property
    def partition(self) -> dict[str, list[dict[str, object]]]:
        """The folds as JSON can hold them."""
        return {group: [fold.document() for fold in folds] for group, folds in self.folds.items()}


@dataclass(frozen=True)
class Run:
    """What a training run left.

    Attributes
    ----------
    folder : Path
        Configuration, partition, scores, predictions, checkpoints.
    results : dict of str to list of FoldResult
        What the folds of each decoder gave.
    comparisons : dict of str to Comparison
        Scores of each decoder.
    finals : dict of str to Path
        Checkpoints trained on all runs of a decoder, for those asked for.
    """

    folder: Path
    results: dict[str, list[FoldResult]]
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
        Where the run is kept; `runs/NAME-DATE` when not given. If it is there, it must be of a run of the same, which
        goes on: folds that are done are not fitted again.
    only : list of str
        Values of `decoder_per` to train; all when empty.
    final : list of str
        Those to fit on all runs as well.
    jobs : int
        Folds fitted at once, each in a process of its own. The result does not depend on it.
    """
    plans = make_plans([configuration], data, only, final, console)
    prepare(plans, console)
    return carry_out(plans[0], folder or new_folder(configuration.name), final, jobs, console)


def new_folder(name: str) -> Path:
    """Return where a run is kept when nobody says so."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def make_plans(
    configurations: list[TrainingConfiguration], data: Path, only: list[str], final: list[str], console: Console
) -> list[Plan]:
    """Read recordings, find their trials and divide them; see `train`."""
    with console.status("reading recordings") as status:
        # Several decoders may be trained on the same recordings.
        @cache
        def read(path: Path) -> StoredRecording:
            status.update(f"reading {path.name}")
            return store_recording(path)

        return [_make_plan(configuration, data, only, final, read) for configuration in configurations]


def prepare(plans: list[Plan], console: Console) -> None:
    """Refuse what could not be trained, and preprocess what all folds have in common."""
    runtime_version()
    with console.status("preprocessing") as status:
        for dataset in (dataset for plan in plans for dataset in plan.datasets.values()):
            steps, _, _ = build(dataset, dataset.trials)
            chain = dataset.before_learning(steps)
            for recording in dataset.stored:
                status.update(f"preprocessing {recording.path.name}")
                store_features(recording, dataset.signal, chain)


def _make_plan(
    configuration: TrainingConfiguration,
    data: Path,
    only: list[str],
    final: list[str],
    read: Callable[[Path], StoredRecording],
) -> Plan:
    groups = find_sources(configuration, data)
    _refuse_unknown(groups, [*only, *final], configuration)
    wanted = {g: s for g, s in groups.items() if not only or g in only or g in final}
    datasets = {g: load_dataset(configuration, sources, read) for g, sources in wanted.items()}
    return Plan(configuration, datasets, {g: make_folds(dataset) for g, dataset in datasets.items()})


def carry_out(plan: Plan, folder: Path, final: list[str], jobs: int, console: Console) -> Run:
    """Fit what is not done yet, and tell what it was worth; see `train`."""
    configuration, datasets = plan.configuration, plan.datasets
    kept = RunFolder(
        folder,
        {
            "configuration": configuration.model_dump(mode="json"),
            "partition": plan.partition,
            "origin": origin(configuration, datasets),
        },
        list(datasets),
    )
    work = [Job(group, datasets[group].sources, fold) for group, folds in plan.folds.items() for fold in folds]
    done = {(job.group, job.fold.name): kept.result(job.group, job.fold) for job in work}
    left = [job for job in work if done[job.group, job.fold.name] is None]
    if len(left) < len(work):
        console.print(f"{len(work) - len(left)} of {len(work)} folds were done before", highlight=False)
    for job, result in _fit_all(datasets, left, jobs, console):
        done[job.group, job.fold.name] = result
        ids = {*job.fold.train, *job.fold.validation}
        seen = {t.recording for t in datasets[job.group].trials if t.id in ids}
        split = f"{configuration.split.kind}, on {job.fold.name}"
        scores = [_score(figure, split) for figure in result.figures(configuration)]
        kept.keep(job.group, result, make_checkpoint(datasets[job.group], result.fitted, seen, scores))
    results: dict[str, list[FoldResult]] = {group: [] for group in datasets}
    for (group, _), of_fold in done.items():
        assert of_fold is not None
        results[group].append(of_fold)
    comparisons = {g: summarise(r, configuration) for g, r in results.items()}
    write_records(folder, configuration, results, comparisons)
    finals = {group: kept.checkpoint(group, "final") for group in final}
    for group, path in finals.items():
        if not path.exists():
            _fit_final(datasets[group], len(results[group]), comparisons[group], console).save(path)
    return Run(folder, results, comparisons, finals)


def _fit_final(dataset: Dataset, n_folds: int, comparison: Comparison, console: Console) -> Checkpoint:
    """Fit a decoder on all it has; its scores are those of its folds."""
    told = "fitting a decoder on all of its runs"
    with console.status(told) as status:
        fitted = fit_calibrated(
            dataset,
            *divide_for_stopping(dataset, dataset.trials),
            lambda text: status.update(f"{told}: {text}"),
        )
    split = (
        f"of decoders trained like this one on part of its data ({dataset.configuration.split.kind}, "
        f"folds: {n_folds}), each on trials it never saw"
    )
    scores = [_score(figure, split) for figure in comparison.network]
    return make_checkpoint(dataset, fitted, set(range(len(dataset.stretches))), scores)


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
            row = [told, str(figure.n), f"{figure.chance:.2f}", shown(figure.value, figure.low, figure.high)]
            if c.baseline:
                other = c.baseline[i]
                row += [shown(other.value, other.low, other.high), f"{figure.value - other.value:+.3f}"]
            out.add_row(*row)
    if len(comparisons) > 1:
        out.add_section()
        for i, name in enumerate(names):
            told = "mean" if len(names) == 1 else f"mean {name}"
            row = [told, "", "", shown(*mean_interval([c.network[i].value for c in comparisons]))]
            paired = [(c.network[i].value, c.baseline[i].value) for c in comparisons if c.baseline]
            if paired:
                row.append(shown(*mean_interval([b for _, b in paired])))
                row.append(shown(*mean_interval([a - b for a, b in paired]), sign="+"))
            out.add_row(*row)
    return out


def shown(value: float, low: float, high: float, sign: str = "") -> str:
    """Write a figure with its interval."""
    return f"{value:{sign}.3f} [{low:{sign}.2f}, {high:{sign}.2f}]"
