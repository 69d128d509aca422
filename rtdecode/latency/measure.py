"""Measures: a source, the decoder as `rtdecode run` runs it, and a listener, each in a process of its own.

The bare echo takes the decoder's place in turn with it, so that what happens on the machine meanwhile hits both.
"""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.commands import Commands
from rtdecode.contract import Signal
from rtdecode.decoder import Decoder
from rtdecode.errors import DeadlineError, RecordingError, StreamError
from rtdecode.latency.echo import echo
from rtdecode.latency.hops import hop_ends, noise
from rtdecode.latency.listener import Listener
from rtdecode.latency.stages import Seconds, Timing, timing
from rtdecode.lsl import SignalInlet, StreamChoice, list_streams
from rtdecode.recording import Recording

_ROUND_S = 10.0
_LOOK_S = 3.0
# From the connection to the first sample, at most.
_LEAD_S = 1.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Block:
    """A stretch of predictions of the decoder, and one of the echo's beside it.

    Attributes
    ----------
    timing : Timing
        Of the decoder's predictions.
    echo_timestamps, echo_total : array of float64, (n_echoes,)
        When the newest sample of each echo was acquired, and seconds from there to reception.
    n_unheard : int
        Predictions that were published but not received.
    n_skipped : int
        Results that the decoder held back as out of date.
    """

    timing: Timing
    echo_timestamps: Seconds
    echo_total: Seconds
    n_unheard: int
    n_skipped: int


class Measurement:
    """Measures one decoder on one source.

    Parameters
    ----------
    decoder : Decoder
        Made for the source's signal; nothing is pushed to it.
    source : Recording or str
        What is played, on this machine only, or the name of a stream that is there.
    chunk : int
        Samples that the source pushes at a time.
    folder : Path
        For what is only needed meanwhile.
    """

    def __init__(self, decoder: Decoder, source: Recording | str, chunk: int, folder: Path) -> None:
        self._decoder, self._chunk = decoder, chunk
        self._source, self._recording = "rtdecode-latency-source", folder / "source.npz"
        self._plays = isinstance(source, Recording)
        if isinstance(source, Recording):
            source.save(self._recording)
        else:
            self._source = source
        self._commands = Commands(folder / "processes.log")
        self._n = 0

    def blocks(self, seconds: float) -> Iterator[Block]:
        """Measure `seconds` of predictions, and as many of echoes, in rounds; ABBA."""
        n = n_rounds(self._decoder, seconds)
        for i in range(n):
            order = [self._echo, self._decode] if i % 2 == 0 else [self._decode, self._echo]
            done = {method: method(seconds / n + _LEAD_S) for method in order}
            heard, echoed = done[self._decode], done[self._echo].received
            stamps = np.array(list(echoed))
            told = timing(heard.rows, heard.received, self._chunk, self._decoder.source.sfreq)
            if not len(told.total):
                raise DeadlineError(f"The decoder told the stage times of no prediction. {self._said()}")
            n_unheard = len(heard.rows) - len(told.total)
            yield Block(told, stamps, np.array(list(echoed.values())) - stamps, n_unheard, heard.n_skipped)

    def _decode(self, seconds: float) -> Listener:
        name, duration_s = self._next(), self._decoder.warm_up_s + seconds
        with self._commands.running() as start:
            process = start(
                "run", "--model", self._decoder.model.path, "--stream", self._source, "--name", name,
                "--once", "--trace", "--duration", f"{duration_s:.3f}",
            )  # fmt: skip
            return self._listen(start, name, lambda: process.poll() is None)

    def _echo(self, seconds: float) -> Listener:
        name, duration_s = self._next(), self._decoder.warm_up_s + seconds
        ends = hop_ends(self._decoder, math.ceil(seconds / self._decoder.hop_s))
        arguments = (self._source, name, self._decoder.contract.outputs, ends, duration_s)
        process = _SPAWN.Process(target=echo, args=arguments, daemon=True)
        process.start()
        try:
            with self._commands.running() as start:
                return self._listen(start, name, process.is_alive)
        finally:
            process.kill()
            process.join()

    def _next(self) -> str:
        self._n += 1
        return f"rtdecode-latency-{self._n}"

    def _listen(self, start: Callable[..., Any], name: str, alive: Callable[[], bool]) -> Listener:
        if self._plays:
            start("play", str(self._recording), "--name", self._source, "--chunk", str(self._chunk))
        try:
            listener = Listener(name, self._decoder.contract.outputs.column, alive)
        except DeadlineError as error:
            raise DeadlineError(f"{error} {self._said()}") from None
        listener.listen()
        if not listener.received:
            raise DeadlineError(f"Nothing was published. {self._said()}")
        return listener

    def _said(self) -> str:
        return "The processes said: " + " | ".join(self._commands.said()[-8:])


def n_rounds(decoder: Decoder, seconds: float) -> int:
    """Return in how many rounds to measure: of about 10 s, or of the warm-up where that takes longer."""
    return max(1, round(seconds / max(_ROUND_S, decoder.warm_up_s)))


def signal_of(stream: str) -> Signal:
    """Return what a stream carries.

    Raises
    ------
    StreamError
        It is not there, there are two of its name, or it does not describe itself.
    """
    found = StreamChoice(name=stream).among(list_streams(_LOOK_S))
    if found is None:
        raise StreamError(f"No stream {stream!r} in {_LOOK_S:g} s. `rtdecode streams` lists those that are there.")
    inlet = SignalInlet(found)
    inlet.close()
    if inlet.speed != 1:
        raise StreamError(
            f"Stream {stream!r} is a replay at {inlet.speed:g} times its speed; measure one at speed 1."
        )
    return inlet.signal


def played(decoder: Decoder, recording: Recording | None, seconds: float) -> Recording:
    """Return as much of a recording as a round needs; without one, noise as large as the training data.

    Raises
    ------
    RecordingError
        It is too short for a single prediction.
    """
    sfreq = decoder.source.sfreq
    n_samples = math.ceil((decoder.warm_up_s + seconds / n_rounds(decoder, seconds) + _LEAD_S) * sfreq)
    if recording is None:
        return Recording(decoder.source, noise(decoder.contract, n_samples), np.arange(n_samples) / sfreq)
    if recording.duration_s < decoder.warm_up_s + decoder.hop_s:
        raise RecordingError(
            f"Recording {recording.path} has {recording.duration_s:.1f} s; {decoder.model.name} needs "
            f"{decoder.warm_up_s + decoder.hop_s:.1f} s for its first prediction."
        )
    return recording.crop(0, n_samples)


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Keep `n` processes busy meanwhile."""
    processes = [_SPAWN.Process(target=_work_for_nothing, daemon=True) for _ in range(n)]
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work_for_nothing() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            pass
