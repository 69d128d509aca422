"""Commands about streams."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.cli.device import Device, Tf32
from rtdecode.errors import ConfigurationError, RecordingError

if TYPE_CHECKING:
    from rtdecode.player import Played
    from rtdecode.recording import Session


def streams(
    wait: Annotated[float, typer.Option(help="Seconds to listen.", min=0.2)] = 2.0,
) -> None:
    """List the LSL streams that can be reached."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rtdecode.lsl import list_streams

    found = list_streams(wait)
    if not found:
        print("No stream answered. Is the amplifier's LSL outlet on, and does the firewall let LSL through?")
        return
    table = Table()
    for name in ("name", "type", "channels", "Hz", "format", "host", "source_id"):
        table.add_column(name, overflow="fold")
    for s in found:
        row = (s.name, s.type, str(s.n_channels), f"{s.sfreq:g}", s.channel_format, s.host, s.source_id)
        table.add_row(*map(Text, row))
    Console().print(table)


def doctor(
    stream: Annotated[
        str | None, typer.Option(help="Name of the stream to measure.", show_default="every signal there is")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure each stream.", min=0.5)] = 5.0,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="A decoder file, timed on this machine.")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to look for streams.", min=0.2)] = 2.0,
) -> None:
    """Examine this machine, LSL, its streams and a decoder file, and tell what to change, in plain words.

    Ends with an exit code other than 0 only when running is impossible: no liblsl, no ONNX Runtime, a decoder file
    that cannot be used or takes longer than its hop, a stream asked for that is not there or does not fit.
    """
    from rtdecode.doctor import examine

    code = 0
    for title, findings in examine(stream, seconds, model, wait):
        print(title)
        for finding in findings:
            print(finding, flush=True)
            code = code or finding.exit_code
    raise typer.Exit(code)


