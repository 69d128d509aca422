"""Keeping what came from a stream, off the loop: samples, stamps, and what there is beside them."""

import json
import queue
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.errors import ConfigurationError, refuse_output
from rtdecode.recording import Recording

T = TypeVar("T")


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigurationError if a session cannot be kept in this file."""
    refuse_output(path, ".npz")
    for there in (path, _partial(path)):
        if there.exists():
            raise ConfigurationError(f"{there} exists already. Give another file; nothing is overwritten.")


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


class _Column:
    """An array on disk that grows row by row: little-endian numbers, or texts as lines."""

    def __init__(self, folder: Path, name: str, like: NDArray[Any]) -> None:
        self._is_text, self._dtype = like.dtype.kind == "U", like.dtype.newbyteorder("<")
        self._shape = (-1, *like.shape[1:])
        ending = "txt" if self._is_text else f"{like.dtype.kind}{8 * like.dtype.itemsize}"
        self._path = folder / f"{name}.{ending}"
        self.file = self._path.open("wb")

    def append(self, rows: NDArray[Any]) -> None:
        if self._is_text:
            self.file.write("".join(f"{text}\n" for text in rows).encode())
        else:
            self.file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def read(self) -> NDArray[Any]:
        if self._is_text:
            return np.array(self._path.read_text(encoding="utf-8").split("\n")[:-1], np.str_)
        if not self._path.stat().st_size:
            return np.empty((0, *self._shape[1:]), self._dtype)
        return np.memmap(self._path, self._dtype, "r").reshape(self._shape)


class SessionWriter(Generic[T]):
    """Appends to `FILE.partial/` from a thread of its own, and makes an .npz recording of it at the end.

    If the program dies, or the disk is full, the folder holds everything up to then: `signal.json`,
    `samples.f32` (n_samples, n_channels), `timestamps.f64` and what `arrays` gives, all little-endian, row after
    row, texts as lines. The .npz is a recording that `rtdecode replay` reads, with those arrays beside it. What is
    kept in memory does not grow.

    Parameters
    ----------
    path : Path
        The .npz to write.
    signal : Signal
        Of the samples as they arrive from the stream.
    arrays : callable
        Turns a list of what is kept beside the samples (predictions, events) into named arrays, each with as many
        rows; an empty list too.

    Attributes
    ----------
    problem : str or None
        Why not everything could be kept, for the user.
    """

    def __init__(self, path: Path, signal: Signal, arrays: Callable[[list[T]], dict[str, NDArray[Any]]]) -> None:
        refuse_unwritable(path)
        self.path, self._signal, self._arrays = path, signal, arrays
        self._folder = _partial(path)
        self.problem: str | None = None
        nothing = self._rows(np.empty((0, signal.n_channels), np.float32), np.empty(0), [])
        try:
            self._folder.mkdir()
            (self._folder / "signal.json").write_text(signal.model_dump_json(), encoding="utf-8")
            self._columns = {name: _Column(self._folder, name, like) for name, like in nothing.items()}
        except OSError as error:
            raise ConfigurationError(f"Cannot write {self._folder}: {error.strerror}.") from None
        self._queue: queue.SimpleQueue[tuple[NDArray[Any], NDArray[Any], list[T]] | None]
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rtdecode-save", daemon=True)
        self._thread.start()

    def add(self, samples: NDArray[np.float32], timestamps: NDArray[np.float64], beside: list[T]) -> None:
        """Keep a chunk and what belongs to it; returns at once."""
        if self.problem is None:
            self._queue.put((samples, timestamps, beside))

    def _rows(self, samples: NDArray[Any], timestamps: NDArray[Any], beside: list[T]) -> dict[str, NDArray[Any]]:
        return {"samples": samples, "timestamps": timestamps, **self._arrays(beside)}

    def _work(self) -> None:
        try:
            self._append()
        except OSError as error:
            self._give_up(error)

    def _append(self) -> None:
        with ExitStack() as files:
            for column in self._columns.values():
                files.enter_context(column.file)
            while (item := self._queue.get()) is not None:
                for name, rows in self._rows(*item).items():
                    self._columns[name].append(rows)
                if self._queue.empty():
                    for column in self._columns.values():
                        column.file.flush()

    def _give_up(self, error: OSError) -> None:
        self.problem = f"{error.strerror or error}; what could be written lies in {self._folder}"

    def close(self, about: dict[str, Any]) -> int:
        """Write the .npz; `about` is kept as JSON. Return the number of samples in it (without any, no file)."""
        self._queue.put(None)
        self._thread.join()
        if self.problem is not None:
            return 0
        try:
            n_samples = self._finish(about)
        except OSError as error:
            self._give_up(error)
            return 0
        shutil.rmtree(self._folder)
        return n_samples

    def _finish(self, about: dict[str, Any]) -> int:
        arrays = {name: column.read() for name, column in self._columns.items()}
        samples, timestamps = arrays.pop("samples"), arrays.pop("timestamps")
        if len(samples):
            recording = Recording(self._signal, samples, timestamps, path=str(self.path))
            recording.save(self.path, about=np.array(json.dumps(about)), **arrays)
        return len(samples)
