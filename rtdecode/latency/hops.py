"""What a decoder costs by itself, without LSL, and noise to measure it on."""

import time
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Event
from rtdecode.decoder import Decoder


def noise(contract: Contract, n_samples: int) -> NDArray[np.float32]:
    """Return noise as large as the training data: (n_samples, n_channels) in the signal's units, always the same."""
    drawn = np.random.default_rng(0).standard_normal((n_samples, contract.signal.n_channels))
    return (drawn * contract.amplitude.typical).astype(np.float32)


def hop_ends(decoder: Decoder, n_hops: int) -> list[int]:
    """Return the samples from the start of a stream to the end of each of the first hops after the warm-up."""
    first = decoder.warm_up // decoder.contract.window.hop
    return [decoder.end_of(hop) for hop in range(first, first + n_hops)]


def hop_times(decoder: Decoder, n_hops: int = 200) -> NDArray[np.float64]:
    """Time `push` of one hop at a time, on noise as large as the training data, after the warm-up.

    With windows at events, one ends with each of these hops.

    Parameters
    ----------
    decoder : Decoder
        One that nothing was pushed to yet, laid out as its own signal.
    n_hops : int
        How many hops are timed.

    Returns
    -------
    array of float64, (n_hops,)
        Seconds.
    """
    ends = hop_ends(decoder, n_hops + 1)
    samples = noise(decoder.contract, ends[-1])
    stamps = np.arange(len(samples)) / decoder.contract.signal.sfreq
    decoder.push(samples[: ends[0]], stamps[: ends[0]])
    times = []
    first = decoder.warm_up // decoder.contract.window.hop + 1
    for hop, (begin, end) in enumerate(pairwise(ends), first):
        events = event_at(decoder, hop)
        start = time.perf_counter()
        decoder.push(samples[begin:end], stamps[begin:end], events)
        times.append(time.perf_counter() - start)
    return np.array(times)


def event_at(decoder: Decoder, hop: int) -> list[Event]:
    """Return the event whose window ends with a hop; none if windows slide."""
    contract = decoder.contract
    if contract.events is None or contract.trials is None:
        return []
    begin = (hop + 1) * contract.window.hop - contract.window.n_times - contract.events.before
    sample = decoder.chain.newest_input(begin) - contract.events.first
    return [Event(sample / contract.signal.sfreq, next(iter(contract.trials.classes.values()))[0])]