def run(
    model: Annotated[Path, typer.Option("--model", "-m", help="The decoder file (.onnx).")],
    stream: Annotated[str | None, typer.Option(help="Name of the stream to decode.")] = None,
    events: Annotated[
        str | None, typer.Option(help="Name of the stream of events, for a decoder that predicts at events.")
    ] = None,
    type: Annotated[str | None, typer.Option(help="Its type; EEG or MEG when not given.")] = None,
    source_id: Annotated[str | None, typer.Option(help="Its source_id.")] = None,
    host: Annotated[str | None, typer.Option(help="The host it comes from.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of our streams.", show_default="rtdecode-MODEL")] = None,
    marker_format: Annotated[str | None, typer.Option(help="label, json or int32.", show_default="label")] = None,
    wait: Annotated[float | None, typer.Option(help="Seconds to look for the stream.", show_default="30")] = None,
    wait_listener: Annotated[
        bool, typer.Option("--wait-listener", help="Begin when NAME-status is listened to: by a recorder, say.")
    ] = False,
    duration: Annotated[float | None, typer.Option(help="End after this many seconds of stream.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the stream ends.")] = False,
    gap_tolerance_ms: Annotated[
        float | None,
        typer.Option(
            help="How far a stamp may be from the fit at least; more for sources whose stamps come in bursts.",
            show_default="half a sample",
        ),
    ] = None,
    max_age: Annotated[
        float | None, typer.Option(help="Publish no decision on data older than this many seconds.")
    ] = None,
    lag_policy: Annotated[
        str | None,
        typer.Option(help="What is published of a backlog: newest, or every result.", show_default="newest"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End when the decoder is held up for a hop.")] = False,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Run before other programs, and stay in memory, if the system allows it."),
    ] = False,
    cpu: Annotated[int | None, typer.Option(help="The processor on which the loop stays.", min=0)] = None,
    spin: Annotated[bool, typer.Option("--spin", help="Wait for a chunk busily when it is due.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Decode noise for nothing just before a hop is due, to be quick then.")
    ] = False,
    device: Device = None,
    tf32: Tf32 = False,
    save: Annotated[Path | None, typer.Option(help="Keep what the decoder saw in this .npz.")] = None,
    log: Annotated[Path | None, typer.Option(help="Write what happens into this .jsonl.")] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Tell the stage times of every prediction on NAME-status.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file with any of these settings.")] = None,
) -> None:
    """Decode a live stream and publish predictions as LSL streams, stamped with the time of their data.

    NAME carries a marker per decision (without a policy, per prediction), NAME-proba the probabilities of every hop
    (of a regression NAME-values its values), NAME-status what happens, as JSON. A `policy:` in --config overrides
    the file's.
    Ctrl-C ends it with a summary.
    """
    from rtdecode.configuration import read_yaml, validate
    from rtdecode.interrupts import Interrupts
    from rtdecode.model_file import read_model
    from rtdecode.monitor import StatusLine
    from rtdecode.runner import Runner, RunSettings

    document: dict[str, Any] = read_yaml(config) if config else {}
    given = {"name": stream, "type": type, "source_id": source_id, "host": host}
    parts: dict[str, dict[str, Any]] = {
        "stream": given, "events": {"name": events}, "guard": {"gap_tolerance_ms": gap_tolerance_ms},
        "realtime": {
            "raise_priority": realtime or None, "lock_memory": realtime or None, "cpu": cpu, "spin": spin or None,
            "rehearse": rehearse or None,
        },
        "device": {"name": device, "tf32": tf32 or None},
    }  # fmt: skip
    for key, part in parts.items():
        chosen = {k: v for k, v in part.items() if v is not None}
        if chosen and isinstance(there := document.get(key) or {}, dict):
            document[key] = {**there, **chosen}
    options = {
        "name": name, "marker_format": marker_format, "wait_s": wait, "wait_listener": wait_listener or None,
        "duration_s": duration,
        "once": once or None, "max_age_s": max_age, "lag_policy": lag_policy,
        "strict": strict or None, "save": save, "log": log, "trace": trace or None,
    }  # fmt: skip
    document.update({k: v for k, v in options.items() if v is not None})
    settings = validate(RunSettings, document, f"Configuration {config}" if config else "Options")
    model_file = read_model(model)
    contract = model_file.contract
    line = StatusLine(sys.stderr, contract.outputs.names, contract.decision_names(settings.policy or contract.policy))
    interrupts = Interrupts().listen()
    runner = Runner(model_file, settings, line, interrupts=interrupts)
    try:
        runner.run()
    finally:
        line.close()
        _tell_summary(runner.summary.figures(), runner.saving.saved if runner.saving else [])
        interrupts.ignore()
    if runner.saving and runner.saving.problems:
        raise RecordingError(f"Not everything was saved: {'; '.join(runner.saving.problems)}.")


def _tell_summary(figures: dict[str, Any], saved: list[Path]) -> None:
    if not figures["samples"]:
        return
    print(
        f"{figures['samples']} samples, {figures['predictions']} predictions, abstained {figures['abstained'] or 0}"
    )
    if figures["decisions"] != figures["predictions"]:
        print(f"{figures['decisions']} decisions; {figures['decisions_skipped']} more were out of date")
    if figures["belated"]:
        print(f"{figures['belated']} predictions of a backlog were published late")
    for state in ("HOLD", "LOST"):
        for reason, times in figures["states"].get(state, {}).items():
            print(f"{state} for {reason}: {times} times")
    if figures["overruns"]:
        print(f"held up for longer than a hop: {figures['overruns']} times")
    for key, what in (("age_ms", "age of the newest sample when published"), ("latency_ms", "our part of it")):
        if key in figures:
            print(f"{what}, ms: " + ", ".join(f"{k} {v:.2f}" for k, v in figures[key].items()))
    for path in saved:
        print(f"saved to {path}")


