"""The mixing of channels with which a graph begins, and the graph without it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference
from onnx.utils import Extractor

from rtdecode.model_file import ModelFile, parse

_SHAPE, _BIAS = "rtdecode_mixed_shape", "rtdecode_mixed_bias"
# Same values in the same order.
_VIEWS = ("Reshape", "Unsqueeze", "Squeeze")


def without_mixing(model: ModelFile) -> tuple[NDArray[np.float64], ModelFile] | None:
    """Return the weights of the mixing with which a graph begins, and the model whose graph takes what it gives.

    Only what mixes the channels of each sample alone, with fixed weights, and is all that the graph makes of `x`.
    What it adds to the sums stays in the graph.

    Returns
    -------
    matrix : array of float64, (n_mixed, n_channels)
        The weights.
    model : ModelFile
        With `x` (1, n_mixed, n_times).
    """
    try:
        return _taken_out(model)
    except (IndexError, TypeError, ValueError):
        # Nodes without what such nodes must have: ONNX Runtime says what is wrong with them.
        return None


def _taken_out(model: ModelFile) -> tuple[NDArray[np.float64], ModelFile] | None:
    proto = shape_inference.infer_shapes(parse(model.graph, model.path), data_prop=True)
    graph = proto.graph
    given = "x"
    while True:
        takers = [node for node in graph.node if given in node.input]
        if len(takers) != 1 or any(given == value.name for value in graph.output):
            return None
        if takers[0].op_type not in _VIEWS or takers[0].input[0] != given:
            break
        given = takers[0].output[0]
    found = _Mixing(graph, takers[0], given, model.inputs["x"]).found()
    if found is None:
        return None
    matrix, bias, shape = found
    _put_behind(graph, takers[0], bias, shape, (1, len(matrix), model.inputs["x"][2]))
    whole = _pruned(proto, model)
    shapes = {**model.inputs, "x": (1, len(matrix), model.inputs["x"][2])}
    return matrix, replace(model, graph=whole.SerializeToString(), inputs=shapes)


class _Mixing:
    """What a node makes of samples: weights and what is added, if that is a mixing of channels."""

    def __init__(self, graph: GraphProto, node: NodeProto, given: str, x: tuple[int, ...]) -> None:
        self._node, self._given = node, given
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._made = {name: made for made in graph.node for name in made.output}
        self._shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }
        _, self._n_channels, self._n_times = x

    def found(self) -> tuple[NDArray[np.float64], NDArray[np.float32] | None, tuple[int, ...]] | None:
        """Return weights (n_mixed, n_channels), what is added as the graph adds it, and the shape of the sums."""
        taken = {"Conv": self._conv, "MatMul": self._product, "Gemm": self._product}.get(self._node.op_type)
        shape = self._shapes.get(self._node.output[0], ())
        if taken is None or (weights := taken()) is None:
            return None
        matrix, bias = weights
        sums = [n for n in shape if n != 1]
        if sums != [n for n in (len(matrix), self._n_times) if n != 1]:
            return None
        return matrix.astype(np.float64), bias, shape

    def _conv(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None] | None:
        does = {a.name: helper.get_attribute_value(a) for a in self._node.attribute}
        weight, given = self._constant(self._node.input[1]), self._shapes.get(self._given, ())
        n, t = self._n_channels, self._n_times
        if (
            self._node.input[0] != self._given
            or weight is None
            or given not in ((1, n, t), (1, n, 1, t), (1, 1, n, t))
        ):
            return None
        plain = does.get("group", 1) == 1 and not any(does.get("pads", [])) and set(does.get("strides", [1])) == {1}
        if not plain or does.get("auto_pad", b"NOTSET") != b"NOTSET" or weight.shape[-1] != 1:
            return None
        if weight[0].size != n:
            return None
        bias = self._constant(self._node.input[2]) if len(self._node.input) > 2 else None
        if len(self._node.input) > 2 and bias is None:
            return None
        # Behind the first dimension but one, which counts the sums.
        shaped = None if bias is None else bias.reshape(-1, *(1 for _ in given[2:]))
        return weight.reshape(len(weight), n), shaped

    def _product(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None] | None:
        does = {a.name: helper.get_attribute_value(a) for a in self._node.attribute}
        weight, given = self._constant(self._node.input[0]), self._shapes.get(self._given, ())
        n, t = self._n_channels, self._n_times
        if self._node.input[1] != self._given or weight is None or given not in ((n, t), (1, n, t)):
            return None
        plain = not does.get("transA", 0) and not does.get("transB", 0)
        if not plain or does.get("alpha", 1.0) != 1 or does.get("beta", 1.0) != 1 or weight.ndim != 2:
            return None
        if len(self._node.input) < 3:
            return weight, None
        bias = self._constant(self._node.input[2])
        return None if bias is None else (weight, bias)

    def _constant(self, name: str) -> NDArray[np.float32] | None:
        """Return a weight, or one in another shape; None if it depends on what is given."""
        if name in self._weights:
            return np.asarray(numpy_helper.to_array(self._weights[name]), np.float32)
        made = self._made.get(name)
        if made is None or made.op_type != "Reshape":
            return None
        weight, shape = self._constant(made.input[0]), self._shapes.get(name, ())
        return None if weight is None or weight.size != np.prod(shape) else weight.reshape(shape)


def _put_behind(
    graph: GraphProto, node: NodeProto, bias: NDArray[np.float32] | None, shape: tuple[int, ...], x: tuple[int, ...]
) -> None:
    """Let what a node gave be `x`, and what was added to it."""
    added = bias is not None and bias.any()
    sums = _SHAPE + "_sums" if added else node.output[0]
    nodes = [helper.make_node("Reshape", ["x", _SHAPE], [sums])]
    graph.initializer.append(numpy_helper.from_array(np.array(shape), _SHAPE))
    if bias is not None and added:
        nodes.append(helper.make_node("Add", [sums, _BIAS], [node.output[0]]))
        graph.initializer.append(numpy_helper.from_array(bias, _BIAS))
    kept = [other for other in graph.node if other is not node]
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    (value,) = (value for value in graph.input if value.name == "x")
    value.CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, x))
    # What was inferred from the old one.
    del graph.value_info[:]


def _pruned(proto: ModelProto, model: ModelFile) -> ModelProto:
    """Return a graph without what nothing rests on any more."""
    try:
        return Extractor(proto).extract_model(list(model.inputs), list(model.outputs))
    except Exception as error:  # whatever a graph that is none makes of itself
        raise ValueError(f"{model.path}: the graph does not hold together") from error
