"""Readers: everything MNE reads, and .npz arrays; XDF has a module of its own."""

import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rtdecode.contract import DEFAULT_UNITS, Event, Signal
from rtdecode.errors import ConfigurationError, RecordingError, RecordingWarning
from rtdecode.recording.fif_tags import refuse_cut_fif
from rtdecode.recording.partial import read_partial
from rtdecode.recording.positions import Positions, on_plane
from rtdecode.recording.recording import Recording, at_nominal_rate
from rtdecode.recording.session import Session
from rtdecode.recording.xdf import read_xdf, read_xdf_session

_SI = {"uV": 1e6, "fT": 1e15, "fT/cm": 1e13}

# In bytes; more only of a file that is large itself.
_MOST_UNPACKED = 1 << 30
# What may be skipped in a file, which holds at least one byte for every eight of its values.
_MOST_SKIPPED = 1 << 27

# Between epochs: whatever a gap may be taken for, it is none that a source's jitter makes.
_EPOCH_GAP_S = 10


def read_recording(path: str | Path, stream: str | None = None) -> Recording:
    """Read a recording.

    Parameters
    ----------
    path : str or Path
        .npz as `Recording.save` writes it, .xdf, or anything `mne.io.read_raw` reads (FIF with .gz and
        split parts, EDF, BDF, GDF, BrainVision, EEGLAB, ...). Epochs are read too: .npz with `X` and `y`, and
        MNE's `-epo.fif`. They stand one after the other with a gap in the stamps between them. The folder
        `FILE.npz.partial` that a recorder leaves behind when its program dies is read as far as it was written.
    stream : str, optional
        Name of the signal stream in an XDF file that holds several.

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
    with _told_in_one_sentence(path):
        if _is_xdf(path):
            return read_xdf(path, stream)
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.suffix == ".partial":
            return read_partial(path)
        if re.search(r"\.fif(\.gz)?$", path.name):
            refuse_cut_fif(path)
        if re.search(r"[-_]epo\.fif(\.gz)?$", path.name):
            return _read_mne_epochs(path)
        return _read_mne(path)


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
    with _told_in_one_sentence(path):
        return read_xdf_session(path, one_clock)


def _is_xdf(path: Path) -> bool:
    return path.suffix in (".xdf", ".xdfz") or path.name.endswith(".xdf.gz")


@contextmanager
def _told_in_one_sentence(path: Path) -> Iterator[None]:
    if not path.exists():
        raise RecordingError(f"Recording {path} does not exist. Check the path (now in {Path.cwd()}).")
    try:
        yield
    except (RecordingError, ConfigurationError):
        raise
    except ValidationError as error:
        raise RecordingError(f"Recording {path}: {error.errors()[0]['msg']}.") from None
    except Exception as error:  # readers of damaged files raise whatever they like
        text = " ".join(str(error).split())[:200].rstrip(".")
        why = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise RecordingError(
            f"Recording {path} cannot be read ({why}). FIF, EDF, BDF, GDF, BrainVision, EEGLAB, XDF and .npz can."
        ) from None


def _read_npz(path: Path) -> Recording:
    try:
        arrays = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, ValueError, EOFError):
        raise RecordingError(f"Recording {path} is not an .npz file, or is cut off.") from None
    with arrays:
        _refuse_bomb(arrays.zip, path)
        if "X" in arrays and "samples" not in arrays:
            return _npz_epochs(arrays, path)
        missing = [key for key in ("samples", "sfreq", "ch_names") if key not in arrays]
        if missing:
            raise RecordingError(
                f"Recording {path} lacks the arrays {', '.join(missing)}; needed are samples "
                "(n_samples, n_channels), sfreq and ch_names, or of epochs X (n_epochs, n_channels, n_times), y "
                "and sfreq."
            )
        samples = np.ascontiguousarray(arrays["samples"], np.float32)
        signal = _npz_signal(arrays, arrays["ch_names"])
        sfreq = signal.sfreq
        stamps = arrays["timestamps"] if "timestamps" in arrays else np.arange(len(samples)) / sfreq
        speed = float(arrays["speed"]) if "speed" in arrays else 1.0
        if not 0 < speed < math.inf:
            raise RecordingError(f"Recording {path} tells that it was played at speed {speed:g}.")
        stamps = np.asarray(stamps, np.float64)
        timestamps = at_nominal_rate(stamps, speed)
        events: tuple[Event, ...] = ()
        if "event_timestamps" in arrays and "event_labels" in arrays:
            at = at_nominal_rate(np.asarray(arrays["event_timestamps"], np.float64), speed, stamps)
            pairs = zip(at, arrays["event_labels"], strict=True)
            events = tuple(Event(float(t), str(label)) for t, label in pairs)
        positions = _npz_positions(arrays["positions"], signal.ch_names, path) if "positions" in arrays else {}
    return Recording(signal, samples, timestamps, events, str(path), positions)


def _refuse_bomb(archive: zipfile.ZipFile, path: Path) -> None:
    unpacked, packed = sum(entry.file_size for entry in archive.infolist()), path.stat().st_size
    if unpacked > _MOST_UNPACKED + 20 * packed:
        raise RecordingError(f"Recording {path} has {packed} bytes that would become {unpacked}; it is not unpacked.")


def _npz_positions(values: NDArray[np.float64], names: tuple[str, ...], path: Path) -> Positions:
    if values.shape != (len(names), 2) or np.any((values < 0) | (values > 1)):
        raise RecordingError(
            f"Recording {path} has positions of shape {values.shape}; (n_channels, 2) with both coordinates in "
            "[0, 1] is needed, NaN where a channel has none."
        )
    return {n: (float(x), float(y)) for n, (x, y) in zip(names, values, strict=True) if np.isfinite([x, y]).all()}


def _npz_signal(arrays: Mapping[str, NDArray[Any]], given: Iterable[Any]) -> Signal:
    names = tuple(str(n) for n in given)
    types = tuple(str(t) for t in arrays["ch_types"]) if "ch_types" in arrays else ("eeg",) * len(names)
    default = tuple(DEFAULT_UNITS.get(t, "none") for t in types)
    units = tuple(str(u) for u in arrays["units"]) if "units" in arrays else default
    return Signal(ch_names=names, ch_types=types, units=units, sfreq=float(arrays["sfreq"]))


def _npz_epochs(arrays: Mapping[str, NDArray[Any]], path: Path) -> Recording:
    missing = [key for key in ("y", "sfreq") if key not in arrays]
    if missing:
        raise RecordingError(
            f"Recording {path} holds epochs, but lacks the arrays {', '.join(missing)}; needed are X (n_epochs, "
            "n_channels, n_times), y (n_epochs,) with their labels, and sfreq."
        )
    epochs, labels = arrays["X"], arrays["y"]
    if epochs.ndim != 3 or epochs.size == 0 or labels.shape != epochs.shape[:1]:
        raise RecordingError(
            f"Recording {path} has epochs X of shape {epochs.shape} for labels y of shape {labels.shape}; needed are "
            "X (n_epochs, n_channels, n_times) and y (n_epochs,)."
        )
    unnamed = np.array([f"ch{i}" for i in range(1, epochs.shape[1] + 1)])
    names = arrays.get("ch_names", unnamed)
    if np.iscomplexobj(epochs):
        raise RecordingError(f"Recording {path} has complex epochs X; real samples are needed.")
    if len(names) != epochs.shape[1]:
        raise RecordingError(
            f"Recording {path} has {len(names)} ch_names for epochs X of shape {epochs.shape}, which are (n_epochs, "
            f"n_channels, n_times): {epochs.shape[1]} channels."
        )
    signal = _npz_signal(arrays, names)
    positions = _npz_positions(arrays["positions"], signal.ch_names, path) if "positions" in arrays else {}
    texts = labels.astype(str) if labels.dtype.kind == "S" else labels
    return _in_a_row(signal, epochs, texts, 0, path, positions)


def _in_a_row(
    signal: Signal, epochs: NDArray[Any], labels: Iterable[Any], event_at: int, path: Path, positions: Positions
) -> Recording:
    """Lay epochs (n_epochs, n_channels, n_times) one after the other, the event of each at its sample `event_at`.

    The stamps leave a gap between them, after which every decoder starts anew.
    """
    n_epochs, n_channels, n_times = epochs.shape
    # Whole seconds from one to the next: exact in every stamp.
    period_s = math.ceil(n_times / signal.sfreq + _EPOCH_GAP_S)
    timestamps = np.arange(n_epochs)[:, None] * float(period_s) + np.arange(n_times) / signal.sfreq
    samples = np.ascontiguousarray(epochs.transpose(0, 2, 1).reshape(-1, n_channels), np.float32)
    events = tuple(Event(float(t), str(label)) for t, label in zip(timestamps[:, event_at], labels, strict=True))
    return Recording(signal, samples, timestamps.ravel(), events, str(path), positions)


def _mne_signal(data: Any) -> tuple[Signal, NDArray[np.float64]]:
    """Return the signal of MNE's raw data or epochs, and the factors (n_channels, 1) from SI into its units."""
    types = tuple(data.get_channel_types())
    units = tuple(DEFAULT_UNITS.get(t, "none") for t in types)
    signal = Signal(ch_names=tuple(data.ch_names), ch_types=types, units=units, sfreq=float(data.info["sfreq"]))
    return signal, np.array([[_SI.get(u, 1.0)] for u in units])


