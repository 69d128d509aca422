"""Commands about decoder files and recordings."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtdecode.cli.device import Device, Tf32, device_settings
from rtdecode.errors import ModelError
from rtdecode.files import refuse_output

if TYPE_CHECKING:
    from rich.table import Table

    from rtdecode.contract import Contract
    from rtdecode.decoder import Decoder
    from rtdecode.device import DeviceSettings

_Model = Annotated[Path, typer.Argument(help="The decoder file (.onnx).")]
_Recording = Annotated[
    Path, typer.Argument(help="FIF, EDF, BDF, GDF, BrainVision, EEGLAB, XDF, .npz or .npz.partial.")
]
_Stream = Annotated[str | None, typer.Option(help="Name of the signal stream, if an XDF file has several.")]
_Timeout = Annotated[float, typer.Option(help="Seconds that it may take.", min=1)]
_Memory = Annotated[float, typer.Option(help="Memory in GiB that it may take (bounded on Linux, on CPU).", min=1)]


def inspect(model: _Model, timeout: _Timeout = 120.0, memory: _Memory = 8.0) -> None:
    """Show what a decoder file needs, does and promises, with its latency budget on this machine."""
    from rtdecode.cli.output import print_apart

    print_apart(f"Inspecting {model}", timeout, memory, _inspect, model)


def _inspect(model: Path) -> None:
    from rich.console import Console

    from rtdecode.decoder import Decoder
    from rtdecode.model_file import read_model

    console = Console()
    decoder = Decoder(read_model(model))
    for table in (_identity(decoder), _steps(decoder), _run(decoder), _budget(decoder), _proof(decoder)):
        console.print(table)


def _table(title: str) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _identity(decoder: "Decoder") -> "Table":
    from rtdecode.contract import Regression

    model, contract = decoder.model, decoder.contract
    signal = contract.signal
    table = _table(f"{model.path}")
    kinds = sorted(set(zip(signal.ch_types, signal.units, strict=True)))
    counts = ", ".join(f"{signal.ch_types.count(t)} {t} ({u})" for t, u in kinds)
    table.add_row("decoder", f"{contract.name} ({contract.provenance.network}), {model.n_parameters:,} values")
    table.add_row("SHA-256", model.sha256)
    table.add_row("needs", f"{counts} at {signal.sfreq:g} Hz")
    table.add_row("channels", " ".join(signal.ch_names))
    if isinstance(contract.outputs, Regression):
        units = zip(contract.outputs.names, contract.outputs.units, strict=True)
        table.add_row("gives", ", ".join(f"{name} ({unit})" for name, unit in units))
    else:
        table.add_row("gives", " | ".join(contract.outputs.names))
    table.add_row("form", _form(contract))
    if contract.policy:
        table.add_row("decides", contract.policy.told())
    if contract.events and contract.trials:
        labels = [label for labels in contract.trials.classes.values() for label in labels]
        table.add_row("events", " ".join([*labels, *contract.events.labels]))
    elif contract.trials:
        table.add_row("trained on", f"{contract.trials.tmin_s:g} to {contract.trials.tmax_s:g} s after events")
    return table


def _form(contract: "Contract") -> str:
    form = contract.form
    if form.kind == "incremental":
        does = f"a hop costs its {contract.window.hop} new samples and a head over {form.n_features} features"
    else:
        does = f"the graph sees the whole window at every {'event' if contract.events else 'hop'}"
    memory = ", and has a memory" if contract.states else ""
    return f"{form.kind}: {does}{memory}{f' ({form.why})' if form.why else ''}"


def _steps(decoder: "Decoder") -> "Table":
    table = _table("Preprocessing, causal, in this order")
    ms = 1e3 / decoder.contract.signal.sfreq
    for number, step in enumerate(decoder.chain.steps, 1):
        told = step.describe()
        if step.settling():
            told += f"; settles in {step.settling() * ms:.0f} ms, delays by {step.group_delay() * ms:.1f} ms"
        table.add_row(str(number), told)
        ms *= float(step.factor)
    return table


def _run(decoder: "Decoder") -> "Table":
    table = _table("What is run of it: the same but for rounding, for less work")
    if decoder.fused.chain is decoder.chain:
        table.add_row("steps", "as above: nothing is saved by putting some of them together")
    else:
        for number, step in enumerate(decoder.fused.chain.steps, 1):
            table.add_row(str(number), step.describe())
    for told in decoder.fused.told:
        table.add_row("why", told)
    return table


def _budget(decoder: "Decoder") -> "Table":
    import numpy as np

    from rtdecode.latency import hop_times

    window, sfreq, events = decoder.contract.window, decoder.chain.output.sfreq, decoder.contract.events
    compute = hop_times(decoder)
    table = _table("Latency budget")
    ms = 1e3 / sfreq
    length = f"{window.n_times} samples, {window.n_times * ms:.0f} ms"
    if events:
        begin = 1e3 * events.first / decoder.contract.signal.sfreq
        at = begin + events.before * ms
        table.add_row("window", f"{length}: from {at:+.0f} to {at + window.n_times * ms:+.0f} ms after an event")
        if events.baseline:
            start, stop = (begin + ms * output for output in events.baseline)
            table.add_row("baseline", f"from {start:+.0f} to {stop:+.0f} ms: its mean is subtracted")
        table.add_row("late events", f"decoded up to {events.max_event_lag_s:g} s after their window was complete")
        table.add_row("block", f"{window.hop} samples, {window.hop * ms:.1f} ms: how long a complete window may wait")
    else:
        table.add_row("hop", f"{window.hop} samples, {window.hop * ms:.1f} ms: how often it predicts")
        table.add_row("window", f"{length}: what a prediction looks back on")
    table.add_row(
        "group delay",
        f"{1e3 * decoder.chain.group_delay_s:.1f} ms: how late the filters let the signal through",
    )
    learned = "; less after a gap: running statistics are kept" if decoder.chain.minimum else ""
    p50, p99 = np.percentile(compute, [50, 99]) * 1e3
    when = "event" if events else "hop"
    table.add_row("compute", f"{p50:.3f} ms median, {p99:.3f} ms p99 per {when}, {len(compute)} measured here")
    if decoder.slowness:
        table.add_row("TOO SLOW", f"{decoder.slowness}.")
    table.add_row("warm-up", f"{decoder.warm_up_s:.2f} s after a start or a gap" + learned)
    return table


def _proof(decoder: "Decoder") -> "Table":
    contract = decoder.contract
    provenance, parity = contract.provenance, contract.parity
    table = _table("Where it comes from, and what was proven")
    table.add_row("written", f"{provenance.created}, schema {contract.schema_version}")
    table.add_row("recordings", " ".join(provenance.recordings))
    if provenance.subject is not None:
        table.add_row("person", f"{provenance.subject}: the decoder of this one alone")
    if contract.targets and contract.targets.channels:
        table.add_row("target", f"{', '.join(contract.targets.channels)}, {contract.targets.lag_s:g} s before")
    if (c := contract.calibration) is not None:
        told = (
            f"NLL {c.nll_before:.3f} before, {c.nll_after:.3f} after, on {c.n_trials} trials it had not learned from"
        )
        table.add_row("calibrated", f"temperature {c.temperature:.2f}; {told}, which chose the temperature")
    table.add_row("fingerprint", provenance.data_fingerprint)
    for s in provenance.scores:
        table.add_row(
            s.name, f"{s.value:.3f} [{s.low:.3f}, {s.high:.3f}], chance {s.chance:.3f}, n = {s.n}; {s.split}"
        )
    if not provenance.scores:
        table.add_row("score", "none stored in this file")
    if parity:
        table.add_row("torch = ONNX", f"within {parity.torch_onnx_max:.1g} on {parity.n_windows} windows")
        table.add_row("chunked = one-shot", f"identical on {parity.n_chunked_predictions} predictions")
    table.add_row("packages", ", ".join(f"{k} {v}" for k, v in provenance.packages.items()))
    return table


def verify(
    model: _Model,
    recording: _Recording,
    chunkings: Annotated[int, typer.Option(help="How many chunkings to try.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Of the random chunkings.")] = 0,
    gap_tolerance_ms: Annotated[float, typer.Option(help="As for `run`.", min=0)] = 0.0,
    stream: _Stream = None,
    device: Device = None,
    tf32: Tf32 = False,
    timeout: _Timeout = 600.0,
    memory: _Memory = 8.0,
) -> None:
    """Prove on a recording that decoding in chunks equals decoding in one shot, to the last bit.

    Ends with exit code 3 when it does not.
    """
    from rtdecode.cli.output import print_apart

    chosen = device_settings(device, tf32)
    # What can be bounded is addresses, and CUDA reserves many times as many as it uses.
    bound = memory if chosen.name == "cpu" else None
    arguments = (model, recording, chunkings, seed, gap_tolerance_ms, stream, chosen)
    print_apart(f"Verifying {model}", timeout, bound, _verify, *arguments)


def _verify(
    model: Path,
    recording: Path,
    chunkings: int,
    seed: int,
    gap_tolerance_ms: float,
    stream: str | None,
    device: "DeviceSettings",
) -> None:
    from rtdecode.decoder import Decoder
    from rtdecode.guard import GuardSettings
    from rtdecode.model_file import read_model
    from rtdecode.proof import prove_chunking
    from rtdecode.recording import read_recording

    model_file, data = read_model(model), read_recording(recording, stream)
    guard = GuardSettings(gap_tolerance_ms=gap_tolerance_ms)

    def make() -> Decoder:
        return Decoder(model_file, data.signal, guard, f"Recording {recording}", device=device)

    proof = prove_chunking(data, make, chunkings, seed)
    if proof.differing:
        raise ModelError(f"{model} depends on chunking: {'; '.join(proof.differing)}.")
    if not proof.n_predictions:
        raise ModelError(
            f"Nothing is proven: {recording} ({data.duration_s:.1f} s) has no stretch without gaps that is long "
            f"enough for one prediction of {model} ({make().warm_up_s:.1f} s)."
        )
    reference = "one shot" if proof.one_shot else "one push of everything (there is no one-shot reference)"
    print(f"{model}: {proof.n_predictions} predictions, {reference} and {proof.n_chunkings} chunkings: identical.")


def replay(
    recording: _Recording,
    model: Annotated[Path, typer.Option("--model", "-m", help="The decoder file (.onnx).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the predictions here (.csv or .npz).")
    ] = None,
    start: Annotated[int, typer.Option(help="First sample to decode.", min=0)] = 0,
    gap_tolerance_ms: Annotated[float, typer.Option(help="As for `run`.", min=0)] = 0.0,
    stream: _Stream = None,
    device: Device = None,
    tf32: Tf32 = False,
) -> None:
    """Decode a recording as fast as it goes, exactly as the live run would, and score it by its events."""
    from collections import Counter

    from rtdecode.decoder import Decoder
    from rtdecode.guard import GuardSettings
    from rtdecode.model_file import read_model
    from rtdecode.recording import read_recording
    from rtdecode.replay import decode_recording

    if output:
        refuse_output(output, ".csv", ".npz")
    data = read_recording(recording, stream)
    fingerprint = data.fingerprint()[:16]
    data = data.crop(start) if start else data
    guard = GuardSettings(gap_tolerance_ms=gap_tolerance_ms)
    chosen = device_settings(device, tf32)
    decoder = Decoder(read_model(model), data.signal, guard, f"Recording {recording}", device=chosen)
    before = time.perf_counter()
    decoded = decode_recording(data, decoder, _progress(len(data.samples)))
    took = time.perf_counter() - before
    abstained = Counter(p.reason for p in decoded.predictions if p.reason)
    n = len(decoded.predictions) - sum(abstained.values())
    n_decisions = sum(p.decision is not None for p in decoded.predictions)
    decided = f"{n_decisions} decisions, " if decoder.policy else ""
    speed = f"{data.duration_s / took:.0f} times real time"
    print(f"{n} predictions, {decided}abstained {dict(abstained) or 0}; {speed}")
    figures = decoded.figures()
    for figure in figures:
        print(f"{figure.name}: {figure}")
    if figures and fingerprint in decoder.contract.provenance.data_fingerprint:
        print("The decoder was trained on this recording: these figures say nothing about new data.")
    if output:
        decoded.write(output)
        print(f"written to {output}")


def _progress(total: int):  # type: ignore[no-untyped-def] # noqa: ANN202
    if not sys.stderr.isatty():
        return None

    def show(done: int) -> None:
        end = "\n" if done >= total else ""
        print(f"\rdecoding {100 * done // total:3d} %", end=end, file=sys.stderr, flush=True)

    return show
