"""What is around a decoder: a source, consumers, and a test that listens."""

import json

from rtdecode.lsl import OutputReader
from tests.processes import Program

LABELS = "E0,E1,E2,E3"


def source(name, source_id="serial-1", sfreq=128, labels=LABELS, prefix=()):
    """Start a source of noise."""
    return Program("-m", "tests.outlet", name, source_id, str(sfreq), labels, prefix=prefix)


def consumer(name, manner):
    """Start a consumer of a decoder's three streams that `reads` or `never-reads`."""
    return Program("-m", "tests.consumer", name, manner)


def first_stamp(source):
    """Return the stamp of a source's first sample, in its own clock."""
    return float(source.output.partition("pushing from ")[2].split()[0])


class Listener:
    """Collects what a decoder publishes: rows as (received, stamp, values), status as (received, document)."""

    def __init__(self, name):
        self._markers, self._status = OutputReader(name), OutputReader(f"{name}-status")
        self.markers, self.told = [], []

    def listen(self):
        values, stamps, now = self._markers.pull(0.01)
        self.markers += [(now, float(t), row) for row, t in zip(values, stamps, strict=True)]
        values, _, now = self._status.pull(0.0)
        self.told += [(now, json.loads(row[0])) for row in values]

    def of(self, event, since=0.0):
        return [d for t, d in self.told if d["event"] == event and t >= since]

    def states(self, state, since=0.0):
        return [t for t, d in self.told if d["event"] == "state" and d["state"] == state and t >= since]

    def decided(self, since):
        return [row for row in self.markers if row[0] >= since]

    def close(self):
        self._markers.close()
        self._status.close()
