"""An incremental graph: the front that is run on what is new, and the head over its features; apart, and as one."""

import math

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from rtdecode.contract import Incremental
from rtdecode.model_file import ModelFile, parse

Carried = dict[str, NDArray[np.float32]]
_KEPT = "rtdecode_kept"


def divided(model: ModelFile) -> tuple[bytes, bytes, Carried]:
    """Return front and head of an incremental graph, and what the front carries to its first run, by name."""
    front, head, past = _divided(model)
    return front.SerializeToString(), head.SerializeToString(), past


def together(model: ModelFile, n_new: int) -> tuple[bytes, Carried, tuple[int, ...]] | None:
    """Return front and head as one graph, what it carries to its first run, by name, and the shape of `features`.

    Its head takes, of the features of a window, those of earlier runs from `features`; the newest `n_new` are the
    front's, of the same run. A dense layer over both is the sum of one over each. None where the head begins with
    anything else: to put the two side by side, all would have to be copied at every run. A head that begins by making
    a column of them is given one.

    Parameters
    ----------
    model : ModelFile
        Whose graph it is.
    n_new : int
        Features of a window that are of the samples of its own hop.
    """
    front, head, past = _divided(model)
    _, n_features, width = model.inputs["features"]
    if n_new == n_features or (n_new and not _take_apart(head.graph, model, n_new)):
        return None
    shape: tuple[int, ...] = (1, n_features - n_new, width)
    if column := _column(head.graph, math.prod(shape)):
        shape = (math.prod(shape), 1)
        head.graph.node.remove(column)
        for node in head.graph.node:
            node.input[:] = ["features" if name == column.output[0] else name for name in node.input]
    weights = {weight.name: weight for part in (front, head) for weight in part.graph.initializer}
    graph = GraphProto(
        name="together",
        node=[*front.graph.node, *head.graph.node],
        initializer=weights.values(),
        input=front.graph.input,
        output=[*head.graph.output, *front.graph.output],
    )
    graph.input.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, shape))
    front.graph.CopyFrom(graph)
    return front.SerializeToString(), past, shape


def _column(head: GraphProto, size: int) -> NodeProto | None:
    """Return the node that makes a column of so many values of `features`, if nothing else takes them."""
    takers = [node for node in head.node if "features" in node.input]
    if [node.op_type for node in takers] != ["Reshape"]:
        return None
    shapes = {weight.name: weight for weight in head.initializer}
    shape = shapes.get(takers[0].input[1])
    is_column = shape is not None and numpy_helper.to_array(shape).tolist() in ([-1, 1], [size, 1])
    return takers[0] if is_column else None


def _take_apart(head: GraphProto, model: ModelFile, n_new: int) -> bool:
    """Let the dense layer with which a head begins take the newest features from `next_features`.

    False where it begins otherwise, and nothing is changed.
    """
    weights = {weight.name: weight for weight in head.initializer}
    if (column := _column(head, math.prod(model.inputs["features"]))) is None:
        return False
    dense = [node for node in head.node if column.output[0] in node.input]
    if [node.op_type for node in dense] != ["MatMul"] or dense[0].input[0] not in weights:
        return False
    if sum(dense[0].input[0] in node.input for node in head.node) > 1:
        return False
    weight = numpy_helper.to_array(weights[dense[0].input[0]])
    _, n_features, width = model.inputs["features"]
    form, hop = model.contract.form, model.inputs["x"][2]
    if weight.ndim != 2 or weight.shape[1] != n_features * width or not isinstance(form, Incremental):
        return False
    cut, end = (n_features - n_new) * width, hop - form.behind
    constants = {
        "older_weight": weight[:, :cut], "newer_weight": weight[:, cut:], "column": np.array([-1, 1]),
        "start": np.array([end - 1 - (n_new - 1) * form.stride]), "end": np.array([end]),
        "time": np.array([1]), "stride": np.array([form.stride]),
    }  # fmt: skip
    name = {key: f"{_KEPT}_{key}" for key in (*constants, "taken", "older", "newer", "part")}
    nodes = [
        helper.make_node(
            "Slice", ["next_features", *(name[key] for key in ("start", "end", "time", "stride"))], [name["taken"]]
        ),
        helper.make_node("Reshape", [name["taken"], name["column"]], [name["newer"]]),
        helper.make_node("Reshape", ["features", name["column"]], [name["older"]]),
        helper.make_node("MatMul", [name["newer_weight"], name["newer"]], [name["part"]]),
        helper.make_node("Gemm", [name["older_weight"], name["older"], name["part"]], dense[0].output),
    ]
    kept = [node for node in head.node if node not in (column, dense[0])]
    del head.node[:]
    head.node.extend([*nodes, *kept])
    head.initializer.remove(weights[dense[0].input[0]])
    head.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), name[k]) for k, v in constants.items())
    return True


def joined(model: ModelFile, form: Incremental) -> tuple[bytes, Carried]:
    """Return an incremental graph that keeps its features itself, and what it carries to its first run, by name.

    For a device that is far away: a hop is one run, and nothing leaves it but the result. The price is that features
    are shifted at every run, by a copy within the device.
    """
    front, head, past = _divided(model)
    n_new, width = model.outputs["next_features"][1:]
    taken = (form.n_features - 1) * form.stride + 1
    n_kept = taken + form.behind
    numbers = {"zero": 0, "new": n_new, "taken": taken, "all": n_kept + n_new, "time": 1, "stride": form.stride}
    name = {key: f"{_KEPT}_{key}" for key in (*numbers, "both")}
    between = [
        helper.make_node("Concat", [_KEPT, "next_features"], [name["both"]], axis=1),
        helper.make_node("Slice", [name[key] for key in ("both", "new", "all", "time")], [f"next_{_KEPT}"]),
        helper.make_node(
            "Slice", [f"next_{_KEPT}", *(name[key] for key in ("zero", "taken", "time", "stride"))], ["features"]
        ),
    ]
    weights = {weight.name: weight for part in (front, head) for weight in part.graph.initializer}
    constants = [numpy_helper.from_array(np.array([number]), name[key]) for key, number in numbers.items()]
    graph = GraphProto(
        name="joined",
        node=[*front.graph.node, *between, *head.graph.node],
        initializer=[*weights.values(), *constants],
        input=list(front.graph.input),
        output=[*head.graph.output, *(value for value in front.graph.output if value.name != "next_features")],
    )
    carried = {_KEPT: np.zeros((1, n_kept, width), np.float32), **past}
    for values, prefix in ((graph.input, ""), (graph.output, "next_")):
        values.append(helper.make_tensor_value_info(prefix + _KEPT, TensorProto.FLOAT, carried[_KEPT].shape))
    front.graph.CopyFrom(graph)
    return front.SerializeToString(), carried


def _divided(model: ModelFile) -> tuple[ModelProto, ModelProto, Carried]:
    past = {name: np.zeros(shape, np.float32) for name, shape in model.inputs.items() if name.startswith("past_")}
    extractor = Extractor(parse(model.graph, model.path))
    front = extractor.extract_model(["x", *past], ["next_features", *(f"next_{name}" for name in past)])
    return front, extractor.extract_model(["features"], [next(iter(model.outputs))]), past
