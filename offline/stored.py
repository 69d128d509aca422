"""Recordings as the store keeps them: read once, their truth found once, measured and preprocessed once; mapped."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offline import store
from offline.configuration import Arrays, TrainingConfiguration
from rtdecode.contract import Amplitude, Event, Signal
from rtdecode.contract.arrays import pack
from rtdecode.errors import RecordingError
from rtdecode.guard import block_size, spreads
from rtdecode.preprocessing import Chain
from rtdecode.preprocessing.base import Samples
from rtdecode.recording import Positions, Recording, read_recording
from rtdecode.truth import channel_values, spans, unbroken

# Samples that are preprocessed at once.
_BLOCK = 1 << 13
# Values of a channel that are in memory as float64.
_VALUES = 1 << 20


@dataclass(frozen=True)
class StoredRecording:
    """A recording whose samples are in the store.

    Attributes
    ----------
    path : Path
        The file it was read from.
    folder : Path
        Where it is kept; its name stands for its content.
    signal, events, positions
        See Recording.
    fingerprint : str
        See Recording.
    digest : str
        SHA-256 of its samples alone.
    unbroken : tuple of (int, int)
        The stretches [start, stop) without gaps: live, the decoder starts anew after each.
    n_samples : int
        How long it is.
    bad_channels, bad_spans
        See Recording.
    """

    path: Path
    folder: Path
    signal: Signal
    events: tuple[Event, ...]
    positions: Positions
    fingerprint: str
    digest: str
    unbroken: tuple[tuple[int, int], ...]
    n_samples: int
    bad_channels: tuple[str, ...] = ()
    bad_spans: tuple[tuple[float, float], ...] = ()

    def part(self, start: int, stop: int) -> Recording:
        """Return its samples [start, stop), mapped as long as the result is held."""
        samples, timestamps = (store.mapped(self.folder / f"{name}.npy") for name in ("samples", "timestamps"))
        whole = Recording(
            self.signal,
            samples,
            timestamps,
            self.events,
            str(self.path),
            self.positions,
            self.bad_channels,
            self.bad_spans,
        )
        return whole.crop(start, stop)

    def parts(self) -> Iterator[Recording]:
        """Give the unbroken stretches, one after the other."""
        for start, stop in self.unbroken:
            yield self.part(start, stop)


def store_recording(path: Path, arrays: Arrays = Arrays()) -> StoredRecording:  # noqa: B008 - frozen
    """Read a recording into the store, if it is not there yet; RecordingError if it cannot be trained on."""
    named = arrays.model_dump(exclude_none=True)

    def write(folder: Path) -> None:
        recording = read_recording(path, arrays=named)
        bad = np.argwhere(~np.isfinite(recording.samples))
        if len(bad):
            first, channel = bad[0]
            raise RecordingError(
                f"Recording {path} holds values that are not finite, first at sample {first} of channel "
                f"{recording.signal.ch_names[channel]}. Cut the stretch out or fill it in, and save it without "
                "channels that hold nothing."
            )
        for name, array in (("samples", recording.samples), ("timestamps", recording.timestamps)):
            store.write_array(folder / f"{name}.npy", array.shape, array.dtype, [array])
        document = {
            "signal": recording.signal.model_dump(),
            "events": recording.events,
            "positions": recording.positions,
            "fingerprint": recording.fingerprint(),
            "digest": hashlib.sha256(np.ascontiguousarray(recording.samples).tobytes()).hexdigest(),
            "unbroken": unbroken(recording),
            "n_samples": len(recording.samples),
            "bad_channels": recording.bad_channels,
            "bad_spans": recording.bad_spans,
        }
        store.write_text(folder / "recording.json", json.dumps(document, ensure_ascii=False))

    try:
        content = store.content(path)
    except OSError as error:
        raise RecordingError(f"Recording {path} cannot be read: {error.strerror} (now in {Path.cwd()}).") from None
    folder = store.kept("recording", {"content": content, "arrays": named}, write)
    told = store.read_json(folder / "recording.json")
    return StoredRecording(
        path=path,
        folder=folder,
        signal=Signal.model_validate(told["signal"]),
        events=tuple(Event(*event) for event in told["events"]),
        positions={name: (x, y) for name, (x, y) in told["positions"].items()},
        fingerprint=told["fingerprint"],
        digest=told["digest"],
        unbroken=tuple((start, stop) for start, stop in told["unbroken"]),
        n_samples=told["n_samples"],
        bad_channels=tuple(told["bad_channels"]),
        bad_spans=tuple((first, last) for first, last in told["bad_spans"]),
    )


def refuse_copies(recordings: Iterable[StoredRecording]) -> None:
    """Refuse two files of the same samples: what was learned from one would be tested on the other."""
    known: dict[str, Path] = {}
    for recording in recordings:
        other = known.setdefault(recording.digest, recording.path)
        if other != recording.path:
            raise RecordingError(
                f"Recordings {other} and {recording.path} hold the same samples: what trains would also be what is "
                "tested on. Remove one of them."
            )


def store_truth(
    recording: StoredRecording, configuration: TrainingConfiguration, units: tuple[str, ...]
) -> tuple[list[list[tuple[int, int, int, bool]]], Callable[[], NDArray[np.float64]]]:
    """Find where the truth is known in a recording, if that is not in the store yet.

    Parameters
    ----------
    recording : StoredRecording
        Where to look.
    configuration : TrainingConfiguration
        Whose trials or targets.
    units : tuple of str
        Of target channels.

    Returns
    -------
    list of lists of (int, int, int, bool)
        Of each unbroken stretch (class index, first, stop sample, whether samples of it are marked bad) of every
        trial, or of every segment for target channels.
    callable
        Maps the truth by target channels (n_samples, n_targets) of all stretches, one after the other.
    """
    targets, looked_at = configuration.targets, configuration.looked_at

    def write(folder: Path) -> None:
        found = [
            [(*one, part.is_bad(*one[1:])) for one in _stretches(part, configuration)] for part in recording.parts()
        ]
        store.write_text(folder / "truth.json", json.dumps(found))
        if targets is not None and targets.channels:
            shape = sum(stop - start for start, stop in recording.unbroken), len(targets.channels)
            values = (channel_values(part, targets, units) for part in recording.parts())
            store.write_array(folder / "values.npy", shape, np.float64, values)

    asked = {
        "recording": recording.folder.name,
        "units": units,
        "class_names": configuration.class_names,
        "trials": looked_at and looked_at.model_dump(),
        "targets": targets and targets.model_dump(),
    }
    folder = store.kept("truth", asked, write)
    found = [
        [(c, start, stop, bad) for c, start, stop, bad in part] for part in store.read_json(folder / "truth.json")
    ]
    return found, lambda: store.mapped(folder / "values.npy")


def _stretches(recording: Recording, configuration: TrainingConfiguration) -> list[tuple[int, int, int]]:
    if configuration.looked_at is not None:
        return [found[1:] for found in spans(recording, configuration.looked_at, configuration.class_names)]
    targets, sfreq = configuration.targets, recording.signal.sfreq
    assert targets is not None
    length = round(targets.segment_s * sfreq)
    starts = range(targets.lag(sfreq), len(recording.samples) - length + 1, length)
    return [(0, start, start + length) for start in starts]


def sensor_samples(recording: Recording, signal: Signal, cut: slice = slice(None)) -> Samples:
    """Return a recording's samples (n_samples, n_channels) as a decoder of this signal takes them, in float64."""
    adapt = signal.adapt(recording.signal, f"Recording {recording.path}", "the decoder", RecordingError)
    samples = recording.samples[cut]
    adapted = np.empty((len(samples), signal.n_channels))
    adapt(samples, adapted)
    return adapted


