"""What a hop costs on this machine, part by part, beside ONNX Runtime alone.

One hop follows the other, without waiting for data: what the machine adds when it waits, `Measurement` tells.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.decoder import Decoder
from rtdecode.device import DeviceSettings
from rtdecode.errors import DeadlineError, ModelError
from rtdecode.latency.hops import event_at, noise
from rtdecode.latency.stages import STAGES, Seconds, timing
from rtdecode.lsl import DecoderOutlets, OutputReader
from rtdecode.model_file import ModelFile
from rtdecode.network import Sink
from rtdecode.prediction import Prediction
from rtdecode.proof import events_for
from rtdecode.realtime import quiet_collector
from rtdecode.recording import Recording
from rtdecode.replay import decode_recording
from rtdecode.tracer import Tracer

_ROUND = 50
_REPLAYS, _REPLAYED = 3, 500
_WAIT_S = 30.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Cost:
    """What the hops of one decoder cost.

    Attributes
    ----------
    decoder : Decoder
        Which.
    stages : dict of str to array of float64, (n_hops,)
        Seconds of each hop in each stage that was there, in the order of `STAGES`; and `afterwards`: what is learned
        for the hops to come, when the prediction is out.
    runtime : array of float64, (n_hops,)
        Seconds of ONNX Runtime alone, on the same session and input, after each hop.
    replays : array of float64, (n_replays,)
        How many times faster than real time a recording is decoded.
    """

    decoder: Decoder
    stages: dict[str, Seconds]
    runtime: Seconds
    replays: NDArray[np.float64]

    @property
    def hop(self) -> Seconds:
        """All stages of each hop."""
        total: Seconds = np.sum(list(self.stages.values()), axis=0)
        return total

    @property
    def own(self) -> Seconds:
        """What each hop costs beyond ONNX Runtime alone."""
        return self.hop - self.runtime

    @property
    def ratio(self) -> float:
        """Median of a hop to that of ONNX Runtime alone."""
        return float(np.median(self.hop) / np.median(self.runtime))

    @property
    def replay(self) -> float:
        """How many times faster than real time a recording is decoded, median."""
        return float(np.median(self.replays))

    @property
    def parts(self) -> dict[str, Seconds]:
        """Seconds of each hop by what they were spent on: every stage, and what is made of them."""
        return {**self.stages, "hop": self.hop, "runtime alone": self.runtime, "own work": self.own}


def costs(
    models: Sequence[ModelFile],
    seconds: float,
    publish: bool,
    progress: Callable[[float], None] | None = None,
    device: DeviceSettings | None = None,
) -> list[Cost]:
    """Measure the hops of decoders in turn, so that what else happens on the machine hits all of them.

    Parameters
    ----------
    models : sequence of ModelFile
        Which.
    seconds : float
        Of hops to measure, all decoders together.
    publish : bool
        Whether to publish on LSL, with a listener in another process for each.
    progress : callable, optional
        Called with the share that is done.
    device : DeviceSettings, optional
        What graphs are run on; the CPU when not given.

    Raises
    ------
    ModelError
        A decoder predicts nothing on noise.
    DeadlineError
        A listener did not come.
    """
    with _sinks(models, publish) as sinks, quiet_collector():
        benches = [_Bench(Decoder(model, device=device), sink) for model, sink in zip(models, sinks, strict=True)]
        replays = [[bench.replay() for bench in benches] for _ in range(_REPLAYS)]
        start, done = time.perf_counter(), 0.0
        while done < 1:
            for bench in benches:
                bench.go_on(_ROUND)
            done = min((time.perf_counter() - start) / seconds, 1.0)
            if progress:
                progress(done)
    return [bench.cost(publish, each) for bench, each in zip(benches, np.transpose(replays), strict=True)]


class _Bench:
    """Gives a decoder noise, hop after hop; the tracer takes the times, as of a live run."""

    def __init__(self, decoder: Decoder, sink: Sink) -> None:
        self._decoder, self._sink = decoder, sink
        self._source, self._rows = _Source(decoder), list[list[float]]()
        self._afterwards, self._runtime = list[float](), list[float]()
        self._hop = decoder.warm_up // decoder.contract.window.hop + 1
        decoder.push(*self._source.cut(0, decoder.end_of(self._hop - 1)))
        tracer = Tracer(time.perf_counter)
        tracer.watch_sink(sink)
        tracer.watch(self._source, decoder, self._keep)

    def _keep(self, *_: Any, rows: list[list[float]], **__: Any) -> None:
        self._rows += rows

    def replay(self) -> float:
        """Decode noise as a recording; return how many times faster than real time that is."""
        decoder = Decoder(self._decoder.model, device=self._decoder.engine.device)
        # A second of ONNX Runtime at most, beside the warm-up.
        n_hops = min(_REPLAYED, 1 + int(1 / decoder.engine.run_s))
        samples, timestamps = self._source.cut(0, decoder.end_of(self._hop + n_hops))
        recording = Recording(decoder.source, samples, timestamps)
        recording = replace(recording, events=events_for(recording, decoder))
        start = time.perf_counter()
        decode_recording(recording, decoder)
        return recording.duration_s / (time.perf_counter() - start)

    def go_on(self, n_hops: int) -> None:
        """Measure the next hops."""
        decoder, first = self._decoder, self._hop
        self._hop += n_hops
        self._source.load([decoder.end_of(hop) for hop in range(first - 1, self._hop)])
        for hop in range(first, self._hop):
            events = event_at(decoder, hop)
            for prediction in decoder.push_each(*self._source.pull(0.0), events):
                self._sink.publish(prediction, prediction.timestamp)
                if prediction.reason is not None:
                    raise ModelError(
                        f"{decoder.model.name} abstains on noise as large as its training data "
                        f"({prediction.reason}); there is nothing to measure."
                    )
                start = time.perf_counter()
            self._afterwards.append(time.perf_counter() - start)
            start = time.perf_counter()
            decoder.engine.run_bare()
            self._runtime.append(time.perf_counter() - start)

    def cost(self, published: bool, replays: NDArray[np.float64]) -> Cost:
        """Put together what was measured."""
        self._source.close()
        told = timing(self._rows, {row[1]: row[-1] for row in self._rows}, 1, self._decoder.source.sfreq)
        absent = {name for name, there in (("policy", self._decoder.policy), ("publish", published)) if not there}
        inner = [stage.name for stage in STAGES if stage.part == "processing" and stage.name not in absent]
        stages = {name: told.stages[name] for name in inner} | {"afterwards": np.array(self._afterwards)}
        return Cost(self._decoder, stages, np.array(self._runtime), replays)


class _Source:
    """Noise, a hop at a time (`rtdecode.network.Inlet`)."""

    def __init__(self, decoder: Decoder) -> None:
        self.signal, self.speed = decoder.source, 1.0
        self._contract = decoder.contract
        self._hops: Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]] = iter(())

    def cut(self, begin: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return noise (n_samples, n_channels) from one sample to another, and its stamps."""
        return noise(self._contract, end - begin), np.arange(begin, end) / self.signal.sfreq

    def load(self, ends: list[int]) -> None:
        """Have ready what is pulled next: from each end to the one after it."""
        samples, stamps = self.cut(ends[0], ends[-1])
        cuts = [slice(begin - ends[0], end - ends[0]) for begin, end in pairwise(ends)]
        self._hops = iter([(samples[cut], stamps[cut]) for cut in cuts])

    def open(self) -> None:
        """There is nothing to subscribe to."""

    def pull(self, timeout_s: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the next hop."""
        return next(self._hops)

    def correction(self) -> tuple[float, float]:
        """Its stamps are our time."""
        return 0.0, 0.0

    def close(self) -> None:
        """Nothing more is pulled."""


class _Nowhere:
    """Takes what is not published (`rtdecode.network.Sink`)."""

    def publish(self, prediction: Prediction, timestamp: float) -> None:
        """Drop it."""

    def status(self, document: dict[str, Any], timestamp: float) -> None:
        """Drop it."""

    def has_listener(self) -> bool:
        """Nobody listens."""
        return False


@contextmanager
def _sinks(models: Sequence[ModelFile], publish: bool) -> Iterator[list[Sink]]:
    """Make where each decoder publishes, and a process that listens to it, for as long as the block lasts."""
    if not publish:
        yield [_Nowhere() for _ in models]
        return
    names = [f"rtdecode-bench-{number}" for number in range(len(models))]
    outputs = [model.contract.outputs for model in models]
    outlets = [DecoderOutlets(name, given, "label") for name, given in zip(names, outputs, strict=True)]
    streams = [DecoderOutlets.names(name, given) for name, given in zip(names, outputs, strict=True)]
    listeners = [_SPAWN.Process(target=_listen, args=(three,), daemon=True) for three in streams]
    try:
        for listener in listeners:
            listener.start()
        deadline = time.perf_counter() + _WAIT_S
        while not all(outlet.has_listener() for outlet in outlets):
            if time.perf_counter() > deadline:
                raise DeadlineError(f"The listener of the benchmark did not connect within {_WAIT_S:g} s.")
            time.sleep(0.05)
        yield list(outlets)
    finally:
        for listener in listeners:
            listener.kill()
            listener.join()


def _listen(streams: tuple[str, ...]) -> None:
    """Receive markers, predictions and, connected last, the status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    markers, predictions, status = (OutputReader(stream, _WAIT_S) for stream in streams)
    while not predictions.lost:
        predictions.pull(0.2)
        markers.pull(0.0)
        status.pull(0.0)
