"""Running a graph: nothing that was given is touched again, and what is carried is carried once."""

import numpy as np
import pytest

from rtdecode.contract import Incremental
from rtdecode.device import DeviceSettings
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError
from rtdecode.model_file import read_model
from tests.builders import build_contract, build_model, build_signal, build_state, counting_graph, graph

N_CHANNELS, N_TIMES, HOP = 3, 7, 2


def stepping_graph():
    """An incremental graph: features are differences of neighbouring samples, the head weighs every other one."""
    from onnx import helper

    nodes = [
        helper.make_node("Concat", ["past_x", "x"], ["both"], axis=2),
        helper.make_node("Slice", ["both", "zero", "minus_one", "time"], ["before"]),
        helper.make_node("Sub", ["x", "before"], ["steps"]),
        helper.make_node("Transpose", ["steps"], ["next_features"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["x", "minus_one", "end", "time"], ["next_past_x"]),
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["proba"]),
    ]
    weights = {
        "weights": np.random.default_rng(0).standard_normal((3 * N_CHANNELS, 2)).astype(np.float32),
        "zero": np.array([0]), "minus_one": np.array([-1]), "end": np.array([1 << 40]), "time": np.array([2]),
    }  # fmt: skip
    return graph(
        nodes,
        weights,
        {"x": (1, N_CHANNELS, HOP), "past_x": (1, N_CHANNELS, 1), "features": (1, 3, N_CHANNELS)},
        {"proba": (1, 2), "next_features": (1, HOP, N_CHANNELS), "next_past_x": (1, N_CHANNELS, 1)},
    )


FORMS = {
    "windowed": (None, {}),
    "stateful": (counting_graph(N_CHANNELS, N_TIMES), {"states": (build_state(),)}),
    "incremental": (stepping_graph(), {"form": Incremental(n_features=3, stride=2, behind=1)}),
}


@pytest.fixture(params=FORMS)
def model(request, tmp_path):
    proto, more = FORMS[request.param]
    contract = build_contract(build_signal(N_CHANNELS), steps=(), n_times=N_TIMES, hop=HOP, **more)
    return read_model(build_model(tmp_path / "model.onnx", contract, proto))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def engine(request, model):
    try:
        return Engine(model, DeviceSettings(name=request.param))
    except ConfigurationError as error:
        assert request.param == "cuda", error
        pytest.skip(str(error))


def blocks(engine, n=12):
    return np.random.default_rng(1).standard_normal((n, N_CHANNELS, engine.n_times)).astype(np.float32)


def test_what_a_run_gave_is_not_overwritten_by_the_next(engine):
    kept, copies = [], []
    for block in blocks(engine):
        kept.append(engine.run(block))
        copies.append(kept[-1].copy())
    assert np.array_equal(kept, copies, equal_nan=True)
    assert np.isfinite(kept[-1]).all()


def test_a_bare_run_changes_nothing(engine):
    expected = [engine.run(block) for block in blocks(engine)]
    engine.reset()
    given = []
    for block in blocks(engine):
        given.append(engine.run(block))
        engine.run_bare()
    assert np.array_equal(given, expected, equal_nan=True)


def test_a_reset_engine_is_a_fresh_one(engine):
    expected = [engine.run(block) for block in blocks(engine)]
    # An odd number of runs: what is carried lies in the other one of its two places.
    for n in (1, 2, 3):
        for block in blocks(engine, n):
            engine.run(block)
        engine.reset()
        assert np.array_equal([engine.run(block) for block in blocks(engine)], expected, equal_nan=True)
        engine.reset()


def test_every_device_gives_what_the_cpu_gives(engine, model):
    on_cpu = Engine(model)
    expected = [on_cpu.run(block) for block in blocks(engine)]
    assert np.allclose([engine.run(block) for block in blocks(engine)], expected, rtol=0, atol=1e-5, equal_nan=True)


def test_what_is_not_finite_leaves_an_engine_again(engine):
    first, second = blocks(engine), blocks(engine)
    second[3] = np.nan
    expected = [engine.run(block) for block in first]
    engine.reset()
    given = [engine.run(block) for block in second]
    assert not np.isfinite(given[3]).any() and np.isfinite(given[-1]).all()
    assert np.array_equal(given[:3], expected[:3], equal_nan=True)
