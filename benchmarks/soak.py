"""Half an hour and more of a failing source, and what became of the decoder. Linux, real LSL on this machine only.

    python benchmarks/soak.py MODEL.onnx --minutes 30

Plays noise that fits the decoder file, in rounds, with a fault every 30 to 120 s by seed, into `rtdecode run --save`.
Samples the decoder's memory, threads and descriptors, and the age of its predictions on arrival in this process. At
the end every sample, stamp and decision that the decoder kept is compared with the source's own schedule, decoded
again. Every third of the time has the same faults, so that the last one can be compared with the first. Prints
Markdown; the exit code is 1 if anything differs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from rtdecode.contract import Signal
from rtdecode.decoder import Decoder
from rtdecode.faults import read_faults, schedule
from rtdecode.loopback import loopback_configuration
from rtdecode.model_file import ModelFile, read_model
from rtdecode.recording import Recording, Session, read_recording
from rtdecode.replay import decode_recording, prediction_arrays
from rtdecode.schedule import Close, Open, Push

_THIRDS, _ROUND_S = 3, 300.0
# Before that, what is needed for the first time is loaded.
_SETTLED_S = 600.0
# So long before a fault and after its beginning, ages tell of the fault and not of the decoder.
_BEFORE_S, _AFTER_S = 0.5, 15.0
_SOURCE, _OURS = "soak-source", "soak"
_KINDS = (
    {"fault": "drop", "n_samples": 3},
    {"fault": "drop", "n_samples": 250},
    {"fault": "stall", "for_s": 3},
    {"fault": "burst", "for_s": 5, "burst_ms": 250},
    {"fault": "jump", "for_s": 2, "by_s": -0.25},
    {"fault": "nan", "n_samples": 5, "n_channels": 1},
    {"fault": "scale", "for_s": 2, "factor": 1000},
    {"fault": "restart", "for_s": 3, "shuffled": True, "source_id": "another"},
)


@dataclass(frozen=True)
class Life:
    """All that one outlet pushed."""

    signal: Signal
    samples: np.ndarray
    timestamps: np.ndarray


def main() -> int:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, nargs=2, default=(30.0, 120.0), help="seconds between faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="keep all ages and the decoder's state, second by second (.npz)")
    given = parser.parse_args()
    model = read_model(given.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LSLAPICFG"] = str(loopback_configuration(folder))
        noise, faults = _rounds(folder, model, given.minutes * 60, given.every, given.seed)
        code, ages, state, starts, faulty = _soak(folder, model, noise, faults)
        _tell(ages, state, starts, faulty)
        if given.raw:
            np.savez(given.raw, ages=ages, state=state, starts=starts, faulty=faulty)
        log = (folder / "run.log").read_text(encoding="utf-8").splitlines()
        print("\n", *(f"    {line}" for line in log if "/s  age" not in line), "", sep="\n")
        lives = _lives(read_recording(noise), faults, starts)
        same = _compare(sorted(folder.glob("s*.npz")), lives, model)
    return int(code != 0 or len(ages) == 0 or not same)


def _rounds(
    folder: Path, model: ModelFile, seconds: float, every_s: Sequence[float], seed: int
) -> tuple[Path, list[Path]]:
    """Write the recording that every round plays, and a faults file for each."""
    contract, rng = model.contract, np.random.default_rng(seed)
    n_rounds = max(1, round(seconds / _THIRDS / _ROUND_S))
    n = round(seconds / _THIRDS / n_rounds * contract.signal.sfreq)
    samples = rng.standard_normal((n, contract.signal.n_channels), np.float32) * contract.amplitude.std
    noise = folder / "noise.npz"
    Recording(contract.signal, samples.astype(np.float32), np.arange(n) / contract.signal.sfreq).save(noise)
    written, kinds, (soonest, latest) = [], cycle(rng.permutation(len(_KINDS))), every_s
    for number in range(n_rounds):
        faults, at_s = [], rng.uniform(soonest, latest)
        while at_s < n / contract.signal.sfreq:
            faults.append({**_KINDS[next(kinds)], "at_s": float(at_s)})
            at_s += rng.uniform(soonest, latest)
        written.append(folder / f"faults-{number}.yaml")
        # JSON is YAML.
        written[-1].write_text(json.dumps({"seed": seed + number, "faults": faults}), encoding="utf-8")
    return noise, written * _THIRDS


def _soak(
    folder: Path, model: ModelFile, noise: Path, rounds: list[Path]
) -> tuple[int, np.ndarray, np.ndarray, list[float], list[float]]:
    """Play all rounds; return exit code, ages (n, 2), the decoder's state (n, 4), first stamps, stamps of faults."""
    from rtdecode.lsl import OutputReader

    python = [sys.executable, "-m", "rtdecode"]
    saved = str(folder / "s.npz")
    run = [*python, "run", "--model", model.path, "--stream", _SOURCE, "--name", _OURS, "--save", saved]
    starts, faulty, state, over = [], [], [], threading.Event()
    with (folder / "run.log").open("w", encoding="utf-8") as log:
        decoder = subprocess.Popen(run, stdout=log, stderr=log)
        ages: list[tuple[float, float]] = []
        reader = OutputReader(f"{_OURS}-{model.contract.outputs.column}")
        listener = threading.Thread(target=_listen, args=(reader, ages, over))
        listener.start()
        try:
            for faults in rounds:
                play = [*python, "play", str(noise), "--name", _SOURCE, "--faults", str(faults)]
                player = subprocess.Popen(play, stdout=subprocess.PIPE, text=True, encoding="utf-8")
                while player.poll() is None and decoder.poll() is None:
                    state.append(_state(decoder.pid))
                    time.sleep(1.0)
                if decoder.poll() is not None:
                    player.kill()
                    break
                told, _ = player.communicate()
                print("\n".join(f"    {line}" for line in told.splitlines()))
                starts.append(float(told.partition("sample 0 at ")[2].partition(";")[0]))
                faulty += [float(t) for t in re.findall(r"LSL time ([0-9.]+)", told)]
        finally:
            over.set()
            listener.join()
            decoder.terminate()
            code = decoder.wait(120)
    return code, np.array(ages), np.array(state), starts, faulty


