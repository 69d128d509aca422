"""Half an hour of a failing source at 306 channels and 1 kHz; `benchmarks/soak.py` prints what became of it."""

import sys
from pathlib import Path

import pytest

from tests.builders import build_contract, build_model, build_signal, build_steps
from tests.processes import Program

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_decision_of_half_an_hour_is_that_of_the_sources_schedule(tmp_path):
    signal = build_signal(306, 1000.0)
    contract = build_contract(signal, build_steps(signal, 5), n_times=100, hop=10)
    model_path = build_model(tmp_path / "m.onnx", contract)
    with Program(str(SCRIPT), str(model_path), "--minutes", "30") as soak:
        code = soak.wait(3500)
    print(soak.output, file=sys.stderr)
    assert code == 0, soak.output
