"""What consumers cost a decoder: the age of its predictions, and the time to hand them over, beside more and fewer.

    python benchmarks/consumers.py MODEL.onnx --seconds 20

Plays noise that fits the decoder file into the loop of `rtdecode run`, on this machine only. Consumers, in processes
of their own, take all three streams. Prints Markdown: `age` is that of a prediction's newest sample when the
prediction had been published, `push` the time to publish it, `work` how much of that the loop's thread worked (the
rest is the scheduler's: on a busy machine whom a push wakes may run first). In brackets the ratio to the first phase.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np

from rtdecode.contract import Classification, Regression
from rtdecode.loopback import loopback_configuration
from rtdecode.lsl import DecoderOutlets, LslNetwork, OutputReader, StreamChoice
from rtdecode.marker import MarkerFormat
from rtdecode.model_file import ModelFile, read_model
from rtdecode.prediction import Prediction
from rtdecode.recording import Recording
from rtdecode.runner import Runner, RunSettings

_SOURCE, _OURS = "consumers-source", "consumers"
_PHASES = {
    "one": ["reads"],
    "none": [],
    "three": ["reads", "reads", "reads"],
    "three, one of which never reads": ["reads", "reads", "never-reads"],
}
# Between two phases consumers go, come and subscribe: what is published then belongs to none.
_SETTLE_S = 4.0


class Figures:
    """Age and push of every prediction, by phase (`rtdecode.reporter.Watcher`)."""

    def __init__(self) -> None:
        self.decoding = threading.Event()
        self.phase: str | None = None
        self.push_s = self.work_s = 0.0
        self.rows: dict[str, list[tuple[float, float, float]]] = {phase: [] for phase in _PHASES}

    def state(self, state: str, message: str) -> None:
        """Show what may explain a figure."""
        print(f"    {state:<10} {message}", flush=True)

    def prediction(self, prediction: Prediction, age_s: float, latency_s: float) -> None:
        """Keep what belongs to a phase."""
        if prediction.reason is None:
            self.decoding.set()
            if self.phase:
                self.rows[self.phase].append((age_s, self.push_s, self.work_s))


class TimedOutlets(DecoderOutlets):
    """Outlets that tell how long a push took."""

    figures: Figures

    def publish(self, prediction: Prediction, timestamp: float) -> None:
        """Publish one prediction and take its time."""
        start, worked = time.perf_counter(), time.thread_time()
        super().publish(prediction, timestamp)
        self.figures.work_s = time.thread_time() - worked
        self.figures.push_s = time.perf_counter() - start


class TimedNetwork(LslNetwork):
    """LSL with outlets that are timed."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def outlets(
        self,
        name: str,
        outputs: Classification | Regression,
        marker_format: MarkerFormat,
        decision_names: tuple[str, ...] | None = None,
    ) -> TimedOutlets:
        """Make the three streams of a decoder."""
        sink = TimedOutlets(name, outputs, marker_format, decision_names)
        sink.figures = self._figures
        return sink


def main() -> None:
    """Go through all phases and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--consume", choices=["reads", "never-reads"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    model = read_model(given.model)
    if given.consume:
        _consume(DecoderOutlets.names(_OURS, model.contract.outputs), given.consume)
    with tempfile.TemporaryDirectory() as name:
        os.environ["LSLAPICFG"] = str(loopback_configuration(Path(name)))
        figures = Figures()
        noise = _noise(Path(name), model, len(_PHASES) * (given.seconds + _SETTLE_S) + 5.0)
        phases = threading.Thread(target=_go_through, args=(given.model, given.seconds, figures), daemon=True)
        phases.start()
        settings = RunSettings(stream=StreamChoice(name=_SOURCE), name=_OURS, once=True)
        with _process("-m", "rtdecode", "play", noise, "--name", _SOURCE):
            summary = Runner(model, settings, figures, TimedNetwork(figures)).run()
    columns = [f"{what} {p} ms" for what in ("age", "push", "work") for p in ("p50", "p99")]
    print(f"\n| consumers | predictions | {' | '.join(columns)} |\n{'|---' * (2 + len(columns))}|")
    first = _percentiles(figures.rows["one"])
    for phase, rows in figures.rows.items():
        told = [f"{1e3 * v:.3f} ({v / before:.2f})" for v, before in zip(_percentiles(rows), first, strict=True)]
        print(f"| {phase} | {len(rows)} | {' | '.join(told)} |")
    print(f"\nOverruns: {summary.overruns}. Abstained: {dict(summary.abstained)}.")


def _consume(streams: tuple[str, ...], manner: str) -> NoReturn:
    readers = [OutputReader(stream) for stream in streams]
    while True:
        if manner == "never-reads":
            time.sleep(60.0)
        for reader in readers:
            reader.pull(0.01)


def _noise(folder: Path, model: ModelFile, seconds: float) -> Path:
    """Write a recording that looks to the guard as the training data did."""
    contract = model.contract
    stamps = np.arange(0.0, seconds, 1 / contract.signal.sfreq)
    noise = np.random.default_rng(0).standard_normal((len(stamps), contract.signal.n_channels))
    path = folder / "noise.npz"
    Recording(contract.signal, (noise * contract.amplitude.typical).astype(np.float32), stamps).save(path)
    return path


def _go_through(model: Path, seconds: float, figures: Figures) -> None:
    """Let each phase's consumers come, and go after `seconds`."""
    figures.decoding.wait()
    for phase, manners in _PHASES.items():
        with ExitStack() as consumers:
            for manner in manners:
                consumers.enter_context(_process(__file__, model, "--consume", manner))
            time.sleep(_SETTLE_S)
            figures.phase = phase
            time.sleep(seconds)
            figures.phase = None


@contextmanager
def _process(*arguments: str | Path) -> Iterator[None]:
    """Run a Python program meanwhile, and kill it."""
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _percentiles(rows: list[tuple[float, float, float]]) -> list[float]:
    """Return p50 and p99 of age, push and work, in seconds."""
    return [float(v) for column in np.array(rows).T for v in np.percentile(column, [50, 99])]


if __name__ == "__main__":
    main()