def sensor_blocks(recording: Recording, signal: Signal, n: int = _BLOCK) -> Iterator[Samples]:
    """Give a recording's samples as `sensor_samples` returns them, `n` at a time: one block is in memory."""
    for start in range(0, len(recording.samples), n):
        yield sensor_samples(recording, signal, slice(start, start + n))


def store_features(recording: StoredRecording, signal: Signal, chain: Chain) -> list[Samples]:
    """Preprocess a recording, if that is not in the store yet: (n_samples', n_channels') of each unbroken stretch.

    As the live decoder does: from the first sample of the file, anew after every gap, statistics kept.
    """
    rows = np.cumsum([0, *(chain.n_outputs(stop - start) for start, stop in recording.unbroken)])

    def blocks() -> Iterator[Samples]:
        # Nothing that was learned from another recording.
        fresh = Chain(chain.steps, signal)
        for part in recording.parts():
            fresh.reset()
            for samples in sensor_blocks(part, signal):
                yield fresh.process(samples)

    def write(folder: Path) -> None:
        shape = int(rows[-1]), chain.output.n_channels
        store.write_array(folder / "features.npy", shape, np.float64, blocks())

    arrays: dict[str, str] = {}
    made_of = {
        "recording": recording.folder.name,
        "signal": signal.model_dump(),
        "steps": pack([step.model_dump() for step in chain.steps], arrays),
        "arrays": arrays,
    }
    features = store.mapped(store.kept("features", made_of, write) / "features.npy")
    return [features[first:stop] for first, stop in pairwise(rows)]


