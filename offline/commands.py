"""What the commands of the same names do; what takes a second to load is loaded by those that need it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import TrainingConfiguration
from offline.models import NETWORKS, describe, refuse_unknown
from rtdecode.files import refuse_output
from rtdecode.model_file import read_model, rewrite

if TYPE_CHECKING:
    from offline.workflow import Run


def train(
    settings: list[TrainingConfiguration],
    data: Path,
    output: Path | None,
    only: list[str],
    final: list[str],
    workers: int | str,
    mlflow: str | None,
) -> None:
    """Train, print the tables, export what was asked for, and tell MLflow if that is wanted."""
    from offline import comparison, workflow
    from offline.tracking import Tracker

    console, tracker = _console(), Tracker(mlflow) if mlflow else None
    if len(settings) == 1:
        run = workflow.train(settings[0], data, output, only, final, workers, console)
        runs, folder = {settings[0].name: run}, run.folder
    else:
        plans = workflow.make_plans(settings, data, only, final, console)
        compared = comparison.compare(plans, output, final, workers, console)
        runs, folder = compared.runs, compared.folder
    for each in settings:
        console.print(workflow.table(runs[each.name], each))
    if len(settings) > 1:
        console.print(comparison.table(compared))
    console.print(f"kept in {folder}", soft_wrap=True, highlight=False)
    for each in settings:
        _export_finals(runs[each.name], each.name, each.model.network)
        if tracker:
            tracker.tell(runs[each.name], each)


def _export_finals(run: "Run", name: str, network: str) -> None:
    for group, path in run.finals.items():
        checkpoint = read_checkpoint(path, network)
        for subject in checkpoint.subjects if checkpoint.network.conditioned else [None]:
            whose = "" if subject is None else f"-{subject}"
            export(path, run.folder / f"{name}-{group}{whose}.onnx", subject, network=network)


def export(
    path: Path, output: Path, subject: str | None = None, form: str | None = None, network: str | None = None
) -> None:
    """Write a decoder file and tell what was proven."""
    from offline.export import export as write_decoder

    checkpoint = read_checkpoint(path, network)
    whose = checkpoint if subject is None else checkpoint.for_subject(subject)
    model = write_decoder(whose, output, form=form or checkpoint.form)
    parity = model.contract.parity
    assert parity is not None
    print(
        f"{model.path}: torch = ONNX Runtime within {parity.torch_onnx_max:.1g} on {parity.n_windows} windows, "
        f"chunked = one-shot on {parity.n_chunked_predictions} predictions. "
        f"SHA-256 {model.sha256[:16]}..."
    )
    print(f"Its form is {model.contract.form.kind}: {model.contract.form.why}.")


def tune(
    path: Path, paths: list[Path], false_per_minute: float, rest: tuple[str, ...], output: Path, curve: Path | None
) -> None:
    """Tune a decoder file's policy, print the curve, write the file."""
    from offline import tune as tuning
    from rtdecode.evaluation.tuning import told_tuning
    from rtdecode.recording import read_recording

    refuse_output(output, ".onnx")
    if curve:
        refuse_output(curve, ".csv")
    model, console = read_model(path), _console()
    policies, names = tuning.policies_for(model, rest), model.contract.outputs.names
    with console.status("") as status:
        courses, tuned_on = [], []
        for each in paths:
            status.update(f"decoding {each}")
            recording = read_recording(each)
            courses.append(tuning.course_of(model, recording, rest))
            tuned_on.append((each.name, recording.fingerprint()))

        def tell(done: int) -> None:
            status.update(f"trying policies: {done} of {len(policies)}")

        best, tried = tuning.tune(courses, policies, names, false_per_minute, tell)
    console.print(tuning.table(best, tried))
    console.print(f"chosen: {best.policy.told()}", soft_wrap=True, highlight=False)
    if curve:
        tuning.write_tried(tried, curve)
        print(f"all {len(tried)} policies written to {curve}")
    split = told_tuning(len(tried), tuned_on)
    figures = tuning.figures_of(best.policy, courses, names)
    for figure in figures:
        print(f"{figure.name}: {figure}")
    print("These are figures of the recordings that chose the policy; `rtdecode replay` scores it on others.")
    written = rewrite(model, tuning.with_policy(model.contract, best.policy, figures, split), output)
    print(f"written to {written.path}, SHA-256 {written.sha256[:16]}...")


def models(names: list[str], channels: int, times: int, outputs: int, sfreq: float) -> None:
    """Print what the networks cost for a window of this shape."""
    from offline import survey

    for name in names:
        refuse_unknown(name)
    console = _console()
    shape = (channels, times, outputs, sfreq)
    costs = []
    with console.status("") as status:
        for name in names or NETWORKS:
            status.update(f"measuring {name}")
            costs.append(survey.survey(name, *shape))
    console.print(survey.table(costs, *shape))
    for cost in costs:
        if cost.reason:
            console.print(f"{cost.name}: {cost.reason}", soft_wrap=True, markup=False, highlight=False)


def settings(names: list[str]) -> None:
    """Print what each network is and its settings."""
    for name in names or NETWORKS:
        refuse_unknown(name)
        print(f"{name}: {describe(name)}\n")


def _console() -> Console:
    # Not a terminal: wide enough for the tables.
    return Console(width=None if sys.stdout.isatty() else 100)
