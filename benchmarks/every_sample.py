"""A decision on every sample: 306 channels through real LSL, the decoder's process on one core. Linux.

    python benchmarks/every_sample.py --minutes 10

A causal BrainModule of the published size at 120 Hz, and an LF-CNN at 1 kHz, with random weights, behind a band-pass,
incremental. All threads of `rtdecode run`, liblsl's too, stay on one core; source and listener have the others. Tells
how many decisions came of how many samples, how far behind the newest sample they were when received, and what share
of its core the decoder took. Prints Markdown; the exit code is 1 if a decision is missing or came too late.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from stepping import NETWORKS

from offline.export import to_onnx
from offline.survey import contract_of
from rtdecode.contract import Amplitude, Incremental, Window
from rtdecode.decoder import Decoder
from rtdecode.errors import DeadlineError
from rtdecode.latency.hops import noise
from rtdecode.loopback import loopback_configuration
from rtdecode.model_file import ModelFile, read_model, write_model
from rtdecode.preprocessing import Filter
from rtdecode.realtime import quiet_collector
from rtdecode.recording import Recording

_SOURCE, _OURS, _MOST_BEHIND, _LOOP_S = "every-sample-source", "every-sample", 20, 20.0
_CASES = {"brainmodule": 120.0, "lfcnn": 1000.0}


@dataclass(frozen=True)
class Outcome:
    """What a run gave: stamps of decisions, when they were received, and seconds of CPU in seconds of time."""

    stamps: np.ndarray
    received: np.ndarray
    cpu_share: float
    log: str


def main() -> int:
    """Run both and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each network")
    parser.add_argument("--chunk", type=int, default=1, help="samples that the source pushes at a time")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=_CASES)
    given = parser.parse_args()
    print("| network | samples | decisions | missing | behind, samples: p50 | p99.9 | max | share of its core |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LSLAPICFG"] = str(loopback_configuration(folder))
        for network in [given.only] if given.only else _CASES:
            model = _write(network, folder / f"{network}.onnx")
            good &= _tell(network, model, _run(model, folder, 60 * given.minutes, given.chunk, given.core))
    return int(not good)


def _write(name: str, path: Path) -> ModelFile:
    make, n_channels, n_times = NETWORKS[name]
    network = make(n_channels, n_times + (make(n_channels, n_times).receptive_field or 1) - 1).eval().fused()
    parts, sfreq, ones = network.stepping(), _CASES[name], np.ones(n_channels)
    contract = contract_of(network, sfreq).model_copy(
        update={
            "window": Window(n_times=network.n_times, hop=1),
            "form": Incremental(n_features=parts.n_features, stride=parts.stride, behind=parts.behind),
            "preprocessing": (Filter.butterworth(sfreq, 4.0, 30.0, 4).model_dump(),),
            "amplitude": Amplitude(low=-ones, high=ones, std=ones),
        }
    )
    write_model(to_onnx(network, parts), contract, path)
    return read_model(path)


def _run(model: ModelFile, folder: Path, seconds: float, chunk: int, core: int) -> Outcome:
    from rtdecode.lsl import OutputReader

    decoder = Decoder(model)
    samples = noise(decoder.contract, round(_LOOP_S * decoder.source.sfreq))
    Recording(decoder.source, samples, np.arange(len(samples)) / decoder.source.sfreq).save(folder / "noise.npz")
    python = [sys.executable, "-m", "rtdecode"]
    play = [*python, "play", str(folder / "noise.npz"), "--name", _SOURCE, "--loop", "0", "--chunk", str(chunk)]
    run = [*python, "run", "--model", model.path, "--stream", _SOURCE, "--name", _OURS]
    run += ["--duration", f"{decoder.warm_up_s + seconds}"]
    everywhere = os.sched_getaffinity(0)
    with (folder / "run.log").open("w", encoding="utf-8") as log:
        player = subprocess.Popen(play, stdout=subprocess.DEVNULL, preexec_fn=partial(_keep, everywhere - {core}))
        runner = subprocess.Popen(run, stdout=log, stderr=log, preexec_fn=partial(_keep, {core}))
        try:
            os.sched_setaffinity(0, everywhere - {core})
            began, at = None, list[tuple[float, np.ndarray]]()
            with suppress(DeadlineError):
                reader = OutputReader(f"{_OURS}-{model.contract.outputs.column}")
                with quiet_collector():
                    while runner.poll() is None and not reader.lost:
                        rows, stamps, now = reader.pull()
                        decided = np.array([not np.isnan(row[0]) for row in rows], bool)
                        if decided.any():
                            at.append((now, stamps[decided]))
                            began = began or (time.monotonic(), _cpu_s(runner.pid))
                            ended = time.monotonic(), _cpu_s(runner.pid)
        finally:
            os.sched_setaffinity(0, everywhere)
            player.terminate()
            runner.terminate()
            player.wait()
            runner.wait()
    if began is None:
        raise SystemExit((folder / "run.log").read_text(encoding="utf-8"))
    received = np.concatenate([np.full(len(stamps), now) for now, stamps in at])
    share = (ended[1] - began[1]) / (ended[0] - began[0])
    text = (folder / "run.log").read_text(encoding="utf-8")
    return Outcome(np.concatenate([stamps for _, stamps in at]), received, share, text)


def _keep(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _tell(name: str, model: ModelFile, outcome: Outcome) -> bool:
    sfreq = _CASES[name]
    n = round((outcome.stamps[-1] - outcome.stamps[0]) * sfreq) + 1
    missing = n - len(np.unique(np.rint((outcome.stamps - outcome.stamps[0]) * sfreq)))
    behind = (outcome.received - outcome.stamps) * sfreq
    p50, tail, most = np.percentile(behind, [50, 99.9, 100])
    print(
        f"| {name}, {model.contract.signal.n_channels} channels, {sfreq:g} Hz | {n} | {len(behind)} | {missing} "
        f"| {p50:.2f} | {tail:.2f} | {most:.2f} | {100 * outcome.cpu_share:.0f} % |",
        flush=True,
    )
    told = [line for line in outcome.log.splitlines() if "/s  age" not in line]
    print("\n", *(f"    {line}" for line in told), "", sep="\n", file=sys.stderr)
    return missing == 0 and bool(most <= _MOST_BEHIND)


if __name__ == "__main__":
    sys.exit(main())
