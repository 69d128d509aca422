"""Recordings out of what MNE holds: raw data and epochs."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import DEFAULT_UNITS, Event, Signal
from rtdecode.errors import RecordingError
from rtdecode.recording.annotations import Marks, annotated_events
from rtdecode.recording.arrays import in_a_row
from rtdecode.recording.positions import on_plane
from rtdecode.recording.recording import Recording

_SI = {"uV": 1e6, "fT": 1e15, "fT/cm": 1e13}


def of_raw(raw: Any, path: str) -> Recording:
    """Return an `mne.io.Raw` as a recording: annotations and stimulus channel become its events.

    At a seam (the boundary of concatenated runs, or an acquisition that skipped) its stamps leave a gap, after which
    every decoder starts anew.
    """
    signal, factors = _signal(raw)
    marks, found = Marks(raw), _events(raw, signal.ch_types)
    samples = np.ascontiguousarray((raw.get_data() * factors).T, np.float32)
    at = marks.stamps(np.array([onset for onset, _ in found], np.int64) - raw.first_samp)
    return Recording(
        signal,
        samples[marks.kept],
        marks.stamps(np.flatnonzero(marks.kept)),
        tuple(Event(stamp, label) for stamp, (_, label) in zip(at.tolist(), found, strict=True)),
        path,
        on_plane(_places(raw.info)),
        tuple(raw.info["bads"]),
        marks.bad_spans,
    )


def of_epochs(epochs: Any, path: str) -> Recording:
    """Return `mne.Epochs` as a recording, one after the other; see `rtdecode.recording.arrays.in_a_row`.

    Columns of their metadata that hold numbers only become target channels.

    Raises
    ------
    RecordingError
        Their event is not among their samples, or they overlap.
    """
    signal, factors = _signal(epochs)
    event_at = round(-epochs.times[0] * signal.sfreq)
    if not 0 <= event_at < len(epochs.times):
        raise RecordingError(
            f"Recording {path} holds epochs from {epochs.times[0]:g} to {epochs.times[-1]:g} s about their event, "
            "which is not among them. Cut epochs that hold it (tmin <= 0 <= tmax)."
        )
    data = epochs.get_data() * factors
    # What two epochs share would stand on both sides of a split, and nothing would show it.
    if np.any(np.diff(_starts(epochs)) < _span(epochs)):
        raise RecordingError(
            f"Recording {path} holds epochs that overlap. Cut shorter ones, or give the continuous recording."
        )
    names = {code: name for name, code in epochs.event_id.items()}
    labels = [str(names[code]) for code in epochs.events[:, 2]]
    positions, targets = on_plane(_places(epochs.info)), _numbers(epochs.metadata)
    recording = in_a_row(signal, data, labels, event_at, path, positions, targets)
    return replace(recording, bad_channels=tuple(epochs.info["bads"]))


def _starts(epochs: Any) -> NDArray[np.int64]:
    """Return the samples (n_epochs,) of their events in order; none where they are only numbers of the epochs."""
    import mne

    at = epochs.events[:, 0]
    # Epochs made of arrays have no others, unless somebody gave them.
    numbered = not isinstance(epochs, mne.Epochs) and len(set(at - epochs.selection)) == 1
    return np.empty(0, np.int64) if numbered else np.sort(at)


def _span(epochs: Any) -> float:
    """Return the samples that each lasts, at the rate of what they were cut from: events are counted in those."""
    raw_sfreq = float(np.ravel(epochs._raw_sfreq)[0])
    return (len(epochs.times) - 1) * raw_sfreq / float(epochs.info["sfreq"]) + 1


def _signal(data: Any) -> tuple[Signal, NDArray[np.float64]]:
    """Return the signal of MNE's raw data or epochs, and the factors (n_channels, 1) from SI into its units."""
    types = tuple(data.get_channel_types())
    units = tuple(DEFAULT_UNITS.get(t, "none") for t in types)
    signal = Signal(ch_names=tuple(data.ch_names), ch_types=types, units=units, sfreq=float(data.info["sfreq"]))
    return signal, np.array([[_SI.get(u, 1.0)] for u in units])


def _numbers(metadata: Any) -> dict[str, NDArray[np.float64]]:
    """Return the columns (n_epochs,) of metadata that are numbers; without pandas, MNE has it as a list of rows."""
    rows = metadata.to_dict("records") if hasattr(metadata, "to_dict") else metadata or []
    columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return {
        str(name): column.astype(np.float64)
        for name, column in columns.items()
        if column.dtype.kind in "iuf" and np.isfinite(column).all()
    }


def _places(info: Any) -> dict[str, NDArray[np.float64]]:
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


def _events(raw: Any, types: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return (sample, label) of annotations and stimulus channel in order."""
    import mne

    events = annotated_events(raw)
    if "stim" in types:
        found = mne.find_events(raw, shortest_event=1, initial_event=True)
        events += [(int(sample), str(code)) for sample, _, code in found]
    return sorted(events)
