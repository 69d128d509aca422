"""Everything once: simulate, train, export, play and decode in processes of their own, compare with replay."""

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from offline.checkpoint import read_checkpoint
from offline.configuration import read_configuration
from offline.export import export
from offline.simulation import simulate
from offline.workflow import table, train
from rtdecode.commands import Commands
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, DeadlineError, RtdecodeError
from rtdecode.loopback import loopback_configuration
from rtdecode.model_file import ModelFile
from rtdecode.prediction import Prediction
from rtdecode.recording import Recording, read_recording
from rtdecode.replay import decode_recording, score

_RUNS = 5
_TRIALS, _PLAYED_TRIALS = 24, 10
_STREAM = "rtdecode-demo-eeg"


def demo(output: Path | None, seed: int) -> None:
    """Run the demo and print what it found; RtdecodeError if live and replay differ."""
    # Not a terminal: wide enough for the tables.
    console = Console(width=None if sys.stdout.isatty() else 100)
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"Cannot write {folder}: {error.strerror}.") from None
        model, held_out = _train(console, folder, seed)
        received = _decode_live(console, folder, model, held_out)
        _tell(console, model, read_recording(held_out), received)


def _train(console: Console, folder: Path, seed: int) -> tuple[ModelFile, Path]:
    console.rule("1. A simulated subject")
    console.print("Simulated data: 16 channels, left/right motor imagery. No brain was measured for this.")
    paths = []
    for run in range(1, _RUNS + 1):
        n_trials = _TRIALS if run < _RUNS else _PLAYED_TRIALS
        paths.append(folder / f"simulated_run-{run:02d}.npz")
        simulate(n_trials, seed * _RUNS + run).save(paths[-1])
    console.rule("2. Training: runs 1-4 train, run 5 is held out")
    configuration = read_configuration("demo")
    run_folder = folder / "training"
    result = train(configuration, folder, run_folder, [], [], 1, console)
    console.print(table(result, configuration))
    model = export(read_checkpoint(run_folder / "all" / "held-out.pt"), folder / "demo.onnx")
    assert model.contract.parity is not None
    console.print(
        f"{model.path}: torch = ONNX Runtime within {model.contract.parity.torch_onnx_max:.1g}",
        soft_wrap=True,
        highlight=False,
    )
    return model, paths[-1]


