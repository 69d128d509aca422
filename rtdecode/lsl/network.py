"""LSL as the loop's network."""

from collections.abc import Sequence

from rtdecode.contract import Classification, Regression
from rtdecode.lsl.discovery import StreamChoice, StreamFound, list_streams
from rtdecode.lsl.inlet import SignalInlet
from rtdecode.lsl.markers import MarkerReader
from rtdecode.lsl.outlets import DecoderOutlets, Outlet
from rtdecode.marker import MarkerFormat
from rtdecode.recording import Layout


class LslNetwork:
    """Finds, reads and writes LSL streams (`rtdecode.network.Network`)."""

    def streams(self, wait_s: float) -> list[StreamFound]:
        """Listen for `wait_s` seconds and return every stream that answered."""
        return list_streams(wait_s)

    def connect(self, stream: StreamFound, ch_names: Sequence[str] | None, units: str | None) -> SignalInlet:
        """Ask a stream to describe itself; StreamError if it cannot be read."""
        return SignalInlet(stream, ch_names, units)

    def markers(self, choice: StreamChoice, exclude: tuple[str, ...]) -> MarkerReader:
        """Begin to look for a stream of markers and to read it."""
        return MarkerReader(choice, exclude)

    def outlets(
        self,
        name: str,
        outputs: Classification | Regression,
        marker_format: MarkerFormat,
        decision_names: tuple[str, ...] | None = None,
    ) -> DecoderOutlets:
        """Make the three streams of a decoder."""
        return DecoderOutlets(name, outputs, marker_format, decision_names)

    def event_outlet(self, name: str) -> Outlet:
        """Make a stream of markers."""
        return Outlet(Layout.of_markers(name), f"rtdecode-{name}")
