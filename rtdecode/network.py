"""What the loop needs of the outside: streams to find, one or two to read, three to write. LSL, or a script."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Classification, Regression, Signal
from rtdecode.errors import StreamError
from rtdecode.lsl import Marker, StreamChoice, StreamFound, Wanted
from rtdecode.marker import MarkerFormat
from rtdecode.prediction import Prediction


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


class EventSink(Protocol):
    """Where cues go; `rtdecode.lsl.Outlet` tells what the method promises."""

    def push(self, values: NDArray[Any], timestamps: NDArray[np.float64]) -> None:
        """Publish markers (n_markers, 1), each with its own stamp."""


class Network(Protocol):
    """Makes inlets and outlets."""

    def streams(self, wait_s: float, wanted: Wanted | None = None) -> list[StreamFound]:
        """Listen for `wait_s` seconds and return every stream that answered.

        Which one is `wanted` of those that are there may be asked meanwhile, to begin to connect to it.
        """

    def connect(self, stream: StreamFound, ch_names: Sequence[str] | None, units: str | None) -> Inlet:
        """Ask a stream to describe itself; StreamError if it cannot be read."""

    def markers(self, choice: StreamChoice, exclude: tuple[str, ...]) -> Markers:
        """Begin to look for a stream of markers and to read it."""

    def outlets(
        self,
        name: str,
        outputs: Classification | Regression,
        marker_format: MarkerFormat,
        decision_names: tuple[str, ...] | None = None,
    ) -> Sink:
        """Make the three streams of a decoder."""

    def event_outlet(self, name: str) -> EventSink:
        """Make a stream of markers."""


def not_found(
    choice: StreamChoice, streams: Sequence[StreamFound], ours: Sequence[str], wait_s: float
) -> StreamError:
    """Return the error that no stream fits a choice; it lists those that are there, without `ours`, by name."""
    others = [str(s) for s in streams if s.name not in ours]
    seen = f"Streams that are there: {'; '.join(others)}." if others else "No stream at all is there."
    return StreamError(
        f"No stream found in {wait_s:g} s; wanted: {choice}. {seen} "
        "Start the amplifier's LSL outlet (or `rtdecode play`), and check firewall and network."
    )
