"""Proof that decoding in chunks is decoding in one shot."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Event
from rtdecode.decoder import Decoder
from rtdecode.prediction import Prediction
from rtdecode.recording import Recording


@dataclass(frozen=True)
class ChunkingProof:
    """What `prove_chunking` found.

    Attributes
    ----------
    n_predictions : int
        Decoded hops compared, for every chunking.
    n_chunkings : int
        Chunkings tried.
    one_shot : bool
        Whether there was a one-shot reference: the recording has no gaps.
    differing : list of str
        What differed; empty when everything is identical.
    """

    n_predictions: int
    n_chunkings: int
    one_shot: bool
    differing: list[str]


def prove_chunking(
    recording: Recording, make: Callable[[], Decoder], n_chunkings: int = 5, seed: int = 0
) -> ChunkingProof:
    """Compare chunked decoding with decoding in one shot, bit for bit.

    With windows at events these are the recording's own, or, without any, one for every block.

    The one-shot reference preprocesses the whole recording at once and cuts out of it what the graph takes; the
    chunked runs push single samples, whole hops, and random chunks. A recording with gaps has no such reference;
    there, chunks are compared with one push of everything.
    """
    rng = np.random.default_rng(seed)
    sound = np.isfinite(recording.samples).all() and not np.any(
        np.abs(np.diff(recording.timestamps) - 1 / recording.signal.sfreq) > 0.5 / recording.signal.sfreq
    )
    recording = replace(recording, events=events_for(recording, make()))
    whole = make().push(recording.samples, recording.timestamps, recording.events)
    differing = []
    has_reference = bool(sound)
    if has_reference:
        reference = {(sample, outputs.tobytes()) for sample, outputs in one_shot(make(), recording)}
        decoded = {(p.sample, p.outputs.tobytes()) for p in whole if p.outputs is not None}
        wrong = {sample for sample, _ in reference ^ decoded}
        if wrong:
            differing.append(f"one shot: {len(wrong)} of {len(reference)} windows, first at sample {min(wrong)}")
    hop = make().contract.window.hop
    for number in range(n_chunkings):
        longest = (1, hop, 7, 32, 4 * hop)[number % 5]
        random_sizes = number >= 2
        chunked = _push_in_chunks(recording, make(), longest, rng if random_sizes else None)
        wrong_at = [a.sample for a, b in zip(whole, chunked, strict=False) if not a.same_as(b)]
        if wrong_at or len(whole) != len(chunked):
            label = f"chunks of {'1 to ' if random_sizes else ''}{longest}"
            first = f", first at sample {wrong_at[0]}" if wrong_at else ""
            differing.append(f"{label}: {len(wrong_at)} of {len(whole)} predictions{first}")
    return ChunkingProof(sum(p.outputs is not None for p in whole), n_chunkings, has_reference, differing)


def _push_in_chunks(
    recording: Recording, decoder: Decoder, longest: int, rng: np.random.Generator | None
) -> list[Prediction]:
    predictions: list[Prediction] = []
    at, coming = 0, list(recording.events)
    while at < len(recording.samples):
        size = longest if rng is None else int(rng.integers(0, longest + 1))
        cut = slice(at, at + size)
        stamps = recording.timestamps[cut]
        # One without a stamp comes at once.
        n_come = sum(not event.timestamp > stamps[-1] for event in coming) if len(stamps) else 0
        predictions += decoder.push(recording.samples[cut], stamps, coming[:n_come])
        del coming[:n_come]
        at += size
    return predictions


def events_for(recording: Recording, decoder: Decoder) -> tuple[Event, ...]:
    """Return the events of a recording at which a window stands; if it has none, one for every block.

    At least two samples apart: within one, the same label is the same event.
    """
    contract = decoder.contract
    if contract.events is None or contract.trials is None:
        return ()
    label = next(iter(contract.trials.classes.values()))[0]
    every = recording.timestamps[:: max(2, decoder.chain.newest_input(contract.window.hop))]
    recorded = tuple(event for event in recording.events if contract.is_event(event.label))
    return recorded or tuple(Event(float(timestamp), label) for timestamp in every)


def one_shot(decoder: Decoder, recording: Recording) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Decode one unbroken recording the plain way: preprocess it whole, then cut what the graph takes out of it.

    Parameters
    ----------
    decoder : Decoder
        One that nothing was pushed to yet; lends its adapter, steps and engine.
    recording : Recording
        In the source's layout, all finite.

    Yields
    ------
    sample : int
        Newest input sample of the window.
    outputs : array of float32, (n_outputs,)
        What the decoder must give there.
    """
    features = decoder.fused.chain.process(decoder.adapted(recording.samples)).astype(np.float32).T
    n_times, hop, events = decoder.engine.n_times, decoder.contract.window.hop, decoder.contract.events
    ends: Iterable[int] = range(hop, features.shape[1] + 1, hop)
    reach = n_times + (events.before if events else 0)
    if events:
        firsts = [recording.sample_at(event.timestamp) + events.first for event in recording.events]
        ends = [decoder.chain.n_outputs(first) + reach for first in firsts if first >= 0]
    for end in ends:
        if reach <= end <= features.shape[1]:
            window = features[:, end - reach : end]
            # What comes before the warm-up's end is run for what the graph carries on.
            outputs = decoder.engine.run(events.corrected(window) if events else window)
            if end >= decoder.warm_up:
                yield decoder.chain.newest_input(end - 1), outputs
