"""What results rest on to the last bit: versions of what computes, and the processor."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rtdecode import __version__
from rtdecode.runtime import runtime_version


def libraries() -> dict[str, str]:
    """Return versions and processor: where all are the same, the same input gives the same bits."""
    return {
        "rtdecode": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "onnxruntime": runtime_version(),
        "processor": processor(),
    }


def processor() -> str:
    """Return the processor's name; not whose machine it is."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
