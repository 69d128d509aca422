"""The command that measures how long everything takes."""

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtdecode.errors import ConfigurationError, DeadlineError, StreamError, refuse_output

if TYPE_CHECKING:
    from rtdecode.latency.report import Report


_CHUNK = 8


def latency(
    model: Annotated[Path, typer.Option("--model", "-m", help="The decoder file (.onnx).")],
    recording: Annotated[
        Path | None, typer.Option(help="What is played; noise as large as the training data when not given.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Name of a stream that is there, to measure on it.")] = None,
    seconds: Annotated[float, typer.Option(help="Of predictions to measure, and as many of echoes.", min=1)] = 30.0,
    chunk: Annotated[
        int | None,
        typer.Option(
            help="Samples that the source pushes at a time.", min=1, show_default="8; with --stream: not told apart"
        ),
    ] = None,
    load: Annotated[int, typer.Option(help="Processes that are kept busy meanwhile.", min=0)] = 0,
    budget_ms: Annotated[
        float | None, typer.Option(help="99 of 100 predictions must be received within this.", min=0.001)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The certificate.", show_default="latency-MODEL.html")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything measured here (.json).")] = None,
) -> None:
    """Measure the time from acquisition to reception, stage by stage, and write a certificate of this machine.

    The decoder runs as `rtdecode run` does, its source and its listener in processes of their own, in turn with a
    bare echo that only pulls and pushes. Without --stream everything stays on this machine.
    Ends with exit code 6 when the budget is missed.
    """
    if recording and stream:
        raise ConfigurationError("Give --recording or --stream: a recording is played, a stream is there already.")
    output = output or Path(f"latency-{model.stem}.html")
    refuse_output(output, ".html")
    if json:
        refuse_output(json, ".json")
    with tempfile.TemporaryDirectory(prefix="rtdecode-", ignore_cleanup_errors=True) as folder:
        report = _measure(model, recording, stream, seconds, chunk, load, budget_ms, Path(folder))
    from rtdecode.latency.certificate import certificate

    _write(output, certificate(report))
    if json:
        _write(json, report.as_json())
    _tell(report)
    print(f"written to {output}")
    judged = report.verdict
    if judged and not judged.met:
        raise DeadlineError(
            f"The budget of {judged.budget_ms:g} ms is missed: p99 is {judged.p99_ms:.2f} ms, and "
            f"{100 * judged.within:.4g} % of the predictions were received in time. {_advice(report)}"
        )


def _measure(
    model: Path, recording: Path | None, stream: str | None, seconds: float, chunk: int | None, load: int,
    budget_ms: float | None, folder: Path,
) -> "Report":  # fmt: skip
    from rtdecode.decoder import Decoder
    from rtdecode.engine import read_model
    from rtdecode.recording import read_recording

    model_file = read_model(model)
    if model_file.contract.events:
        raise ConfigurationError(f"Model {model_file.name!r} predicts at events; latency is measured at hops only.")
    data = read_recording(recording) if recording else None
    if stream is None:
        from rtdecode.loopback import loopback_configuration

        # Before anything loads liblsl: both ends are ours, and nothing leaves this machine.
        os.environ["LSLAPICFG"] = str(loopback_configuration(folder))
    from rtdecode.latency.measure import Measurement, busy, played, signal_of
    from rtdecode.latency.report import report

    if stream:
        decoder = Decoder(model_file, signal_of(stream), source_name=f"Stream {stream!r}", error=StreamError)
    else:
        decoder = Decoder(model_file, data.signal if data else None, source_name=f"Recording {recording}")
    asked = {
        "source": f"stream {stream}" if stream else f"recording {recording.name}" if recording else "noise",
        "chunk": f"{chunk} samples" if chunk else "not told apart" if stream else f"{_CHUNK} samples",
        "seconds": f"{seconds:g}",
        "load": f"{load} busy processes" if load else "none of our own",
        "budget": f"{budget_ms:g} ms for 99 of 100" if budget_ms else "none",
    }
    # With a chunk of one no part of the way is the chunk's.
    chunk = chunk or (1 if stream else _CHUNK)
    measurement, blocks = Measurement(decoder, stream or played(decoder, data, seconds), chunk, folder), []
    with busy(load):
        for block in measurement.blocks(seconds):
            blocks.append(block)
            print(f"round {len(blocks)}: {len(block.timing.total)} predictions", file=sys.stderr, flush=True)
    return report(decoder, blocks, asked, chunk, budget_ms)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from None


def _tell(report: "Report") -> None:
    columns = ("p50", "p95", "p99", "max", "sd")
    print(f"{'ms':<14}" + "".join(f"{column:>9}" for column in columns))
    for name, figures in report.figures_ms.items():
        print(f"{name:<14}" + "".join(f"{figures[column]:9.3f}" for column in columns))
    print(f"{report.ratio:.2f} times the bare echo (median); {len(report.timing.total)} predictions received")


def _advice(report: "Report") -> str:
    from rtdecode.latency.stages import STAGES

    slowest = max(STAGES, key=lambda stage: report.figures_ms[stage.name]["p99"])
    return f"Most of it is {slowest.name}: {slowest.text}. What lowers it: docs/latency.md."
