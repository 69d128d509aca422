"""How late `rtdecode play` pushes: 306 channels at 1 kHz and a marker stream, to a listener in another process.

    python benchmarks/playing.py --seconds 60

Prints Markdown. A push is late by the time from when it was due until it was done; the error of an interval is how
far two pushes are from as far apart as they were due. Real LSL, on this machine only. Give the player the priority
that you would give it in an experiment: `chrt --fifo 10 python benchmarks/playing.py` (Linux).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from rtdecode.contract import Signal
from rtdecode.loopback import loopback_configuration
from rtdecode.recording import Event, Recording, Session

_N_CHANNELS, _SFREQ, _NAME = 306, 1000.0, "playing"
_CASES = ((20, 1.0), (8, 1.0), (1, 1.0), (20, 4.0))


def main() -> None:
    """Play it all, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each case")
    parser.add_argument("--listen", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.listen:
        _listen()
        return
    print("| chunk | speed | pushes | late p50 ms | p99 | max | interval error p50 ms | p99 | max |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LSLAPICFG"] = str(loopback_configuration(Path(folder)))
        for chunk, speed in _CASES:
            late = _lateness(_session(given.seconds * speed), chunk, speed)
            told = [f"{p:.3f}" for values in (late, np.abs(np.diff(late))) for p in _percentiles(values)]
            print(f"| {chunk} | {speed:g} | {len(late)} | {' | '.join(told)} |", flush=True)


def _percentiles(seconds: np.ndarray) -> np.ndarray:
    return np.asarray(np.percentile(seconds, [50, 99, 100])) * 1e3


def _session(seconds: float) -> Session:
    names = tuple(f"MEG{i:04d}" for i in range(_N_CHANNELS))
    signal = Signal(ch_names=names, ch_types=("mag",) * _N_CHANNELS, units=("fT",) * _N_CHANNELS, sfreq=_SFREQ)
    n = round(seconds * _SFREQ)
    samples = np.random.default_rng(0).standard_normal((n, _N_CHANNELS), np.float32)
    events = tuple(Event(float(t), "stimulus") for t in np.arange(0.7, seconds, 1.3))
    return Session.of_recording(Recording(signal, samples, np.arange(n) / _SFREQ, events), _NAME)


def _lateness(session: Session, chunk: int, speed: float) -> np.ndarray:
    from rtdecode.player import PlayerSettings, play

    with subprocess.Popen([sys.executable, __file__, "--listen"]) as listener:
        played = play(session, PlayerSettings(chunk=chunk, speed=speed, for_all=True))
        assert listener.wait(60) == 0
    return played.lateness_s


def _listen() -> None:
    import pylsl

    found = pylsl.resolve_bypred(f"starts-with(name,'{_NAME}')", minimum=2, timeout=60)
    inlets = [pylsl.StreamInlet(info, recover=False) for info in found]
    for inlet in inlets:
        inlet.open_stream(10)
    try:
        while True:
            for inlet in inlets:
                inlet.pull_chunk(timeout=0.02, max_samples=4096, min_samples=1, as_numpy=True)
    except pylsl.util.LostError:
        return


if __name__ == "__main__":
    main()
