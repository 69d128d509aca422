"""A signal outlet in a process of its own, for tests that stop, kill and change it: NAME SOURCE_ID SFREQ LABELS."""

import sys
from zlib import crc32

import numpy as np

from rtdecode.contract import Signal
from rtdecode.lsl import Outlet, local_clock
from rtdecode.realtime import sleep_until
from rtdecode.recording import Layout

CHUNK = 8
PERIOD = 512 * CHUNK


def noise(labels):
    """Return the samples that are pushed again and again: a channel's values depend on its label alone."""
    columns = [np.random.default_rng(crc32(label.encode())).standard_normal(PERIOD) for label in labels]
    return (10 * np.column_stack(columns)).astype(np.float32)


def main(name, source_id, sfreq, labels):
    names, sfreq = tuple(labels.split(",")), float(sfreq)
    signal = Signal(ch_names=names, ch_types=("eeg",) * len(names), units=("uV",) * len(names), sfreq=sfreq)
    outlet = Outlet(Layout.of_signal(name, signal), source_id)
    samples, start, sent = noise(names), local_clock(), 0
    print("pushing from", start, flush=True)
    while True:
        sleep_until(start + (sent + CHUNK - 1) / sfreq, local_clock)
        stamps = start + np.arange(sent, sent + CHUNK) / sfreq
        outlet.push(samples[sent % PERIOD :][:CHUNK], stamps)
        sent += CHUNK


if __name__ == "__main__":
    main(*sys.argv[1:])
