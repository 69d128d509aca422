"""The two parts of an incremental graph: the front that is run on what is new, and the head over its features."""

import numpy as np
from numpy.typing import NDArray
from onnx.utils import Extractor

from rtdecode.model_file import ModelFile, parse


def divided(model: ModelFile) -> tuple[bytes, bytes, dict[str, NDArray[np.float32]]]:
    """Return front and head of an incremental graph, and what the front carries to its first run, by name."""
    past = {name: np.zeros(shape, np.float32) for name, shape in model.inputs.items() if name.startswith("past_")}
    extractor = Extractor(parse(model.graph, model.path))
    front = extractor.extract_model(["x", *past], ["next_features", *(f"next_{name}" for name in past)])
    head = extractor.extract_model(["features"], [next(iter(model.outputs))])
    return front.SerializeToString(), head.SerializeToString(), past
