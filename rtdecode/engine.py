"""The graph: reading a decoder file, checking it against its contract, running it.

Only this module and `graph` touch onnx, and only this one onnxruntime.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, State, read_metadata, write_metadata
from rtdecode.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    import onnx

MAX_FILE_BYTES = 1 << 30
_WARM_UP_RUNS = 50
_WARM_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A decoder file, read once: the bytes that were hashed are those that run.

    Attributes
    ----------
    path : str
        Where it was read from.
    sha256 : str
        Of its bytes.
    contract : Contract
        What it promises.
    graph : bytes
        The file itself.
    inputs, outputs : dict of str to tuple of int
        Shapes of the graph's inputs and outputs.
    n_parameters : int
        Values in its weights.
    """

    path: str
    sha256: str
    contract: Contract
    graph: bytes
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    n_parameters: int

    @property
    def name(self) -> str:
        """File name without its folder."""
        return Path(self.path).name


def read_model(path: str | Path) -> ModelFile:
    """Read a decoder file and check that graph and contract agree.

    Raises
    ------
    ModelError
        The file is missing, is no ONNX file, has no contract, or its graph is none that is run (see
        `graph.check_plain`).
    """
    from rtdecode.graph import check_plain

    path = Path(path)
    content = _read_bytes(path)
    proto = _parse(content, str(path))
    contract = read_metadata({entry.key: entry.value for entry in proto.metadata_props}, str(path))
    inputs = {v.name: _shape(v, str(path)) for v in proto.graph.input}
    outputs = {v.name: _shape(v, str(path)) for v in proto.graph.output}
    n_parameters = check_plain(proto, str(path))
    return ModelFile(str(path), hashlib.sha256(content).hexdigest(), contract, content, inputs, outputs, n_parameters)


def write_model(proto: "onnx.ModelProto", contract: Contract, path: str | Path) -> None:
    """Write a graph and its contract as one file; what stood there is replaced at once or not at all."""
    path = Path(path)
    del proto.metadata_props[:]
    for key, value in write_metadata(contract).items():
        proto.metadata_props.add(key=key, value=value)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(proto.SerializeToString(deterministic=True))
        partial.replace(path)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}.") from None


def rewrite(model: ModelFile, contract: Contract, path: str | Path) -> ModelFile:
    """Write a decoder's graph as it is with another contract, and return the file as read back."""
    write_model(_parse(model.graph, model.path), contract, path)
    return read_model(path)


def check_graph(model: ModelFile, n_channels: int) -> None:
    """Check the graph's shapes against the contract; `n_channels` leave the preprocessing."""
    contract = model.contract
    x = (1, n_channels, contract.window.n_times)
    states = {s.name: s.initial.shape for s in contract.states}
    wanted_in = {"x": x, **{f"state_{name}": shape for name, shape in states.items()}}
    if model.inputs != wanted_in:
        raise ModelError(f"{model.path}: the graph takes {model.inputs}, its description says {wanted_in}.")
    n_outputs = len(contract.outputs.names)
    first = next(iter(model.outputs), "")
    wanted_out = {first: (1, n_outputs), **{f"next_state_{n}": shape for n, shape in states.items()}}
    if model.outputs != wanted_out:
        raise ModelError(
            f"{model.path}: the graph gives {model.outputs}, its description says {n_outputs} outputs "
            f"and the states {states or 'none'}: {wanted_out}."
        )


