"""ONNX Runtime: which one is there, and a graph in it. Only this module touches onnxruntime."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.model_file import ModelFile, parse


def runtime_version() -> str:
    """Version of ONNX Runtime in use."""
    return str(_runtime().__version__)


def runtime_providers() -> tuple[str, ...]:
    """Names of what ONNX Runtime could run a graph on."""
    return tuple(_runtime().get_available_providers())


def open_session(model: ModelFile, graph: bytes) -> Any:
    """Load a decoder's graph, or a part of it, into ONNX Runtime: on CPU, on one thread, without spinning.

    Raises
    ------
    ModelError
        ONNX Runtime cannot load it.
    """
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no common base
        why = _too_new(model) or f"{one_line(error)}."
        raise ModelError(f"ONNX Runtime cannot load {model.path}: {why}") from None


def place(memory: NDArray[np.float32]) -> Any:
    """Return memory as a value that graphs read and write in place."""
    return _runtime().OrtValue.ortvalue_from_numpy(memory)


def one_line(error: Exception) -> str:
    """Return what an error of ONNX Runtime says, shortened to a part of a sentence."""
    return " ".join(str(error).split())[:300].rstrip(".")


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigurationError(
            "ONNX Runtime is not installed. Install one of the two: pip install 'rtdecode[cpu]' or "
            "pip install 'rtdecode[gpu]'."
        ) from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _too_new(model: ModelFile) -> str:
    """Say what a file needs that this ONNX Runtime does not have yet; nothing if it is something else."""
    proto = parse(model.graph, model.path)
    opset = max((entry.version for entry in proto.opset_import), default=0)
    newest_opset, newest_ir = _newest()
    told = [
        f"it needs {what} {needed}, this runtime supports up to {newest}"
        for what, needed, newest in (("opset", opset, newest_opset), ("IR version", proto.ir_version, newest_ir))
        if needed > newest
    ]
    return ", ".join(told) + ". Update onnxruntime, or export for an older one." if told else ""


@cache
def _newest() -> tuple[int, int]:
    """Return the newest opset and IR version that ONNX Runtime loads; it is asked, as it does not tell."""
    import onnx

    opset, ir = onnx.defs.onnx_opset_version(), int(onnx.IR_VERSION)
    while opset > 1 and not _loads(opset, 8):
        opset -= 1
    while ir > 1 and not _loads(opset, ir):
        ir -= 1
    return opset, ir


def _loads(opset: int, ir: int) -> bool:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", [x], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    try:
        _runtime().InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True
