"""How far a training is, kept so that one that was killed goes on as if nothing had been."""

import contextlib
import io
import json
import math
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.history import History

from rtdecode.errors import ConfigurationError
from rtdecode.files import write_bytes

# Keeping takes at most this share of the time.
_SHARE = 0.05
_HELD = {"weights", "optimizer", "history", "schedule", "stopping", "torch", "cuda", "numpy"}
_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")


class Kept(Callback):  # type: ignore[misc]
    """Keeps weights, optimizer, schedule, stopping and random generators in a file, and begins with what is there.

    It has to stand behind the callbacks whose state it keeps.

    Parameters
    ----------
    path : Path
        The file, which is there whole or not at all; where it cannot be written, nothing is kept.
    schedule : LRScheduler or None
        What sets the learning rate.
    stopping : EarlyStopping or None
        What stops the training.

    Attributes
    ----------
    n_epochs : int
        How many were found to be done.

    Raises
    ------
    ConfigurationError
        The file is damaged.
    """

    def __init__(self, path: Path, schedule: LRScheduler | None, stopping: EarlyStopping | None) -> None:
        self.path, self.schedule, self.stopping = path, schedule, stopping
        self.found = _read(path)
        self.n_epochs = len(json.loads(self.found["history"])) if self.found else 0
        self.kept_at, self.took_s = -math.inf, 0.0

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Put back what was found."""
        if self.found is None:
            return
        found = self.found
        net.module_.load_state_dict(found["weights"])
        net.optimizer_.load_state_dict(found["optimizer"])
        net.history = History(json.loads(found["history"]))
        if self.schedule is not None:
            self.schedule.lr_scheduler_.load_state_dict(found["schedule"])
        if self.stopping is not None:
            vars(self.stopping).update(found["stopping"])
        torch.set_rng_state(found["torch"])
        if found["cuda"]:
            torch.cuda.set_rng_state_all(found["cuda"])
        np.random.set_state(json.loads(found["numpy"]))  # noqa: NPY002

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep how far it is, unless that would take longer than it is worth."""
        start = time.perf_counter()
        if (start - self.kept_at) * _SHARE < self.took_s:
            return
        # Where there is no room, or on another machine no such folder, only the time of going on is lost.
        with contextlib.suppress(ConfigurationError):
            self._write(net)
        self.kept_at = time.perf_counter()
        self.took_s = self.kept_at - start

    def _write(self, net: Any) -> None:
        rows = [{name: value for name, value in row.items() if name != "batches"} for row in net.history]
        numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))  # noqa: NPY002
        content = {
            "weights": net.module_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "history": json.dumps(rows),
            "schedule": self.schedule and self.schedule.lr_scheduler_.state_dict(),
            "stopping": self.stopping and {name: _plain(getattr(self.stopping, name)) for name in _STOPPING},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if net.device == "cuda" else [],
            "numpy": json.dumps(numpy, default=np.ndarray.tolist),
        }
        # Not at once into the file: torch has an error of its own for one that cannot be written.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes(self.path, buffer.getbuffer())


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, float) else value


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not set(content) >= _HELD:
            raise ValueError(path)
    except (RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError, pickle.UnpicklingError):
        raise ConfigurationError(f"{path} is damaged; remove it, and its training starts anew.") from None
    return content
