"""Reading what a recorder had written when its program died: the folder FILE.npz.partial."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Event, Signal
from rtdecode.errors import RecordingError
from rtdecode.recording.recording import Recording, at_nominal_rate


def read_partial(folder: Path) -> Recording:
    """Read signal and events of a session that was not finished; rows that are not whole are left out.

    Raises
    ------
    RecordingError
        It is no such folder, or no sample was written.
    """
    try:
        told = json.loads((folder / "signal.json").read_text(encoding="utf-8"))
        speed = float(told.pop("speed", 1.0))
        signal = Signal.model_validate(told)
        samples = _numbers(folder / "samples.f32", "<f4", signal.n_channels)
        timestamps = _numbers(folder / "timestamps.f64", "<f8", 1)[:, 0]
        stamps = _numbers(folder / "event_timestamps.f64", "<f8", 1)[:, 0]
        # What follows the last line end was not written whole.
        *lines, _ = (folder / "event_labels.txt").read_text(encoding="ascii").split("\n")
        labels = [json.loads(line) for line in lines]
    except FileNotFoundError as error:
        raise RecordingError(
            f"Recording {folder} is a folder without {Path(error.filename).name}: none that `run --save` or "
            "`collect` leaves behind. Give a file."
        ) from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise RecordingError(
            f"Recording {folder} is damaged: its signal.json or event_labels.txt cannot be read ({why})."
        ) from None
    n = min(len(samples), len(timestamps))
    if n == 0:
        raise RecordingError(f"Recording {folder} holds no sample: its program ended before one was written.")
    at = at_nominal_rate(stamps, speed, timestamps[:n])
    # How many of each were written is no matter of order: labels and stamps are in files of their own.
    events = sorted(Event(float(t), str(label)) for t, label in zip(at, labels, strict=False))
    return Recording(signal, samples[:n], at_nominal_rate(timestamps[:n], speed), tuple(events), str(folder))


def _numbers(path: Path, dtype: str, n_columns: int) -> NDArray[Any]:
    """Read the whole rows (n_rows, n_columns)."""
    size = np.dtype(dtype).itemsize * n_columns
    n_bytes = path.stat().st_size // size * size
    return np.fromfile(path, dtype, n_bytes // np.dtype(dtype).itemsize).reshape(-1, n_columns)
