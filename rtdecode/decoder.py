"""The decoder: samples and events in, predictions out. The one method every other part calls is `Decoder.push`.

Blocks. What arrives is cut anew into blocks of one hop, counted from the last reset, so that every kernel
sees the same shapes whatever the chunks were. With the rate changed by L/M, output k exists when input
ceil(k*M/L) has arrived; so a block ends with the input on which the hop's last output rests. With L = 1 the
first block is (hop - 1)*M + 1 samples long and every later one hop*M; otherwise they differ by one sample in a
fixed pattern. Outputs beyond the hop, which a raised rate brings, wait in the ring for the next one.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.contract import Event, Policy, Repeated, Signal
from rtdecode.device import DeviceSettings
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError, ModelError, RecordingError, RtdecodeError
from rtdecode.event_queue import Due, EventQueue
from rtdecode.fusion import Fused, fuse
from rtdecode.guard import Guard, GuardSettings, Health, Segment
from rtdecode.model_file import ModelFile, check_graph, read_model
from rtdecode.policy import Decider
from rtdecode.prediction import Prediction
from rtdecode.preprocessing import Chain, read_steps
from rtdecode.repetition import Repetitions
from rtdecode.ring import Ring

_SAFE_SHARE = 0.5
_MAX_PENDING = 1 << 27


class Decoder:
    """Runs one decoder file on one signal: synchronous, no clock, no I/O, no thread.

    Parameters
    ----------
    model : ModelFile
        The decoder file (see `rtdecode.load`).
    source : Signal, optional
        What the samples given to `push` look like. Channels are then picked by name and units converted.
        Without it the samples must be laid out as `contract.signal` says.
    guard : GuardSettings
        What may pass (see there).
    source_name : str
        How messages call the source.
    error : type of RtdecodeError
        Raised when the source does not fit.
    speed : float
        How many times faster than at its nominal rate the source is stamped: more than 1 in a replay that is
        played faster. It changes no verdict and no prediction.
    policy : Policy, optional
        What decides, instead of the file's own.
    device : DeviceSettings, optional
        What its graph is run on; the CPU when not given.
    engine : Engine, optional
        One that a decoder made of this file, on this device, and does not use any more.
    merge : bool
        Whether linear steps are put together (see `fusion.fuse`), for less work. Otherwise each is run as the file
        says, which differs by rounding.

    Attributes
    ----------
    chain : Chain
        The file's preprocessing.
    fused : Fused
        What is run of it and of the graph.
    guard : Guard
        Counts and tells incidents.
    policy : Policy or None
        What decides; None: every prediction is its own decision.
    decision_names : tuple of str
        What is decided, by index: classes, or items of repeated events.
    """

    def __init__(
        self,
        model: ModelFile,
        source: Signal | None = None,
        guard: GuardSettings | None = None,
        source_name: str = "The source",
        error: type[RtdecodeError] = RecordingError,
        speed: float = 1.0,
        policy: Policy | None = None,
        device: DeviceSettings | None = None,
        engine: Engine | None = None,
        merge: bool = True,
    ) -> None:
        self.model, self._speed = model, speed
        self.contract = contract = model.contract
        self.source = source or contract.signal
        self._adapt = contract.signal.adapt(self.source, source_name, f"model {model.name!r}", error)
        self.chain = Chain(read_steps(contract.preprocessing), contract.signal)
        check_graph(model, self.chain.output.n_channels)
        device = engine.device if engine else device or DeviceSettings()
        self.fused = fuse(model, self.chain, device) if merge else Fused(self.chain, model)
        n_channels, window = self.fused.chain.output.n_channels, contract.window
        self.engine = engine or Engine(self.fused.model, device)
        settings = guard or GuardSettings()
        self.guard = Guard(self.source.sfreq, settings, Health(contract.signal, contract.amplitude, settings), speed)
        self._counter = self._find_counter(settings.counter, source_name)
        _, most = self.chain.outputs_within(1)
        if most > window.hop:
            raise ModelError(
                f"Model {model.name!r} has a hop of {window.hop} samples, but one sample of the stream brings {most} "
                f"({contract.signal.sfreq:g} Hz become {self.chain.output.sfreq:g} Hz). Retrain with a longer hop."
            )
        longest = max(self.end_of(0), self.chain.newest_input(window.hop))
        if longest * contract.signal.n_channels > _MAX_PENDING:
            raise ModelError(
                f"Model {model.name!r} has a hop of {longest} samples of {contract.signal.n_channels} channels; "
                f"at most {_MAX_PENDING} values are kept. Retrain with a shorter hop."
            )
        self._queue = EventQueue(contract, self.chain, speed) if contract.events else None
        self._ring = Ring(n_channels, (self._queue.n_outputs if self._queue else self.engine.n_times) + most - 1)
        self._pending = np.empty((longest, contract.signal.n_channels))
        self._classifies = contract.outputs.kind == "classification"
        self.policy, self._decider = policy or contract.policy, None
        self.decision_names = contract.decision_names(self.policy)
        self._repetitions: Repetitions | None = None
        if self.policy and (problem := contract.problem_with(self.policy)):
            raise ConfigurationError(f"Policy for model {model.name!r}: {problem}.")
        if self.policy and isinstance(self.policy.evidence, Repeated):
            self._repetitions = Repetitions(self.policy.evidence, contract.outputs.names, speed)
        elif self.policy and not self._queue:
            self._decider = Decider(
                self.policy, contract.outputs.names, window.hop / self.chain.output.sfreq, self.source.sfreq
            )
        self._seen, self._filled = 0, 0
        self._anew("start")

    def _find_counter(self, name: str | None, source_name: str) -> int | None:
        if name is not None and name not in self.source.ch_names:
            raise ConfigurationError(
                f"{source_name} has no channel {name!r} to count samples by (guard.counter); it has "
                f"{', '.join(self.source.ch_names[:8])}{' and more' if self.source.n_channels > 8 else ''}."
            )
        return None if name is None else self.source.ch_names.index(name)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the classes, by label; of a regression, names of its targets."""
        return self.contract.outputs.names

    @property
    def warm_up_s(self) -> float:
        """Seconds from the last reset until the first hop that may be decoded, at most."""
        return math.ceil(self.warm_up / self.contract.window.hop) * self.hop_s

    @property
    def hop_s(self) -> float:
        """Seconds from one hop to the next."""
        return self.contract.window.hop / (self.chain.output.sfreq * self._speed)

    @property
    def n_missing(self) -> int:
        """Samples until the next hop is complete."""
        return self._size - self._filled

    @property
    def slowness(self) -> str:
        """Say so if the graph alone takes more of a hop than may safely be; else nothing.

        How often events come is not known.
        """
        if self._queue:
            return ""
        share = self.engine.run_s / self.hop_s
        if share <= _SAFE_SHARE:
            return ""
        falls_behind = "it will fall behind the stream" if share >= 1 else "it may fall behind the stream"
        return (
            f"one run of the graph takes {1e3 * self.engine.run_s:.3g} ms here, {100 * share:.0f} % of the hop of "
            f"{1e3 * self.hop_s:.3g} ms: {falls_behind}. Retrain with a longer hop or a smaller network"
        )

    def end_of(self, hop: int) -> int:
        """Return the samples from a reset to the end of a hop; hops count from 0."""
        return self.chain.newest_input((hop + 1) * self.contract.window.hop - 1) + 1

    def adapted(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """Return samples (n_samples, n_source) as the preprocessing takes them (n_samples, n_channels)."""
        out = np.empty((len(samples), self.contract.signal.n_channels))
        self._adapt(samples, out)
        return out

    def _anew(self, reason: str) -> None:
        if self._filled:
            # What had not filled a hop is still learned from: statistics outlast the reset.
            self.fused.chain.process(self._pending[: self._filled])
        self.fused.chain.reset()
        self.engine.reset()
        if self._queue is None:
            self._ring.clear()
        self._hops, self._filled, self._size = 0, 0, self.end_of(0)
        self._end = self._size
        self._unsound, self._missed = 0, 0
        self._fed, self._stood_in, self._imputed = 0, 0, deque[int]()
        window, states = self.contract.window, self.contract.states
        # Shorter after a reset than after a start where statistics have been learned, and channels judged.
        reach = window.n_times + (self.contract.events.before if self.contract.events else 0)
        self.warm_up = max(
            self.chain.n_outputs(self.fused.chain.warm_up) + max(reach, *(state.warm_up for state in states), 0),
            self._unjudged(0),
        )
        if self._queue:
            self._queue.cut(reason, self._ring.written, self.warm_up)

    def _unjudged(self, n_imputed: int) -> int:
        """Return the outputs until one rests on a sample after the channels were judged; 0 once they were."""
        unjudged = self.guard.unjudged
        return self.chain.n_outputs(unjudged + n_imputed) + 1 if unjudged else 0

    def reset(self, reason: str, timestamp: float = math.nan) -> Prediction:
        """Void what rests on past samples: the next one starts a new stream. Return the abstention.

        Events whose window it breaks get theirs with the next `push`.
        """
        self.guard.restart()
        self._anew(reason)
        if self._repetitions:
            self._repetitions.restart(self._seen)
        return self.decide(self._abstain(timestamp, self._seen - 1, reason))

    def decide(self, prediction: Prediction) -> Prediction:
        """Let the policy have its say, hop after hop, or event after event."""
        if self._repetitions:
            decided = self._repetitions.decide(prediction)
        elif self._decider:
            decided = self._decider.decide(prediction.proba, prediction.sample)
        else:
            return prediction
        if decided is None:
            return replace(prediction, decision=None)
        return replace(prediction, decision=decided.index, evidence=decided.evidence, used_s=decided.used_s)

    def finish(self, reason: str = "end") -> list[Prediction]:
        """Say that nothing more comes: abstain for every event whose window is not complete."""
        return [self._predict(due) for due in self._queue.finish(reason)] if self._queue else []

    def push(self, samples: ArrayLike, timestamps: ArrayLike, events: Sequence[Event] = ()) -> list[Prediction]:
        """Give the decoder the next samples; get a prediction or an abstention for every hop, or event, completed.

        Parameters
        ----------
        samples : array, (n_samples, n_channels)
            In the source's layout and units; left as it is.
        timestamps : array of float64, (n_samples,)
            Raw stamps in seconds, one per sample.
        events : sequence of Event
            Markers that arrived meanwhile, in any order, stamped in the clock of the samples: before their sample,
            with it, or up to `max_event_lag_s` after their window was complete. A decoder with a sliding window has
            no use for them.

        Returns
        -------
        list of Prediction
            In the order of their samples; often empty. With windows at events, exactly one for each event that
            `Contract.is_event` and was not there before.

        Notes
        -----
        Causality: a prediction rests on samples up to its own `sample` only.
        Determinism: bit-identical for any chunking, and for any order and delay of events within the lag, on one
        machine with one set of libraries. Only what a policy of repeated events decides may move to another event
        when one comes after the window of a later one was complete.
        """
        return list(self.push_each(samples, timestamps, events))

    def push_each(
        self, samples: ArrayLike, timestamps: ArrayLike, events: Sequence[Event] = ()
    ) -> Iterator[Prediction]:
        """Do what `push` does, and give each prediction as soon as it is there: all of them are to be asked for."""
        samples, timestamps = np.asarray(samples), np.asarray(timestamps, np.float64)
        if samples.ndim != 2 or samples.shape[1] != self._adapt.n_source or timestamps.shape != (len(samples),):
            raise ValueError(
                f"samples {samples.shape} with timestamps {timestamps.shape}: "
                f"(n_samples, {self._adapt.n_source}) with (n_samples,) is needed"
            )
        if self._queue:
            yield from map(self.decide, self._take(events))
        counts = None if self._counter is None else samples[:, self._counter].astype(np.float64)
        for segment in self.guard.check(self.adapted(samples), timestamps, counts):
            predictions: list[Prediction] = []
            if segment.fault:
                self._anew(segment.fault)
                if segment.fault == "clock" and self._repetitions:
                    # Pauses are told by stamps, and these have begun anew.
                    self._repetitions.restart(self._seen)
                if self._queue is None:
                    predictions.append(self._abstain(segment.timestamps[0], self._seen, segment.fault))
                predictions += self._at_events()
            if segment.reason:
                self._pass_over(segment, segment.reason, predictions)
            else:
                self._feed(segment, predictions)
            # At once: a fault in the next segment comes after what this one gave.
            yield from map(self.decide, predictions)

    def _take(self, events: Sequence[Event]) -> list[Prediction]:
        """Take note of events; return what those give that are refused, or whose window is there already."""
        assert self._queue is not None
        refused = []
        for event in events:
            if not self.contract.is_event(event.label):
                continue
            if self._queue.is_new(event):
                refused += self._queue.offer(event)
            else:
                self.guard.note("duplicate-event", f"event {event.label!r} came twice; it is decoded once")
        return [self._predict(due) for due in refused] + self._at_events()

    def _at_events(self) -> list[Prediction]:
        return [self._predict(due) for due in self._queue.due(self._ring.written)] if self._queue else []

    def _feed(self, segment: Segment, predictions: list[Prediction]) -> None:
        at, n = 0, len(segment.samples)
        real = segment.start < segment.stop
        if not real:
            # What stands in for lost samples fills a window, but no channel is judged by it.
            self._stood_in += n
            self.warm_up = max(self.warm_up, self._unjudged(self._stood_in))
            if self._queue:
                self._queue.warm_for(self.warm_up)
        if segment.imputed and self._queue is None:
            self._imputed.extend(range(self._fed, self._fed + n))
        while at < n:
            take = min(self._size - self._filled, n - at)
            if self._queue:
                indices = self._seen + np.arange(take) if real else np.full(take, self._seen - 1)
                self._queue.add(segment.timestamps[at : at + take], indices, segment.imputed, doubted=segment.doubted)
            self._pending[self._filled : self._filled + take] = segment.samples[at : at + take]
            self._filled += take
            self._fed += take
            if real:
                self._seen += take
            at += take
            if self._filled == self._size:
                predictions += self._decode(float(segment.timestamps[at - 1]), segment.doubted)

    def _pass_over(self, segment: Segment, reason: str, predictions: list[Prediction]) -> None:
        """Count samples that must not be decoded, and abstain for every hop of them, or every event among them."""
        for timestamp in segment.timestamps:
            self._seen += 1
            self._unsound += 1
            if self._queue:
                # Before any stamp that is a number there is no time.
                if np.isfinite(timestamp):
                    self._queue.add(np.array([timestamp]), np.array([self._seen - 1]), False, reason)
                    predictions += self._at_events()
            elif self._unsound == self.chain.newest_input((self._missed + 1) * self.contract.window.hop):
                self._missed += 1
                predictions.append(self._abstain(float(timestamp), self._seen - 1, reason))

    def _decode(self, timestamp: float, doubted: bool) -> list[Prediction]:
        self._ring.write(self.fused.chain.process(self._pending[: self._filled]))
        self._hops += 1
        before, self._end = self._end, self.end_of(self._hops)
        self._filled, self._size = 0, self._end - before
        return self._at_events() if self._queue else [self._slide(timestamp, self._seen - 1, doubted)]

    def _slide(self, timestamp: float, sample: int, doubted: bool) -> Prediction:
        window, n_taken = self.contract.window, self.engine.n_times
        n_outputs = self._hops * window.hop
        if n_outputs < n_taken:
            return self._abstain(timestamp, sample, "warming-up")
        outputs = self.engine.run(self._ring.window(n_taken, self._ring.written - n_outputs))
        if n_outputs < self.warm_up:
            return self._abstain(timestamp, sample, "warming-up")
        if doubted:
            return self._abstain(timestamp, sample, "bad-stamp")
        return self._told(timestamp, sample, outputs, self._n_imputed(n_outputs - window.n_times))

    def _predict(self, due: Due) -> Prediction:
        if due.reason is not None:
            return self._abstain(due.timestamp, due.sample, due.reason, due.event)
        events, n_times = self.contract.events, self.contract.window.n_times
        assert events is not None
        window = events.corrected(self._ring.window(events.before + n_times, self._ring.written - due.stop))
        return self._told(due.timestamp, due.sample, self.engine.run(window), due.imputed, due.event)

    def _told(
        self, timestamp: float, sample: int, outputs: NDArray[np.float32], imputed: int, event: Event | None = None
    ) -> Prediction:
        # Of so few values, several times as fast as numpy; what are float32 here have a finite sum.
        if not math.isfinite(sum(outputs.tolist())):
            return self._abstain(timestamp, sample, "non-finite-output", event)
        if self._classifies:
            label = int(outputs.argmax())
            return Prediction(timestamp, sample, outputs, label, None, imputed=imputed, event=event, decision=label)
        return Prediction(timestamp, sample, None, -1, None, outputs, imputed=imputed, event=event)

    def _n_imputed(self, oldest: int) -> int:
        """Count the imputed inputs on which the outputs from `oldest` on rest, and on no output before."""
        if not self._imputed:
            return 0
        before = self.chain.newest_input(oldest - 1) if oldest else -1
        while self._imputed and self._imputed[0] <= before:
            self._imputed.popleft()
        return len(self._imputed)

    @staticmethod
    def _abstain(timestamp: float, sample: int, reason: str, event: Event | None = None) -> Prediction:
        return Prediction(float(timestamp), sample, None, -1, reason, event=event)


def load(
    path: str | Path,
    source: Signal | None = None,
    guard: GuardSettings | None = None,
    policy: Policy | None = None,
    device: DeviceSettings | None = None,
) -> Decoder:
    """Load a decoder file: `rtdecode.load("lfcnn.onnx").push(samples, timestamps)`.

    Parameters
    ----------
    path : str or Path
        The .onnx file.
    source : Signal, optional
        Layout of the samples that will be pushed, if it is not the one the model was trained on.
    guard : GuardSettings, optional
        What may pass.
    policy : Policy, optional
        What decides, instead of the file's own.
    device : DeviceSettings, optional
        What its graph is run on; the CPU when not given.

    Raises
    ------
    ModelError, RecordingError, ConfigurationError
        The file is unusable, the source does not fit, or ONNX Runtime or the device is missing.
    """
    return Decoder(read_model(path), source, guard, policy=policy, device=device)
