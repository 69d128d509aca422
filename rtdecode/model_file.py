"""A decoder file: read, checked against its contract, written."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtdecode.contract import Contract, Incremental, read_metadata, write_metadata
from rtdecode.errors import ModelError
from rtdecode.files import write_bytes

if TYPE_CHECKING:
    import onnx

MAX_FILE_BYTES = 1 << 30
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
    proto = parse(content, str(path))
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
    write_bytes(path, proto.SerializeToString(deterministic=True))


def rewrite(model: ModelFile, contract: Contract, path: str | Path) -> ModelFile:
    """Write a decoder's graph as it is with another contract, and return the file as read back."""
    write_model(parse(model.graph, model.path), contract, path)
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


def parse(content: bytes, path: str) -> "onnx.ModelProto":
    """Read a file's content; ModelError if that is no ONNX file."""
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
