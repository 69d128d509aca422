"""A whole training run: folds of every decoder, the table, checkpoints, the exported file."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from offline.calibration import fit_calibrated
from offline.checkpoint import make_checkpoint, read_checkpoint
from offline.configuration import Arrays, TrainingConfiguration
from offline.dataset import Dataset, load_dataset
from offline.evaluation import Comparison, FoldResult, run_fold, summarise
from offline.origin import origin
from offline.partition import Fold, divide_for_stopping, make_folds
from offline.records import write_records
from offline.runs import RunFolder, state_of
from offline.sources import Source, find_sources
from offline.stored import StoredRecording, refuse_copies, store_features, store_recording
from offline.tasks import Workers, finished, one_thread
from offline.training import Fitted, build
from rtdecode.contract import Score
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.runtime import runtime_version
from rtdecode.scoring import Figure, mean_interval

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One fold of one decoder; None: its fit to all it has.

    Attributes
    ----------
    number : int
        Of its plan.
    group : str
        Which decoder.
    sources : list of Source
        Its recordings.
    fold : Fold or None
        Which of its trials.
    state : Path
        Keeps how far its training is.
    """

    number: int
    group: str
    sources: list[Source]
    fold: Fold | None
    state: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.group} {self.fold.name}" if self.fold else self.group


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
    workers: Workers,
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
    workers : int or str
        Who fits the folds, see `offline.tasks.finished`. The result does not depend on it.
    """
    plans = make_plans([configuration], data, only, final, console)
    (run,) = carry_out(plans, [folder or new_folder(configuration.name)], final, workers, console)
    return run


def new_folder(name: str) -> Path:
    """Return where a run is kept when nobody says so."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def make_plans(
    configurations: list[TrainingConfiguration], data: Path, only: list[str], final: list[str], console: Console
) -> list[Plan]:
    """Read recordings, find their trials and divide them; see `train`."""
    # Workers may stand in another folder.
    data = data.absolute()
    with console.status("reading recordings") as status:
        # Several decoders may be trained on the same recordings.
        @cache
        def read(path: Path, arrays: Arrays) -> StoredRecording:
            status.update(f"reading {path.name}")
            return store_recording(path, arrays)

        plans = [_make_plan(configuration, data, only, final, read) for configuration in configurations]
    datasets = [dataset for plan in plans for dataset in plan.datasets.values()]
    refuse_copies(recording for dataset in datasets for recording in dataset.stored)
    for told in dict.fromkeys(sentence for dataset in datasets for sentence in dataset.notes):
        console.print(told, soft_wrap=True, markup=False, highlight=False)
    return plans


def _prepare(plans: list[Plan], console: Console) -> None:
    """Refuse what could not be trained, and preprocess what all folds have in common."""
    runtime_version()
    with one_thread(), console.status("preprocessing") as status:
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
    read: Callable[[Path, Arrays], StoredRecording],
) -> Plan:
    groups = find_sources(configuration, data)
    _refuse_unknown(groups, [*only, *final], configuration)
    wanted = {g: s for g, s in groups.items() if not only or g in only or g in final}
    datasets = {g: load_dataset(configuration, sources, read) for g, sources in wanted.items()}
    folds = {}
    for group, dataset in datasets.items():
        try:
            folds[group] = make_folds(dataset)
        except RecordingError as error:
            raise RecordingError(f"Decoder {group!r}: {error}" if len(datasets) > 1 else str(error)) from None
    return Plan(configuration, datasets, folds)


def carry_out(
    plans: list[Plan], folders: list[Path], final: list[str], workers: Workers, console: Console
) -> list[Run]:
    """Fit what is not done yet of all plans, each kept in its folder, and tell what it was worth; see `train`.

    What a fold gave is kept as soon as it is known.
    """
    _prepare(plans, console)
    kept = [_run_folder(plan, folder) for plan, folder in zip(plans, folders, strict=True)]
    done = {
        (number, group, fold.name): kept[number].result(group, fold)
        for number, plan in enumerate(plans)
        for group, folds in plan.folds.items()
        for fold in folds
    }
    left = [
        Job(number, group, plan.datasets[group].sources, fold, _state(kept[number].checkpoint(group, fold.name)))
        for number, plan in enumerate(plans)
        for group, folds in plan.folds.items()
        for fold in folds
        if done[number, group, fold.name] is None
    ]
    if len(left) < len(done):
        console.print(f"{len(done) - len(left)} of {len(done)} folds were done before", highlight=False)
    left += [
        Job(number, group, plan.datasets[group].sources, None, _state(kept[number].final(group)))
        for number, plan in enumerate(plans)
        for group in final
        if not kept[number].final(group).exists()
    ]
    for job, result in _fit_all(plans, left, workers, console):
        if isinstance(result, FoldResult):
            done[job.number, job.group, result.fold.name] = result
            _keep(plans[job.number], kept[job.number], job.group, result)
        else:
            _keep_final(plans[job.number], kept[job.number].final(job.group), job.group, result)
    runs = []
    for number, (plan, folder) in enumerate(zip(plans, folders, strict=True)):
        results = {
            group: [known for fold in folds if (known := done[number, group, fold.name])]
            for group, folds in plan.folds.items()
        }
        comparisons = {group: summarise(r, plan.configuration) for group, r in results.items()}
        write_records(folder, plan.configuration, results, comparisons)
        runs.append(Run(folder, results, comparisons, {group: kept[number].final(group) for group in final}))
        for group in final:
            _tell_scores(plan, runs[number], group)
    return runs


