"""The command line. Commands are declared here and in the modules beside; their work is loaded when called."""

import os
import sys

# Before numpy is loaded: a second thread gains nothing on matrices of this size and costs time to wake up.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from rtdecode.cli.app import app
from rtdecode.cli.output import prepare_output
from rtdecode.errors import RtdecodeError

__all__ = ["app", "main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; every expected error becomes one message and its exit code."""
    prepare_output()
    try:
        app(standalone_mode=True)
    except RtdecodeError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # So typer ends what Ctrl-C broke off.
        if ended.code == _INTERRUPTED:
            print("Interrupted.", file=sys.stderr)
        raise
