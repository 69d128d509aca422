"""What the loop needs of the outside: streams to find, one or two to read, three to write. LSL, or a script."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Classification, Regression, Signal
from rtdecode.decoder import Prediction
from rtdecode.lsl import Marker, StreamChoice, StreamFound
from rtdecode.marker import MarkerFormat


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


class Markers(Protocol):
    """A stream of markers, read beside the loop; `rtdecode.lsl.markers.MarkerReader` tells what methods promise."""

    stream: StreamFound | None
    problem: str

    def wait(self, timeout_s: float) -> bool:
        """Wait until the stream is read for the first time; False if it is not."""

    def pull(self) -> list[Marker]:
        """Return what came since the last call; never waits."""

    def news(self) -> list[tuple[str, str]]:
        """Return what happened since the last call: `events-found` or `events-lost`, with a message each."""

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

    def markers(self, choice: StreamChoice, exclude: tuple[str, ...]) -> Markers:
        """Begin to look for a stream of markers and to read it."""

    def outlets(self, name: str, outputs: Classification | Regression, marker_format: MarkerFormat) -> Sink:
        """Make the three streams of a decoder."""
