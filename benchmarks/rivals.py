"""The latency of `rtdecode run` beside that of other ways to do the same job, and beside the least that is possible.

    python benchmarks/rivals.py --seconds 20 --repetitions 5 --output runs/rivals

The same noise, filter, window and decoder file (an LF-CNN), through real LSL on this machine only; source, decoder
and listener are processes of their own. What is told is the time from the stamp of the newest sample that a
prediction rests on until the listener has it. All take turns, in each repetition in another order; every prediction
is compared with what one filter over the whole recording and ONNX Runtime give there. The floor is the bare echo
(pull, push; `rtdecode.latency.echo`) and ONNX Runtime alone. Who waits in its sleep is compared with who does, who
spins with who spins. Writes Markdown tables, a CSV and a figure.
"""

import argparse
import csv
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pylsl

from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.latency.hops import noise
from rtdecode.latency.stages import figures_ms
from rtdecode.loopback import loopback_configuration
from rtdecode.model_file import ModelFile, read_model
from rtdecode.realtime import quiet_collector
from rtdecode.recording import Recording, Session, read_recording

_SOURCE, _ORDER, _TOLERANCE, _WAIT_S = "rivals-source", 4, 1e-4, 60.0
_RUNS, _FORGOTTEN_S = 300, 3.0
_SPAWN = multiprocessing.get_context("spawn")
_ECHO = "bare echo"
_NAMES = {
    "rtdecode": "rtdecode run",
    "pylsl": "pylsl + scipy + ONNX Runtime, as samples come",
    "pylsl-hops": "the same, a hop at a time",
    "mne-lsl-callback": "mne-lsl, its thread (1 ms)",
    "rtdecode-rehearse": "rtdecode run --rehearse",
    "rtdecode-spin": "rtdecode run --spin (while a chunk is due)",
    "rtdecode-spin-rehearse": "rtdecode run --spin --rehearse",
    "pylsl-spinning": "pylsl + scipy + ONNX Runtime, spinning (takes a core)",
    "mne-lsl-spinning": "mne-lsl, spinning (takes a core)",
    "echo": _ECHO,
}
_OURS: dict[str, tuple[str, ...]] = {
    "rtdecode": (),
    "rtdecode-rehearse": ("--rehearse",),
    "rtdecode-spin": ("--spin",),
    "rtdecode-spin-rehearse": ("--spin", "--rehearse"),
}
# Ours are compared with those who wait as they do.
_BLOCKING = ("pylsl", "pylsl-hops", "mne-lsl-callback")
_SPINNING = ("pylsl-spinning", "mne-lsl-spinning")


@dataclass(frozen=True)
class Case:
    """What is decoded: samples in a chunk, a window and a hop; edges of the band-pass in Hz."""

    name: str
    ch_type: str
    n_channels: int
    sfreq: float
    chunk: int
    window: int
    hop: int
    band: tuple[float, float]


_CASES = (
    Case("EEG", "eeg", 32, 250.0, 5, 250, 25, (4.0, 30.0)),
    Case("MEG", "mag", 306, 1000.0, 20, 1000, 20, (4.0, 30.0)),
)


@dataclass(frozen=True)
class Turn:
    """What one contender did in one repetition: times in ms, predictions (due: hops), and the worst of them."""

    case: Case
    repetition: int
    contender: str
    figures: dict[str, float]
    n: int
    n_due: int
    off: float
    runtime_ms: float