def play(
    recording: Annotated[Path, typer.Argument(help="XDF; or FIF, EDF, BDF, GDF, BrainVision, EEGLAB, .npz.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the signal stream; those of an XDF file have names.", show_default="rtdecode-play"
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Before the name of every stream.")] = "",
    source_id: Annotated[str, typer.Option(help="Of the signal stream.", show_default="rtdecode-play-NAME")] = "",
    chunk: Annotated[int, typer.Option(help="Samples in a push; 0: irregular, 1 to 64.", min=0)] = 8,
    seed: Annotated[int, typer.Option(help="Of irregular chunks.", min=0)] = 0,
    speed: Annotated[float, typer.Option(help="How many times faster, 0.1 to 10; the streams tell it.")] = 1.0,
    loop: Annotated[int, typer.Option(help="How many times; 0: until Ctrl-C.", min=0)] = 1,
    start: Annotated[int, typer.Option(help="First sample of the signal to play.", min=0)] = 0,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Seconds of the recording to play, START:STOP, each end may be left out; again: the next."),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a consumer before sample 0.")] = 60.0,
    for_all: Annotated[bool, typer.Option("--for-all", help="Wait until every stream has a consumer.")] = False,
    stream: Annotated[
        list[str] | None, typer.Option(help="Name of a stream to play; again: another one too.")
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(help="YAML file of what goes wrong on purpose; `example`: a bit of everything.", metavar="FILE"),
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Tell what is in the file, and end.")] = False,
) -> None:
    """Play a recording as LSL sources in real time: all streams of an XDF file; of others signal and NAME-events.

    Waits for a consumer before the first sample, pushes each chunk when its last sample is due, and stamps
    every sample with the time at which a device would have taken it. With --faults, a line tells each fault
    when it begins: sample of the recording, samples pushed before it since the outlet was opened, LSL time.
    """
    from rtdecode.configuration import validate
    from rtdecode.faults import FaultSettings, read_faults
    from rtdecode.interrupts import Interrupts
    from rtdecode.player import PlayerSettings
    from rtdecode.player import play as play_session
    from rtdecode.recording import read_session
    from rtdecode.schedule import Incident

    document = {
        "source_id": source_id, "chunk": chunk, "seed": seed, "speed": speed, "loop": loop, "start": start,
        "parts": [_seconds(text) for text in part or ()], "wait_s": wait, "for_all": for_all,
        "faults": read_faults(faults) if faults else FaultSettings(),
    }  # fmt: skip
    settings = validate(PlayerSettings, document, "Options")
    session = read_session(recording, name)
    session = (session.chosen(stream) if stream else session).renamed(prefix)
    print(*session.streams, sep="\n", flush=True)
    if list_only:
        return

    def ready() -> None:
        print("waiting for a consumer", flush=True)

    def tell(incident: Incident, timestamp: float) -> None:
        print(
            f"fault {incident.fault}: sample {incident.sample}, pushed {incident.pushed}, "
            f"LSL time {timestamp:.6f}: {incident.text}",
            flush=True,
        )

    interrupts = Interrupts().listen()
    try:
        _tell_played(play_session(session, settings, ready, tell, interrupts), session)
    finally:
        interrupts.ignore()


def _tell_played(played: "Played", session: "Session") -> None:
    late = sorted(played.lateness_s) or [0.0]
    counts = ", ".join(f"{n} of {s.layout.name!r}" for n, s in zip(played.n_samples, session.streams, strict=True))
    print(
        f"played {counts} samples; sample 0 at {played.first_timestamp!r}; "
        f"pushes late by {1e3 * late[len(late) // 2]:.2f} ms median, {1e3 * late[99 * len(late) // 100]:.2f} ms p99, "
        f"{1e3 * late[-1]:.2f} ms at most"
    )


def _seconds(text: str) -> tuple[float, float]:
    """Read START:STOP."""
    start, colon, stop = text.partition(":")
    try:
        bounds = float(start or 0.0), float(stop or 1e9)
    except ValueError:
        bounds = 0.0, 0.0
    if not colon or not bounds[0] < bounds[1]:
        raise ConfigurationError(f"Options: --part {text} is no part; give two times in seconds, as 30:60.")
    return bounds