def _listen(reader, ages: list[tuple[float, float]], over: threading.Event) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    while not over.is_set() and not reader.lost:
        values, stamps, now = reader.pull()
        ages += [(now, now - t) for row, t in zip(values, stamps, strict=True) if not np.isnan(row[0])]


def _state(pid: int) -> tuple[float, float, int, int]:
    """Return time, MiB of memory of its own (no mapped files), threads, open descriptors."""
    folder = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines())
    n_open = len(list((folder / "fd").iterdir()))
    return time.monotonic(), int(status["RssAnon"].split()[0]) / 1024, int(status["Threads"]), n_open


def _tell(ages: np.ndarray, state: np.ndarray, starts: list[float], faulty: list[float]) -> None:
    near = [(ages[:, 0] > t - _BEFORE_S) & (ages[:, 0] < t + _AFTER_S) for t in faulty]
    ages = ages[~np.any(near, axis=0)] if near else ages
    print("\n| third | predictions | age p50 ms | p99 | p99.9 | max | memory MiB | threads | descriptors |")
    print("|---|---|---|---|---|---|---|---|---|")
    tails = []
    for number, (some, rows) in enumerate(
        zip(np.array_split(ages, _THIRDS), np.array_split(state, _THIRDS), strict=True), 1
    ):
        if len(some):
            percentiles = np.percentile(some[:, 1], [50, 99, 99.9, 100]) * 1e3
            tails.append(percentiles[2])
            memory, threads, n_open = rows[len(rows) // 4 :, 1:].max(axis=0)
            told = " | ".join(f"{v:.2f}" for v in percentiles)
            print(f"| {number} | {len(some)} | {told} | {memory:.1f} | {threads:.0f} | {n_open:.0f} |")
    print(f"\nLeft out of the ages: from {_BEFORE_S:g} s before a fault to {_AFTER_S:g} s after it began.")
    if len(tails) == _THIRDS:
        print(f"p99.9 of the last third: {tails[-1] / tails[0]:.2f} times that of the first.")
    rounds = [some for some in np.split(state, np.searchsorted(state[:, 0], starts)[1:]) if len(some)]
    medians = np.array([np.median(some[:, 1]) for some in rounds])
    print(f"Memory by rounds, MiB (median): {', '.join(f'{m:.1f}' for m in medians)}.")
    hours = np.array([some[0, 0] - state[0, 0] for some in rounds]) / 3600
    kinds, settled = np.arange(len(rounds)) % (len(rounds) // _THIRDS), hours >= _SETTLED_S / 3600
    slope, error = _slope(hours[settled], medians[settled], kinds[settled])
    print(f"From {_SETTLED_S / 60:g} minutes on: {slope:+.2f} MiB an hour (standard error {error:.2f}).")


def _slope(times: np.ndarray, values: np.ndarray, kinds: np.ndarray) -> tuple[float, float]:
    """Fit one slope and a level for each kind of round; return the slope and its standard error.

    Like with like: without the levels, the order of the faults would be taken for a slope.
    """
    design = np.column_stack([times, *(kinds == kind for kind in np.unique(kinds))]).astype(float)
    fitted, *_ = np.linalg.lstsq(design, values)
    n_free = len(values) - design.shape[1]
    variance = ((values - design @ fitted) ** 2).sum() / n_free if n_free > 0 else np.nan
    return float(fitted[0]), float(np.sqrt(variance * np.linalg.pinv(design.T @ design)[0, 0]))


def _lives(recording: Recording, rounds: list[Path], starts: list[float]) -> Iterator[Life]:
    """Return what each outlet pushed, by the schedule."""
    session = Session.of_recording(recording, _SOURCE)
    for faults, start in zip(rounds, starts, strict=False):
        signal, pushes = recording.signal, []
        for action in schedule(session, read_faults(str(faults))).actions():
            if isinstance(action, Push) and action.stream == session.signal:
                pushes.append(action)
            elif isinstance(action, Close) and pushes:
                yield _life(signal, pushes, start)
                pushes = []
            elif isinstance(action, Open):
                signal = recording.signal.pick(action.layout.ch_names)
        if pushes:
            yield _life(signal, pushes, start)


def _life(signal: Signal, pushes: list[Push], start: float) -> Life:
    samples = np.concatenate([p.values for p in pushes])
    return Life(signal, samples, start + np.concatenate([p.timestamps for p in pushes]))


def _compare(paths: list[Path], lives: Iterator[Life], model: ModelFile) -> bool:
    """Compare every session that was kept with what its outlet pushed; tell whether all are the same."""
    sessions = {path: read_recording(path) for path in paths}
    told: dict[str, int | None] = {}
    n_lives = 0
    for life in lives:
        n_lives += 1
        for path, session in sessions.items():
            at = int(np.argmin(np.abs(life.timestamps - session.timestamps[0])))
            if abs(life.timestamps[at] - session.timestamps[0]) < 1e-6:
                cut = slice(at, at + len(session.samples))
                log = Recording(life.signal, life.samples[cut], life.timestamps[cut])
                told[path.name] = _same_decisions(path, session, log, model)
    print(f"{n_lives} outlets, of which {n_lives - len(told)} were never connected to")
    differing = [name for name, n in told.items() if n is None]
    unknown = [path.name for path in paths if path.name not in told]
    n_same = sum(n or 0 for n in told.values())
    print(
        f"{len(paths)} connections, {sum(len(s.samples) for s in sessions.values())} samples, {n_same} decisions and "
        f"abstentions identical to those of the source's schedule; differing: {differing or 0}, of unknown origin: "
        f"{unknown or 0}"
    )
    return n_same > 0 and not differing and not unknown and n_lives == len(told)


def _same_decisions(path: Path, session: Recording, log: Recording, model: ModelFile) -> int | None:
    """Return how many decisions and abstentions are the same; None if any differs, or a sample or stamp does."""
    if session.signal != log.signal or session.samples.tobytes() != log.samples.tobytes():
        return None
    if not np.array_equal(session.timestamps, log.timestamps):
        return None
    again = prediction_arrays(decode_recording(log, Decoder(model, log.signal)).predictions, model.contract)
    n = len(again["prediction_samples"])
    with np.load(path) as arrays:
        kept = {key: arrays[key] for key in again}
    # After the last sample the loss of the stream is told, once.
    extra = set(kept["prediction_reasons"][n:])
    same = all(
        np.array_equal(kept[key][:n], again[key], equal_nan=values.dtype.kind == "f") for key, values in again.items()
    )
    return n if same and extra <= {"stream-lost"} else None


if __name__ == "__main__":
    sys.exit(main())
