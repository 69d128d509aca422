"""Readers: everything MNE reads, XDF, and .npz arrays."""

import logging
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rtdecode.contract import DEFAULT_UNITS, Event, Signal, canonical_unit
from rtdecode.errors import ConfigurationError, RecordingError, RecordingWarning
from rtdecode.recording.fif_tags import refuse_cut_fif
from rtdecode.recording.positions import Positions, on_plane
from rtdecode.recording.recording import Recording
from rtdecode.recording.xdf_chunks import whole_chunks

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
        MNE's `-epo.fif`. They stand one after the other with a gap in the stamps between them.
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
    if not path.exists():
        raise RecordingError(f"Recording {path} does not exist. Check the path (now in {Path.cwd()}).")
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.suffix in (".xdf", ".xdfz") or path.name.endswith(".xdf.gz"):
            return _read_xdf(path, stream)
        if re.search(r"\.fif(\.gz)?$", path.name):
            refuse_cut_fif(path)
        if re.search(r"[-_]epo\.fif(\.gz)?$", path.name):
            return _read_mne_epochs(path)
        return _read_mne(path)
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
        timestamps = arrays["timestamps"] if "timestamps" in arrays else np.arange(len(samples)) / sfreq
        events: tuple[Event, ...] = ()
        if "event_timestamps" in arrays and "event_labels" in arrays:
            pairs = zip(arrays["event_timestamps"], arrays["event_labels"], strict=True)
            events = tuple(Event(float(t), str(label)) for t, label in pairs)
        positions = _npz_positions(arrays["positions"], signal.ch_names, path) if "positions" in arrays else {}
    return Recording(signal, samples, np.asarray(timestamps, np.float64), events, str(path), positions)


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


def _read_xdf(path: Path, stream: str | None) -> Recording:
    import pyxdf

    with whole_chunks(path) as file, _Errors("pyxdf") as errors:
        # Raw stamps: neither smoothed over gaps nor moved into another clock.
        streams, _ = pyxdf.load_xdf(file, synchronize_clocks=False, dejitter_timestamps=False)
    if errors.told:
        raise RecordingError(f"Recording {path} is damaged: {errors.told[0].strip().rstrip('.')}.")
    chosen = _choose(streams, path, stream)
    info, stamps = chosen["info"], np.asarray(chosen["time_stamps"], np.float64)
    samples = np.ascontiguousarray(chosen["time_series"], np.float32)
    if len(samples) == 0:
        raise RecordingError(f"Recording {path}: stream {_name(chosen)!r} holds no samples.")
    channels = _xdf_channels(info, samples.shape[1])
    signal = _xdf_signal(info, channels)
    positions = on_plane({name: _xdf_place(channel) for name, channel in zip(signal.ch_names, channels, strict=True)})
    events = []
    for other in streams:
        if not _holds_markers(other):
            continue
        at = np.asarray(other["time_stamps"], np.float64)
        # Into the recorder's clock by the markers' own offsets, out of it again by the signal's.
        at = at + _clock_offset(other, at)
        at = at - _clock_offset(chosen, at - _clock_offset(chosen, at))
        events += [Event(float(t), str(v[0])) for t, v in zip(at, other["time_series"], strict=True)]
    return Recording(signal, samples, stamps, tuple(sorted(events)), str(path), positions)


class _Errors(logging.Handler):
    """What a library logs as errors, and goes on."""

    def __init__(self, logger: str) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []
        self._logger = logging.getLogger(logger)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is told."""
        self.told.append(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


def _name(stream: dict[str, Any]) -> str:
    return str(stream["info"]["name"][0])


def _choose(streams: list[dict[str, Any]], path: Path, name: str | None) -> dict[str, Any]:
    def numeric(s: dict[str, Any]) -> bool:
        info = s["info"]
        return info["channel_format"][0] != "string" and float(info["nominal_srate"][0]) > 0

    def signal_type(s: dict[str, Any]) -> bool:
        return numeric(s) and str(s["info"]["type"][0]).upper() in ("EEG", "MEG")

    tests: list[Callable[[dict[str, Any]], bool]] = [signal_type, numeric]
    if name is not None:
        tests = [lambda s: numeric(s) and _name(s) == name]
    for test in tests:
        found = [s for s in streams if test(s)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    listed = ", ".join(f"{_name(s)!r} ({s['info']['type'][0]})" for s in streams) or "none"
    wanted = f"named {name!r}" if name else "of type EEG or MEG"
    raise RecordingError(
        f"Recording {path}: exactly one signal stream {wanted} is needed; streams in the file: {listed}."
    )


def _xdf_channels(info: dict[str, Any], n_channels: int) -> list[dict[str, Any]]:
    """Return what the stream says of each channel; nothing if it does not speak of as many."""
    try:
        channels: list[dict[str, Any]] = info["desc"][0]["channels"][0]["channel"]
    except (KeyError, IndexError, TypeError):
        channels = []
    return channels if len(channels) == n_channels else [{}] * n_channels


def _xdf_place(channel: dict[str, Any]) -> list[float]:
    """Return right, front and up, in millimetres (github.com/sccn/xdf/wiki/EEG-Meta-Data)."""
    try:
        return [float(channel["location"][0][axis][0]) for axis in "XYZ"]
    except (KeyError, IndexError, TypeError, ValueError):
        return [np.nan] * 3


def _xdf_signal(info: dict[str, Any], channels: list[dict[str, Any]]) -> Signal:
    def text(channel: dict[str, Any], key: str, default: str) -> str:
        value = channel.get(key) or [default]
        return str(value[0] or default)

    names = tuple(text(c, "label", f"ch{i}") for i, c in enumerate(channels, 1))
    types = tuple(re.sub(r"\W", "", text(c, "type", str(info["type"][0]))).lower() for c in channels)
    units = tuple(canonical_unit(text(c, "unit", "none"), t) or "none" for c, t in zip(channels, types, strict=True))
    return Signal(ch_names=names, ch_types=types, units=units, sfreq=float(info["nominal_srate"][0]))


def _holds_markers(stream: dict[str, Any]) -> bool:
    """Tell whether a stream holds events: irregular, one channel, and not what a decoder made of the signal."""
    info = stream["info"]
    described = info["desc"][0] if info.get("desc") else None
    ours = isinstance(described, dict) and "rtdecode" in described
    irregular = float(info["nominal_srate"][0]) == 0 and int(info["channel_count"][0]) == 1
    text = info["channel_format"][0] == "string"
    return not ours and irregular and (text or str(info["type"][0]).lower() == "markers")


def _clock_offset(stream: dict[str, Any], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what must be added to stamps of a stream to bring them into the recorder's clock."""
    values = np.asarray(stream.get("clock_values", []), np.float64)
    if len(values) == 0:
        return np.zeros_like(at)
    return np.interp(at, np.asarray(stream["clock_times"], np.float64), values)
