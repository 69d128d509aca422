"""The command line. Commands are declared here and in the modules beside; their work is loaded when called."""

import os
import sys

# Before numpy is loaded: a second thread gains nothing on matrices of this size and costs time to wake up.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from rtdecode.cli.app import app
from rtdecode.errors import RtdecodeError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; every expected error becomes one message and its exit code."""
    # A redirected output has the console's code page on Windows, which lacks most of Unicode.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except RtdecodeError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
