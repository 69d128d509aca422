"""LSL as the loop's network."""

from collections.abc import Sequence

from rtdecode.contract import Classification, Regression
from rtdecode.lsl.discovery import StreamFound, list_streams
from rtdecode.lsl.inlet import SignalInlet
from rtdecode.lsl.outlets import DecoderOutlets, EventOutlet, MarkerFormat


class LslNetwork:
    """Finds, reads and writes LSL streams (`rtdecode.network.Network`)."""

    def streams(self, wait_s: float) -> list[StreamFound]:
        """Listen for `wait_s` seconds and return every stream that answered."""
        return list_streams(wait_s)

    def connect(self, stream: StreamFound, ch_names: Sequence[str] | None, units: str | None) -> SignalInlet:
        """Ask a stream to describe itself; StreamError if it cannot be read."""
        return SignalInlet(stream, ch_names, units)

    def outlets(self, name: str, outputs: Classification | Regression, marker_format: MarkerFormat) -> DecoderOutlets:
        """Make the three streams of a decoder."""
        return DecoderOutlets(name, outputs, marker_format)

    def event_outlet(self, name: str) -> EventOutlet:
        """Make a stream of markers."""
        return EventOutlet(name, f"rtdecode-{name}")
