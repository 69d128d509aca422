"""Recordings that Python holds, as a data folder that can be trained on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from offline import store
from rtdecode.errors import ConfigurationError
from rtdecode.recording import Recording, recording_of

# Under the name of an array, these make a mapping one recording rather than several by name.
_ARRAYS = (np.ndarray, list, tuple)


def keep(recordings: Mapping[str, Any] | Sequence[Any]) -> Path:
    """Keep recordings in the store, and return the folder they are in: what a training run takes as its data.

    >>> data = keep({"sub-1_run-1": raw, "sub-1_run-2": epochs, "sub-1_run-3": {"X": X, "y": y, "sfreq": 250}})

    Parameters
    ----------
    recordings : mapping of str to object, or sequence of objects
        `mne.io.Raw`, `mne.Epochs`, `rtdecode.Recording`, or arrays by the names they have in an .npz (see
        `rtdecode.recording.arrays.of_arrays`; without `units` EEG is in microvolts, where MNE's arrays are in volts).
        Each becomes the file NAME.npz, which `recordings.pattern` is to match; those of a sequence are called
        recording-1, recording-2, ...

    Returns
    -------
    Path
        The same one for the same content, which is written only once.

    Raises
    ------
    ConfigurationError
        A name is no path below a folder or two are the same one, one recording is given where several are wanted,
        or there are none.
    RecordingError
        One of them is no recording.
    """
    named = _named(recordings)
    if not named:
        raise ConfigurationError("There are no recordings to keep.")
    _refuse_names(named)

    def write(folder: Path) -> None:
        for name, one in named.items():
            path = folder / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            recording_of(one, name).save(path)

    return store.kept("given", {name: _identity(recording_of(one, name)) for name, one in named.items()}, write)


def _named(recordings: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(recordings, Mapping) and not isinstance(recordings.get("X", recordings.get("samples")), _ARRAYS):
        return dict(recordings)
    if isinstance(recordings, Sequence) and not isinstance(recordings, str):
        return {f"recording-{number}": one for number, one in enumerate(recordings, 1)}
    raise ConfigurationError(
        f"Recordings to keep are given by name or in a list, not as a {type(recordings).__name__}: give [recording]."
    )


def _refuse_names(names: Iterable[Any]) -> None:
    files: dict[PurePosixPath, str] = {}
    for name in names:
        path = PurePosixPath(name if isinstance(name, str) else "")
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ConfigurationError(f"A recording cannot be called {name!r}: give a name, or a relative path.")
        if path in files:
            raise ConfigurationError(
                f"Recordings {files[path]!r} and {name!r} would be one file: call one otherwise."
            )
        files[path] = name


def _identity(recording: Recording) -> list[Any]:
    return [recording.fingerprint(), recording.positions]
