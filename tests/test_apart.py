"""Work in a process of its own: its bounds, its end, and the commands that rely on them."""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from rtdecode.apart import run_apart
from rtdecode.errors import ModelError, StreamError
from tests.builders import build_contract, build_model, build_recording, build_signal, graph
from tests.processes import rtdecode, run_rtdecode
from tests.test_hygiene import slow_decoder

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")


def hang():
    threading.Event().wait()


def crash():
    os._exit(7)


def fill(n_bytes):
    return int(np.ones(n_bytes, np.uint8)[-1])


def refuse():
    raise StreamError("no stream")


def test_what_hangs_is_ended():
    with pytest.raises(ModelError, match=r"^Waiting did not finish within 0.5 s\.$"):
        run_apart("Waiting", 0.5, hang)


def test_what_crashes_is_told():
    with pytest.raises(ModelError, match=r"^Working crashed the process that did it \(exit code 7\)\.$"):
        run_apart("Working", 60, crash)


def test_an_error_is_raised_where_it_was_asked_for():
    with pytest.raises(StreamError, match="no stream"):
        run_apart("Looking", 60, refuse)


@linux_only
def test_memory_is_bounded_for_those_who_ask():
    assert run_apart("Filling", 60, fill, 5 << 28) == 1
    with pytest.raises(ModelError, match=r"^Filling needs more memory than the 1 GiB it was given\.$"):
        run_apart("Filling", 60, fill, 5 << 28, memory_bytes=1 << 30)


@pytest.fixture
def slow_path(tmp_path):
    """A decoder that needs a minute to be inspected."""
    return slow_decoder(tmp_path, 2000)


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_command_that_takes_too_long_ends_with_one_sentence(slow_path, tmp_path, command):
    build_recording(1000, build_signal(1, 10_000.0)).save(tmp_path / "r.npz")
    recording = [tmp_path / "r.npz"] if command == "verify" else []
    code, output = run_rtdecode(command, slow_path, *recording, "--timeout", 2)
    assert code == 3 and output.count("\n") == 0
    assert f"{slow_path} did not finish within 2 s." in output


def wide(folder):
    """A decoder whose window takes half a GiB, twice: in its ring, and where the graph takes it from."""
    n_channels, n_times = 12, 10_000_000
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "pair"], ["proba"]),
    ]
    proto = graph(nodes, {"pair": np.array([1, 2])}, {"x": (1, n_channels, n_times)}, {"proba": (1, 2)})
    contract = build_contract(build_signal(n_channels), [], n_times=n_times, hop=1)
    return build_model(folder / "wide.onnx", contract, proto)


@linux_only
def test_a_command_without_the_memory_it_needs_ends_with_one_sentence(tmp_path):
    path = wide(tmp_path)
    code, output = run_rtdecode("inspect", path, "--memory", 1)
    assert (code, output) == (3, f"Error: Inspecting {path} needs more memory than the 1 GiB it was given.")


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@linux_only
def test_ctrl_c_ends_the_command_and_its_process(slow_path, eventually):
    with rtdecode("inspect", slow_path) as program:
        started = eventually(lambda: children(program.pid), what="a child")
        program.interrupt(signal.SIGINT)
        assert program.wait() == 130 and program.output == "Interrupted."
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), what="the child's end")