def _state(checkpoint: Path) -> Path:
    # Workers may stand in another folder.
    return state_of(checkpoint).absolute()


def _run_folder(plan: Plan, folder: Path) -> RunFolder:
    datasets = plan.datasets
    return RunFolder(
        folder,
        {
            "configuration": plan.configuration.model_dump(mode="json"),
            "partition": plan.partition,
            "origin": origin(plan.configuration, datasets),
        },
        list(datasets),
    )


def _keep(plan: Plan, kept: RunFolder, group: str, result: FoldResult) -> None:
    dataset, fold = plan.datasets[group], result.fold
    ids = {*fold.train, *fold.validation}
    seen = {t.recording for t in dataset.trials if t.id in ids}
    split = f"{plan.configuration.split.kind}, on {fold.name}"
    scores = [_score(figure, split) for figure in result.figures(plan.configuration)]
    kept.keep(group, result, make_checkpoint(dataset, result.fitted, seen, scores))


def _keep_final(plan: Plan, path: Path, group: str, fitted: Fitted) -> None:
    """Keep a decoder that was fitted to all it has, whether or not its folds are done."""
    dataset = plan.datasets[group]
    make_checkpoint(dataset, fitted, set(range(len(dataset.stretches))), []).save(path)
    _state(path).unlink(missing_ok=True)


def _tell_scores(plan: Plan, run: Run, group: str) -> None:
    """Write the scores of its folds into the checkpoint of a decoder of all it has, unless they are there."""
    split = (
        f"of decoders trained like this one on part of its data ({plan.configuration.split.kind}, "
        f"folds: {len(run.results[group])}), each on trials it never saw"
    )
    scores = [_score(figure, split) for figure in run.comparisons[group].network if figure.told_whole]
    checkpoint = read_checkpoint(run.finals[group], plan.configuration.model.network)
    if checkpoint.contract.provenance.scores != tuple(scores):
        checkpoint.with_scores(scores).save(run.finals[group])


def _refuse_unknown(groups: dict[str, list[Source]], wanted: list[str], configuration: TrainingConfiguration) -> None:
    for name in wanted:
        if name not in groups:
            per = configuration.recordings.decoder_per or "decoder"
            raise ConfigurationError(f"There is no {per} {name!r}; there is {', '.join(groups)}.")


def _fit(dataset: Dataset, job: Job, tell: Tell | None = None) -> FoldResult | Fitted:
    if job.fold is None:
        return fit_calibrated(dataset, *divide_for_stopping(dataset, dataset.trials), tell, state=job.state)
    return run_fold(dataset, job.fold, tell, job.state)


def _fit_there(configurations: list[TrainingConfiguration], job: Job) -> FoldResult | Fitted:
    """Fit in another process, which has to find the recordings first."""
    return _fit(load_dataset(configurations[job.number], job.sources), job)


def _anywhere(configuration: TrainingConfiguration) -> TrainingConfiguration:
    """Return it as it is understood by who stands in another folder."""
    training = configuration.training
    if training.init_from is None:
        return configuration
    absolute = training.model_copy(update={"init_from": str(Path(training.init_from).absolute())})
    return configuration.model_copy(update={"training": absolute})


def _fit_all(
    plans: list[Plan], work: list[Job], workers: Workers, console: Console
) -> Iterator[tuple[Job, FoldResult | Fitted]]:
    configurations = [plan.configuration for plan in plans]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{', '.join(c.name for c in configurations)}: folds", total=len(work))

        def fit_here(job: Job) -> FoldResult | Fitted:
            def tell(text: str) -> None:
                progress.update(task, description=f"{_told(job, configurations)}: {text}")

            return _fit(plans[job.number].datasets[job.group], job, tell)

        fit = fit_here if workers == 1 else partial(_fit_there, [_anywhere(each) for each in configurations])
        n_folds = len([job for job in work if job.fold])
        count = itertools.count(1)
        for job, result in finished(fit, work, workers):
            yield job, result
            progress.advance(task)
            # Where there is no terminal there is no bar: a log file gets a line instead.
            if not console.is_terminal:
                what = f"fold {next(count)} of {n_folds}" if job.fold else "decoder of all runs"
                console.print(f"{what} done: {_told(job, configurations)}")


def _told(job: Job, configurations: list[TrainingConfiguration]) -> str:
    return job.name if len(configurations) == 1 else f"{configurations[job.number].name}, {job.name}"


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
