"""What stands along time as images of one row: ONNX Runtime's blocked convolutions and pools are for images alone."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

_POOLS = ("AveragePool", "MaxPool")
# What looks at every value by itself.
_POINTWISE = ("Clip", "Elu", "Gelu", "Log", "Pow", "Relu", "Sigmoid", "Tanh")
# The dimension that an image has more.
_ROWS = 2


def as_images(model: ir.Model) -> None:
    """Let convolutions and pools over time, and what stands between them, work on (1, width, 1, n_times).

    They give the same numbers but for rounding.

    Parameters
    ----------
    model : onnx_ir.Model
        The graph, which is changed.
    """
    graph = model.graph
    rows = _constant(graph, "image_rows", np.array([_ROWS]))
    images: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        given, *constants = node.inputs or (None,)
        if given is None:
            continue
        told = node.outputs[0]
        if node.op_type == "Squeeze" and _is_rows(constants):
            images[told] = given
        elif node.op_type == "Unsqueeze" and given in images and _is_rows(constants):
            told.replace_all_uses_with(images[given])
        elif _rank(told) == 3 and (_is_over_time(node) or (given in images and _is_pointwise(node))):
            if given not in images:
                turned = ir.node("Unsqueeze", [given, rows])
                graph.insert_before(node, turned)
                images[given] = turned.outputs[0]
            if node.op_type == "Conv":
                constants[0] = _weights(graph, constants[0])
            image = ir.node(node.op_type, [images[given], *constants], _widened(node), name=node.name)
            row = ir.node("Squeeze", [image.outputs[0], rows])
            graph.insert_after(node, [image, row])
            told.replace_all_uses_with(row.outputs[0], replace_graph_outputs=True)
            row.outputs[0].shape, row.outputs[0].type, row.outputs[0].name = told.shape, told.type, told.name
            images[row.outputs[0]] = image.outputs[0]
    RemoveUnusedNodesPass()(model)


def _constant(graph: ir.Graph, name: str, values: np.ndarray) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(values, name=name))
    graph.register_initializer(value)
    return value


def _weights(graph: ir.Graph, weight: ir.Value | None) -> ir.Value:
    values = _values(weight)
    assert weight is not None and values is not None
    name = f"{weight.name}/image"
    return graph.initializers.get(name) or _constant(graph, name, np.expand_dims(values, _ROWS))


def _widened(node: ir.Node) -> dict[str, ir.Attr]:
    """Return the attributes of a node over time as those over images."""
    attributes = dict(node.attributes)
    for name in ("kernel_shape", "strides", "dilations", "pads"):
        if name in attributes:
            before, *after = attributes[name].as_ints()
            attributes[name] = ir.AttrInt64s(name, [0, before, 0, *after] if name == "pads" else [1, before])
    return attributes


def _is_over_time(node: ir.Node) -> bool:
    # Weights that are computed stay as they are.
    return node.op_type in _POOLS or (node.op_type == "Conv" and _values(node.inputs[1]) is not None)


def _is_pointwise(node: ir.Node) -> bool:
    return node.op_type in _POINTWISE and all(_rank(value) <= 0 for value in node.inputs[1:])


def _rank(value: ir.Value | None) -> int:
    return -1 if value is None or value.shape is None else len(value.shape)


def _is_rows(axes: Sequence[ir.Value | None]) -> bool:
    values = _values(axes[0]) if axes else None
    return values is not None and values.tolist() == [_ROWS]


def _values(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()
