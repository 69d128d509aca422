"""The examples in docs/examples, each listening to a decoder that decodes a source."""

import re
import threading
import uuid
from pathlib import Path

import pytest

from tests.builders import build_model
from tests.processes import Program, rtdecode

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """The name of a decoder that runs."""
    model_path = build_model(tmp_path_factory.mktemp("examples") / "m.onnx")
    unique = uuid.uuid4().hex[:8]
    source, ours = f"source-{unique}", f"decoder-{unique}"
    with (
        Program("-m", "tests.outlet", source, "serial-1", "128", "E0,E1,E2,E3"),
        rtdecode("run", "--model", model_path, "--stream", source, "--name", ours),
    ):
        yield ours


def run_example(file, *arguments):
    with Program(EXAMPLES / file, *map(str, arguments)) as program:
        assert program.wait() == 0, program.output
    return program


@pytest.mark.slow
def test_the_feedback_loop_shows_probabilities_at_its_frame_rate(decoder):
    program = run_example("feedback_loop.py", decoder, "--seconds", 2)
    last = program.lines[-1]
    n_frames, n_decisions = map(int, re.match(r"(\d+) frames, (\d+) decisions; ", last).groups())
    # A frame that waited for the decoder, which speaks 16 times a second, would make it fewer.
    assert n_frames > 60 and n_decisions > 10
    assert re.search(r"left 0\.\d\d, \d+ ms old +\|#+ +\|", program.output)


def test_osc_messages_say_what_the_decoder_says(decoder, eventually):
    dispatcher_of = pytest.importorskip("pythonosc.dispatcher", reason="the extra osc is not installed")
    from pythonosc.osc_server import BlockingOSCUDPServer

    received = {"/decision": [], "/proba": [], "/connected": []}
    dispatcher = dispatcher_of.Dispatcher()
    dispatcher.set_default_handler(lambda address, *values: received[address].append(values))
    with BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            run_example("osc_out.py", decoder, "--port", server.server_address[1], "--seconds", 2)
            eventually(lambda: len(received["/decision"]) > 10, what="ten decisions")
        finally:
            server.shutdown()
            thread.join()
    assert received["/connected"] == [(1,)]
    assert {label for label, age in received["/decision"]} <= {"left", "right"}
    for left, right, age in received["/proba"]:
        assert left + right == pytest.approx(1.0, abs=1e-5) and 0 < age < 30
