"""ONNX Runtime: which one is there, and a graph in it. Only this module touches onnxruntime."""

import sys
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.device import DeviceSettings
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.model_file import ModelFile, parse

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def runtime_version() -> str:
    """Version of ONNX Runtime in use."""
    return str(_runtime().__version__)


def runtime_providers() -> tuple[str, ...]:
    """Names of what ONNX Runtime could run a graph on."""
    return tuple(_runtime().get_available_providers())


def runtime_devices() -> tuple[str, ...]:
    """Names of the devices that this ONNX Runtime was built for; whether they are there, a session tells."""
    return tuple(name for name, provider in _PROVIDERS.items() if provider in runtime_providers())


def open_session(model: ModelFile, graph: bytes, device: DeviceSettings) -> Any:
    """Load a decoder's graph, or a part of it, into ONNX Runtime: all of it on the device; one thread, no spinning.

    Raises
    ------
    ModelError
        ONNX Runtime cannot load it.
    ConfigurationError
        The device is not there, or does not run all of the graph.
    """
    providers = [(_provider(device), provider_options(device))]
    try:
        return _runtime().InferenceSession(graph, _session_options(device), providers, enable_fallback=0)
    except Exception as error:  # the runtime's exceptions have no common base
        why = _too_new(model)
        if device.name != "cpu" and not why:
            raise ConfigurationError(
                f"Device {device.name!r} was asked for, but ONNX Runtime {runtime_version()} does not run all of "
                f"{model.path} on it: {one_line(error)}. See that the driver (nvidia-smi) and the libraries of CUDA "
                "and cuDNN are those that it needs, or choose the device 'cpu'."
            ) from None
        raise ModelError(f"ONNX Runtime cannot load {model.path}: {why or f'{one_line(error)}.'}") from None


def _provider(device: DeviceSettings) -> str:
    """Return what ONNX Runtime calls a device; ConfigurationError if it was built without."""
    provider, there = _PROVIDERS[device.name], runtime_providers()
    if provider not in there:
        raise ConfigurationError(
            f"Device {device.name!r} was asked for, but ONNX Runtime {runtime_version()} has no {provider}, only "
            f"{', '.join(there)}. Install the one for GPUs in its place (pip uninstall onnxruntime; "
            "pip install 'rtdecode[gpu]'), or choose the device 'cpu'."
        )
    return provider


def _session_options(device: DeviceSettings) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    if device.name != "cpu":
        # Otherwise what the device cannot do, or all if it is not there, would be left to the CPU in silence.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.use_deterministic_compute = True
        # It prints what it does not find.
        with redirect_stdout(sys.stderr):
            runtime.preload_dlls()
    return options


def provider_options(device: DeviceSettings) -> dict[str, str]:
    """Return what is asked of a device's provider.

    CUDA records a run and repeats it (a CUDA graph), as no shape and no address changes. Convolutions are chosen by
    cuDNN's rules, not by a race whose winner may be another one the next time.
    """
    if device.name == "cpu":
        return {}
    return {"use_tf32": str(int(device.tf32)), "enable_cuda_graph": "1", "cudnn_conv_algo_search": "HEURISTIC"}


def run_options(device: DeviceSettings, turn: int) -> Any:
    """Return the options of a run; each binding, having addresses of its own, has a recording of its own on CUDA."""
    if device.name == "cpu":
        return None
    options = _runtime().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(turn + 1))
    return options


def place(memory: NDArray[np.float32], device: DeviceSettings) -> Any:
    """Return memory as a value that graphs read and write: in place on CPU, a copy of it elsewhere."""
    try:
        return _runtime().OrtValue.ortvalue_from_numpy(memory, device.name)
    except Exception as error:  # the runtime's exceptions have no common base
        raise ConfigurationError(
            f"Device {device.name!r} has no place for {memory.nbytes} bytes: {one_line(error)}."
        ) from None


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