class Engine:
    """ONNX Runtime on CPU: one thread, no spinning, warmed up, fixed memory for its input.

    The input has an aligned place of its own: vector code may sum in another order where memory is aligned
    differently, and a result must not depend on where a window happened to lie.

    Parameters
    ----------
    model : ModelFile
        What to run.

    Attributes
    ----------
    run_s : float
        Seconds that `run` takes here: the median of the runs that warmed it up.
    """

    def __init__(self, model: ModelFile) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                model.graph, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's exceptions have no common base
            why = _too_new(model) or f"{_one_line(error)}."
            raise ModelError(f"ONNX Runtime cannot load {model.path}: {why}") from None
        self._outputs = list(model.outputs)
        self._states: Sequence[State] = model.contract.states
        self._x = _aligned(model.inputs["x"])
        self.reset()
        try:
            self.run_s, output = self._warm_up()
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot run {model.path}: {_one_line(error)}.") from None
        if not np.isfinite(output).all():
            raise ModelError(f"{model.path} does not give finite values for a window of zeros.")
        self.reset()

    def _warm_up(self) -> tuple[float, NDArray[np.float32]]:
        """Run often, unless that takes too long: (median of the seconds of a run, what the last one gave)."""
        took: list[float] = []
        while len(took) < _WARM_UP_RUNS and sum(took) < _WARM_UP_S:
            before = time.perf_counter()
            output = self.run(self._x[0])
            took.append(time.perf_counter() - before)
        return float(np.median(took)), output

    def reset(self) -> None:
        """Set the graph's states back to their initial values."""
        self._feed: dict[str, Any] = {"x": self._x}
        for state in self._states:
            self._feed[f"state_{state.name}"] = state.initial.astype(np.float32)

    def run(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one window (n_channels, n_times); return probabilities or values (n_outputs,).

        NaN, and the states are as at the start, if these would hold what is not finite.
        """
        self._x[0] = window
        results = self._session.run(self._outputs, self._feed)
        for name, value in zip(self._outputs[1:], results[1:], strict=True):
            self._feed[name.removeprefix("next_")] = value
        if self._states and not all(np.isfinite(value).all() for value in results):
            # One artefact would stay in the state for ever.
            self.reset()
            return np.full_like(results[0][0], np.nan)
        outputs: NDArray[np.float32] = results[0][0]
        return outputs

    def run_bare(self) -> None:
        """Run the graph on what lies there since the last window, and keep nothing: what ONNX Runtime costs alone."""
        self._session.run(self._outputs, self._feed)


def runtime_version() -> str:
    """Version of ONNX Runtime in use."""
    return str(_runtime().__version__)


def runtime_providers() -> tuple[str, ...]:
    """Names of what ONNX Runtime could run a graph on."""
    return tuple(_runtime().get_available_providers())


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
    proto = _parse(model.graph, model.path)
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


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"Model {path} is a folder; give the .onnx file in it.")
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"Model {path} is empty (0 bytes). Export it again.")
        if size > MAX_FILE_BYTES:
            raise ModelError(f"Model {path} has {size} bytes; at most {MAX_FILE_BYTES} are read.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"Model {path} does not exist. Check the path (now in {Path.cwd()}).") from None
    except OSError as error:
        raise ModelError(f"Model {path} cannot be read: {error.strerror}.") from None


def _parse(content: bytes, path: str) -> "onnx.ModelProto":
    import onnx

    try:
        proto: onnx.ModelProto = onnx.load_from_string(content)
    except Exception:  # protobuf's DecodeError, or what it becomes in its other implementations
        raise ModelError(f"{path} ({len(content)} bytes) is not an ONNX file, or is damaged.") from None
    if not _is_text(proto):
        raise ModelError(f"{path} ({len(content)} bytes) is damaged: a name or text in it is no UTF-8.")
    if not proto.graph.node:
        raise ModelError(f"{path} ({len(content)} bytes) is not an ONNX file, or holds no graph.")
    return proto


def _is_text(message: Any) -> bool:
    """Tell whether all strings are; protobuf gives those that are not as bytes."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for item in [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value:
            if isinstance(item, bytes) or (field.type == field.TYPE_MESSAGE and not _is_text(item)):
                return False
    return True


def _shape(value: Any, path: str) -> tuple[int, ...]:
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise ModelError(f"{path}: {value.name!r} is not a float32 tensor.")
    if any(not d.HasField("dim_value") or d.dim_value < 1 for d in tensor.shape.dim):
        raise ModelError(f"{path}: the shape of {value.name!r} is not fixed. Export it with a batch of 1.")
    return tuple(d.dim_value for d in tensor.shape.dim)


def _aligned(shape: tuple[int, ...], to: int = 64) -> NDArray[np.float32]:
    n = int(np.prod(shape))
    raw = np.zeros(4 * n + to, np.uint8)
    skip = -raw.ctypes.data % to
    return raw[skip : skip + 4 * n].view(np.float32).reshape(shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
