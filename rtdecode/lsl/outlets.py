"""Writing streams: any of a session, and the three streams of a decoder."""

import ctypes
import json
import os
import socket
from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray
from pylsl import library_version

from rtdecode.contract import Classification, Regression
from rtdecode.errors import ConfigurationError
from rtdecode.marker import MarkerFormat, marker_of
from rtdecode.prediction import Prediction
from rtdecode.recording import Layout

_from_xml = pylsl.lib.lib.lsl_streaminfo_from_xml
_from_xml.restype, _from_xml.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
_push_numbers = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2, ctypes.c_double, ctypes.c_int)
_push_text = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_double, ctypes.c_int)


def local_clock() -> float:
    """Return LSL's clock on this host, in seconds."""
    return float(pylsl.local_clock())


def versions() -> dict[str, str]:
    """Return the versions of pylsl and liblsl in use."""
    liblsl = library_version()
    return {"pylsl": pylsl.__version__, "liblsl": f"{liblsl // 100}.{liblsl % 100}"}


class Outlet:
    """A stream of any kind, described as its layout says.

    Parameters
    ----------
    layout : Layout
        What it tells of itself.
    source_id : str
        Its identity.
    speed : float
        How many times faster than the layout says samples are pushed and stamped; its description tells.
    """

    def __init__(self, layout: Layout, source_id: str, speed: float = 1.0) -> None:
        info = pylsl.StreamInfo(
            layout.name, layout.type, layout.n_channels, layout.sfreq, layout.channel_format, source_id
        )
        described = _parsed(layout.at_speed(speed * layout.speed).desc)
        node = described.desc().first_child()
        while not node.empty():
            info.desc().append_copy(node)
            node = node.next_sibling()
        self._outlet = pylsl.StreamOutlet(info)
        self._text = layout.channel_format == "string"

    def wait_for_consumers(self, timeout_s: float) -> bool:
        """Wait until somebody listens; False when nobody did in time."""
        return bool(self._outlet.wait_for_consumers(timeout_s))

    def push(self, values: NDArray[Any], timestamps: NDArray[np.float64]) -> None:
        """Push values (n_samples, n_channels), each sample with its own stamp."""
        self._outlet.push_chunk(values.tolist() if self._text else values, timestamps.tolist())


def _parsed(desc: str) -> pylsl.StreamInfo:
    """Let liblsl parse a description: whole, where its other calls know elements but no attributes."""
    fields = {"name": "-", "channel_count": 1, "nominal_srate": 0, "channel_format": "float32", "version": "1.1",
              "created_at": 0, "uid": "-", "v4data_port": 0, "v4service_port": 0, "v6data_port": 0,
              "v6service_port": 0}  # fmt: skip
    xml = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return pylsl.StreamInfo(handle=_from_xml(f"<info>{xml}{desc}</info>".encode()))


class _Numbers:
    """Pushes sample after sample from one place; pylsl's own method, which makes an array each time, takes longer."""

    def __init__(self, info: pylsl.StreamInfo, name: str, dtype: type) -> None:
        self.outlet = pylsl.StreamOutlet(info)
        self._values = np.empty(info.channel_count(), dtype)
        self._push, self._at = _push_numbers((name, pylsl.lib.lib)), self._values.ctypes.data

    def push(self, values: Any, timestamp: float) -> None:
        self._values[:] = values
        pylsl.util.handle_error(self._push(self.outlet.obj, self._at, timestamp, True))


class _Text:
    """Pushes a text at a time, in the same way."""

    def __init__(self, info: pylsl.StreamInfo) -> None:
        self.outlet = pylsl.StreamOutlet(info)
        self._push = _push_text(("lsl_push_sample_buftp", pylsl.lib.lib))
        self._text, self._length = (ctypes.c_char_p * 1)(), (ctypes.c_uint32 * 1)()

    def push(self, value: Any, timestamp: float) -> None:
        self._text[0] = text = value.encode()
        self._length[0] = len(text)
        pylsl.util.handle_error(self._push(self.outlet.obj, self._text, self._length, timestamp, True))


