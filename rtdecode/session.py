"""Keeping what came from a stream, off the loop: samples, stamps, events, and what a decoder made of them."""

import json
import queue
import shutil
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Event, Signal
from rtdecode.errors import ConfigurationError
from rtdecode.files import refuse_output
from rtdecode.interrupts import Interrupts
from rtdecode.prediction import Prediction
from rtdecode.recording import Recording, event_arrays
from rtdecode.replay import prediction_arrays

_READABLE = ", which is read as a recording"
# Short enough to end soon when that is asked for.
_HEAR_S = 0.2


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigurationError if a session cannot be kept in this file."""
    refuse_output(path, ".npz")
    for there in (path, _partial(path)):
        if there.exists():
            what = "" if there == path else ": what a program that ended early has left, and is read as a recording"
            raise ConfigurationError(f"{there} exists already{what}. Give another file; nothing is overwritten.")


def is_taken(path: Path) -> bool:
    """Tell whether a session is kept in this file, or was begun."""
    return path.exists() or _partial(path).exists()


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


class _Chunk(NamedTuple):
    samples: NDArray[np.float32]
    timestamps: NDArray[np.float64]
    predictions: Sequence[Prediction] = ()
    events: Sequence[Event] = ()


class _Column:
    """An array on disk that grows row by row: little-endian numbers, or texts as lines of JSON."""

    def __init__(self, folder: Path, name: str, like: NDArray[Any]) -> None:
        self._is_text, self._dtype = like.dtype.kind == "U", like.dtype.newbyteorder("<")
        self._shape = (-1, *like.shape[1:])
        ending = "txt" if self._is_text else f"{like.dtype.kind}{8 * like.dtype.itemsize}"
        self._path = folder / f"{name}.{ending}"
        self.file = self._path.open("wb")

    def append(self, rows: NDArray[Any]) -> None:
        if self._is_text:
            # As JSON: a label may hold a line end, or what is no character.
            self.file.write("".join(f"{json.dumps(text)}\n" for text in rows.tolist()).encode())
        else:
            self.file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def read(self) -> NDArray[Any]:
        if self._is_text:
            return np.array([json.loads(line) for line in self._path.read_text("ascii").splitlines()], np.str_)
        if not self._path.stat().st_size:
            return np.empty((0, *self._shape[1:]), self._dtype)
        return np.memmap(self._path, self._dtype, "r").reshape(self._shape)


class SessionWriter:
    """Appends to `FILE.partial/` from a thread of its own, and makes an .npz recording of it at the end.

    If the program dies, or the disk is full, the folder holds everything up to then; `read_recording` reads signal
    and events of it: `signal.json`, `samples.f32` (n_samples, n_channels), `timestamps.f64`, `event_timestamps.f64`
    and `event_labels.txt` (as they came), and the arrays of `prediction_arrays`, all little-endian, row after row,
    texts as lines of JSON. The .npz is a recording that `rtdecode replay` reads, with the predictions beside it. What
    is kept in memory meanwhile does not grow.

    Parameters
    ----------
    path : Path
        The .npz to write.
    signal : Signal
        Of the samples as they arrive from the stream.
    contract : Contract, optional
        Of the decoder whose predictions are kept; None: there are none.
    speed : float
        How many times faster the samples are stamped than their rate says: the recording tells, and is read as it
        was at speed 1.
    interrupts : Interrupts, optional
        Who asks for the end while the file is written.

    Attributes
    ----------
    problem : str or None
        Why not everything could be kept, for the user.
    n_samples : int
        How many are in the .npz; 0 before it is written.
    """

    def __init__(
        self,
        path: Path,
        signal: Signal,
        contract: Contract | None = None,
        speed: float = 1.0,
        interrupts: Interrupts | None = None,
    ) -> None:
        refuse_unwritable(path)
        self.path, self._signal, self._contract, self._speed = path, signal, contract, speed
        self._folder = _partial(path)
        self._interrupts = interrupts or Interrupts()
        self.problem: str | None = None
        self._told = False
        nothing = self._rows(_Chunk(np.empty((0, signal.n_channels), np.float32), np.empty(0)))
        try:
            self._folder.mkdir()
            told = {**signal.model_dump(mode="json"), "speed": speed}
            (self._folder / "signal.json").write_text(json.dumps(told), encoding="utf-8")
            self._columns = {name: _Column(self._folder, name, like) for name, like in nothing.items()}
        except OSError as error:
            raise ConfigurationError(f"Cannot write {self._folder}: {error.strerror}.") from None
        self._queue: queue.SimpleQueue[_Chunk | str] = queue.SimpleQueue()
        self.n_samples = 0
        # Waited for instead of the thread: before Python 3.13 a join that Ctrl-C interrupted takes it for ended.
        self._finished = threading.Event()
        threading.Thread(target=self._work, name="rtdecode-save", daemon=True).start()

    def add(
        self,
        samples: NDArray[np.float32],
        timestamps: NDArray[np.float64],
        predictions: Sequence[Prediction] = (),
        events: Sequence[Event] = (),
    ) -> None:
        """Keep a chunk, the events that came with it, and what it gave; returns at once."""
        if self.problem is None:
            self._queue.put(_Chunk(samples, timestamps, predictions, events))

    def _rows(self, chunk: "_Chunk") -> dict[str, NDArray[Any]]:
        return {
            "samples": chunk.samples,
            "timestamps": chunk.timestamps,
            **event_arrays(chunk.events),
            **(prediction_arrays(chunk.predictions, self._contract) if self._contract else {}),
        }

    def _work(self) -> None:
        try:
            about = self._append()
            self.n_samples = self._finish(about)
            # Whatever keeps it from going, the session is whole.
            shutil.rmtree(self._folder, ignore_errors=True)
        except Exception as error:  # whatever it is, nobody else would hear of it
            why = getattr(error, "strerror", None) or error
            self.problem = f"{why}; what could be written lies in {self._folder}{_READABLE}"
        finally:
            self._finished.set()

    def _append(self) -> str:
        with ExitStack() as files:
            for column in self._columns.values():
                files.enter_context(column.file)
            while not isinstance(item := self._queue.get(), str):
                for name, rows in self._rows(item).items():
                    self._columns[name].append(rows)
                if self._queue.empty():
                    for column in self._columns.values():
                        column.file.flush()
        return item

    def news(self) -> str | None:
        """Return the problem, once."""
        # Read once: the thread may find it meanwhile.
        problem = self.problem
        told, self._told = self._told, problem is not None
        return None if told else problem

    def end(self, about: dict[str, Any]) -> None:
        """Begin to write the .npz, with `about` as JSON; without a sample there will be no file. Returns at once."""
        self._queue.put(json.dumps(about))

    def wait(self, asked: int) -> None:
        """Wait until the .npz is written.

        Who asks for the end meanwhile waits too, as a long session takes seconds. Asked twice more than the `asked`
        times before, it leaves the folder as it is.
        """
        while not self._finished.wait(_HEAR_S):
            if self._interrupts.n > asked + 1:
                self.problem = f"interrupted twice; all that was kept lies in {self._folder}{_READABLE}"
                return

    def close(self, about: dict[str, Any]) -> int:
        """Write the .npz (see `end` and `wait`); return the number of samples in it."""
        self.end(about)
        self.wait(self._interrupts.n)
        return self.n_samples

    def _finish(self, about: str) -> int:
        arrays = {name: column.read() for name, column in self._columns.items()}
        samples, timestamps = arrays.pop("samples"), arrays.pop("timestamps")
        told = zip(arrays.pop("event_timestamps").tolist(), arrays.pop("event_labels").tolist(), strict=True)
        if len(samples):
            events = tuple(sorted(Event(*event) for event in told))
            recording = Recording(self._signal, samples, timestamps, events, path=str(self.path))
            whole = self._folder / self.path.name
            recording.save(whole, about=np.array(about), speed=np.array(self._speed), **arrays)
            whole.replace(self.path)
        return len(samples)
