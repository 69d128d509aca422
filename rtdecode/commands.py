"""Commands of ours in processes of their own, and what they say."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_LEAVE_S = 10.0

Process = subprocess.Popen[bytes]


class Commands:
    """Starts commands of ours whose output goes into one log, which begins empty.

    Parameters
    ----------
    log : Path
        The log.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        log.write_bytes(b"")

    @contextmanager
    def running(self) -> Iterator[Callable[..., Process]]:
        """Give what starts a command, `start(*arguments)`; all that it started ends with the block."""
        # On Windows a redirected output has the console's code page, which is not what the log is read as.
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        with ExitStack() as stack:
            log = stack.enter_context(self._log.open("ab"))

            def start(*arguments: str) -> Process:
                command = [sys.executable, "-m", "rtdecode", *arguments]
                process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
                stack.callback(_stop, process)
                return process

            yield start

    def said(self) -> list[str]:
        """Return the lines of the log; what is no UTF-8 in it, as libraries may write, is replaced."""
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()


def _stop(process: Process) -> None:
    process.terminate()
    try:
        process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
