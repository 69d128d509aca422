"""The graph: reading a decoder file, checking it against its contract, running it.

The only module that touches onnx and onnxruntime.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
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
        The file is missing, is no ONNX file, has no contract, holds weights outside of itself or that are
        not finite, or its graph is not what its contract says.
    """
    path = Path(path)
    content = _read_bytes(path)
    proto = _parse(content, str(path))
    contract = read_metadata({entry.key: entry.value for entry in proto.metadata_props}, str(path))
    inputs = {v.name: _shape(v, str(path)) for v in proto.graph.input}
    outputs = {v.name: _shape(v, str(path)) for v in proto.graph.output}
    n_parameters = _check_weights(proto, str(path))
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
            raise ModelError(f"ONNX Runtime cannot load {model.path}: {_one_line(error)}.") from None
        self._outputs = list(model.outputs)
        self._states: Sequence[State] = model.contract.states
        self._x = _aligned(model.inputs["x"])
        self.reset()
        for _ in range(_WARM_UP_RUNS):
            output = self.run(self._x[0])
        if not np.isfinite(output).all():
            raise ModelError(f"{model.path} does not give finite values for a window of zeros.")
        self.reset()

    def reset(self) -> None:
        """Set the graph's states back to their initial values."""
        self._feed: dict[str, Any] = {"x": self._x}
        for state in self._states:
            self._feed[f"state_{state.name}"] = state.initial.astype(np.float32)

    def run(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one window (n_channels, n_times); return probabilities or values (n_outputs,)."""
        self._x[0] = window
        results = self._session.run(self._outputs, self._feed)
        for name, value in zip(self._outputs[1:], results[1:], strict=True):
            self._feed[name.removeprefix("next_")] = value
        outputs: NDArray[np.float32] = results[0][0]
        return outputs


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
    if not proto.graph.node:
        raise ModelError(f"{path} ({len(content)} bytes) is not an ONNX file, or holds no graph.")
    return proto


def _shape(value: Any, path: str) -> tuple[int, ...]:
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise ModelError(f"{path}: {value.name!r} is not a float32 tensor.")
    if any(not d.HasField("dim_value") or d.dim_value < 1 for d in tensor.shape.dim):
        raise ModelError(f"{path}: the shape of {value.name!r} is not fixed. Export it with a batch of 1.")
    return tuple(d.dim_value for d in tensor.shape.dim)


def _check_weights(proto: "onnx.ModelProto", path: str) -> int:
    import onnx.numpy_helper

    n_parameters = 0
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(f"{path}: weight {tensor.name!r} lies outside of the file; a decoder is one file.")
        try:
            values = onnx.numpy_helper.to_array(tensor)
        except Exception:  # whatever a damaged tensor makes of itself
            raise ModelError(f"{path}: weight {tensor.name!r} is damaged.") from None
        if np.issubdtype(values.dtype, np.floating):
            n_parameters += values.size
            if not np.isfinite(values).all():
                raise ModelError(f"{path}: weight {tensor.name!r} holds values that are not finite.")
    return n_parameters


def _aligned(shape: tuple[int, ...], to: int = 64) -> NDArray[np.float32]:
    n = int(np.prod(shape))
    raw = np.zeros(4 * n + to, np.uint8)
    skip = -raw.ctypes.data % to
    return raw[skip : skip + 4 * n].view(np.float32).reshape(shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
