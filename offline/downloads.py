"""Data sets that MNE downloads, and keeps where its setting MNE_DATA says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtdecode.errors import ConfigurationError


def downloaded(name: str, wanted: Callable[[str], bool]) -> Path:
    """Return the folder of a data set, which is downloaded if it is not there.

    Parameters
    ----------
    name : str
        Of a module of `mne.datasets`.
    wanted : callable
        Tells by its path in the folder whether a file is needed. Only of eegbci (`S001/S001R04.edf`) may it be
        some; of others MNE downloads all there is.

    Raises
    ------
    ConfigurationError
        MNE has no such data set, or it cannot be downloaded.
    """
    import mne

    module: Any = getattr(mne.datasets, name, None)
    public = (n for n in dir(mne.datasets) if not n.startswith("_"))
    there = [n for n in public if hasattr(getattr(mne.datasets, n), "data_path")]
    if name not in there:
        raise ConfigurationError(f"MNE has no data set {name!r} in a folder of its own; there is {', '.join(there)}.")
    try:
        with mne.use_log_level("WARNING"):
            return _eegbci(wanted) if name == "eegbci" else Path(module.data_path(update_path=False))
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the network, the disk and the library for both raise
        raise ConfigurationError(
            f"Data set {name} cannot be downloaded by MNE ({type(error).__name__}). Is there a network here? Without "
            "one, copy its folder from a machine that has it, and give that with --data DIR."
        ) from None


def _eegbci(wanted: Callable[[str], bool]) -> Path:
    """Fetch runs of the EEG Motor Movement/Imagery Data Set (doi 10.13026/C28G6P)."""
    from mne.datasets import eegbci

    people = {
        person: [run for run in range(1, 15) if wanted(f"S{person:03d}/S{person:03d}R{run:02d}.edf")]
        for person in range(1, 110)
    }
    paths = [
        Path(path)
        for person, runs in people.items()
        for path in (eegbci.load_data(person, runs, update_path=False) if runs else ())
    ]
    if not paths:
        raise ConfigurationError(
            "recordings.pattern and select fit no file of eegbci, whose files are S001/S001R01.edf to "
            "S109/S109R14.edf: the pattern may be '{subject}/{subject}R{run}.edf'."
        )
    return paths[0].parents[1]
