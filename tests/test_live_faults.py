"""Sources that die, freeze, come back changed or double, and a decoder that is stopped. Real LSL, real signals."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from rtdecode.contract import Classification
from rtdecode.decoder import Prediction
from rtdecode.lsl import DecoderOutlets, OutputReader, local_clock
from tests.processes import Program, rtdecode

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")

LABELS = "E0,E1,E2,E3"
HOP_S = CHUNK_S = 8 / 128


def source(name, source_id="serial-1", sfreq=128, labels=LABELS):
    return Program("-m", "tests.outlet", name, source_id, str(sfreq), labels)


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

    def states(self, state, since=0.0):
        return [t for t, d in self.told if d["event"] == "state" and d["state"] == state and t >= since]

    def decided(self, since):
        return [row for row in self.markers if row[0] >= since]

    def close(self):
        self._markers.close()
        self._status.close()


@pytest.fixture
def running(model_path, names, eventually):
    """A decoder that decodes a source: (source, decoder, listener, until)."""
    ours = names[1]
    with (
        source(names[0]) as amplifier,
        rtdecode("run", "--model", model_path, "--stream", names[0], "--name", ours) as decoder,
    ):
        listener = Listener(ours)

        def until(condition, what):
            return eventually(lambda: listener.listen() or condition(), what=what)

        until(lambda: listener.markers, "the first decision")
        yield amplifier, decoder, listener, until
        listener.close()


def test_killed_and_started_again(running, names):
    amplifier, _, listener, until = running
    killed = local_clock()
    amplifier.kill()
    until(lambda: listener.states("LOST"), "the loss")
    with source(names[0], "serial-2"):
        started = local_clock()
        until(lambda: listener.decided(started), "a decision")
    warm_up_s = next(d for _, d in listener.told if d.get("state") == "WARMING")["message"].split()[0]
    # The interpreter of the new source starts within this time too.
    assert listener.decided(started)[0][0] - started < 3.0 + float(warm_up_s) + 2.0
    assert listener.states("LOST")[0] - killed < 1.0
    starts = {d["stream"]["uid"]: d["stream"]["source_id"] for _, d in listener.told if d["event"] == "start"}
    assert list(starts.values()) == ["serial-1", "serial-2"]
    print(f"lost after {listener.states('LOST')[0] - killed:.3f} s, decided again after "
          f"{listener.decided(started)[0][0] - started:.3f} s")  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"), [({"sfreq": 500}, "runs at 500 Hz"), ({"labels": "E0,E1,E2,X"}, "lacks 1 of the 4")]
)
def test_back_as_something_else(running, names, changes, told):
    amplifier, _, listener, until = running
    amplifier.kill()
    until(lambda: listener.states("LOST"), "the loss")
    lost = local_clock()
    with source(names[0], **changes):
        (mismatch,) = until(lambda: [d for _, d in listener.told if d.get("reason") == "mismatch"], "the mismatch")
        assert told in mismatch["message"]
    assert not listener.decided(lost)
    with source(names[0]):
        until(lambda: listener.decided(lost), "a decision")


def test_two_of_one_name_after_a_loss(running, names):
    amplifier, _, listener, until = running
    with source(names[0], "one") as one, source(names[0], "two") as two:
        until(lambda: one.saw("pushing") and two.saw("pushing"), "both sources")
        amplifier.kill()
        until(lambda: listener.states("LOST"), "the loss")
        lost = local_clock()
        (held,) = until(lambda: [d for _, d in listener.told if d.get("reason") == "ambiguous"], "the refusal")
        assert "'one'" in held["message"] and "'two'" in held["message"]
        assert not listener.decided(lost)
        one.kill()
        until(lambda: listener.decided(lost), "a decision")
    assert [d for _, d in listener.told if d["event"] == "start"][-1]["stream"]["source_id"] == "two"


@pytest.mark.parametrize("who", ["source", "decoder"])
def test_stopped_for_two_seconds(running, who):
    amplifier, decoder, listener, until = running
    stopped = amplifier if who == "source" else decoder
    stopped.signal(signal.SIGSTOP)
    began = local_clock()
    until(lambda: local_clock() - began > 2.0, "two seconds")
    silent = len(listener.decided(began + 0.2))
    stopped.signal(signal.SIGCONT)
    resumed = local_clock()
    until(lambda: len(listener.decided(resumed)) > 20, "decisions")
    received, stamp, _ = listener.decided(resumed)[0]
    held = [t for t in listener.states("HOLD") if t < resumed]
    assert silent == 0
    if who == "source":
        assert held and held[0] - began < 0.5 + HOP_S + 0.2
    until(lambda: [d for _, d in listener.told if d["event"] == "skipped"], "the skipped")
    # The source pushes what it owes at once: no decision is older than one on a usual chunk.
    ages = [t - s for t, s, _ in listener.decided(resumed)]
    print(f"{who}: held after {held[0] - began if held else np.nan:.3f} s, first decision {received - resumed:.3f} s "
          f"after, age {received - stamp:.3f} s, oldest {max(ages):.3f} s")  # fmt: skip
    assert max(ages) < 0.5
    assert not [d for _, d in listener.told if d["event"] in ("gap", "reset")]
    assert not listener.states("WARMING", resumed)


@pytest.mark.slow
def test_fifty_reconnects_leave_no_thread_and_no_descriptor(running, names):
    if not Path("/proc/self/task").is_dir():
        pytest.skip("threads and descriptors are counted in /proc")
    amplifier, decoder, listener, until = running

    def used():
        return [len([*Path(f"/proc/{decoder.pid}/{kind}").iterdir()]) for kind in ("task", "fd")]

    amplifier.kill()
    counts = []
    for times in range(1, 51):
        until(lambda: len(listener.states("LOST")) == times, "the loss")  # noqa: B023
        lost = local_clock()
        with source(names[0]) as again:
            until(lambda: listener.decided(lost), "a decision")  # noqa: B023
            counts.append(used())
            again.kill()
    print("threads, descriptors:", counts[0], counts[9], counts[-1])
    assert max(map(tuple, counts[-10:])) <= max(map(tuple, counts[:10]))


def test_a_consumer_that_never_reads_holds_nothing_up(names):
    sink = DecoderOutlets(names[1], Classification(class_names=("left", "right")))
    readers = [OutputReader(f"{names[1]}{ending}") for ending in ("", "-proba", "-status")]
    prediction = Prediction(1.0, 0, np.array([0.4, 0.6], np.float32), 1, None, decision=1)
    took = []
    for at in range(5000):
        begun = local_clock()
        sink.publish(prediction, float(at))
        sink.status({"event": "abstain", "sample": at}, float(at))
        took.append(local_clock() - begun)
    p50, p99, worst = 1e3 * np.percentile(took, [50, 99, 100])
    print(f"publish: p50 {p50:.4f} ms, p99 {p99:.4f} ms, max {worst:.3f} ms")
    # Not a timing, which other programs would spoil: a push that waited for its consumer would never come back.
    assert worst < 5e3
    for reader in readers:
        reader.close()
