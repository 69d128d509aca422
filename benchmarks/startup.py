"""How long it takes to begin, and how much memory: imports, a decoder file, `rtdecode run`; beside bare libraries.

    python benchmarks/startup.py --repetitions 7

Prints Markdown. All take turns. The first prediction of a live run is timed from the start of its process to the
stamp of the first prediction received, less what must pass by design: the warm-up of the decoder, the window of the
loop of `rival_loops.py`. In it are 0.2 s that the source waits before its first sample. Memory is the peak resident
set, as Linux tells it.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from rtdecode.decoder import Decoder
from rtdecode.engine import read_model
from rtdecode.latency.hops import noise
from rtdecode.loopback import loopback_configuration
from rtdecode.recording import Recording

_SOURCE, _OURS, _WAIT_S = "startup-source", "startup", 60.0
_SFREQ, _CHUNK, _WINDOW, _HOP, _BAND, _ORDER = 250.0, 5, 250, 25, (4.0, 30.0), 4
_BARE = "import numpy, onnxruntime, pylsl, scipy.signal"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    n = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LSLAPICFG"] = str(loopback_configuration(folder))
        from untrained import write_untrained

        model = folder / "eeg.onnx"
        write_untrained(model, "eeg", 32, _SFREQ, _WINDOW, _HOP, _BAND, _ORDER)
        session = f"{_BARE}; onnxruntime.InferenceSession('{model}', providers=['CPUExecutionProvider'])"
        programs = {
            "python": ["-c", "pass"],
            "the bare libraries": ["-c", _BARE],
            "`import rtdecode`": ["-c", "import rtdecode"],
            "`rtdecode --help`": ["-m", "rtdecode", "--help"],
            "the bare libraries, and a session": ["-c", session],
            "`rtdecode.load(...)`": ["-c", f"import rtdecode; rtdecode.load('{model}')"],
            "`import mne_lsl.stream`": ["-c", "import mne_lsl.stream"],
        }
        _tell("seconds", n, {told: partial(_run, given) for told, given in programs.items()}, 1)
        decoder = Decoder(read_model(model))
        samples = noise(decoder.contract, round(20 * _SFREQ))
        recording = folder / "noise.npz"
        Recording(decoder.source, samples, np.arange(len(samples)) / _SFREQ).save(recording)
        ours = ["-m", "rtdecode", "run", "--model", str(model), "--stream", _SOURCE, "--name", _OURS]
        loop = [
            str(Path(__file__).with_name("rival_loops.py")), "pylsl", str(model), "--source", _SOURCE,
            "--name", f"{_OURS}-proba", "--order", str(_ORDER), "--hop", str(_HOP), "--band", *map(str, _BAND),
        ]  # fmt: skip
        live = {
            "pylsl + scipy + ONNX Runtime": lambda: _first_prediction(loop, recording, _WINDOW / _SFREQ),
            "`rtdecode run`": lambda: _first_prediction(ours, recording, decoder.warm_up_s),
        }
        _tell("seconds to the first prediction, less the design's", n, live, 0)


def _tell(what: str, n: int, measures: dict[str, Callable[[], tuple[float, float]]], reference: int) -> None:
    """Measure in turn, seconds and MiB, and print the medians and their ratio to one of them."""
    turns = np.array([[measure() for measure in measures.values()] for _ in range(n)])
    seconds, peak = np.median(turns, axis=0).T
    times = np.median(turns[..., 0] / turns[:, reference, None, 0], axis=0)
    more = np.median(turns[..., 1] / turns[:, reference, None, 1], axis=0)
    print(f"\n| {n} repetitions, medians | {what} | ratio | peak MiB | ratio |\n|---|---|---|---|---|")
    for told, *row in zip(measures, seconds, times, peak, more, strict=True):
        print("| {} | {:.3f} | {:.2f} | {:.0f} | {:.2f} |".format(told, *row), flush=True)


def _run(arguments: list[str]) -> tuple[float, float]:
    """Run Python to its end; return seconds and peak MiB."""
    start = time.perf_counter()
    usage = os.wait4(_spawn(arguments), 0)[2]
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def _first_prediction(arguments: list[str], recording: Path, design_s: float) -> tuple[float, float]:
    """Return seconds from the start of a decoder to its first prediction, less the design's, and its peak MiB."""
    import pylsl

    play = ["-m", "rtdecode", "play", str(recording), "--name", _SOURCE, "--chunk", str(_CHUNK)]
    with _spawned(play):
        # As in an experiment, the source is there before the decoder is.
        if not pylsl.resolve_byprop("name", _SOURCE, timeout=_WAIT_S):
            raise SystemExit("The source did not come.")
        start, pid = pylsl.local_clock(), _spawn(arguments)
        try:
            (found,) = pylsl.resolve_byprop("name", f"{_OURS}-proba", timeout=_WAIT_S)
            inlet = pylsl.StreamInlet(found, recover=False)
            values, stamp = inlet.pull_sample(_WAIT_S)
            while np.isnan(values[0]):
                values, stamp = inlet.pull_sample(_WAIT_S)
        finally:
            os.kill(pid, signal.SIGKILL)
            usage = os.wait4(pid, 0)[2]
    return stamp - start - design_s, usage.ru_maxrss / 1024


def _spawn(arguments: list[str]) -> int:
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    return os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=nowhere)


@contextmanager
def _spawned(arguments: list[str]) -> Iterator[None]:
    pid = _spawn(arguments)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.wait4(pid, 0)


if __name__ == "__main__":
    main()
