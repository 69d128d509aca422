"""The graph: reading a decoder file, checking it against its contract, running it.

Only this module and `graph` touch onnx, and only this one onnxruntime.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Contract, Incremental, read_metadata, write_metadata
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.ring import Features, aligned

if TYPE_CHECKING:
    import onnx

MAX_FILE_BYTES = 1 << 30
_WARM_UP_RUNS = 50
_WARM_UP_S = 5.0
_MAX_KEPT = 1 << 27


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
    contract, form = model.contract, model.contract.form
    n_outputs = len(contract.outputs.names)
    carried = {f"state_{s.name}": s.initial.shape for s in contract.states}
    n_times, more_in, more_out = contract.window.n_times, dict[str, tuple[int, ...]](), dict[str, tuple[int, ...]]()
    if isinstance(form, Incremental):
        n_times, width = contract.window.hop, model.inputs.get("features", (1,))[-1]
        more_in, more_out = {"features": (1, form.n_features, width)}, {"next_features": (1, n_times, width)}
        carried = {name: shape for name, shape in model.inputs.items() if name.startswith("past_")}
        if 2 * form.n_features * form.stride * width > _MAX_KEPT:
            raise ModelError(f"{model.path}: a window has more features than the {_MAX_KEPT} values that are kept.")
    wanted_in = {"x": (1, n_channels, n_times), **more_in, **carried}
    if model.inputs != wanted_in:
        raise ModelError(f"{model.path}: the graph takes {model.inputs}, its description says {wanted_in}.")
    first = next(iter(model.outputs), "")
    wanted_out = {first: (1, n_outputs), **more_out, **{f"next_{name}": shape for name, shape in carried.items()}}
    if model.outputs != wanted_out:
        raise ModelError(
            f"{model.path}: the graph gives {model.outputs}, its description says {n_outputs} outputs "
            f"and the states {carried or 'none'}: {wanted_out}."
        )


class Engine:
    """Runs a graph, as its form says: a window at a time, or what is new of it.

    The input has an aligned place of its own: vector code may sum in another order where memory is aligned
    differently, and a result must not depend on where a window happened to lie.

    Parameters
    ----------
    model : ModelFile
        What to run.

    Attributes
    ----------
    n_times : int
        Samples that `run` takes.
    run_s : float
        Seconds that `run` takes here: the median of the runs that warmed it up.
    """

    def __init__(self, model: ModelFile) -> None:
        self._x = aligned(model.inputs["x"])
        self.n_times = self._x.shape[2]
        form, outputs = model.contract.form, list(model.outputs)
        self._head: _Session | None = None
        if isinstance(form, Incremental):
            shapes = {name: shape for name, shape in model.inputs.items() if name.startswith("past_")}
            past = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            following = [f"next_{name}" for name in ("features", *past)]
            front, head = _divided(model, ["x", *past], following)
            self._front, self._head = _Session(model, front, following, past), _Session(model, head, outputs[:1])
            width = model.inputs["features"][2]
            self._features = Features(form.n_features, width, form.stride, form.behind)
            self._n_window, self._n_outputs = model.contract.window.n_times, len(model.contract.outputs.names)
        else:
            states = {f"state_{s.name}": s.initial.astype(np.float32) for s in model.contract.states}
            self._front = _Session(model, model.graph, outputs, states)
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
        if self._head:
            self._features.written = self._n_window
        took: list[float] = []
        while len(took) < _WARM_UP_RUNS and sum(took) < _WARM_UP_S:
            before = time.perf_counter()
            output = self.run(self._x[0])
            took.append(time.perf_counter() - before)
        return float(np.median(took)), output

    def reset(self) -> None:
        """Void what is carried from run to run."""
        self._front.reset()
        if self._head:
            self._features.clear()

    def run(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the newest samples (n_channels, n_times); return probabilities or values (n_outputs,).

        NaN, and the states are as at the start, if these would hold what is not finite. In the incremental form NaN
        until the samples of a whole window have been run; what is not finite leaves it with the window.
        """
        self._x[0] = samples
        given = self._front.run("x", self._x)
        if self._head is None:
            return self._sound(given)
        self._features.write(given)
        if self._features.written < self._n_window:
            return np.full(self._n_outputs, np.nan, np.float32)
        return self._head.run("features", self._features.window()[None])

    def _sound(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        carried = self._front.carried
        if carried and not all(np.isfinite(values).all() for values in (outputs, *carried)):
            # One artefact would stay in the state for ever.
            self._front.reset()
            return np.full_like(outputs, np.nan)
        return outputs

    def run_bare(self) -> None:
        """Run the graph on what lies there since the last run, and keep nothing: what ONNX Runtime costs alone."""
        self._front.run_bare()
        if self._head:
            self._head.run_bare()


class _Session:
    """A graph in ONNX Runtime on CPU, on one thread, without spinning, and what it carries from run to run.

    Parameters
    ----------
    model : ModelFile
        Whose it is.
    graph : bytes
        The model's graph or a part of it.
    outputs : sequence of str
        What it gives: the first one is told, the others are those that are carried.
    initial : mapping of str to array
        What they are before the first run, by the names of the inputs.

    Attributes
    ----------
    carried : list of array
        What is carried to the next run.
    """

    def __init__(
        self,
        model: ModelFile,
        graph: bytes,
        outputs: Sequence[str],
        initial: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions have no common base
            why = _too_new(model) or f"{_one_line(error)}."
            raise ModelError(f"ONNX Runtime cannot load {model.path}: {why}") from None
        self._outputs, self._initial = list(outputs), initial or {}
        self._following = [name.removeprefix("next_") for name in outputs[1:]]
        self.reset()

    def reset(self) -> None:
        """Set what is carried back to what it was before the first run."""
        self._feed: dict[str, Any] = dict(self._initial)
        self.carried: list[NDArray[np.float32]] = list(self._initial.values())

    def run_bare(self) -> None:
        """Run on what was given last, and keep nothing."""
        self._session.run(self._outputs, self._feed)

    def run(self, name: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the graph an input; return the first output without its first dimension."""
        self._feed[name] = value
        told, *self.carried = self._session.run(self._outputs, self._feed)
        self._feed.update(zip(self._following, self.carried, strict=True))
        first: NDArray[np.float32] = told[0]
        return first


def _divided(model: ModelFile, inputs: list[str], outputs: list[str]) -> tuple[bytes, bytes]:
    """Return front, from these inputs to these outputs, and head of an incremental graph."""
    from onnx.utils import Extractor

    extractor = Extractor(_parse(model.graph, model.path))
    front = extractor.extract_model(inputs, outputs)
    head = extractor.extract_model(["features"], [next(iter(model.outputs))])
    return front.SerializeToString(), head.SerializeToString()


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
