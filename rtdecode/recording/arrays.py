"""Recordings out of named arrays: of .npz and MATLAB's .mat, or as Python has them."""

import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.apart import run_apart
from rtdecode.contract import DEFAULT_UNITS, Event, Signal
from rtdecode.errors import ModelError, RecordingError
from rtdecode.recording.positions import Positions
from rtdecode.recording.recording import Recording, at_nominal_rate

# In bytes; more only of a file that is large itself.
_MOST_UNPACKED = 1 << 30

# For the largest file.
_PATIENCE_S = 600.0

# Between epochs, and behind a seam: whatever a gap may be taken for, it is none that a source's jitter makes.
GAP_S = 10

# MATLAB has no vectors: what is one here comes as a matrix of one row or column.
_VECTORS = (
    "timestamps", "event_timestamps", "event_labels", "speed", "y", "target_names", "sfreq", "ch_names", "ch_types",
    "units", "bad_channels",
)  # fmt: skip
_MATRICES = ("samples", "X", "targets", "positions", "bad_spans")


def read_npz(path: Path, names: Mapping[str, Any]) -> Recording:
    """Read an .npz; see `of_arrays`."""
    try:
        arrays = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, ValueError, EOFError):
        raise RecordingError(f"Recording {path} is not an .npz file, or is cut off.") from None
    with arrays:
        _refuse_bomb(sum(entry.file_size for entry in arrays.zip.infolist()), path)
        return of_arrays(arrays, str(path), names)


def read_mat(path: Path, names: Mapping[str, Any]) -> Recording:
    """Read a .mat of MATLAB up to version 7; see `of_arrays`."""
    try:
        # scipy's reader could bring the interpreter down on a damaged file.
        arrays = run_apart(f"Reading {path}", _PATIENCE_S, _load_mat, path, memory_bytes=_memory_for(path))
    except ModelError as error:
        raise RecordingError(f"{error} If MATLAB opens it, save it again there with '-v7'.") from None
    return of_arrays(arrays, str(path), names)


