"""Writing streams: a signal with its events, and the three streams of a decoder."""

import json
import os
import socket
from typing import Any, Literal

import numpy as np
import pylsl
from numpy.typing import NDArray

from rtdecode.contract import Classification, Regression, Signal
from rtdecode.decoder import Prediction
from rtdecode.errors import ConfigurationError

MarkerFormat = Literal["label", "json", "int32"]

# As the XDF specification spells them.
_SPOKEN = {"V": "volts", "mV": "millivolts", "uV": "microvolts", "nV": "nanovolts"}


def local_clock() -> float:
    """Return LSL's clock on this host, in seconds."""
    return float(pylsl.local_clock())


def versions() -> dict[str, str]:
    """Return the versions of pylsl and liblsl in use."""
    library = pylsl.library_version()
    return {"pylsl": pylsl.__version__, "liblsl": f"{library // 100}.{library % 100}"}


class SignalOutlet:
    """A signal stream, described so that any reader knows its channels.

    Parameters
    ----------
    name, source_id : str
        Its identity on the network.
    signal : Signal
        What it carries, as float32.
    """

    def __init__(self, name: str, source_id: str, signal: Signal) -> None:
        kind = "MEG" if {"mag", "grad"} & set(signal.ch_types) else "EEG"
        info = pylsl.StreamInfo(name, kind, signal.n_channels, signal.sfreq, pylsl.cf_float32, source_id)
        channels = info.desc().append_child("channels")
        for label, ch_type, unit in zip(signal.ch_names, signal.ch_types, signal.units, strict=True):
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", _SPOKEN.get(unit, unit))
            channel.append_child_value("type", ch_type.upper())
        self._outlet = pylsl.StreamOutlet(info)

    def wait_for_consumers(self, timeout_s: float) -> bool:
        """Wait until somebody listens; False when nobody did in time."""
        return bool(self._outlet.wait_for_consumers(timeout_s))

    def push(self, samples: NDArray[np.float32], timestamps: NDArray[np.float64]) -> None:
        """Push samples (n_samples, n_channels), each with its own stamp."""
        self._outlet.push_chunk(samples, timestamps)


class EventOutlet:
    """A marker stream of strings."""

    def __init__(self, name: str, source_id: str) -> None:
        self._outlet = pylsl.StreamOutlet(
            pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, source_id)
        )

    def push(self, label: str, timestamp: float) -> None:
        """Push one marker."""
        self._outlet.push_sample([label], timestamp)


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
        `label` (the class's name; of a regression its values as text), `json`, or `int32` (the class's index).

    Raises
    ------
    ConfigurationError
        `int32` for a regression.
    """

    def __init__(
        self, name: str, outputs: Classification | Regression, marker_format: MarkerFormat = "label"
    ) -> None:
        self._names, self._format = outputs.names, marker_format
        self._classifies = isinstance(outputs, Classification)
        if not self._classifies and marker_format == "int32":
            raise ConfigurationError("A regression has no class to publish as int32; choose label or json.")
        number = pylsl.cf_int32 if marker_format == "int32" else pylsl.cf_string
        markers, predictions, status = self.names(name, outputs)
        self._markers = self._outlet(markers, "Markers", ["label"], number)
        columns = [*self._names, "label"] if self._classifies else [*self._names]
        self._predictions = self._outlet(predictions, "Predictions", columns, pylsl.cf_float32)
        self._status = self._outlet(status, "Markers", ["status"], pylsl.cf_string)
        self._row = np.empty(len(columns), np.float32)

    @staticmethod
    def names(name: str, outputs: Classification | Regression) -> tuple[str, str, str]:
        """Return the names of the three streams."""
        return name, f"{name}-{outputs.column}", f"{name}-status"

    @staticmethod
    def _outlet(name: str, kind: str, labels: list[str], channel_format: int) -> pylsl.StreamOutlet:
        source_id = f"rtdecode-{name}-{socket.gethostname()}-{os.getpid()}"
        info = pylsl.StreamInfo(name, kind, len(labels), pylsl.IRREGULAR_RATE, channel_format, source_id)
        desc = info.desc()
        desc.append_child("rtdecode").append_child_value("role", "output")
        channels = desc.append_child("channels")
        for label in labels:
            channels.append_child("channel").append_child_value("label", label)
        return pylsl.StreamOutlet(info)

    def publish(self, prediction: Prediction, timestamp: float) -> None:
        """Publish one prediction or abstention, stamped `timestamp` in this host's clock."""
        outputs = prediction.outputs
        if outputs is None:
            self._row.fill(np.nan)
        else:
            self._row[: len(outputs)] = outputs
            if not self._classifies or prediction.decision is not None:
                self._markers.push_sample([self._marker(prediction, outputs)], timestamp)
        if self._classifies:
            self._row[-1] = prediction.label
        self._predictions.push_sample(self._row, timestamp)

    def _marker(self, prediction: Prediction, outputs: NDArray[np.float32]) -> str | int | None:
        if self._format == "int32":
            return prediction.decision
        named = dict(zip(self._names, map(float, outputs), strict=True))
        if not self._classifies:
            if self._format == "label":
                return " ".join(f"{value:.6g}" for value in outputs)
            return json.dumps({"values": named, "sample": prediction.sample})
        assert prediction.decision is not None
        label = self._names[prediction.decision]
        if self._format == "label":
            return label
        told = {"label": label, "index": prediction.decision, "proba": named, "sample": prediction.sample}
        if prediction.evidence is not None:
            told |= {"evidence": prediction.evidence, "used_s": prediction.used_s}
        return json.dumps(told)

    def status(self, document: dict[str, Any], timestamp: float) -> None:
        """Publish one JSON object on NAME-status."""
        self._status.push_sample([json.dumps(document, ensure_ascii=False, allow_nan=False)], timestamp)

    def has_listener(self) -> bool:
        """Tell whether somebody reads NAME-status."""
        return bool(self._status.have_consumers())