class _Received:
    """What this process, the third, receives from the decoder."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.proba: list[np.ndarray] = []
        self.labels: list[int] = []
        self.latency_s: list[float] = []
        self.markers: list[tuple[float, str]] = []


def _decode_live(console: Console, folder: Path, model: ModelFile, held_out: Path) -> _Received:
    console.rule("3. Live: three processes, real LSL, on this machine only")
    # Before anything loads liblsl: its configuration keeps the demo off the network, in a session of its own.
    os.environ["LSLAPICFG"] = str(loopback_configuration(folder))
    from rtdecode.lsl import OutputReader

    commands = Commands(folder / "live.log")
    with commands.running() as start:
        decoder = start("run", "--model", model.path, "--stream", _STREAM, "--name", "demo", "--once")
        proba, markers = OutputReader("demo-proba", 30.0), OutputReader("demo", 30.0)
        start("play", str(held_out), "--name", _STREAM, "--chunk", "8")
        received = _receive(console, proba, markers, decoder, read_recording(held_out).duration_s)
        proba.close()
        markers.close()
    if not received.stamps:
        raise DeadlineError(f"The decoder published nothing. Its log: {' | '.join(commands.said())}")
    return received


def _receive(console, proba, markers, decoder, duration_s: float) -> _Received:  # type: ignore[no-untyped-def] # noqa: ANN001
    received, deadline = _Received(), time.monotonic() + duration_s + 60.0
    with console.status("playing, decoding, listening") as status:
        while decoder.poll() is None and time.monotonic() < deadline:
            values, stamps, now = proba.pull()
            for row, stamp in zip(values, stamps, strict=True):
                received.stamps.append(float(stamp))
                received.proba.append(np.array(row[:-1], np.float32))
                received.labels.append(int(row[-1]))
                received.latency_s.append(now - float(stamp))
            labels, at, _ = markers.pull(0.0)
            received.markers += [(float(t), row[0]) for row, t in zip(labels, at, strict=True)]
            if values:
                last = received.markers[-1][1] if received.markers else "warming up"
                status.update(f"playing, decoding, listening: {len(received.stamps)} hops received, {last}")
    return received


def _tell(console: Console, model: ModelFile, recording: Recording, received: _Received) -> None:
    console.rule("4. What was decided, how fast, and whether replay agrees")
    decoder = Decoder(model, recording.signal)
    replayed = decode_recording(recording, decoder)
    live = _as_predictions(received, recording)
    names = decoder.output_names
    decisions = Table("at", "imagined", "decided", "", title="Decisions against truth (held-out run, simulated)")
    for trial in score(recording, decoder, live):
        outcome = "hit" if trial.decided == trial.truth else "[red]miss[/]"
        decisions.add_row(f"{trial.timestamp:.1f} s", names[trial.truth], names[trial.decided], outcome)
    console.print(decisions)
    console.print(f"Accuracy over trials: {replayed.trial_accuracy()}", highlight=False)
    console.print(_latency_table(decoder, received))
    # The last marker may be the loss of the stream at the end of the recording, which replay does not see.
    while len(live) > len(replayed.predictions) and live[-1].proba is None:
        live.pop()
    same = sum(_same(a, b, recording.signal.sfreq) for a, b in zip(live, replayed.predictions, strict=False))
    n = max(len(live), len(replayed.predictions))
    told = f"live == replay: {same} of {n} identical"
    if same != n:
        raise RtdecodeError(f"{told}. The live run did not do what the file says; please report this.")
    console.print(f"[bold green]{told}[/] (stamps to 1 us, probabilities to the last bit)", highlight=False)


def _as_predictions(received: _Received, recording: Recording) -> list[Prediction]:
    """Put the received stamps on the recording's time line: the first hop is the same hop in both."""
    n_first = recording.sample_at(recording.timestamps[0])
    sfreq = recording.signal.sfreq
    decoder_hop = round(np.median(np.diff(received.stamps)) * sfreq)
    offset = received.stamps[0] - (n_first + decoder_hop - 1) / sfreq
    return [
        Prediction(
            stamp - offset,
            round((stamp - offset) * sfreq),
            None if label < 0 else proba,
            label,
            "abstained" if label < 0 else None,
        )
        for stamp, proba, label in zip(received.stamps, received.proba, received.labels, strict=True)
    ]


def _same(live: Prediction, replayed: Prediction, sfreq: float) -> bool:
    if live.label != replayed.label or abs(live.timestamp - replayed.timestamp) > 1e-6:
        return False
    if live.proba is None or replayed.proba is None:
        return live.proba is replayed.proba
    return live.proba.tobytes() == replayed.proba.tobytes()


def _latency_table(decoder: Decoder, received: _Received) -> Table:
    p50, p95, p99 = np.percentile(received.latency_s, [50, 95, 99]) * 1e3
    window, sfreq = decoder.contract.window, decoder.chain.output.sfreq
    out = Table(title="Latency, ms")
    for column in ("from the newest sample to reception in another process", "p50", "p95", "p99"):
        out.add_column(column)
    out.add_row(f"{len(received.latency_s)} hops, measured", f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}")
    out.add_section()
    out.add_row("and, by design of the decoder:")
    out.add_row("  waiting for the next hop, at most", f"{1e3 * window.hop / sfreq:.1f}")
    out.add_row("  the filters' group delay", f"{1e3 * decoder.chain.group_delay_s:.1f}")
    out.add_row("  the window it looks back on", f"{1e3 * window.n_times / sfreq:.0f}")
    return out