def _memory_for(path: Path) -> int:
    """Return several times what a file may unpack to: what its cells and structures hold, it does not tell before.

    In powers of two, as each bound has a process of its own.
    """
    return 8 * _MOST_UNPACKED << (20 * path.stat().st_size // _MOST_UNPACKED).bit_length()


def _load_mat(path: Path) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat, whosmat

    try:
        there = whosmat(path)
    except NotImplementedError:
        raise RecordingError(
            f"Recording {path} is of MATLAB's version 7.3 (HDF5), which is not read. In MATLAB: save it with '-v7'."
        ) from None
    _refuse_bomb(8 * sum(math.prod(shape) for _, shape, _ in there), path)
    arrays = loadmat(path, chars_as_strings=True)
    return {name: _plain(arrays[name]) for name, _, _ in there}


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts, of a cell array or of a matrix of characters, as an array of them; anything else as it is."""
    if values.dtype.kind == "U":
        return np.char.rstrip(values)  # MATLAB fills the rows up with blanks
    cells = [np.asarray(cell) for cell in values.flat] if values.dtype == object else []
    texts = cells and all(cell.dtype.kind == "U" and cell.size == 1 for cell in cells)
    return np.array([cell.item() for cell in cells]) if texts else values


def _refuse_bomb(unpacked: int, path: Path) -> None:
    packed = path.stat().st_size
    if unpacked > _MOST_UNPACKED + 20 * packed:
        raise RecordingError(f"Recording {path} has {packed} bytes that would become {unpacked}; it is not unpacked.")


def of_arrays(arrays: Mapping[str, Any], path: str, names: Mapping[str, Any] | None = None) -> Recording:
    """Make a recording of named arrays.

    Continuous ones are `samples` (n_samples, n_channels) with `sfreq` and `ch_names`, and if known `timestamps`
    (n_samples,), `event_timestamps` and `event_labels` (n_events,). Epochs are `X` (n_epochs, n_channels, n_times)
    with `sfreq`, and their labels `y` (n_epochs,), or numbers `targets` (n_epochs,) or (n_epochs, n_targets), which
    become channels of type misc called `target_names`. Of both there may be `ch_names`, `ch_types`, `units` (without
    them eeg in uV; one for all channels suffices), `positions` (n_channels, 2), `bad_channels` (n,) and `bad_spans`
    (n, 2); see Recording.

    Parameters
    ----------
    arrays : mapping of str to array
        What there is; other arrays are not looked at.
    path : str
        What messages call it.
    names : mapping of str to str, number or list, optional
        What one of the above is called there; a number or a list stands for itself.

    Raises
    ------
    RecordingError
        An array is missing (the message names those that are there), or does not fit.
    """
    found = _found(arrays, path, names or {})
    made = _epochs(found, path) if "X" in found and "samples" not in found else _continuous(found, path)
    return replace(made, bad_channels=_texts(found.get("bad_channels", ())), bad_spans=_spans(found, path))


class _Found(dict[str, Any]):
    """Arrays by our names for them, and what the others are called."""

    def __init__(self, path: str, there: Iterable[str]) -> None:
        super().__init__()
        self._path, self._there = path, sorted(there)

    def need(self, names: Iterable[str], what: str) -> None:
        """Refuse to go on without arrays of these names; `what` says what is needed."""
        missing = [name for name in names if name not in self]
        if missing:
            raise RecordingError(
                f"Recording {self._path} lacks the arrays {', '.join(missing)}; {what}. There is "
                f"{', '.join(self._there) or 'none'}: say in recordings.arrays which is which, as in {{X: data}}."
            )


def _found(arrays: Mapping[str, Any], path: str, names: Mapping[str, Any]) -> _Found:
    found = _Found(path, arrays)
    for name in (*_VECTORS, *_MATRICES):
        key = names.get(name, name)
        if not isinstance(key, str):
            found[name] = np.asarray(key)
            if name == "sfreq" and name in arrays and not np.array_equal(np.ravel(key), np.ravel(arrays[name])):
                raise RecordingError(
                    f"Recording {path} has sfreq {np.squeeze(arrays[name])}, where recordings.arrays says {key}. "
                    "Leave it out there, or correct the file."
                )
        elif key in arrays:
            found[name] = np.asarray(arrays[key])
        elif name in names:
            found.need([name], f"recordings.arrays says that it is called {key!r}")
        if name in found and name in _VECTORS:
            found[name] = found[name].ravel()
    for name in {"samples", "X", "targets"} & set(found):
        if found[name].dtype.kind not in "biuf":
            raise RecordingError(f"Recording {path} has {name} of type {found[name].dtype}; real numbers are needed.")
    return found


def _continuous(arrays: _Found, path: str) -> Recording:
    arrays.need(
        ("samples", "sfreq", "ch_names"),
        "needed are samples (n_samples, n_channels), sfreq and ch_names, or of epochs X (n_epochs, n_channels, "
        "n_times), y and sfreq",
    )
    samples = np.ascontiguousarray(arrays["samples"], np.float32)
    signal = _signal(arrays, arrays["ch_names"])
    stamps = arrays["timestamps"] if "timestamps" in arrays else np.arange(len(samples)) / signal.sfreq
    speed = float(arrays["speed"].item()) if "speed" in arrays else 1.0
    if not 0 < speed < math.inf:
        raise RecordingError(f"Recording {path} tells that it was played at speed {speed:g}.")
    stamps = np.asarray(stamps, np.float64)
    timestamps = at_nominal_rate(stamps, speed)
    events: tuple[Event, ...] = ()
    if "event_timestamps" in arrays and "event_labels" in arrays:
        at = at_nominal_rate(np.asarray(arrays["event_timestamps"], np.float64), speed, stamps)
        labels = _labels(arrays["event_labels"], "event_labels", path)
        events = tuple(Event(float(t), label) for t, label in zip(at, labels, strict=True))
    return Recording(signal, samples, timestamps, events, path, _positions(arrays, signal.ch_names, path))


def _positions(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...], path: str) -> Positions:
    if "positions" not in arrays:
        return {}
    values = arrays["positions"]
    if values.shape != (len(names), 2) or np.any((values < 0) | (values > 1)):
        raise RecordingError(
            f"Recording {path} has positions of shape {values.shape}; (n_channels, 2) with both coordinates in "
            "[0, 1] is needed, NaN where a channel has none."
        )
    return {n: (float(x), float(y)) for n, (x, y) in zip(names, values, strict=True) if np.isfinite([x, y]).all()}


def _spans(arrays: Mapping[str, NDArray[Any]], path: str) -> tuple[tuple[float, float], ...]:
    values = np.asarray(arrays.get("bad_spans", np.empty((0, 2))), np.float64)
    if values.ndim != 2 or values.shape[1] != 2:
        raise RecordingError(
            f"Recording {path} has bad_spans of shape {values.shape}; (n, 2) is needed, the stamps of the first and "
            "last sample of each."
        )
    return tuple((first, last) for first, last in values.tolist())


def _signal(arrays: Mapping[str, NDArray[Any]], given: Iterable[Any]) -> Signal:
    names = _texts(given)
    types = _one_each(arrays.get("ch_types", ["eeg"]), len(names))
    units = _one_each(arrays.get("units", [DEFAULT_UNITS.get(t, "none") for t in types]), len(names))
    return Signal(ch_names=names, ch_types=types, units=units, sfreq=float(arrays["sfreq"].item()))


def _one_each(given: Iterable[Any], n: int) -> tuple[str, ...]:
    texts = _texts(given)
    return texts * n if len(texts) == 1 else texts


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(value).strip() for value in values)


def _labels(values: NDArray[Any], called: str, path: str) -> list[str]:
    """Return labels as texts. Whole numbers are written without a point: MATLAB has no others."""
    if values.dtype.kind == "f":
        broken = values[~np.isfinite(values) | (values != np.round(values))]
        if len(broken):
            raise RecordingError(
                f"Recording {path} has labels {called} that are no whole numbers, such as {broken[0]:g}. Numbers "
                "that are to be decoded as values, not told apart as classes, are called `targets`."
            )
        return [str(int(label)) for label in values]
    texts = values.astype(str) if values.dtype.kind == "S" else values
    return [str(label) for label in texts]


def _epochs(arrays: _Found, path: str) -> Recording:
    arrays.need(
        ("sfreq",) if "targets" in arrays else ("y", "sfreq"),
        "of epochs are needed X (n_epochs, n_channels, n_times), y (n_epochs,) with their labels or `targets` with "
        "their values, and sfreq",
    )
    epochs = arrays["X"]
    labels = arrays.get("y", np.empty(0, np.str_))
    if epochs.ndim != 3 or epochs.size == 0 or ("y" in arrays and labels.shape != epochs.shape[:1]):
        raise RecordingError(
            f"Recording {path} has epochs X of shape {epochs.shape} for labels y of shape {labels.shape}; needed are "
            "X (n_epochs, n_channels, n_times) and y (n_epochs,)."
        )
    names = arrays.get("ch_names", [f"ch{i}" for i in range(1, epochs.shape[1] + 1)])
    if len(names) != epochs.shape[1]:
        raise RecordingError(
            f"Recording {path} has {len(names)} ch_names for epochs X of shape {epochs.shape}, which are (n_epochs, "
            f"n_channels, n_times): {epochs.shape[1]} channels."
        )
    signal = _signal(arrays, names)
    positions, targets = _positions(arrays, signal.ch_names, path), _targets(arrays, len(epochs), path)
    return in_a_row(signal, epochs, _labels(labels, "y", path), 0, path, positions, targets)


def _targets(arrays: Mapping[str, NDArray[Any]], n_epochs: int, path: str) -> dict[str, NDArray[Any]]:
    """Return the values (n_epochs,) of each target."""
    if "targets" not in arrays:
        return {}
    values = arrays["targets"]
    if values.size == n_epochs:
        values = values.reshape(n_epochs, 1)
    names = _texts(arrays.get("target_names", ["target"] if values.shape[1:] == (1,) else ()))
    names = names or tuple(f"target{i}" for i in range(1, values.shape[-1] + 1))
    if values.ndim != 2 or len(values) != n_epochs or len(names) != values.shape[1]:
        raise RecordingError(
            f"Recording {path} has targets of shape {values.shape} for {n_epochs} epochs and {len(names)} "
            "target_names; (n_epochs, n_targets) and a name for each are needed."
        )
    return dict(zip(names, values.T, strict=True))


def in_a_row(
    signal: Signal,
    epochs: NDArray[Any],
    labels: Iterable[str],
    event_at: int,
    path: str,
    positions: Positions,
    targets: Mapping[str, NDArray[Any]],
) -> Recording:
    """Lay epochs (n_epochs, n_channels, n_times) one after the other, the event of each at its sample `event_at`.

    The stamps leave a gap between them, after which every decoder starts anew. A target's values (n_epochs,) become a
    channel that holds each one as long as its epoch lasts. Without labels there are no events.
    """
    n_epochs, _, n_times = epochs.shape
    # Whole seconds from one to the next: exact in every stamp.
    period_s = math.ceil(n_times / signal.sfreq + GAP_S)
    timestamps = np.arange(n_epochs)[:, None] * float(period_s) + np.arange(n_times) / signal.sfreq
    held = [np.tile(np.reshape(values, (-1, 1, 1)), (1, 1, n_times)) for values in targets.values()]
    everything = np.concatenate([epochs, *held], axis=1) if held else epochs
    samples = np.ascontiguousarray(everything.transpose(0, 2, 1).reshape(n_epochs * n_times, -1), np.float32)
    events = tuple(Event(float(t), label) for t, label in zip(timestamps[:, event_at], labels, strict=False))
    whole = signal.with_channels(
        (*signal.ch_names, *targets),
        (*signal.ch_types, *("misc" for _ in targets)),
        (*signal.units, *("none" for _ in targets)),
    )
    return Recording(whole, samples, timestamps.ravel(), events, path, positions)