def _read_mne(path: Path) -> Recording:
    import mne

    with mne.use_log_level("WARNING"), _only_what_is_missing(path):
        raw = mne.io.read_raw(path, preload=False)
        signal, factors = _mne_signal(raw)
        _refuse_more_than_fits(raw, path)
        samples = np.ascontiguousarray((raw.get_data() * factors).T, np.float32)
        onsets = _mne_events(raw, signal.ch_types)
        positions = on_plane(_mne_places(raw.info))
    events = tuple(Event((onset - raw.first_samp) / signal.sfreq, label) for onset, label in onsets)
    return Recording(signal, samples, np.arange(len(samples)) / signal.sfreq, events, str(path), positions)


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


def _mne_places(info: Any) -> dict[str, NDArray[np.float64]]:
    """Return where the sensors are, relative to the head if the recording tells where that was."""
    from mne.io.constants import FIFF
    from mne.transforms import apply_trans

    places = {}
    for channel in info["chs"]:
        place = channel["loc"][:3]
        if channel["coord_frame"] == FIFF.FIFFV_COORD_DEVICE and info["dev_head_t"] is not None and place.any():
            place = apply_trans(info["dev_head_t"], place)
        places[channel["ch_name"]] = place
    return places


def _read_mne_epochs(path: Path) -> Recording:
    import mne

    with mne.use_log_level("ERROR"):
        epochs = mne.read_epochs(path)
        signal, factors = _mne_signal(epochs)
        data = epochs.get_data() * factors
        positions = on_plane(_mne_places(epochs.info))
    event_at = round(-epochs.times[0] * signal.sfreq)
    if not 0 <= event_at < len(epochs.times):
        raise RecordingError(
            f"Recording {path} holds epochs from {epochs.times[0]:g} to {epochs.times[-1]:g} s about their event, "
            "which is not among them. Cut epochs that hold it (tmin <= 0 <= tmax)."
        )
    # What two epochs share would stand on both sides of a split, and nothing would show it.
    if np.any(np.diff(np.sort(epochs.events[:, 0])) < len(epochs.times)):
        raise RecordingError(
            f"Recording {path} holds epochs that overlap. Cut shorter ones, or give the continuous recording."
        )
    names = {code: name for name, code in epochs.event_id.items()}
    return _in_a_row(signal, data, [names[code] for code in epochs.events[:, 2]], event_at, path, positions)


def _mne_events(raw: Any, types: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return (sample, label) of annotations and stimulus channel, without those that only mark bad stretches."""
    import mne

    events = []
    described = {d for d in raw.annotations.description if not d.upper().startswith(("BAD", "EDGE"))}
    if described:
        codes = {label: i for i, label in enumerate(sorted(described), 1)}
        labels = {code: label for label, code in codes.items()}
        found, _ = mne.events_from_annotations(raw, event_id=codes, regexp=None)
        events += [(int(sample), str(labels[code])) for sample, _, code in found]
    if "stim" in types:
        found = mne.find_events(raw, shortest_event=1, initial_event=True)
        events += [(int(sample), str(code)) for sample, _, code in found]
    return sorted(events)
