"""Readers of recordings, by their files' endings, and of what Python holds."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rtdecode.configuration import reason_of
from rtdecode.errors import ConfigurationError, RecordingError, RecordingWarning
from rtdecode.recording.arrays import of_arrays, read_mat, read_npz
from rtdecode.recording.fif_tags import refuse_cut_fif
from rtdecode.recording.mne_objects import of_epochs, of_raw
from rtdecode.recording.partial import read_partial
from rtdecode.recording.recording import Recording
from rtdecode.recording.session import Session
from rtdecode.recording.xdf import read_xdf, read_xdf_session

# What may be skipped in a file, which holds at least one byte for every eight of its values.
_MOST_SKIPPED = 1 << 27


def read_recording(path: str | Path, stream: str | None = None, arrays: Mapping[str, Any] | None = None) -> Recording:
    """Read a recording.

    Parameters
    ----------
    path : str or Path
        .npz as `Recording.save` writes it, .mat, .xdf, or anything else `mne.io.read_raw` reads (FIF with .gz and
        split parts, EDF, BDF, GDF, BrainVision, EEGLAB, ...). Epochs are read too: .npz and .mat with `X` and `y`
        or `targets`, and MNE's `-epo.fif`. They stand one after the other with a gap in the stamps between them, as
        do the stretches on both sides of a boundary or skip that MNE's annotations mark. The folder
        `FILE.npz.partial` that a recorder leaves behind when its program dies is read as far as it was written.
    stream : str, optional
        Name of the signal stream in an XDF file that holds several.
    arrays : mapping of str to str, number or list, optional
        What the arrays of an .npz or .mat are called there; see `rtdecode.recording.arrays.of_arrays`.

    Raises
    ------
    RecordingError
        The file is missing, damaged, or holds no signal.

    Warns
    -----
    RecordingWarning
        The end of a file is cut off (XDF, EDF); what is before it is read.
    """
    path = Path(path)
    with _of_file(path):
        if _is_xdf(path):
            return read_xdf(path, stream)
        if path.suffix == ".npz":
            return read_npz(path, arrays or {})
        if path.suffix == ".mat":
            return read_mat(path, arrays or {})
        if path.suffix == ".partial":
            return read_partial(path)
        if re.search(r"\.fif(\.gz)?$", path.name):
            refuse_cut_fif(path)
        if re.search(r"[-_]epo\.fif(\.gz)?$", path.name):
            return _read_mne_epochs(path)
        return _read_mne(path)


def recording_of(data: Any, name: str) -> Recording:
    """Return what Python holds as a recording.

    Parameters
    ----------
    data : mne.io.BaseRaw, mne.BaseEpochs, mapping of str to array, or Recording
        Arrays are called as in an .npz; see `rtdecode.recording.arrays.of_arrays`.
    name : str
        What messages call it.

    Raises
    ------
    RecordingError
        It is none of these, or does not hold what is needed.
    """
    with _one_sentence(name):
        if isinstance(data, Recording):
            return data
        if isinstance(data, Mapping):
            return of_arrays(data, name)
        import mne

        with mne.use_log_level("ERROR"):
            if isinstance(data, mne.io.BaseRaw):
                return of_raw(data, name)
            if isinstance(data, mne.BaseEpochs):
                return of_epochs(data, name)
    raise RecordingError(
        f"Recording {name} is a {type(data).__name__}. Give an mne.io.Raw, mne.Epochs, a Recording, or arrays by "
        "name, as in {'X': X, 'y': y, 'sfreq': 250, 'ch_names': names}."
    )


def read_session(path: str | Path, name: str | None = None, one_clock: bool = True) -> Session:
    """Read all streams of a recording.

    Parameters
    ----------
    path : str or Path
        Of an XDF file every stream is read, as it is. Of anything else that `read_recording` reads, the signal and
        its events become streams.
    name : str, optional
        Of the signal's stream, where the file does not name it (`rtdecode-play`); that of its events is
        `<name>-events`.
    one_clock : bool
        Bring the stamps of an XDF file into the recorder's clock; otherwise they are those of each source.

    Raises
    ------
    ConfigurationError
        A name is given for an XDF file, which has its own.
    RecordingError
        The file is missing or damaged.
    """
    path = Path(path)
    if not _is_xdf(path):
        return Session.of_recording(read_recording(path), name or "rtdecode-play")
    if name is not None:
        raise ConfigurationError(
            f"The streams of recording {path} keep their names: there is none to give. Put something before them "
            "with --prefix, or choose among them with --stream."
        )
    with _of_file(path):
        return read_xdf_session(path, one_clock)


def _is_xdf(path: Path) -> bool:
    return path.suffix in (".xdf", ".xdfz") or path.name.endswith(".xdf.gz")


@contextmanager
def _of_file(path: Path) -> Iterator[None]:
    if not path.exists():
        raise RecordingError(f"Recording {path} does not exist. Check the path (now in {Path.cwd()}).")
    with _one_sentence(str(path), " FIF, EDF, BDF, GDF, BrainVision, EEGLAB, XDF, .npz and .mat can."):
        yield


@contextmanager
def _one_sentence(name: str, what_can: str = "") -> Iterator[None]:
    try:
        yield
    except (RecordingError, ConfigurationError):
        raise
    except ValidationError as error:
        raise RecordingError(f"Recording {name}: {reason_of(error)}.") from None
    except Exception as error:  # readers of damaged files raise whatever they like
        text = " ".join(str(error).split())[:200].rstrip(".")
        why = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise RecordingError(f"Recording {name} cannot be read ({why}).{what_can}") from None


def _read_mne(path: Path) -> Recording:
    import mne

    with mne.use_log_level("WARNING"), _only_what_is_missing(path):
        raw = mne.io.read_raw(path, preload=False)
        _refuse_more_than_fits(raw, path)
        return of_raw(raw, str(path))


def _read_mne_epochs(path: Path) -> Recording:
    import mne

    with mne.use_log_level("ERROR"):
        return of_epochs(mne.read_epochs(path), str(path))


@contextmanager
def _only_what_is_missing(path: Path) -> Iterator[None]:
    """Of a library's warnings, pass on those of a file that is not whole."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for text in sorted({str(warning.message) for warning in told}):
        if re.search(r"file size|truncated|corrupt|incomplete", text):
            message = f"Recording {path} may be cut off: {' '.join(text.split())}"
            warnings.warn(message, RecordingWarning, stacklevel=2)


def _refuse_more_than_fits(raw: Any, path: Path) -> None:
    """Refuse to make room for samples that a damaged file only declares."""
    n_bytes = sum(Path(name).stat().st_size for name in {path, *raw.filenames} if name)
    n_values = raw.n_times * len(raw.ch_names)
    if n_values > _MOST_SKIPPED + 8 * n_bytes:
        raise RecordingError(
            f"Recording {path} declares {raw.n_times} samples of {len(raw.ch_names)} channels, which cannot be in "
            f"{n_bytes} bytes. It is damaged; copy it again."
        )
