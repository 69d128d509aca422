"""The one type of recording that training, replay, play and verify read."""

import hashlib
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.contract import Event, Signal
from rtdecode.errors import RecordingError
from rtdecode.recording.positions import Positions

# In bytes.
_PIECE = 1 << 18


def at_nominal_rate(
    timestamps: NDArray[np.float64], speed: float, samples: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Undo the speed of a replay: stretch its stamps from that of its first sample that has one.

    `samples` are the stamps of the samples, if `timestamps` are others.
    """
    of_samples = timestamps if samples is None else samples
    finite = np.flatnonzero(np.isfinite(of_samples))
    if speed == 1 or len(finite) == 0:
        return timestamps
    origin = float(of_samples[finite[0]])
    return origin + (timestamps - origin) * speed


def event_arrays(events: Sequence[Event]) -> dict[str, NDArray[Any]]:
    """Return events as an .npz holds them: stamps and labels."""
    return {
        "event_timestamps": np.array([e.timestamp for e in events], np.float64),
        "event_labels": np.array([e.label for e in events], dtype=np.str_),
    }


def _write(archive: zipfile.ZipFile, name: str, values: ArrayLike) -> None:
    """Write an array as `np.savez` does, in small pieces.

    Its pieces have 16 MiB, on every thread that saves, and what the allocator has once taken for them it keeps.
    """
    array = np.asarray(values)
    told = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    rows = np.atleast_1d(array)
    n_rows = max(1, _PIECE * len(rows) // max(rows.nbytes, 1))
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, told)
        for start in range(0, len(rows), n_rows):
            entry.write(np.ascontiguousarray(rows[start : start + n_rows]).tobytes())


@dataclass(frozen=True)
class Recording:
    """A continuous recording.

    Attributes
    ----------
    signal : Signal
        Channels, types, units, nominal rate.
    samples : array of float32, (n_samples, n_channels)
        In `signal.units`; exactly what `rtdecode play` pushes.
    timestamps : array of float64, (n_samples,)
        Raw stamps in seconds.
    events : tuple of Event
        In order of time.
    path : str
        Where it came from.
    positions : dict of str to (float, float)
        Where the sensors are on a plane, both coordinates in [0, 1], as far as the recording tells.
    bad_channels : tuple of str
        Those that somebody marked bad.
    bad_spans : tuple of (float, float)
        Stretches that somebody marked bad: stamps of the first and last sample of each. They are decoded as all
        others are, but a trial of which a sample lies in one is none.
    """

    signal: Signal
    samples: NDArray[np.float32]
    timestamps: NDArray[np.float64]
    events: tuple[Event, ...] = ()
    path: str = field(default="", compare=False)
    positions: Positions = field(default_factory=dict)
    bad_channels: tuple[str, ...] = ()
    bad_spans: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        wanted = (self.timestamps.size, self.signal.n_channels)
        if self.timestamps.ndim != 1 or self.samples.shape != wanted or len(self.samples) == 0:
            raise RecordingError(
                f"Recording {self.path or 'in memory'} has samples of shape {self.samples.shape} for stamps of "
                f"shape {self.timestamps.shape} and {self.signal.n_channels} channels."
            )

    @property
    def name(self) -> str:
        """File name without folder and endings."""
        return Path(self.path).name.split(".")[0]

    @cached_property
    def _in_order(self) -> bool:
        return bool(np.all(np.diff(self.timestamps) >= 0))

    def covers(self, timestamp: float) -> bool:
        """Tell whether a stamp belongs to a sample of the recording, rather than to a time before or after."""
        if not math.isfinite(timestamp):
            return False
        return abs(float(self.timestamps[self.sample_at(timestamp)]) - timestamp) <= 1.0 / self.signal.sfreq

    @property
    def duration_s(self) -> float:
        """Seconds from the first sample to the end of the last."""
        return len(self.samples) / self.signal.sfreq

    def sample_at(self, timestamp: float) -> int:
        """Return the sample whose stamp is nearest; of two equally near ones the earlier."""
        if not self._in_order:
            return int(np.nanargmin(np.abs(self.timestamps - timestamp)))
        after = int(np.searchsorted(self.timestamps, timestamp))
        if after == 0:
            return 0
        if after == len(self.timestamps):
            return after - 1
        nearer = self.timestamps[after] - timestamp < timestamp - self.timestamps[after - 1]
        return after if nearer else after - 1

    def is_bad(self, start: int, stop: int) -> bool:
        """Tell whether one of the samples [start, stop) that are there lies in a stretch that is marked bad."""
        stamps = self.timestamps[max(start, 0) : max(stop, 0)]
        return len(stamps) > 0 and any(first <= stamps[-1] and stamps[0] <= last for first, last in self.bad_spans)

    def crop(self, start: int, stop: int | None = None) -> "Recording":
        """Return samples [start, stop) with their stamps and the events among them."""
        if not 0 <= start < len(self.samples):
            raise RecordingError(f"Recording {self.path} has {len(self.samples)} samples; none at {start}.")
        timestamps = self.timestamps[start:stop]
        half = 0.5 / self.signal.sfreq
        kept = [e for e in self.events if timestamps[0] - half <= e.timestamp <= timestamps[-1] + half]
        return replace(self, samples=self.samples[start:stop], timestamps=timestamps, events=tuple(kept))

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything that a decoder could learn from."""
        digest = hashlib.sha256(self.signal.model_dump_json().encode())
        for array in (self.samples, self.timestamps):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr(self.events).encode())
        # Decoder files name recordings by what this was before there were marks.
        if self.bad_channels or self.bad_spans:
            digest.update(repr((self.bad_channels, self.bad_spans)).encode())
        return digest.hexdigest()

    def save(self, path: str | Path, **more: NDArray[np.generic]) -> None:
        """Write an .npz that `read_recording` reads; `more` arrays are kept beside, or instead of ours."""
        arrays: dict[str, ArrayLike] = {
            "samples": self.samples,
            "timestamps": self.timestamps,
            "sfreq": np.float64(self.signal.sfreq),
            "ch_names": np.array(self.signal.ch_names),
            "ch_types": np.array(self.signal.ch_types),
            "units": np.array(self.signal.units),
            "positions": np.array([self.positions.get(n, (np.nan, np.nan)) for n in self.signal.ch_names]),
            **event_arrays(self.events),
        }
        if self.bad_channels:
            arrays["bad_channels"] = np.array(self.bad_channels)
        if self.bad_spans:
            arrays["bad_spans"] = np.array(self.bad_spans)
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in {**arrays, **more}.items():
                _write(archive, name, array)
