"""A network and a clock that follow a script: no LSL, no sleeping, the same to the last bit every time."""

import gc
import heapq
import itertools
import json
from dataclasses import replace

import numpy as np

from rtdecode.decoder import Decoder
from rtdecode.errors import StreamLostError
from rtdecode.interrupts import Interrupts
from rtdecode.lsl import Marker, StreamFound
from rtdecode.runner import Runner, RunSettings
from tests.builders import build_recording, build_signal

START = 1000.0
CONNECT_S = 0.64
# Not even to ask whether something is there takes no time.
ASKING_S = 1e-4
RECORDING = build_recording(16384)
STREAM = StreamFound("amplifier", "EEG", "serial-1", "uid-0", "lab", 4, 128.0, "float32", None)

ORDER = [2, 0, 3, 1]
# What may come back in the place of the source: what differs in its announcement, its signal, its samples.
SAME = ({}, build_signal(), lambda x: x)
FITTING = {
    "same": SAME,
    "other source_id": ({"source_id": "serial-2"}, *SAME[1:]),
    "other order": ({}, build_signal().pick(tuple(f"E{i}" for i in ORDER)), lambda x: x[:, ORDER]),
    "millivolts": ({}, build_signal().model_copy(update={"units": ("mV",) * 4}), lambda x: x * np.float32(1e-3)),
}
MISMATCHED = {
    "other labels": ({}, build_signal().model_copy(update={"ch_names": ("E0", "E1", "E2", "X")}), lambda x: x),
    "other rate": ({"sfreq": 256.0}, build_signal(sfreq=256.0), lambda x: x),
    "other unit": ({}, build_signal().model_copy(update={"units": ("none",) * 4}), lambda x: x),
    "other format": ({"channel_format": "int16"}, *SAME[1:]),
}


class Record:
    """A sink and a watcher that keep everything, with the time at which it was published."""

    def __init__(self, clock):
        self.clock, self.rows, self.told, self.lines = clock, [], [], []
        self.listens = True

    def publish(self, prediction, timestamp):
        self.rows.append((self.clock(), timestamp, prediction))

    def status(self, document, timestamp):
        self.told.append((timestamp, json.loads(json.dumps(document, allow_nan=False))))

    def has_listener(self):
        return self.listens

    def state(self, state, message):
        self.lines.append((self.clock(), str(state), message))

    def prediction(self, prediction, age_s, latency_s):
        pass

    def of(self, event):
        return [document for _, document in self.told if document["event"] == event]

    @property
    def states(self):
        return [(d["state"], d["reason"]) for d in self.of("state")]

    @property
    def decided(self):
        return [row for row in self.rows if row[2].reason is None]


class CueOutlet:
    """An outlet of markers that keeps them: (when pushed, stamp, label)."""

    def __init__(self, name, clock):
        self.name, self._clock, self.pushed = name, clock, []

    def push(self, values, timestamps):
        for (label,), timestamp in zip(values.tolist(), timestamps.tolist(), strict=True):
            self.pushed.append((self._clock(), timestamp, label))


class Inlet:
    """What one connection receives: `received` holds all of it."""

    def __init__(self, world, stream, signal, first_row):
        self._world, self.stream, self.signal, self.speed = world, stream, signal, world.speed
        self.first_row, self.lost, self.opened = first_row, False, False
        self.received, self._queue = [], []

    def open(self):
        self.opened = True

    def deliver(self, samples, timestamps):
        if self.opened and not self.lost:
            self._queue.append((samples, timestamps))
            self.received.append((samples, timestamps))

    def pull(self, timeout_s):
        self._world.asked += timeout_s == 0
        self._world.sleep(timeout_s or ASKING_S, lambda: self._queue or self.lost)
        if self._queue:
            chunks, self._queue = self._queue, []
            return tuple(np.concatenate(part) for part in zip(*chunks, strict=True))
        if self.lost:
            raise StreamLostError("it went away")
        return np.empty((0, 4), np.float32), np.empty(0)

    def correction(self):
        if self.lost:
            raise StreamLostError("its clock does not answer")
        return self._world.corrections[0] if len(self._world.corrections) == 1 else self._world.corrections.pop(0)

    def close(self):
        self._world.inlet = None


