"""Sums over repeated events on an oddball recording, decided by the decoder itself.

    python benchmarks/repetitions.py --data DIR

Trains `muse-p300` on the first session. In the second one, targets are called item-0 and the other pictures item-1 to
item-5 in turn, as if six items had been shown and item-0 attended to; each run is decoded with a policy of repeated
events. Prints how often item-0 was decided, by the number of repetitions. Needs muse_erp in DIR.
"""

import argparse
import tempfile
from dataclasses import replace
from io import StringIO
from itertools import cycle
from pathlib import Path
from statistics import median

from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import EventTimes, read_configuration
from offline.export import export
from offline.workflow import train
from rtdecode.contract import Event, Policy, Repeated
from rtdecode.decoder import Decoder
from rtdecode.model_file import ModelFile
from rtdecode.recording import Recording, read_recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import accuracy

_ITEMS = tuple(f"item-{i}" for i in range(6))
_N_REPETITIONS = (1, 2, 5, 10)


def main() -> None:
    """Train, relabel, decode, print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as folder:
        model = _trained(data, Path(folder))
        paths = sorted(data.glob("muse_erp/sub-01_ses-02_task-p300_run-*_raw.fif"))
        recordings = [_relabelled(read_recording(path)) for path in paths]
        print("| repetitions | decided sooner at | decisions | right | seconds, median |\n|---|---|---|---|---|")
        for n in _N_REPETITIONS:
            _tell(model, recordings, n, None)
        _tell(model, recordings, max(_N_REPETITIONS), 0.95)


def _trained(data: Path, folder: Path) -> ModelFile:
    configuration = read_configuration("muse-p300")
    assert configuration.events is not None
    events = EventTimes(labels=("item-*",), max_event_lag_s=configuration.events.max_event_lag_s)
    configuration = configuration.model_copy(update={"events": events})
    train(configuration, data, folder / "run", [], [], 1, Console(file=StringIO()))
    return export(read_checkpoint(folder / "run" / "01" / "held-out.pt"), folder / "p300.onnx")


def _relabelled(recording: Recording) -> Recording:
    others = cycle(_ITEMS[1:])
    events = [Event(e.timestamp, _ITEMS[0] if e.label == "target" else next(others)) for e in recording.events]
    return replace(recording, events=tuple(events))


def _tell(model: ModelFile, recordings: list[Recording], n_repetitions: int, probability: float | None) -> None:
    evidence = Repeated(
        target="target", choices={"item": _ITEMS}, n_repetitions=n_repetitions, probability=probability, pause_s=None
    )
    policy = Policy(evidence=evidence)
    replays = [decode_recording(r, Decoder(model, r.signal, policy=policy)) for r in recordings]
    decided = [p for replay in replays for p in replay.predictions if p.decision is not None]
    figure = accuracy([0] * len(decided), [int(p.decision or 0) for p in decided], "right")
    seconds = [p.used_s for p in decided if p.used_s is not None]
    sooner = "-" if probability is None else f"{probability:g}"
    right = f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
    print(f"| {n_repetitions} | {sooner} | {len(decided)} | {right} | {median(seconds):.1f} |", flush=True)


if __name__ == "__main__":
    main()
