"""A simulated subject in a process of its own, an LSL source that reacts to the cues it hears: NAME SEED.

Eight channels of noise at 128 Hz. From 0.2 s after a cue on, the 11 Hz rhythm at one of two places is weaker, until
the next cue. It hears `NAME-cues`. When these have ended it cues itself, which nobody hears, and prints what it does
with its LSL time.
"""

import itertools
import queue
import sys
import threading

import numpy as np

from rtdecode.contract import Signal
from rtdecode.lsl import OutputReader, SignalOutlet, local_clock
from rtdecode.realtime import sleep_until

SFREQ, CHUNK = 128.0, 8
NAMES = ("FC3", "C3", "C1", "Cz", "C2", "C4", "FC4", "Pz")
RHYTHM_UV, WEAK, REACTION_S = 8.0, 0.2, 0.2
# Which channel is weaker.
SIDES = {"left": "C4", "right": "C3"}
# Without a cue for so long it is on its own; then it does each thing for so long.
ALONE_S, OWN_S = 6.0, 3.0


class Rhythm:
    """Narrow-band noise about 11 Hz of unit variance, sample after sample."""

    def __init__(self, rng):
        radius, angle = 0.97, 2 * np.pi * 11.0 / SFREQ
        self._a, self._rng, self._past = (2 * radius * np.cos(angle), -(radius**2)), rng, [0.0, 0.0]
        a1, a2 = self._a
        variance = (1 - a2) / ((1 + a2) * ((1 - a2) ** 2 - a1**2))
        self._drive = 1 / np.sqrt(variance)

    def next(self):
        value = self._a[0] * self._past[0] + self._a[1] * self._past[1] + self._drive * self._rng.standard_normal()
        self._past = [value, self._past[0]]
        return value


class Subject:
    """What it does at which time, and what its head gives off."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self._rhythms = {side: Rhythm(self._rng) for side in SIDES.values()}
        self._slow = np.zeros(len(NAMES))
        self._state, self._due = "rest", []

    def hear(self, label, timestamp):
        self._due.append((timestamp + REACTION_S, label))

    def sample(self, timestamp):
        while self._due and self._due[0][0] <= timestamp:
            self._state = self._due.pop(0)[1]
        self._slow = 0.95 * self._slow + self._rng.standard_normal(len(NAMES))
        values = 2 * self._slow + 3 * self._rng.standard_normal(len(NAMES))
        for side, rhythm in self._rhythms.items():
            gain = WEAK if SIDES.get(self._state) == side else 1.0
            values[NAMES.index(side)] += RHYTHM_UV * gain * rhythm.next()
        return values


def listen(name, heard):
    """Put (label, stamp) into a queue for every cue."""
    reader = OutputReader(name, wait_s=600.0)
    while True:
        values, stamps, _ = reader.pull()
        for row, stamp in zip(values, stamps, strict=True):
            heard.put((row[0], float(stamp)))


def main(name, seed):
    signal = Signal(ch_names=NAMES, ch_types=("eeg",) * len(NAMES), units=("uV",) * len(NAMES), sfreq=SFREQ)
    outlet, subject, heard = SignalOutlet(name, f"subject-{name}", signal), Subject(int(seed)), queue.SimpleQueue()
    threading.Thread(target=listen, args=(f"{name}-cues", heard), daemon=True).start()
    print("there", flush=True)
    start, sent, alone_at, own = local_clock(), 0, float("inf"), itertools.cycle(SIDES)
    while True:
        sleep_until(start + (sent + CHUNK - 1) / SFREQ, local_clock)
        while not heard.empty():
            subject.hear(*heard.get())
            alone_at = local_clock() + ALONE_S
        stamps = start + np.arange(sent, sent + CHUNK) / SFREQ
        if stamps[-1] > alone_at:
            alone_at, label = stamps[-1] + OWN_S, next(own)
            subject.hear(label, stamps[-1])
            print(label, stamps[-1], flush=True)
        outlet.push(np.array([subject.sample(stamp) for stamp in stamps], np.float32), stamps)
        sent += CHUNK


if __name__ == "__main__":
    main(*sys.argv[1:])
