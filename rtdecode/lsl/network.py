"""LSL as the loop's network."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread

from rtdecode.contract import Classification, Regression
from rtdecode.errors import StreamError
from rtdecode.lsl.discovery import StreamChoice, StreamFound, Wanted, list_streams
from rtdecode.lsl.inlet import Met, SignalInlet, meet
from rtdecode.lsl.markers import MarkerReader
from rtdecode.lsl.outlets import DecoderOutlets, Outlet
from rtdecode.marker import MarkerFormat
from rtdecode.recording import Layout


class LslNetwork:
    """Finds, reads and writes LSL streams (`rtdecode.network.Network`)."""

    def __init__(self) -> None:
        self._meeting: tuple[str, Future[Met]] | None = None

    def streams(self, wait_s: float, wanted: Wanted | None = None) -> list[StreamFound]:
        """Listen for `wait_s` seconds and return every stream that answered.

        The one that is `wanted` of those that have answered is met meanwhile: to `connect` to it takes less then.
        Whether it is the only one that could be wanted, is told by all that are returned.
        """

        def heard(so_far: list[StreamFound]) -> None:
            with suppress(StreamError):
                self._meet(wanted(so_far) if wanted else None)

        return list_streams(wait_s, heard if wanted else None)

    def _meet(self, stream: StreamFound | None) -> None:
        if stream and (self._meeting is None or self._meeting[0] != stream.uid):
            meeting: Future[Met] = Future()
            self._meeting = stream.uid, meeting
            # Each in a thread of its own, which nobody waits for: an outlet that is gone does not answer for seconds.
            Thread(target=_tell_met, args=(stream, meeting), name="rtdecode-meet", daemon=True).start()

    def connect(self, stream: StreamFound, ch_names: Sequence[str] | None, units: str | None) -> SignalInlet:
        """Ask a stream to describe itself; StreamError if it cannot be read."""
        meeting, self._meeting = self._meeting, None
        met = meeting[1].result() if meeting and meeting[0] == stream.uid else None
        return SignalInlet(stream, ch_names, units, met=met)

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


def _tell_met(stream: StreamFound, meeting: "Future[Met]") -> None:
    try:
        meeting.set_result(meet(stream))
    except Exception as error:
        meeting.set_exception(error)