class Markers:
    """The stream of events (`rtdecode.network.Markers`): what the script puts into it is there at once."""

    stream, problem = None, "there is none"

    def __init__(self, world):
        self._world, self._come, self._told = world, [], []

    def wait(self, timeout_s):
        self._world.sleep(timeout_s, lambda: self._world.events_there)
        return self._world.events_there

    def put(self, marker):
        self._come.append(marker)

    def tell(self, event):
        self._told.append((event, f"{event} by the script"))

    def pull(self):
        come, self._come = self._come, []
        return come

    def news(self):
        told, self._told = self._told, []
        return told

    def close(self):
        self._world.markers_closed = True


class World:
    """The network (`rtdecode.network.Network`) and the clock; `at` puts an action on the script."""

    def __init__(self):
        self.now, self.present, self.inlet, self.inlets = START, {}, None, []
        self.corrections, self.speed = [(0.0, 0.0)], 1.0
        self.asked = 0
        self.events, self.events_there, self.markers_closed = Markers(self), True, False
        self._actions, self._number = [], itertools.count()
        self.record = Record(self.clock)

    def clock(self):
        return self.now

    def at(self, time, action):
        heapq.heappush(self._actions, (time, next(self._number), action))

    def sleep(self, seconds, woken=lambda: False):
        end = self.now + seconds
        while not woken():
            if not self._actions or self._actions[0][0] > end:
                self.now = max(self.now, end)
                return
            time, _, action = heapq.heappop(self._actions)
            self.now = max(self.now, time)
            action()

    def streams(self, wait_s, wanted=None):
        self.sleep(wait_s)
        return [stream for stream, _ in self.present.values()]

    def connect(self, stream, ch_names, units):
        self.sleep(CONNECT_S)
        if stream.uid not in self.present:
            raise StreamLostError("its outlet does not answer")
        self.inlet = Inlet(self, stream, self.present[stream.uid][1], len(self.record.rows))
        self.inlets.append(self.inlet)
        return self.inlet

    def outlets(self, name, outputs, marker_format, decision_names=None):
        return self.record

    def markers(self, choice, exclude):
        return self.events

    def event_outlet(self, name):
        self.cues = CueOutlet(name, self.clock)
        return self.cues

    def freeze(self, seconds):
        """Stop the decoder: the clock goes on, what is due waits."""
        self.now += seconds


