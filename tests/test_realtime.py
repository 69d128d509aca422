"""What a live run asks of the system: what it gets, what it is told, and that it is given back."""

import json
import os
import subprocess
import sys

import pytest

from rtdecode.model_file import read_model
from rtdecode.realtime import RealtimeSettings, n_processors, realtime
from rtdecode.warmth import Rehearsal
from tests.builders import assert_same, build_model
from tests.scripted import ASKING_S, START, Script

ALL = RealtimeSettings(raise_priority=True, lock_memory=True, cpu=0, spin=True)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the calls of Linux")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


def told(record):
    """What was asked for and became of it, by name."""
    (start,) = record.of("start")
    return {one["asked"]: one for one in start["realtime"]}


def test_nothing_is_asked_for_that_was_not_set(model):
    record = Script().play(4.0).run(model)
    assert told(record) == {} and not [line for _, line, _ in record.lines if "REALTIME" in line]


@linux
def test_what_is_told_of_the_loops_thread_is_true_and_given_back(model):
    def now():
        return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, os.sched_getaffinity(0)

    before, cpu, meanwhile = now(), max(os.sched_getaffinity(0)), []
    script = Script().play(4.0)
    script.world.at(START + 3.0, lambda: meanwhile.extend(now()))
    record = script.run(model, realtime={"raise_priority": True, "priority": 3, "cpu": cpu})
    assert told(record)["cpu"]["obtained"] and meanwhile[2] == {cpu}
    priority = told(record)["raise_priority"]
    if priority["obtained"]:
        assert meanwhile[:2] == [os.SCHED_FIFO, 3] and "SCHED_FIFO 3" in priority["told"]
    else:
        assert tuple(meanwhile[:2]) == before[:2] and "limits.conf" in priority["told"]
    assert now() == before


@linux
def test_what_is_told_of_memory_is_true_and_given_back():
    code = """
import json
from rtdecode.realtime import RealtimeSettings, realtime
def locked():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmLck"))
with realtime(RealtimeSettings(lock_memory=True)) as (one,):
    meanwhile = locked()
print(json.dumps([one.obtained, one.told, meanwhile, locked()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    obtained, message, meanwhile, after = json.loads(done.stdout)
    assert (meanwhile > 0) == obtained and after == 0
    assert ("MiB" if obtained else "limits.conf") in message


def test_a_processor_that_is_not_there_is_told_and_the_run_goes_on(model):
    record = Script().play(6.0).run(model, realtime={"cpu": 4096})
    assert not told(record)["cpu"]["obtained"] and record.decided
    ((line, message),) = [(line, message) for _, line, message in record.lines if "REALTIME" in line]
    assert line == "NOT REALTIME" and message.startswith("cpu: ")


def test_a_system_without_these_calls_is_told_for_each(monkeypatch):
    for name in ("sched_setscheduler", "sched_setaffinity", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(sys, "platform", "elsewhere")
    with realtime(ALL) as obtained:
        why = {one.asked: one.told for one in obtained}
        assert len(why) == 4 and not any(one.obtained for one in obtained)
    assert all("is not available on" in why[asked] for asked in ("raise_priority", "lock_memory", "cpu"))
    assert "one processor only" in why["spin"]


@pytest.mark.skipif(n_processors() < 2, reason="refused with one processor only")
@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_spinning_gives_the_same_rows_and_takes_half_of_the_time_at_most(model, chunk):
    def script():
        return Script(chunk).play(6.0).stall(2.0).play(2.0).lost(2.0).back().play(6.0)

    busy = (spinning := script()).run(model, realtime={"spin": True})
    plain = script().run(model)
    assert_same([p for _, _, p in busy.rows], [p for _, _, p in plain.rows])
    late = [a[0] - b[0] for a, b in zip(busy.rows, plain.rows, strict=True)]
    assert max(late) < 2 * ASKING_S
    spent = spinning.world.asked * ASKING_S
    assert 0 < spent < 0.5 * (spinning.time - START)


@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_rehearsing_gives_the_same_rows_at_the_same_time_and_goes_once_before_a_hop(model, chunk, monkeypatch):
    def script():
        return Script(chunk).play(6.0).stall(2.0).play(2.0).lost(2.0).back().play(6.0)

    went, go = [], Rehearsal.go
    monkeypatch.setattr(Rehearsal, "go", lambda self: (went.append(self), go(self)))
    rehearsed = script().run(model, realtime={"rehearse": True})
    n_went = len(went)
    plain = (sleeping := script()).run(model)
    assert len(went) == n_went
    assert_same([p for _, _, p in rehearsed.rows], [p for _, _, p in plain.rows])
    assert max(a[0] - b[0] for a, b in zip(rehearsed.rows, plain.rows, strict=True)) < 2 * ASKING_S
    n_hops = len({p.timestamp for _, _, p in plain.rows})
    n_chunks = sum(len(inlet.received) for inlet in sleeping.world.inlets)
    # Two connections begin with one each.
    assert 0.5 * min(n_hops, n_chunks) < n_went <= min(n_hops, n_chunks) + 2