def store_amplitude(parts: Sequence[tuple[StoredRecording, int, int]], signal: Signal) -> Amplitude:
    """Measure the samples [start, stop) of recordings, all together, if that is not in the store yet.

    Parameters
    ----------
    parts : sequence of (StoredRecording, int, int)
        Which; folds that share a recording share what was measured.
    signal : Signal
        Of the decoder.
    """

    def write(folder: Path) -> None:
        recordings = (recording.part(start, stop) for recording, start, stop in parts)
        told = amplitude_of(recordings, sum(stop - start for _, start, stop in parts), signal)
        rows = [row for row in (told.low, told.high, told.std, told.spread) if row is not None]
        store.write_array(folder / "amplitude.npy", (len(rows), signal.n_channels), np.float64, rows)

    made_of = {
        "parts": [(recording.folder.name, start, stop) for recording, start, stop in parts],
        "signal": signal.model_dump(),
    }
    low, high, std, *spread = np.array(store.mapped(store.kept("amplitude", made_of, write) / "amplitude.npy"))
    return Amplitude(low=low, high=high, std=std, spread=spread[0] if spread else None)


def amplitude_of(recordings: Iterable[Recording], n_samples: int, signal: Signal) -> Amplitude:
    """Measure recordings of `n_samples` in all, as a decoder of this signal takes them."""
    # Spreads are those of whole blocks of the guard's.
    n = block_size(signal.sfreq)
    n *= math.ceil(_BLOCK / n)
    channels = store.scratch((signal.n_channels, n_samples), np.float32)
    at, within = 0, [np.empty((0, signal.n_channels))]
    for recording in recordings:
        for samples in sensor_blocks(recording, signal, n):
            channels[:, at : at + len(samples)] = samples.T
            within.append(spreads(samples, signal.sfreq))
            at += len(samples)
    spread = np.concatenate(within)
    low, high, std = np.transpose([_spread_out(channel) for channel in channels])
    return Amplitude(low=low, high=high, std=std, spread=np.median(spread, axis=0) if len(spread) else None)


def _spread_out(channel: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return 0.1st and 99.9th percentile and standard deviation of a channel, whose values change places."""
    mean = channel.mean(dtype=np.float64)
    deviations = (channel[at : at + _VALUES] - mean for at in range(0, len(channel), _VALUES))
    std = math.sqrt(sum(float(part @ part) for part in deviations) / len(channel))
    low, high = np.percentile(channel, [0.1, 99.9], overwrite_input=True)
    return float(low), float(high), std
