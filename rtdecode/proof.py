"""Proof that decoding in chunks is decoding in one shot."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.decoder import Decoder, Prediction
from rtdecode.errors import ModelError
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
        Whether there was a one-shot reference: the recording has no gaps, the decoder no states.
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

    The one-shot reference preprocesses the whole recording at once and cuts every window out of it; the
    chunked runs push single samples, whole hops, and random chunks. A recording with gaps, and a decoder with
    states, have no such reference; there, chunks are compared with one push of everything.
    """
    rng = np.random.default_rng(seed)
    sound = np.isfinite(recording.samples).all() and not np.any(
        np.abs(np.diff(recording.timestamps) - 1 / recording.signal.sfreq) > 0.5 / recording.signal.sfreq
    )
    whole = make().push(recording.samples, recording.timestamps)
    differing = []
    has_reference = bool(sound) and not make().contract.states
    if has_reference:
        reference = dict(one_shot(make(), recording.samples))
        decoded = {p.sample: p for p in whole if p.outputs is not None}
        wrong = [
            s for s in reference.keys() | decoded.keys()
            if s not in reference or s not in decoded
            or reference[s].tobytes() != decoded[s].outputs.tobytes()  # type: ignore[union-attr]
        ]  # fmt: skip
        if wrong:
            differing.append(f"one shot: {len(wrong)} of {len(reference)} hops, first at sample {min(wrong)}")
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
    at = 0
    while at < len(recording.samples):
        size = longest if rng is None else int(rng.integers(0, longest + 1))
        cut = slice(at, at + size)
        predictions += decoder.push(recording.samples[cut], recording.timestamps[cut])
        at += size
    return predictions


def one_shot(decoder: Decoder, samples: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Decode one unbroken recording the plain way: preprocess it whole, then cut every window out of it.

    Parameters
    ----------
    decoder : Decoder
        One that nothing was pushed to yet; lends its adapter, steps and engine.
    samples : array, (n_samples, n_channels)
        In the source's layout, all finite.

    Yields
    ------
    sample : int
        Newest input sample of the window.
    outputs : array of float32, (n_outputs,)
        What the decoder must give there.
    """
    if decoder.contract.states:
        raise ModelError("A decoder with states has no single window to cut; it is compared chunk by chunk.")
    features = decoder.chain.process(decoder.adapted(samples)).astype(np.float32)
    window = decoder.contract.window
    for end in range(window.hop, len(features) + 1, window.hop):
        if end >= decoder.warm_up:
            yield decoder.chain.newest_input(end - 1), decoder.engine.run(features[end - window.n_times : end].T)
