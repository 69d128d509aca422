"""Arrays in a JSON document: each stands apart, base64 of little-endian float64, by its path."""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator

PREFIX = "rtdecode.array/"


def _check(value: Any) -> NDArray[np.float64]:
    try:
        array = np.array(value, dtype=np.float64)
    except TypeError:
        raise ValueError("no array of numbers") from None
    if not np.isfinite(array).all():
        raise ValueError("array holds values that are not finite")
    array.flags.writeable = False
    return array


# A field of a frozen model: float64, finite, read-only.
FloatArray = Annotated[NDArray[np.float64], PlainValidator(_check), PlainSerializer(lambda a: a)]


def pack(document: Any, arrays: dict[str, str], path: str = "") -> Any:
    """Replace every array in `document` by a reference; put its base64 text into `arrays`."""
    if isinstance(document, np.ndarray):
        arrays[PREFIX + path] = base64.b64encode(document.astype("<f8").tobytes()).decode("ascii")
        return {"array": path, "shape": list(document.shape)}
    if isinstance(document, Mapping):
        return {k: pack(v, arrays, f"{path}/{k}" if path else str(k)) for k, v in document.items()}
    if isinstance(document, (list, tuple)):
        return [pack(v, arrays, f"{path}/{i}") for i, v in enumerate(document)]
    return document


def unpack(document: Any, arrays: Mapping[str, str]) -> Any:
    """Put the arrays back; ValueError when one is missing or has another size than told."""
    if isinstance(document, dict):
        if document.keys() == {"array", "shape"}:
            return _decode(document["array"], document["shape"], arrays)
        return {k: unpack(v, arrays) for k, v in document.items()}
    if isinstance(document, list):
        return [unpack(v, arrays) for v in document]
    return document


def _decode(name: Any, shape: Any, arrays: Mapping[str, str]) -> NDArray[np.float64]:
    text = arrays.get(f"{PREFIX}{name}")
    if text is None:
        raise ValueError(f"array {name!r} is missing from the file")
    try:
        flat = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8")
        return flat.reshape([int(n) for n in shape]).astype(np.float64)
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"array {name!r} is damaged: {error}") from None
