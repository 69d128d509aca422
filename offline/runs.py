"""The folder of a training run: what was asked for, what each fold gave. A run that was killed goes on from it."""

import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from offline.checkpoint import Checkpoint, read_checkpoint
from offline.evaluation import FoldResult
from offline.learning import Curves
from offline.partition import Fold
from offline.training import Fitted
from rtdecode.errors import ConfigurationError
from rtdecode.files import write_bytes, write_text
from rtdecode.preprocessing import read_steps

_CURVES = "curves/"


class RunFolder:
    """The folder of a run; a new one, or that of a run of the same.

    Parameters
    ----------
    folder : Path
        Where it is kept.
    asked : dict of str to object
        What must be the same for a run to go on, as JSON can hold it: each becomes a file of that name.
    groups : list of str
        The decoders.

    Attributes
    ----------
    folder : Path
        Where it is kept.

    Raises
    ------
    ConfigurationError
        The folder holds something else, or cannot be written.
    """

    def __init__(self, folder: Path, asked: dict[str, Any], groups: list[str]) -> None:
        self.folder, self._network = folder, asked["configuration"]["model"]["network"]
        texts = {name: json.dumps(document, indent=1, ensure_ascii=False) for name, document in asked.items()}
        if folder.exists():
            self._refuse_another(texts)
        try:
            for group in groups:
                (folder / group).mkdir(parents=True, exist_ok=True)
            began = folder / "began.json"
            if not began.exists():
                write_text(began, json.dumps(datetime.now().isoformat(sep=" ", timespec="seconds")))
            for name, text in texts.items():
                write_text(folder / f"{name}.json", text)
        except OSError as error:
            raise ConfigurationError(f"Cannot write {folder}: {error.strerror}.") from None

    def _refuse_another(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            try:
                there = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise ConfigurationError(
                    f"{self.folder} exists already and holds no training run; give another --output. Nothing is "
                    "overwritten."
                ) from None
            if difference := _difference(there, json.loads(text)):
                raise ConfigurationError(
                    f"{self.folder} exists already and holds a run with another {name}: {difference}. Give another "
                    "--output, or what it was begun with to go on. Nothing is overwritten."
                )

    def checkpoint(self, group: str, name: str) -> Path:
        """Return where the checkpoint of a fold is."""
        return self.folder / group / f"{name}.pt"

    def final(self, group: str) -> Path:
        """Return where the checkpoint of a decoder of all runs is: where that of no fold can be."""
        return self.folder / f"{group}.pt"

    def keep(self, group: str, result: FoldResult, checkpoint: Checkpoint) -> None:
        """Write what a fold gave; it counts as done when all of it is there."""
        checkpoint.save(self.checkpoint(group, result.fold.name))
        arrays: dict[str, Any] = {"truth": result.truth, "network": result.network}
        if result.baseline is not None:
            arrays["baseline"] = result.baseline
        curves = result.fitted.curves
        arrays |= {f"{_CURVES}{name}": [epoch[name] for epoch in curves] for name in (curves[0] if curves else ())}
        path = self._arrays(group, result.fold)
        content = io.BytesIO()
        np.savez(content, **arrays, n_epochs=result.fitted.n_epochs, seconds=result.seconds)
        write_bytes(path, content.getbuffer())
        state_of(self.checkpoint(group, result.fold.name)).unlink(missing_ok=True)

    def result(self, group: str, fold: Fold) -> FoldResult | None:
        """Read what a fold gave; None if it is yet to be fitted."""
        path = self._arrays(group, fold)
        if not path.exists():
            return None
        checkpoint = read_checkpoint(self.checkpoint(group, fold.name), self._network)
        try:
            # Opened here: numpy forgets to close what it cannot read.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile):
            raise ConfigurationError(f"{path} is damaged; remove it, and its fold is fitted again.") from None
        contract = checkpoint.contract
        fitted = Fitted(
            checkpoint.network,
            read_steps(contract.preprocessing),
            contract.window.n_times,
            contract.window.hop,
            int(found["n_epochs"]),
            contract.calibration,
            _by_epoch({k.removeprefix(_CURVES): v.tolist() for k, v in found.items() if k.startswith(_CURVES)}),
        )
        baseline = found.get("baseline")
        return FoldResult(fold, fitted, found["truth"], found["network"], baseline, float(found["seconds"]))

    def _arrays(self, group: str, fold: Fold) -> Path:
        return self.folder / group / f"{fold.name}.npz"


def state_of(checkpoint: Path) -> Path:
    """Return where it is kept how far the training is that a checkpoint will be of."""
    return checkpoint.with_suffix(".training")


def _by_epoch(curves: dict[str, list[float]]) -> Curves:
    return tuple(dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True))


def _difference(there: Any, wanted: Any, at: str = "") -> str:
    """Say where two documents differ first; nothing if they do not."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in (*there, *wanted):
            told = _difference(there.get(key), wanted.get(key), f"{at}.{key}" if at else key)
            if told:
                return told
        return ""
    if there == wanted:
        return ""
    return f"{at} is {_shown(there)} there, not {_shown(wanted)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]} ..."
