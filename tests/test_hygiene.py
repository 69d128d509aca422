"""Files that are bad on purpose: rows F1 to F12 of docs/reliability.md, as far as no other test names them."""

import struct
import warnings

import mne
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rtdecode
from rtdecode.engine import read_model
from rtdecode.errors import ModelError, RecordingError, RecordingWarning
from rtdecode.recording import read_recording
from tests.builders import build_contract, build_model, build_signal, graph, linear_graph
from tests.test_recording import EEG, markers
from tests.xdf import write_xdf

N_CHANNELS, N_TIMES = 4, 32


def changed_model(path, change):
    """Write a sound decoder file whose graph was changed before."""
    proto = linear_graph(N_CHANNELS, N_TIMES)
    change(proto)
    return build_model(path / "m.onnx", proto=proto)


def opset_99(proto):
    proto.opset_import[0].version = 99


def ir_99(proto):
    proto.ir_version = 99


def foreign_node(proto):
    proto.graph.node[2].domain = "com.microsoft"


def foreign_import(proto):
    proto.opset_import.append(helper.make_opsetid("org.example", 1))


def own_function(proto):
    loop = helper.make_node("Loop", ["n", "c", "a"], ["b"], body=helper.make_graph([], "body", [], []))
    opsets = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("ai.onnx", "Forever", ["a"], ["b"], [loop], opsets))


def control_flow(kind):
    def change(proto):
        proto.graph.node.append(helper.make_node(kind, ["logits"], ["never"]))

    return change


def hidden_subgraph(proto):
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    proto.graph.node[0].attribute.append(helper.make_attribute("body", body))


def many_nodes(proto):
    proto.graph.node.extend([proto.graph.node[0]] * 20_001)


def many_weights(proto):
    tensor = numpy_helper.from_array(np.float32(1), "w")
    proto.graph.initializer.extend([tensor] * 20_001)


def giant_weight(proto):
    tensor = proto.graph.initializer.add(name="giant", data_type=TensorProto.FLOAT)
    tensor.dims.extend([1 << 40, 1 << 20])


def negative_weight(proto):
    proto.graph.initializer[0].dims[0] = -1


def giant_declaration(proto):
    proto.graph.value_info.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, [1 << 31]))


def giant_intermediate(proto):
    """32 bytes that would become 4 TB."""
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape"))
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["giant"]))


def doubling(proto):
    """Each of 30 nodes gives twice what it takes: no single weight is large."""
    name = "x"
    for i in range(30):
        proto.graph.node.insert(i, helper.make_node("Concat", [name, name], [f"twice{i}"], axis=2))
        name = f"twice{i}"


def constant(**fields):
    """A Constant node with a tensor of these fields."""

    def change(proto):
        value = numpy_helper.from_array(np.ones(2, np.float32))
        for name, content in fields.items():
            setattr(value, name, content)
        proto.graph.node.append(helper.make_node("Constant", [], ["aside"], value=value))

    return change


def sparse(proto):
    proto.graph.sparse_initializer.add().dims.append(1 << 50)


@pytest.mark.parametrize(
    ("row", "change", "told"),
    [
        ("F2", opset_99, r"needs opset 99, this runtime supports up to \d+. Update"),
        ("F2", ir_99, r"needs IR version 99, this runtime supports up to \d+. Update"),
        ("F4", constant(raw_data=np.array([1, np.nan], "<f4").tobytes()), "'aside' holds values that are not finite"),
        ("F6", constant(data_location=TensorProto.EXTERNAL), "'aside' lies outside of the file"),
        ("F7", foreign_node, "not ONNX's own, of 'com.microsoft'"),
        ("F7", foreign_import, "not ONNX's own, of 'org.example'"),
        ("F7", own_function, "functions of its own .'Forever'"),
        ("F8", control_flow("If"), r"control flow \(If\)"),
        ("F8", control_flow("Loop"), r"control flow \(Loop\)"),
        ("F8", control_flow("Scan"), r"control flow \(Scan\)"),
        ("F8", control_flow("SequenceMap"), r"control flow \(SequenceMap\)"),
        ("F8", hidden_subgraph, r"control flow \(Flatten\)"),
        ("F8", many_nodes, "20004 nodes; a decoder has at most"),
        ("F8", many_weights, "20002 weights; a decoder has at most"),
        ("F8", giant_weight, "'giant' has the shape"),
        ("F8", negative_weight, "'weights' has the shape"),
        ("F8", giant_declaration, "'flat' would hold 2147483648 values"),
        ("F8", giant_intermediate, "'giant' would hold 1099511627776 values"),
        ("F8", doubling, "'twice[0-9]+' would hold"),
        ("F8", sparse, "sparse weights"),
    ],
)
def test_a_model_is_refused(tmp_path, row, change, told):
    with pytest.raises(ModelError, match=told):
        rtdecode.load(changed_model(tmp_path, change))


