"""Shared by all tests."""

import os
import signal
import sys
import tempfile
import time
import uuid
import warnings
from pathlib import Path

# Before numpy and torch are loaded. One thread a process, as in training and decoding: the others, waiting for work
# with matrices of this size, take several times the processor time that it takes.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import HealthCheck, settings

from rtdecode.loopback import loopback_configuration
from tests.builders import build_model, build_recording

# LSL is kept on this machine, in a session of its own. Nothing imported above loads liblsl, which reads this.
_FOLDER = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ["LSLAPICFG"] = str(loopback_configuration(Path(_FOLDER.name)))
# Nothing is kept among the user's own recordings, nor taken from there.
os.environ["RTDECODE_STORE"] = str(Path(_FOLDER.name) / "store")
# Tests that a shell has started in the background ignore Ctrl-C, and so would all processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time by default, so that what fails fails again; others are searched for with `once`.
for profile, max_examples in (("default", 50), ("once", 25_000)):
    settings.register_profile(
        profile,
        deadline=None,
        derandomize=profile == "default",
        max_examples=max_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
settings.load_profile("default")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared():
    """The folder of reference data beside the project, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("the reference data are not beside the project")
    return SHARED


@pytest.fixture
def model_path(tmp_path):
    return build_model(tmp_path / "model.onnx")


@pytest.fixture
def recording():
    return build_recording()


@pytest.fixture
def recording_path(tmp_path, recording):
    path = tmp_path / "recording.npz"
    recording.save(path)
    return path


@pytest.fixture
def names():
    """Names of a source and of our outputs that no other test uses."""
    unique = uuid.uuid4().hex[:8]
    return f"source-{unique}", f"decoder-{unique}"


@pytest.fixture
def called(monkeypatch, capfd):
    """The command line in this process: (exit code, output). Whatever it does not tell itself is raised here.

    For commands that make no outlets: those would stay for the tests that come after.
    """
    from rtdecode.cli import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["rtdecode", *map(str, arguments)])
            patch.setattr(warnings, "showwarning", warnings.showwarning)
            with pytest.raises(SystemExit) as ended:
                main()
        # A command that ends hears no more signals; this process goes on.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return ended.value.code or 0, "".join(capfd.readouterr())

    return call


@pytest.fixture
def eventually():
    """Wait until a condition holds; the one place in which tests sleep."""

    def wait(condition, timeout_s=60.0, what="the condition"):
        deadline = time.monotonic() + timeout_s
        while not (result := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come true within {timeout_s} s")
            time.sleep(0.02)
        return result

    return wait
