"""The two parts of an incremental graph: the front that is run on what is new, and the head over its features."""

from onnx.utils import Extractor

from rtdecode.model_file import ModelFile, parse


def divided(model: ModelFile, inputs: list[str], outputs: list[str]) -> tuple[bytes, bytes]:
    """Return front, from these inputs to these outputs, and head of an incremental graph."""
    extractor = Extractor(parse(model.graph, model.path))
    front = extractor.extract_model(inputs, outputs)
    head = extractor.extract_model(["features"], [next(iter(model.outputs))])
    return front.SerializeToString(), head.SerializeToString()