def main() -> None:
    """Measure every case, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of predictions, of each contender in a repetition"
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/rivals"), help="folder for table, CSV and figure")
    parser.add_argument("--echo", nargs=2, metavar=("MODEL", "NAME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.echo:
        _echo(*given.echo)
        return
    given.output.mkdir(parents=True, exist_ok=True)
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LSLAPICFG"] = str(loopback_configuration(Path(folder)))
        fields = [_Field(case, Path(folder), given.seconds) for case in _CASES]
        for repetition in range(given.repetitions):
            for field in fields:
                turns += field.all_turns(repetition)
    table = _table(turns)
    print(table)
    (given.output / "rivals.md").write_text(table + "\n", encoding="utf-8")
    _write_csv(turns, given.output / "rivals.csv")
    _draw(turns, given.output / "rivals.svg")


class _Field:
    """One case: its decoder file, its recording, and what is right at every sample of it."""

    def __init__(self, case: Case, folder: Path, seconds: float) -> None:
        from untrained import write_untrained

        self._case, self._path = case, folder / f"{case.name}.onnx"
        write_untrained(
            self._path, case.ch_type, case.n_channels, case.sfreq, case.window, case.hop, case.band, _ORDER
        )
        self._model = read_model(self._path)
        decoder = Decoder(self._model)
        # Nobody's predictions count before ours begin, and before how filters were started is forgotten: mne-lsl
        # starts from the mean of the first chunk, all others from the first sample.
        self._first = decoder.end_of(decoder.warm_up // case.hop) + round(_FORGOTTEN_S * case.sfreq)
        self._n_due = round(seconds * case.sfreq / case.hop)
        n_samples = self._first + self._n_due * case.hop
        recording = Recording(
            decoder.source, noise(self._model.contract, n_samples), np.arange(n_samples) / case.sfreq
        )
        self._recording = folder / f"{case.name}.npz"
        recording.save(self._recording)
        self._right = _Right(self._model, recording.samples, case)

    def all_turns(self, repetition: int) -> list[Turn]:
        """Let every contender have its turn."""
        order = list(_NAMES)
        first = repetition % len(order)
        runtime_ms = self._right.runtime_ms()
        return [self._turn(name, repetition, runtime_ms) for name in order[first:] + order[:first]]

    def _turn(self, contender: str, repetition: int, runtime_ms: float) -> Turn:
        name = f"rivals-{contender}-{repetition}"
        stamps, received, values, begin = self._measure(self._command(contender, name), name)
        at = np.rint((stamps - begin) * self._case.sfreq).astype(int)
        counted = at >= self._first
        if not counted.any():
            raise SystemExit(f"{contender} predicted nothing.")
        off = np.nan
        if contender != "echo":
            off = self._right.worst(at[counted], values[counted])
            if not off <= _TOLERANCE:
                raise SystemExit(f"{contender} is off by {off:.2g} in {self._case.name}.")
        figures = figures_ms((received - stamps)[counted])
        n = int(counted.sum())
        print(f"{self._case.name} {repetition} {contender}: p50 {figures['p50']:.3f} ms, n {n}", file=sys.stderr)
        return Turn(self._case, repetition, contender, figures, n, self._n_due, off, runtime_ms)

    def _command(self, contender: str, name: str) -> list[str]:
        case, model = self._case, str(self._path)
        if contender in _OURS:
            run = ["-m", "rtdecode", "run", "--model", model, "--stream", _SOURCE, "--name", name, "--once"]
            return [*run, *_OURS[contender]]
        if contender == "echo":
            return [__file__, "--echo", model, name]
        loops = str(Path(__file__).with_name("rival_loops.py"))
        filtered = ["--band", *map(str, case.band), "--order", str(_ORDER), "--hop", str(case.hop)]
        return [loops, contender, model, "--source", _SOURCE, "--name", f"{name}-proba", *filtered]

    def _measure(self, command: list[str], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return stamps, receptions, values (n, n_outputs), and the stamp of the recording's first sample."""
        go, (begin, told) = _SPAWN.Event(), _SPAWN.Pipe(duplex=False)
        source = _SPAWN.Process(target=_play, args=(self._recording, self._case.chunk, go, told), daemon=True)
        with ExitStack() as stack:
            log = stack.enter_context(tempfile.TemporaryFile("w+"))
            source.start()
            stack.callback(source.join)
            stack.callback(source.kill)
            process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            found = pylsl.resolve_byprop("name", f"{name}-proba", minimum=1, timeout=_WAIT_S)
            if not found:
                log.seek(0)
                raise SystemExit(f"{command} published nothing: {log.read()[-2000:]}")
            inlet = pylsl.StreamInlet(found[0], recover=False)
            inlet.open_stream(_WAIT_S)
            go.set()
            rows = _received(inlet, source.is_alive)
            stamps, received = np.array([row[:2] for row in rows]).T
            values = np.array([row[2][: len(self._model.contract.outputs.names)] for row in rows])
            return stamps, received, values, begin.recv()


