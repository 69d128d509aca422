"""Real-time decoding of brain signals: one ONNX file, the same code offline and online.

>>> decoder = rtdecode.load("lfcnn.onnx")
>>> for prediction in decoder.push(samples, timestamps):
...     print(prediction.timestamp, prediction.label, prediction.proba)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtdecode.contract import Contract, Policy, Signal
    from rtdecode.decoder import Decoder, load
    from rtdecode.device import DeviceSettings
    from rtdecode.errors import (
        ConfigurationError,
        DeadlineError,
        ModelError,
        RecordingError,
        RtdecodeError,
        StreamError,
    )
    from rtdecode.listener import Listener, Output
    from rtdecode.prediction import Prediction
    from rtdecode.recording import Event, Recording, read_recording
    from rtdecode.replay import Replay, decode_recording

__version__ = "0.1.0"

# Loaded when first used, so that `import rtdecode` costs next to nothing.
_HOME = {
    "Contract": "contract",
    "Policy": "contract",
    "Signal": "contract",
    "Decoder": "decoder",
    "DeviceSettings": "device",
    "Prediction": "prediction",
    "load": "decoder",
    "ConfigurationError": "errors",
    "DeadlineError": "errors",
    "ModelError": "errors",
    "RecordingError": "errors",
    "RtdecodeError": "errors",
    "StreamError": "errors",
    "Listener": "listener",
    "Output": "listener",
    "Event": "recording",
    "Recording": "recording",
    "read_recording": "recording",
    "Replay": "replay",
    "decode_recording": "replay",
}

__all__ = [
    "ConfigurationError",
    "Contract",
    "DeadlineError",
    "Decoder",
    "DeviceSettings",
    "Event",
    "Listener",
    "ModelError",
    "Output",
    "Policy",
    "Prediction",
    "Recording",
    "RecordingError",
    "Replay",
    "RtdecodeError",
    "Signal",
    "StreamError",
    "decode_recording",
    "load",
    "read_recording",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rtdecode' has no attribute {name!r}")
    return getattr(import_module(f"rtdecode.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