def test_f5_a_state_that_the_graph_lacks_is_refused(tmp_path):
    from tests.builders import build_state

    path = build_model(tmp_path / "m.onnx", build_contract(states=(build_state(),)))
    with pytest.raises(ModelError, match="the graph takes"):
        rtdecode.load(path)


def test_f6_a_link_is_read_once_and_its_bytes_are_those_that_run(model_path, tmp_path):
    (tmp_path / "link.onnx").symlink_to(model_path)
    model = read_model(tmp_path / "link.onnx")
    model_path.write_bytes(b"something else")
    assert onnx.load_from_string(model.graph).graph.name == "test"


def test_f8_a_hop_that_no_memory_holds_is_refused(tmp_path):
    from rtdecode.preprocessing import Decimate

    contract = build_contract(steps=[Decimate.design(2)], n_times=32, hop=1 << 23)
    huge = build_signal(64)
    contract = build_contract(huge, [Decimate.design(2)], n_times=32, hop=1 << 22)
    with pytest.raises(ModelError, match="Retrain with a shorter hop"):
        rtdecode.load(build_model(tmp_path / "m.onnx", contract))


def slow_graph(n):
    """A product of (n, n) matrices for every window."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Add", ["square", "sum"], ["begin"]),
        helper.make_node("MatMul", ["begin", "square"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["flat"]),
        helper.make_node("Concat", ["flat", "flat"], ["proba"], axis=1),
    ]
    weights = {"square": np.full((n, n), 1 / n, np.float32), "one": np.array([1, 1])}
    return graph(nodes, weights, {"x": (1, 1, 1)}, {"proba": (1, 2)})


@pytest.fixture
def slow_path(tmp_path):
    """A decoder with a hop of 0.1 ms, and a graph that takes more than a millisecond."""
    contract = build_contract(build_signal(1, 10_000.0), [], n_times=1, hop=1)
    return build_model(tmp_path / "slow.onnx", contract, slow_graph(400))


def test_f9_a_model_slower_than_its_hop_says_so(slow_path, model_path):
    slow = rtdecode.load(slow_path)
    assert slow.engine.run_s > slow.hop_s == 1e-4
    assert "will fall behind the stream" in slow.slowness and "of the hop of 0.1 ms" in slow.slowness
    assert rtdecode.load(model_path).slowness == ""


class TestXdf:
    """F10."""

    @pytest.fixture
    def path(self, tmp_path):
        eeg = {**EEG, "stamps": EEG["stamps"][:40], "values": EEG["values"][:40]}
        return write_xdf(tmp_path / "r.xdf", eeg, markers(["left", "right"], [50.1, 50.2]))

    def test_cut_anywhere_is_an_error_or_the_samples_before_the_cut(self, path):
        """At every byte: never a sample that was not recorded."""
        content, whole = path.read_bytes(), read_recording(path)
        outcomes = {"refused": 0, "read": 0}
        for length in range(len(content)):
            path.write_bytes(content[:length])
            try:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    part = read_recording(path)
            except RecordingError:
                outcomes["refused"] += 1
                continue
            n = len(part.samples)
            assert part.samples.tobytes() == whole.samples[:n].tobytes()
            assert part.timestamps.tobytes() == whole.timestamps[:n].tobytes()
            assert part.events == whole.events[: len(part.events)]
            assert any(w.category is RecordingWarning for w in told)
            outcomes["read"] += 1
        assert outcomes["refused"] > 100 and outcomes["read"] > 500
