"""A decision on every sample: 306 channels through real LSL, the decoder's process on one core. Linux.

    python benchmarks/every_sample.py --minutes 10

A causal BrainModule of the published size at 120 Hz, and an LF-CNN at 1 kHz, with random weights, behind a band-pass,
incremental. All threads of `rtdecode run`, liblsl's too, stay on one core; source and listener have the others. Tells
how many decisions came of how many samples, how far behind the newest sample they were when received (and, as the
decoder's own log tells, when published, and how much of that is its own part), and what share of its core the decoder
took. Prints Markdown; the exit code is 1 if a decision is missing or was received too late.

The source is one of its own: `rtdecode play --loop` makes a gap between two rounds, at which a decoder begins anew.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

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
from rtdecode.recording import Layout

_SOURCE, _OURS, _MOST_BEHIND = "every-sample-source", "every-sample", 20
# Of noise, before the same comes again; from when somebody listens to the first sample; until the decoder has ended.
_ROUND_S, _LEAD_S, _END_S = 20.0, 0.2, 30.0
_SPAWN = multiprocessing.get_context("spawn")
_CASES = {"brainmodule": 120.0, "lfcnn": 1000.0}


@dataclass(frozen=True)
class Outcome:
    """What a run gave: stamps of decisions, when they were received, seconds of CPU in seconds of time, what it told.

    `end` is the last event of its log.
    """

    stamps: np.ndarray
    received: np.ndarray
    cpu_share: float
    told: str
    end: dict[str, Any]


def main() -> int:
    """Run both and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each network")
    parser.add_argument("--chunk", type=int, default=1, help="samples that the source pushes at a time")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=_CASES)
    given = parser.parse_args()
    print(
        "| network | samples | decisions | missing | behind when received, samples: p50 | p99.9 | max "
        "| when published: max | our part, ms: p50 | p99 | max | share of its core |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
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

    told, log = folder / "run.txt", folder / "run.jsonl"
    log.unlink(missing_ok=True)
    run = [sys.executable, "-m", "rtdecode", "run", "--model", model.path, "--stream", _SOURCE, "--name", _OURS]
    run += ["--duration", f"{Decoder(model).warm_up_s + seconds}", "--log", str(log)]
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, everywhere - {core})
    source = _SPAWN.Process(target=_be_source, args=(model.path, chunk), daemon=True)
    with told.open("w", encoding="utf-8") as file:
        source.start()
        runner = subprocess.Popen(run, stdout=file, stderr=file, preexec_fn=partial(_keep, {core}))
        try:
            used, at = list[tuple[float, float]](), list[tuple[float, np.ndarray]]()
            with suppress(DeadlineError):
                reader = OutputReader(f"{_OURS}-{model.contract.outputs.column}")
                with quiet_collector():
                    while runner.poll() is None and not reader.lost:
                        rows, stamps, now = reader.pull()
                        decided = np.array([not np.isnan(row[0]) for row in rows], bool)
                        if decided.any():
                            at.append((now, stamps[decided]))
                            if not used or time.monotonic() - used[-1][0] > 1.0:
                                used.append((time.monotonic(), _cpu_s(runner.pid)))
            runner.wait(_END_S)
        finally:
            os.sched_setaffinity(0, everywhere)
            source.kill()
            source.join()
            runner.kill()
            runner.wait()
    if not used:
        raise SystemExit(told.read_text(encoding="utf-8"))
    received = np.concatenate([np.full(len(stamps), now) for now, stamps in at])
    took, cpu_s = np.subtract(used[-1], used[0])
    end = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    stamps = np.concatenate([stamps for _, stamps in at])
    return Outcome(stamps, received, cpu_s / took, told.read_text(encoding="utf-8"), end)


def _be_source(path: str, chunk: int) -> None:
    """Push noise without a pause from when somebody listens: the same samples round after round, stamps going on."""
    from rtdecode.lsl import Outlet, local_clock

    contract = read_model(path).contract
    sfreq = contract.signal.sfreq
    pushes = noise(contract, round(_ROUND_S * sfreq / chunk) * chunk).reshape(-1, chunk, contract.signal.n_channels)
    outlet = Outlet(Layout.of_signal(_SOURCE, contract.signal), _SOURCE)
    while not outlet.wait_for_consumers(1.0):
        pass
    start = local_clock() + _LEAD_S
    with quiet_collector():
        for number in count():
            stamps = start + np.arange(number * chunk, (number + 1) * chunk) / sfreq
            time.sleep(max(stamps[-1] - local_clock(), 0.0))
            outlet.push(pushes[number % len(pushes)], stamps)


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
    parts = [f"{outcome.end['latency_ms'][figure]:.2f}" for figure in ("p50", "p99", "max")]
    print(
        f"| {name}, {model.contract.signal.n_channels} channels, {sfreq:g} Hz | {n} | {len(behind)} | {missing} "
        f"| {p50:.2f} | {tail:.2f} | {most:.2f} | {outcome.end['age_ms']['max'] * sfreq / 1e3:.2f} "
        f"| {' | '.join(parts)} "
        f"| {100 * outcome.cpu_share:.0f} % |",
        flush=True,
    )
    told = [line for line in outcome.told.splitlines() if "/s  age" not in line]
    print("\n", *(f"    {line}" for line in told), "", sep="\n", file=sys.stderr)
    return missing == 0 and bool(most <= _MOST_BEHIND)


if __name__ == "__main__":
    sys.exit(main())
