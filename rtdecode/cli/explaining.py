"""The command that tells what a decoder has learned."""

from pathlib import Path
from typing import Annotated

import typer

from rtdecode.cli.training import OwnNetwork, offline_module
from rtdecode.files import refuse_output


def explain(
    model: Annotated[Path, typer.Argument(help="The decoder file (.onnx), or a checkpoint (.pt).")],
    recordings: Annotated[
        list[Path] | None, typer.Argument(help="Recordings with their events, best such as it was not trained on.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The report.", show_default="explanation-MODEL.html")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything here as well (.json).")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Write each figure into this folder as well (SVG).", metavar="DIR")
    ] = None,
    folds: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the training run this is a fold of: patterns over its folds.", metavar="RUN"
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(help="Of the patterns in the report: haufe, mneflow or band.", show_default="by network"),
    ] = None,
    hide: Annotated[
        list[str] | None, typer.Option(help="Leave this sensor out of the maps (a bad one); may be repeated.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Whose, of a checkpoint that tells people apart.")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="`randomised`: weights drawn anew; `labels`: trained on shuffled ones; may be repeated."),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Permutations and draws of each test.", min=1, max=100_000)] = 200,
    seed: Annotated[int, typer.Option(help="Of these.", min=0)] = 0,
    network: OwnNetwork = None,
) -> None:
    """Tell what a decoder has learned: a report of patterns, spectra, waveforms and relevance.

    Without recordings there are spatial patterns and temporal kernels, of what the file itself keeps. Nothing of the
    file is changed. docs/interpretation.md says what each figure is, and what it is not.
    """
    output = output or Path(f"explanation-{model.stem}.html")
    refuse_output(output, ".html")
    if json:
        refuse_output(json, ".json")
    offline_module("interpretation.command").explain(
        model,
        recordings or [],
        output,
        json,
        figures,
        folds,
        form,
        hide or [],
        subject,
        control or [],
        repeats,
        seed,
        network,
    )