def _pusher(info: pylsl.StreamInfo) -> _Numbers | _Text:
    if info.channel_format() == pylsl.cf_float32:
        return _Numbers(info, "lsl_push_sample_ftp", np.float32)
    if info.channel_format() == pylsl.cf_int32:
        return _Numbers(info, "lsl_push_sample_itp", np.int32)
    return _Text(info)


class DecoderOutlets:
    """The three streams of a decoder: NAME (markers), NAME-proba or NAME-values, NAME-status.

    NAME carries one marker for every decision (without a policy that is every prediction) and none for an
    abstention, so that who acts on a label never acts on the lack of one. NAME-proba has a row for every hop: the
    label is that of the most probable class; an abstention is NaN for every class and label -1.
    A regression has NAME-values in its place: NaN for every target where it abstained.

    Parameters
    ----------
    name : str
        Of the marker stream; the others are named after it.
    outputs : Classification or Regression
        What the decoder gives.
    marker_format : str
        `label` (the name of what is decided; of a regression its values as text), `json`, or `int32` (its index).
    decision_names : tuple of str, optional
        What is decided, by index; its classes when not given.

    Raises
    ------
    ConfigurationError
        `int32` for a regression.
    """

    def __init__(
        self,
        name: str,
        outputs: Classification | Regression,
        marker_format: MarkerFormat = "label",
        decision_names: tuple[str, ...] | None = None,
    ) -> None:
        self._outputs, self._names, self._format = outputs, outputs.names, marker_format
        self._classifies = isinstance(outputs, Classification)
        classes = self._names if self._classifies else ()
        self._decisions = classes if decision_names is None else decision_names
        if not self._classifies and marker_format == "int32":
            raise ConfigurationError("A regression has no class to publish as int32; choose label or json.")
        number = pylsl.cf_int32 if marker_format == "int32" else pylsl.cf_string
        markers, predictions, status = self.names(name, outputs)
        columns = [*self._names, "label"] if self._classifies else [*self._names]
        self._markers = _pusher(self._info(markers, "Markers", ["label"], number))
        self._predictions = _pusher(self._info(predictions, "Predictions", columns, pylsl.cf_float32))
        self._status = _pusher(self._info(status, "Markers", ["status"], pylsl.cf_string))
        self._row = np.empty(len(columns), np.float32)

    @staticmethod
    def names(name: str, outputs: Classification | Regression) -> tuple[str, str, str]:
        """Return the names of the three streams."""
        return name, f"{name}-{outputs.column}", f"{name}-status"

    def _info(self, name: str, kind: str, labels: list[str], channel_format: int) -> pylsl.StreamInfo:
        source_id = f"rtdecode-{name}-{socket.gethostname()}-{os.getpid()}"
        info = pylsl.StreamInfo(name, kind, len(labels), pylsl.IRREGULAR_RATE, channel_format, source_id)
        desc = info.desc()
        # For `OutputReader`, and for who later reads numbers in a recording.
        described = desc.append_child("rtdecode")
        for key, value in (("role", "output"), ("kind", self._outputs.kind), ("marker_format", self._format)):
            described.append_child_value(key, value)
        for key, names in (("outputs", self._names), ("decisions", self._decisions)):
            named = described.append_child(key)
            for each in names:
                named.append_child_value("name", each)
        channels = desc.append_child("channels")
        for label in labels:
            channels.append_child("channel").append_child_value("label", label)
        return info

    def publish(self, prediction: Prediction, timestamp: float) -> None:
        """Publish one prediction or abstention, stamped `timestamp` in this host's clock."""
        outputs = prediction.outputs
        self._row[: len(self._names)] = np.nan if outputs is None else outputs
        if self._classifies:
            self._row[-1] = prediction.label
        self._predictions.push(self._row, timestamp)
        marker = marker_of(prediction, timestamp, self._outputs, self._decisions, self._format)
        if marker is not None:
            self._markers.push(marker, timestamp)

    def status(self, document: dict[str, Any], timestamp: float) -> None:
        """Publish one JSON object on NAME-status."""
        self._status.push(json.dumps(document, ensure_ascii=False, allow_nan=False), timestamp)

    def has_listener(self) -> bool:
        """Tell whether somebody reads NAME-status."""
        return bool(self._status.outlet.have_consumers())