class Script:
    """A source that samples without pause from START on; the steps say what becomes of its samples.

    Parameters
    ----------
    chunk : int
        Samples in a delivery.
    speed : float
        How many times faster than its nominal rate it samples, as a replay does; it tells.
    """

    def __init__(self, chunk=8, speed=1.0):
        self.world, self._chunk = World(), chunk
        self.world.speed, self._rate = speed, 128 * speed
        self._time, self._uids = START, itertools.count()
        self._next, self._free_at, self._up = 0, START, None
        self._ahead_s = 0.0
        self.interrupts = Interrupts()
        self.back("same")

    @property
    def time(self):
        """When the next step begins."""
        return self._time

    def _due(self, sample):
        return START + (sample + 1) / self._rate

    def back(self, variant="same"):
        """Let the source appear, as it was or changed."""
        changes, signal, transform = (FITTING | MISMATCHED)[variant]
        stream = replace(STREAM, uid=f"uid-{next(self._uids)}", **changes)
        self._up = stream.uid, transform
        self.world.at(self._time, lambda: self.world.present.update({stream.uid: (stream, signal)}))
        return self

    def lost(self, seconds=2.0):
        """Let the source go away; nothing is there for so long."""
        uid, _ = self._up
        self._up = None

        def vanish():
            del self.world.present[uid]
            if self.world.inlet and self.world.inlet.stream.uid == uid:
                self.world.inlet.lost = True

        self.world.at(self._time, vanish)
        return self.pause(seconds)

    def pause(self, seconds):
        """Let samples be lost for so long (or nothing be there)."""
        self._time += seconds
        while self._due(self._next) <= self._time:
            self._next += 1
        return self

    def play(self, seconds, after=0.0, apart=0.0):
        """Deliver chunks when they are due, but none earlier than `after` seconds from now, `apart` from another."""
        uid, transform = self._up
        self._free_at, end = max(self._free_at, self._time + after), self._time + seconds
        while self._due(self._next + self._chunk - 1) <= end:
            cut = slice(self._next, self._next + self._chunk)
            stamps = self._ahead_s + START + np.arange(cut.start, cut.stop) / self._rate
            samples = transform(RECORDING.samples[cut])
            self._next = cut.stop
            time = max(self._due(cut.stop - 1), self._free_at)
            self._free_at = time + apart
            self.world.at(time, lambda s=samples, t=stamps, u=uid: self._deliver(u, s, t))
        self._time = end
        return self

    def stall(self, seconds, apart=0.0):
        """Hold deliveries back for so long; then all come at once, or `apart` seconds from another."""
        return self.play(seconds + 0.5, after=seconds, apart=apart)

    def freeze(self, seconds):
        """Stop the decoder for so long."""
        self.world.at(self._time, lambda: self.world.freeze(seconds))
        return self.play(seconds + 0.5)

    def stamp(self, ahead_s):
        """Let stamps be ahead of the true time by so much from here on."""
        self._ahead_s = ahead_s
        return self

    def set_clock(self, ahead_s):
        """Let the source's clock be ahead of ours by so much from here on, as the network measures at once."""
        self.stamp(ahead_s)
        self.world.at(self._time, lambda: setattr(self.world, "corrections", [(-ahead_s, 1e-5)]))
        return self

    def event(self, timestamp, label, come, correction_s=0.0):
        """Let an event with this stamp come at a time of its own."""
        marker = Marker(timestamp, label, correction_s, 1e-5)
        self.world.at(come, lambda: self.world.events.put(marker))
        return self

    def duplicate(self, seconds, name=STREAM.name):
        """Let another stream be there for so long, of the same name if nothing is said."""
        other = replace(STREAM, name=name, uid=f"uid-{next(self._uids)}", source_id="intruder")
        present = self.world.present
        self.world.at(self._time, lambda: present.update({other.uid: (other, build_signal())}))
        self.world.at(self._time + seconds, lambda: present.pop(other.uid))
        return self

    def _deliver(self, uid, samples, stamps):
        inlet = self.world.inlet
        if inlet and inlet.stream.uid == uid:
            inlet.deliver(samples, stamps)

    def run(self, model, **settings):
        """Run a decoder through the script, interrupt it at its end, and return what it published."""
        self.world.at(self._time, self.interrupts.ask)
        # A run begins with a collection of garbage: of its own, not of all that the tests have loaded.
        gc.freeze()
        Runner(model, RunSettings(**settings), self.world.record, self.world, self.world.clock, self.interrupts).run()
        return self.world.record


def sound_stretches(inlet):
    """Cut what a connection received where missing samples are told: (first sample, samples, stamps)."""
    if not inlet.received:
        return []
    samples, stamps = (np.concatenate(part) for part in zip(*inlet.received, strict=True))
    # Of what is missing among the first 16 stamps only the last of them tells.
    missing = np.maximum(np.flatnonzero(np.diff(stamps) > 1.5 / 128) + 1, min(15, len(stamps)))
    cuts = sorted({0, *missing.tolist(), len(stamps)})
    return [(a, samples[a:b], stamps[a:b]) for a, b in itertools.pairwise(cuts)]


def expected_hops(model, inlet):
    """What fresh decoders give for every sound stretch of a connection, by (stamp, sample)."""
    hops = {}
    for first, samples, stamps in sound_stretches(inlet):
        for p in Decoder(model, inlet.signal).push(samples, stamps):
            hops[p.timestamp, p.sample + first] = p
    return hops
