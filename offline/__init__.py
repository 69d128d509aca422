"""Training decoders: from recordings to one ONNX file. Needs the extra `offline`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offline.estimator import DecoderClassifier

__all__ = ["DecoderClassifier"]


def __getattr__(name: str) -> Any:
    if name != "DecoderClassifier":
        raise AttributeError(f"module 'offline' has no attribute {name!r}")
    # Loaded when first used: most commands need neither torch nor scikit-learn.
    from offline.estimator import DecoderClassifier

    return DecoderClassifier
