"""The command that tells how well a decoder will do."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtdecode.files import refuse_output, write_text

if TYPE_CHECKING:
    from rtdecode.evaluation import Evaluation


def evaluate(
    model: Annotated[Path, typer.Argument(help="The decoder file (.onnx).")],
    recordings: Annotated[list[Path], typer.Argument(help="Recordings it was not trained on, with their events.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The report.", show_default="evaluation-MODEL.html")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures and predictions here (.json).")] = None,
    rest: Annotated[
        list[str] | None,
        typer.Option(help="A class that stands for doing nothing, of a file without a policy; may be repeated."),
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(help="Regular expression whose group tells whose recording a path is.", show_default="sub-*"),
    ] = None,
    permutations: Annotated[int, typer.Option(help="Of the permutation test.", min=1, max=1_000_000)] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the permutations.", min=0)] = 0,
    gap_tolerance_ms: Annotated[float, typer.Option(help="As for `run`.", min=0)] = 0.0,
    stream: Annotated[str | None, typer.Option(help="Name of the signal stream, if an XDF file has several.")] = None,
) -> None:
    """Decode recordings exactly as the live run would, and write a report of all that they tell.

    Accuracy over time, confusions, kappa, AUC, information rate, false activations, time to detection, calibration
    and abstentions, with intervals over trials and people and a permutation test. docs/evaluation.md says how each is
    counted.
    """
    output = output or Path(f"evaluation-{model.stem}.html")
    refuse_output(output, ".html")
    if json:
        refuse_output(json, ".json")
    from rich.console import Console

    from rtdecode.evaluation import PERSON, report
    from rtdecode.evaluation import evaluate as evaluate_model
    from rtdecode.guard import GuardSettings
    from rtdecode.model_file import read_model

    model_file = read_model(model)
    with Console(stderr=True).status("") as status:
        evaluation = evaluate_model(
            model_file,
            recordings,
            rest=tuple(rest or ()),
            person=person or PERSON,
            n_permutations=permutations,
            seed=seed,
            guard=GuardSettings(gap_tolerance_ms=gap_tolerance_ms),
            stream=stream,
            progress=status.update,
        )
        status.update("counting")
        write_text(output, report(evaluation))
        if json:
            write_text(json, evaluation.as_json())
    _tell(evaluation)
    print(f"written to {output}")


def _tell(evaluation: "Evaluation") -> None:
    from collections import Counter

    abstained = sum((one.abstained for one in evaluation.decoded), Counter[str]())
    n = sum(len(one.replay.predictions) for one in evaluation.decoded) - sum(abstained.values())
    several = "s" * (len(evaluation.decoded) > 1)
    print(f"{len(evaluation.decoded)} recording{several}, {n} predictions, abstained {dict(abstained) or 0}")
    for figure in evaluation.figures:
        null = evaluation.nulls.get(figure.name)
        p = f", {null.told}" if null else ""
        print(f"{figure.name}: {figure}{p}")
    for mean in evaluation.over_people:
        print(f"mean over {mean.n_people} people, {mean.name}: {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]")
    if evaluation.tuned_on:
        told = ", ".join(one.path.name for one in evaluation.tuned_on)
        print(
            f"TUNED ON: the policy was tuned on {told}. Its decisions there are better than on new data.",
            file=sys.stderr,
        )
    if evaluation.trained_on:
        told = ", ".join(one.path.name for one in evaluation.trained_on)
        print(
            f"TRAINED ON: the decoder learned from {told} (or from parts of them). These figures say nothing about "
            "new data.",
            file=sys.stderr,
        )