class _Right:
    """What a filter over the whole recording and ONNX Runtime give."""

    def __init__(self, model: ModelFile, samples: np.ndarray, case: Case) -> None:
        from scipy.signal import butter, sosfilt, sosfilt_zi

        sos = butter(_ORDER, case.band, "bandpass", fs=case.sfreq, output="sos")
        filtered, _ = sosfilt(sos, samples, axis=0, zi=sosfilt_zi(sos)[..., None] * samples[0])
        self._filtered, self._n_times = filtered.T.astype(np.float32), case.window
        self._engine = Engine(model)

    def worst(self, at: np.ndarray, values: np.ndarray) -> float:
        """Return how far values (n, n_outputs) are off at most, where the newest samples are `at`."""
        right = [self._engine.run(self._filtered[:, i + 1 - self._n_times : i + 1]) for i in at]
        # Where a network says the same of everything, agreement says nothing.
        assert np.std(right, axis=0).min() > 1e-3
        return float(np.abs(values - right).max())

    def runtime_ms(self) -> float:
        """Return the median time of ONNX Runtime alone."""
        times = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            self._engine.run_bare()
            times.append(time.perf_counter() - start)
        return 1e3 * float(np.median(times))


def _received(inlet: pylsl.StreamInlet, alive: Callable[[], bool]) -> list[tuple[float, float, list[float]]]:
    """Return stamp, reception and values of everything until the source has ended."""
    rows = []
    with quiet_collector():
        while alive():
            try:
                values, stamp = inlet.pull_sample(0.2)
            except pylsl.util.LostError:
                break
            if values is not None and not np.isnan(values[0]):
                rows.append((stamp, pylsl.local_clock(), values))
    return rows


def _play(recording: Path, chunk: int, go: Any, told: Any) -> None:
    """Be the source: nothing is played before `go`; tell the stamp of the first sample."""
    from rtdecode.player import PlayerSettings, play

    session = Session.of_recording(read_recording(recording), _SOURCE)
    told.send(play(session, PlayerSettings(chunk=chunk), go.wait).first_timestamp)


def _echo(path: str, name: str) -> None:
    from rtdecode.latency.echo import echo

    contract = read_model(path).contract
    ends = list(range(contract.window.hop, 10_000_000, contract.window.hop))
    echo(_SOURCE, name, contract.outputs, ends, 3600.0)


def _over(turns: list[Turn], case: Case, contender: str, figure: str) -> np.ndarray:
    """Return a figure of every repetition."""
    return np.array([t.figures[figure] for t in _turns_of(turns, case, contender)])


def _turns_of(turns: list[Turn], case: Case, contender: str) -> list[Turn]:
    return sorted((t for t in turns if t.case == case and t.contender == contender), key=lambda t: t.repetition)


