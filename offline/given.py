"""Recordings that Python holds, as a data folder that can be trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from offline import store
from rtdecode.errors import ConfigurationError
from rtdecode.recording import Recording, recording_of


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
        A name is no path below a folder, or there are no recordings.
    RecordingError
        One of them is no recording.
    """
    named = (
        dict(recordings)
        if isinstance(recordings, Mapping)
        else {f"recording-{number}": one for number, one in enumerate(recordings, 1)}
    )
    if not named:
        raise ConfigurationError("There are no recordings to keep.")
    for name in named:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not PurePosixPath(name).name:
            raise ConfigurationError(f"A recording cannot be called {name!r}: give a name, or a relative path.")

    def write(folder: Path) -> None:
        for name, one in named.items():
            path = folder / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            recording_of(one, name).save(path)

    return store.kept("given", {name: _identity(recording_of(one, name)) for name, one in named.items()}, write)


def _identity(recording: Recording) -> list[Any]:
    return [recording.fingerprint(), recording.positions]
