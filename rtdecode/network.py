"""What the loop needs of the outside: streams to find, one to read, three to write. LSL is one; a script another."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Classification, Regression, Signal
from rtdecode.decoder import Prediction
from rtdecode.lsl import MarkerFormat, StreamFound


class Inlet(Protocol):
    """A connection to one signal stream; `rtdecode.lsl.SignalInlet` tells what each method promises."""

    signal: Signal
    speed: float

    def open(self) -> None:
        """Subscribe."""

    def pull(self, timeout_s: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Wait for at least one sample; return what is there, or nothing after `timeout_s`."""

    def correction(self) -> tuple[float, float]:
        """Return seconds to add to a stamp, and how uncertain they are."""

    def close(self) -> None:
        """Let go of the stream."""


class Sink(Protocol):
    """Where predictions and what happens go; `rtdecode.lsl.DecoderOutlets` tells what each method promises."""

    def publish(self, prediction: Prediction, timestamp: float) -> None:
        """Publish a prediction or an abstention."""

    def status(self, document: dict[str, Any], timestamp: float) -> None:
        """Publish what happened."""

    def has_listener(self) -> bool:
        """Tell whether somebody reads what happens."""


class Network(Protocol):
    """Makes inlets and outlets."""

    def streams(self, wait_s: float) -> list[StreamFound]:
        """Listen for `wait_s` seconds and return every stream that answered."""

    def connect(self, stream: StreamFound, ch_names: Sequence[str] | None, units: str | None) -> Inlet:
        """Ask a stream to describe itself; StreamError if it cannot be read."""

    def outlets(self, name: str, outputs: Classification | Regression, marker_format: MarkerFormat) -> Sink:
        """Make the three streams of a decoder."""
