"""What goes to the console, from whichever process."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

from rtdecode.apart import run_apart


def prepare_output() -> None:
    """Make printing safe on every console, and warnings as short as errors."""
    # A redirected output has the console's code page on Windows, which lacks most of Unicode.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning  # type: ignore[assignment]


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"Warning: {message}", file=sys.stderr)


def print_apart(
    what: str, timeout_s: float, memory_gib: float | None, function: Callable[..., None], *arguments: Any
) -> None:
    """Call a function that prints in another process, within bounds (see `run_apart`)."""
    memory_bytes = round(memory_gib * 2**30) if memory_gib else None
    run_apart(what, timeout_s, _prepared, function, *arguments, memory_bytes=memory_bytes)


def _prepared(function: Callable[..., None], *arguments: Any) -> None:
    prepare_output()
    function(*arguments)
