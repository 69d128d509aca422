"""The two parts of an incremental graph: the front that is run on what is new, and the head over its features."""

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from rtdecode.contract import Incremental
from rtdecode.model_file import ModelFile, parse

Carried = dict[str, NDArray[np.float32]]
_KEPT = "rtdecode_kept"


def divided(model: ModelFile) -> tuple[bytes, bytes, Carried]:
    """Return front and head of an incremental graph, and what the front carries to its first run, by name."""
    front, head, past = _divided(model)
    return front.SerializeToString(), head.SerializeToString(), past


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
