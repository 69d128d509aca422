"""Keeping what the decoder saw, off the loop: samples, stamps, predictions."""

import json
import queue
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Classification, Regression, Signal
from rtdecode.decoder import Prediction
from rtdecode.errors import ConfigurationError, refuse_output
from rtdecode.recording import Recording
from rtdecode.replay import prediction_arrays


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigurationError if a session cannot be kept in this file."""
    refuse_output(path, ".npz")
    for there in (path, _partial(path)):
        if there.exists():
            raise ConfigurationError(f"{there} exists already. Give another file; nothing is overwritten.")


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


class SessionWriter:
    """Appends to `FILE.partial/` from a thread of its own, and makes an .npz recording of it at the end.

    If the program dies, or the disk is full, the folder holds everything up to then: `signal.json`,
    `samples.f32` (n_samples, n_channels) and `timestamps.f64`, all little-endian. The .npz is a recording that
    `rtdecode replay` reads, with the predictions beside it.

    Parameters
    ----------
    path : Path
        The .npz to write.
    signal : Signal
        Of the samples as they arrive from the stream.
    outputs : Classification or Regression
        What the predictions are.
    speed : float
        How many times faster the samples are stamped than their rate says: the recording tells, and is read as it
        was at speed 1.

    Attributes
    ----------
    problem : str or None
        Why not everything could be kept, for the user.
    """

    def __init__(self, path: Path, signal: Signal, outputs: Classification | Regression, speed: float = 1.0) -> None:
        refuse_unwritable(path)
        self.path, self._signal, self._outputs, self._speed = path, signal, outputs, speed
        self._folder = _partial(path)
        self.problem: str | None = None
        try:
            self._folder.mkdir()
            (self._folder / "signal.json").write_text(signal.model_dump_json(), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"Cannot write {self._folder}: {error.strerror}.") from None
        self._predictions: list[Prediction] = []
        self._queue: queue.SimpleQueue[tuple[NDArray[Any], NDArray[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rtdecode-save", daemon=True)
        self._thread.start()

    def add(
        self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], predictions: list[Prediction]
    ) -> None:
        """Keep a chunk and what it gave; returns at once."""
        if self.problem is None:
            self._queue.put((samples, timestamps))
            self._predictions += predictions

    def _work(self) -> None:
        try:
            self._append()
        except OSError as error:
            self._give_up(error)

    def _append(self) -> None:
        with (self._folder / "samples.f32").open("ab") as x, (self._folder / "timestamps.f64").open("ab") as t:
            while (item := self._queue.get()) is not None:
                x.write(np.ascontiguousarray(item[0], "<f4").tobytes())
                t.write(np.ascontiguousarray(item[1], "<f8").tobytes())
                if self._queue.empty():
                    x.flush()
                    t.flush()

    def _give_up(self, error: OSError) -> None:
        self.problem = f"{error.strerror or error}; what could be written lies in {self._folder}"

    def close(self, about: dict[str, Any]) -> int:
        """Write the .npz; `about` is kept as JSON. Return the number of samples in it (without any, no file)."""
        self._queue.put(None)
        self._thread.join()
        if self.problem is not None:
            return 0
        timestamps = np.fromfile(self._folder / "timestamps.f64", "<f8")
        try:
            if len(timestamps):
                self._finish(timestamps, about)
        except OSError as error:
            self._give_up(error)
            return 0
        shutil.rmtree(self._folder)
        return len(timestamps)

    def _finish(self, timestamps: NDArray[np.float64], about: dict[str, Any]) -> None:
        shape = (len(timestamps), self._signal.n_channels)
        samples = np.memmap(self._folder / "samples.f32", "<f4", "r", shape=shape)
        arrays = prediction_arrays(self._predictions, self._outputs)
        recording = Recording(self._signal, samples, timestamps, path=str(self.path))
        recording.save(self.path, about=np.array(json.dumps(about)), speed=np.array(self._speed), **arrays)
