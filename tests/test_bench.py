"""The benchmark of a decoder file: what adds up, what is left out, and the command."""

import csv

import numpy as np
import pytest

from rtdecode.contract import EventWindow, Policy
from rtdecode.latency.bench import costs
from rtdecode.model_file import read_model
from tests.builders import VALUES, build_contract, build_model, linear_graph
from tests.processes import run_rtdecode

STAGES = ["guard", "preprocessing", "graph"]
AFTERWARDS = "afterwards"
SUMS = ["hop", "runtime alone", "own work"]


@pytest.fixture
def measured(tmp_path):
    def measure(**contract):
        model = read_model(build_model(tmp_path / "m.onnx", build_contract(**contract)))
        (cost,) = costs([model], 0.1, publish=False)
        return cost

    return measure


def test_the_parts_of_every_hop_add_up(measured):
    parts = measured().parts
    assert list(parts) == [*STAGES, AFTERWARDS, *SUMS]
    assert np.allclose(parts["hop"], sum(parts[stage] for stage in [*STAGES, AFTERWARDS]))
    assert np.allclose(parts["own work"] + parts["runtime alone"], parts["hop"])
    assert all((parts[name] > 0).all() for name in [*STAGES, "hop", "runtime alone"])


@pytest.mark.parametrize(
    ("contract", "stages"),
    [
        ({"policy": Policy(threshold=0.6)}, [*STAGES, "policy"]),
        ({"truth": VALUES}, STAGES),
        ({"events": EventWindow(first=-13, before=6), "hop": 1}, STAGES),
    ],
    ids=["policy", "regression", "events"],
)
def test_every_kind_of_decoder_is_measured(measured, contract, stages):
    cost = measured(**contract)
    assert list(cost.stages) == [*stages, AFTERWARDS]
    assert len(cost.runtime) == len(cost.hop) >= 50 and (cost.replays > 0).all()


def test_several_files_are_measured_as_often(tmp_path):
    models = [
        read_model(build_model(tmp_path / f"{n}.onnx", build_contract(n_times=n), linear_graph(4, n)))
        for n in (16, 64)
    ]
    short, long = costs(models, 0.2, publish=False)
    assert len(short.runtime) == len(long.runtime)


def test_progress_is_told_to_the_end(model_path):
    told = []
    costs([read_model(model_path)], 0.1, False, told.append)
    assert told == sorted(told) and told[-1] == 1


class TestCommand:
    def test_figures_are_shown_and_written(self, model_path, tmp_path):
        path = tmp_path / "b.csv"
        code, output = run_rtdecode("bench", model_path, "--seconds", 0.5, "--csv", path)
        assert code == 0 and "times ONNX Runtime alone" in output and "times faster" in output
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        assert [row["part"] for row in rows] == [*STAGES, "publish", AFTERWARDS, *SUMS]
        assert {(row["channels"], row["window"], row["hop"]) for row in rows} == {("4", "32", "4")}
        percentiles = [[float(row[f"{p}_us"]) for p in ("p50", "p95", "p99", "p99.9", "max")] for row in rows]
        assert all(row == sorted(row) for row in percentiles)

    def test_growth_with_the_window_is_told_where_files_tell_it(self, tmp_path):
        files = [build_model(tmp_path / f"{n}.onnx", build_contract(n_times=n), linear_graph(4, n)) for n in (16, 64)]
        code, output = run_rtdecode("bench", *files, "--seconds", 0.1, "--no-lsl")
        assert code == 0 and "A window of 64 instead of 16 makes own work" in output
        assert "publish" not in output

    def test_a_decoder_that_predicts_nothing_is_told(self, tmp_path):
        proto = linear_graph(4, 32, weights=np.full((128, 2), 3e38, np.float32))
        path = build_model(tmp_path / "m.onnx", proto=proto)
        code, output = run_rtdecode("bench", path, "--seconds", 0.1, "--no-lsl")
        assert code == 3 and "m.onnx abstains on noise" in output and "non-finite-output" in output

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (("gone.onnx",), 3, "gone.onnx does not exist"),
            (("m.onnx", "--csv", "figures.txt"), 2, "its name must end in .csv"),
        ],
    )
    def test_what_cannot_be_is_refused(self, arguments, code, told):
        got, output = run_rtdecode("bench", *arguments)
        assert got == code and told in output and "Traceback" not in output
