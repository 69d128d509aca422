"""The log of a run: what NAME-status says, one JSON object per line, written off the loop."""

import json
import queue
import threading
from pathlib import Path
from typing import Any

from rtdecode.errors import ConfigurationError
from rtdecode.files import refuse_output


class LogFile:
    """Writes a .jsonl file from a thread of its own; every line is in the file soon after it was told.

    Parameters
    ----------
    path : Path
        A file that does not exist yet.

    Raises
    ------
    ConfigurationError
        It exists, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        refuse_output(path, ".jsonl")
        self._problem: str | None = None
        self._told = False
        try:
            self._file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise ConfigurationError(f"{path} exists already. Give another file; nothing is overwritten.") from None
        except OSError as error:
            raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from None
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="rtdecode-log", daemon=True)
        self._thread.start()

    def write(self, document: dict[str, Any], timestamp: float) -> None:
        """Write one object with its LSL time; returns at once."""
        self._queue.put({"time": timestamp, **document})

    def _work(self) -> None:
        while (line := self._queue.get()) is not None:
            if self._problem is None:
                try:
                    print(json.dumps(line, ensure_ascii=False, allow_nan=False), file=self._file, flush=True)
                except OSError as error:
                    self._problem = f"{self._file.name}: {error.strerror or error}"

    def news(self) -> str | None:
        """Return, once, why not everything could be written."""
        # Read once: the thread may find it meanwhile.
        problem = self._problem
        told, self._told = self._told, problem is not None
        return None if told else problem

    def close(self) -> None:
        """Write what is left."""
        self._queue.put(None)
        self._thread.join()
        self._file.close()
