"""How long it takes to begin, and how much memory: imports, a decoder file, `rtdecode run`; beside bare libraries.

    python benchmarks/startup.py --repetitions 7

Prints Markdown. All take turns. The first prediction of a live run is timed from the start of its process to the
stamp of the first prediction received, less what must pass by design: the warm-up of the decoder, the window of the
loop of `rival_loops.py`. In it are 0.2 s that the source waits before its first sample. Memory is the peak resident
set, as Linux tells it in /proc.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.decoder import Decoder
from rtdecode.latency.hops import noise
from rtdecode.loopback import loopback_configuration
from rtdecode.model_file import read_model
from rtdecode.recording import Recording

_SOURCE, _OURS, _WAIT_S = "startup-source", "startup", 60.0
_SFREQ, _CHUNK, _WINDOW, _HOP, _BAND, _ORDER = 250.0, 5, 250, 25, (4.0, 30.0), 4
_BARE = "import numpy, onnxruntime, pylsl, scipy.signal"
# That of wait4 would be the peak of who started the program, if that is more.
_PEAK = (
    "import atexit; atexit.register(lambda: print(open('/proc/self/status').read(), file=__import__('sys').stderr))"
)
_HELP = "import runpy, sys; sys.argv[1:] = ['--help']; runpy.run_module('rtdecode', run_name='__main__')"


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
            "python": "pass",
            "the bare libraries": _BARE,
            "`import rtdecode`": "import rtdecode",
            "`rtdecode --help`": _HELP,
            "the bare libraries, and a session": session,
            "`rtdecode.load(...)`": f"import rtdecode; rtdecode.load('{model}')",
            "`import mne_lsl.stream`": "import mne_lsl.stream",
        }
        _tell("seconds", n, {told: partial(_run, code) for told, code in programs.items()}, 1)
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


def _run(code: str) -> tuple[float, float]:
    """Run a Python program to its end; return seconds and peak MiB."""
    start = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", f"{_PEAK}; {code}"], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, _peak_mib(ended.stderr)


def _peak_mib(status: str) -> float:
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _first_prediction(arguments: list[str], recording: Path, design_s: float) -> tuple[float, float]:
    """Return seconds from the start of a decoder to its first prediction, less the design's, and its peak MiB."""
    import pylsl

    play = ["-m", "rtdecode", "play", str(recording), "--name", _SOURCE, "--chunk", str(_CHUNK)]
    with _program(play):
        # As in an experiment, the source is there before the decoder is.
        _found(_SOURCE)
        start = pylsl.local_clock()
        with _program(arguments) as process:
            inlet = pylsl.StreamInlet(_found(f"{_OURS}-proba"), recover=False)
            values, stamp = inlet.pull_sample(_WAIT_S)
            while np.isnan(values[0]):
                values, stamp = inlet.pull_sample(_WAIT_S)
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            inlet.close_stream()
    return stamp - start - design_s, _peak_mib(status)


def _found(name: str) -> Any:
    import pylsl

    found = pylsl.resolve_byprop("name", name, timeout=_WAIT_S)
    if not found:
        raise SystemExit(f"Stream {name} did not come.")
    return found[0]


@contextmanager
def _program(arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Python program meanwhile, and kill it."""
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, *arguments], stdout=nowhere, stderr=nowhere)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
