"""What a graph may be: plain, whole and bounded. Checked before any runtime sees it."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference

from rtdecode.errors import ModelError

MAX_NODES = 20_000
MAX_WEIGHTS = 20_000
MAX_PARAMETERS = 1 << 28
# Of float32: half a GiB in one tensor, 4 GiB in all of them.
MAX_VALUES = 1 << 27
MAX_TOTAL_VALUES = 1 << 30

_OWN_DOMAINS = ("", "ai.onnx")
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


def check_plain(proto: onnx.ModelProto, path: str) -> int:
    """Check what can be checked without running a graph; return the number of values in its weights.

    Raises
    ------
    ModelError
        The graph has operators of other domains, functions or control flow; weights that lie outside of the
        file, are damaged or not finite; or is larger than any decoder is.
    """
    graph = proto.graph
    for what, n, most in (
        ("nodes", len(graph.node), MAX_NODES),
        ("weights", len(graph.initializer), MAX_WEIGHTS),
    ):
        if n > most:
            raise ModelError(f"{path}: the graph has {n} {what}; a decoder has at most {most}.")
    _check_operators(proto, path)
    n_parameters = 0
    for name, tensor in _tensors(graph, path):
        n_parameters += _check_weight(name, tensor, path)
        if n_parameters > MAX_PARAMETERS:
            raise ModelError(f"{path}: the graph has more than {MAX_PARAMETERS} parameters.")
    _check_sizes(proto, path)
    return n_parameters


def _check_operators(proto: onnx.ModelProto, path: str) -> None:
    if proto.functions:
        raise ModelError(
            f"{path}: the graph has functions of its own ({proto.functions[0].name!r}). Export it with them inlined."
        )
    domains = {entry.domain for entry in proto.opset_import} | {node.domain for node in proto.graph.node}
    if foreign := sorted(domains.difference(_OWN_DOMAINS)):
        raise ModelError(
            f"{path}: the graph needs operators that are not ONNX's own, of {', '.join(map(repr, foreign))}. "
            "Export it with ONNX's operators only."
        )
    for node in proto.graph.node:
        holds_graph = any(a.HasField("g") or a.graphs for a in node.attribute)
        if node.op_type in _CONTROL_FLOW or holds_graph:
            raise ModelError(
                f"{path}: the graph holds control flow ({node.op_type}); how long it runs cannot be told. "
                "Export it without loops and branches."
            )


def _tensors(graph: onnx.GraphProto, path: str) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield every stored tensor, of the weights and of the nodes' attributes, with a name for it."""
    if graph.sparse_initializer:
        raise ModelError(f"{path}: the graph has sparse weights. Export it with dense ones.")
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ModelError(f"{path}: the graph has sparse weights. Export it with dense ones.")
            for tensor in [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]:
                yield node.name or next(iter(node.output), node.op_type), tensor


def _check_weight(name: str, tensor: onnx.TensorProto, path: str) -> int:
    """Check one stored tensor; return the number of its values if they are parameters."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(f"{path}: weight {name!r} lies outside of the file; a decoder is one file.")
    if any(n < 0 for n in tensor.dims) or math.prod(tensor.dims) > MAX_PARAMETERS:
        raise ModelError(f"{path}: weight {name!r} has the shape {tuple(tensor.dims)}; no decoder's weight has.")
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except Exception:  # whatever a damaged tensor makes of itself
        raise ModelError(f"{path}: weight {name!r} is damaged.") from None
    if not np.issubdtype(values.dtype, np.floating):
        return 0
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: weight {name!r} holds values that are not finite.")
    return int(values.size)


def _check_sizes(proto: onnx.ModelProto, path: str) -> None:
    """Check how much the graph would allocate, as far as its shapes can be told without running it."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except Exception as error:
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise ModelError(f"{path}: the shapes in the graph do not hold together ({text}).") from None
    total = 0
    for value in [*graph.input, *graph.output, *graph.value_info]:
        size = _n_values(value)
        total += size
        if size > MAX_VALUES or total > MAX_TOTAL_VALUES:
            raise ModelError(
                f"{path}: {value.name!r} would hold {size} values, all tensors to there {total}; at most "
                f"{MAX_VALUES} and {MAX_TOTAL_VALUES} are run."
            )


def _n_values(value: Any) -> int:
    """Return how many values a tensor holds at least: dimensions that are not known count as 1."""
    return math.prod(max(1, d.dim_value) for d in value.type.tensor_type.shape.dim)
