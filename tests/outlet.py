"""A signal outlet in a process of its own, for tests that stop, kill and change it: NAME SOURCE_ID SFREQ LABELS."""

import sys

import numpy as np

from rtdecode.contract import Signal
from rtdecode.lsl import Outlet, local_clock
from rtdecode.realtime import sleep_until
from rtdecode.recording import Layout

CHUNK = 8


def main(name, source_id, sfreq, labels):
    names, sfreq = tuple(labels.split(",")), float(sfreq)
    signal = Signal(ch_names=names, ch_types=("eeg",) * len(names), units=("uV",) * len(names), sfreq=sfreq)
    outlet = Outlet(Layout.of_signal(name, signal), source_id)
    print("pushing", flush=True)
    rng, start, sent = np.random.default_rng(0), local_clock(), 0
    while True:
        sleep_until(start + (sent + CHUNK - 1) / sfreq, local_clock)
        stamps = start + np.arange(sent, sent + CHUNK) / sfreq
        outlet.push(10 * rng.standard_normal((CHUNK, len(names))).astype(np.float32), stamps)
        sent += CHUNK


if __name__ == "__main__":
    main(*sys.argv[1:])