def _table(turns: list[Turn]) -> str:
    lines = [
        "| | p50 ms (range) | p95 ms | p99 ms | p50 to the floor | p50 to rtdecode | received | off by at most |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in _CASES:
        ours = _over(turns, case, "rtdecode", "p50")
        runtime = np.array([t.runtime_ms for t in turns if t.case == case and t.contender == "rtdecode"])
        floor = _over(turns, case, "echo", "p50") + runtime
        about = f"{case.n_channels} channels, {case.sfreq:g} Hz, chunk {case.chunk}, hop {case.hop}"
        lines.append(f"| **{case.name}**: {about} | | | | | | | |")
        for contender, told in _NAMES.items():
            p50, p95, p99 = (_over(turns, case, contender, figure) for figure in ("p50", "p95", "p99"))
            own = _turns_of(turns, case, contender)
            n, n_due, off = sum(t.n for t in own), sum(t.n_due for t in own), max(t.off for t in own)
            lines.append(
                f"| {told} | {np.median(p50):.3f} ({p50.min():.3f}-{p50.max():.3f}) | {np.median(p95):.3f} "
                f"| {np.median(p99):.3f} | {np.median(p50 / floor):.2f} | {np.median(p50 / ours):.2f} "
                f"| {n} of {n_due} | {'' if np.isnan(off) else f'{off:.1g}'} |"
            )
        lines.append(
            f"| floor: bare echo + ONNX Runtime alone ({np.median(runtime):.3f} ms) | {np.median(floor):.3f} "
            f"({floor.min():.3f}-{floor.max():.3f}) | | | 1 | {np.median(floor / ours):.2f} | | |"
        )
    repetitions = len({t.repetition for t in turns})
    told = f"Medians of {repetitions} repetitions; ratios within each repetition."
    return "\n".join([*lines, "", told, "", *_ratios(turns)])


def _ratios(turns: list[Turn]) -> list[str]:
    """Return the lines of a table: ours over the better rival of its kind, in each repetition, and over the floor."""
    lines = [
        "| | to the better rival: p50 (range) | p99 (range) | to the floor: p50 (range) | better rival |",
        "|---|---|---|---|---|",
    ]
    for case in _CASES:
        floor = _over(turns, case, "echo", "p50") + [t.runtime_ms for t in _turns_of(turns, case, "echo")]
        for ours, options in _OURS.items():
            rivals, ratios = _SPINNING if "--spin" in options else _BLOCKING, []
            for figure in ("p50", "p99"):
                of_rivals = np.stack([_over(turns, case, rival, figure) for rival in rivals])
                ratios.append(_over(turns, case, ours, figure) / of_rivals.min(axis=0))
            ratios.append(_over(turns, case, ours, "p50") / floor)
            told = (f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})" for ratio in ratios)
            better = min(rivals, key=lambda rival: float(np.median(_over(turns, case, rival, "p50"))))
            lines.append(f"| {case.name}: {_NAMES[ours]} | {' | '.join(told)} | {_NAMES[better]} |")
    return lines


def _write_csv(turns: list[Turn], path: Path) -> None:
    figures = list(turns[0].figures)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["case", "repetition", "contender", "n", "n_due", "off", "runtime_ms", *(f"{f}_ms" for f in figures)]
        )
        for t in turns:
            writer.writerow(
                [
                    t.case.name,
                    t.repetition,
                    t.contender,
                    t.n,
                    t.n_due,
                    t.off,
                    t.runtime_ms,
                    *(t.figures[f] for f in figures),
                ]
            )


def _draw(turns: list[Turn], path: Path) -> None:
    """Draw p50 of every repetition, their median, and the median of p99."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(_CASES), figsize=(10, 3.2), sharey=True, layout="constrained")
    for panel, case in zip(panels, _CASES, strict=True):
        for row, contender in enumerate(_NAMES):
            p50, p99 = (_over(turns, case, contender, name) for name in ("p50", "p99"))
            colour = "#2a6fdb" if contender in _OURS else "#a3a39d"
            panel.barh(row, np.median(p50), color=colour, height=0.6)
            panel.plot(p50, np.full(len(p50), row), ".", color="#16161a", markersize=3)
            panel.plot(np.median(p99), row, "|", color="#16161a", markersize=12)
        panel.set_title(f"{case.name}: {case.n_channels} channels at {case.sfreq:g} Hz", fontsize=10, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_yticks(range(len(_NAMES)), list(_NAMES.values()), fontsize=8)
    panels[0].invert_yaxis()
    told = "ms from a sample's stamp to reception: p50 of each repetition (dots), its median (bar), median p99 (line)"
    figure.supxlabel(told, fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main()
