"""The commands that measure how long everything takes."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.cli.device import Device, Tf32, device_settings
from rtdecode.errors import ConfigurationError, DeadlineError, StreamError
from rtdecode.files import refuse_output, write_rows, write_text

if TYPE_CHECKING:
    from rich.table import Table

    from rtdecode.latency.bench import Cost
    from rtdecode.latency.report import Report


_CHUNK = 8
_PERCENTILES = ("p50", "p95", "p99", "p99.9", "max")


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

    write_text(output, certificate(report))
    if json:
        write_text(json, report.as_json())
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
    from rtdecode.model_file import read_model
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


def bench(
    models: Annotated[list[Path], typer.Argument(help="Decoder files (.onnx); several are measured in turn.")],
    seconds: Annotated[float, typer.Option(help="Of hops to measure, all files together.", min=0.1)] = 10.0,
    lsl: Annotated[bool, typer.Option("--lsl/--no-lsl", help="Publish on this machine, to a listener.")] = True,
    device: Device = None,
    tf32: Tf32 = False,
    csv: Annotated[Path | None, typer.Option(help="Write the figures here too (.csv).")] = None,
) -> None:
    """Measure what a hop costs, part by part, beside ONNX Runtime alone; nothing is waited for.

    The same network with several windows, given as several files, tells how each part grows with the window.
    """
    if csv:
        refuse_output(csv, ".csv")
    from rich.console import Console

    from rtdecode.model_file import read_model

    model_files, chosen = [read_model(model) for model in models], device_settings(device, tf32)
    with tempfile.TemporaryDirectory(prefix="rtdecode-", ignore_cleanup_errors=True) as folder:
        if lsl:
            from rtdecode.loopback import loopback_configuration

            # Before anything loads liblsl: nothing leaves this machine.
            os.environ["LSLAPICFG"] = str(loopback_configuration(Path(folder)))
        from rich.progress import Progress

        from rtdecode.latency.bench import costs

        hidden = not sys.stderr.isatty()
        with Progress(console=Console(stderr=True), transient=True, disable=hidden) as progress:
            task = progress.add_task("measuring", total=1.0)
            measured = costs(model_files, seconds, lsl, lambda share: progress.update(task, completed=share), chosen)
    console = Console()
    for cost in measured:
        console.print(_costs(cost))
    if growth := _growth(measured):
        console.print(growth)
    if csv:
        write_rows(csv, _rows(measured))
        print(f"written to {csv}")


def _costs(cost: "Cost") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from rtdecode.latency.stages import figures_ms

    contract = cost.decoder.contract
    window, n = contract.window, len(cost.runtime)
    few = "; p99.9 is the slowest of so few" if n < 1000 else ""
    table = Table(
        title=f"{cost.decoder.model.name}: {contract.signal.n_channels} channels, window {window.n_times}, "
        f"hop {window.hop}, on {cost.decoder.engine.device}",
        caption=f"{cost.ratio:.2f} times ONNX Runtime alone (median); a recording is decoded {cost.replay:.0f} times "
        f"faster than real time. {n} hops{few}.",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("us per hop", no_wrap=True)
    for name in _PERCENTILES:
        table.add_column(name, justify="right", no_wrap=True)
    *_, last = cost.stages
    for part, seconds in cost.parts.items():
        figures = figures_ms(seconds)
        table.add_row(part, *(f"{1e3 * figures[name]:.1f}" for name in _PERCENTILES), end_section=part == last)
    return table


def _growth(measured: "list[Cost]") -> str:
    """Say how own work grows with the window, where files differ in nothing else that it depends on."""
    import numpy as np

    window_of = {cost.decoder.contract.window.n_times: cost for cost in measured}
    others = {(cost.decoder.contract.signal.n_channels, cost.decoder.contract.window.hop) for cost in measured}
    if len(window_of) < 2 or len(others) > 1:
        return ""
    (short, before), *_, (long, after) = sorted(window_of.items())
    times = np.median(after.own) / np.median(before.own)
    return f"A window of {long} instead of {short} makes own work {times:.2f} times as much (median)."


def _rows(measured: "list[Cost]") -> Iterator[list[Any]]:
    from rtdecode.latency.stages import figures_ms

    figures = [f"{name}_us" for name in _PERCENTILES]
    yield ["model", "device", "channels", "window", "hop", "hops", "ratio", "replay", "part", *figures]
    for cost in measured:
        contract = cost.decoder.contract
        shape = [contract.signal.n_channels, contract.window.n_times, contract.window.hop, len(cost.runtime)]
        for part, seconds in cost.parts.items():
            found = figures_ms(seconds)
            told = [f"{1e3 * found[name]:.3f}" for name in _PERCENTILES]
            ratios = [f"{cost.ratio:.4f}", f"{cost.replay:.1f}"]
            yield [cost.decoder.model.name, cost.decoder.engine.device, *shape, *ratios, part, *told]
