"""Reading a decoder's outputs."""

from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray

from rtdecode.errors import DeadlineError, StreamError, StreamLostError
from rtdecode.lsl.clock import clock_correction

_MOST_ROWS = 1024


class OutputReader:
    """Receives one stream of a decoder, values as they come. Once lost, it stays lost.

    Parameters
    ----------
    name : str
        Of the stream, for example `rtdecode-lfcnn-proba`.
    wait_s : float
        How long to wait for it.
    handle : pylsl.StreamInfo, optional
        The stream, where it has been found already.
    timeout_s : float
        For each answer of the outlet.
    corrected : bool
        Give stamps in this host's clock instead of the outlet's; connecting takes 0.6 s longer.

    Attributes
    ----------
    labels : tuple of str
        Names of its channels.
    output_names : tuple of str
        Of the decoder: its classes by index, or its targets.
    decision_names : tuple of str
        What it decides, by index: its classes, or items of repeated events.
    classifies : bool
        Whether the decoder decides among classes.
    marker_format : str
        `label`, `json` or `int32`: how NAME says it.
    uid : str
        New at every start of the outlet.
    lost : bool
        The outlet went away.

    Raises
    ------
    DeadlineError
        It is not there.
    StreamLostError
        It was announced, but its outlet does not answer.
    StreamError
        It is no decoder's output.
    """

    def __init__(
        self,
        name: str,
        wait_s: float = 30.0,
        handle: pylsl.StreamInfo | None = None,
        timeout_s: float = 5.0,
        corrected: bool = False,
    ) -> None:
        if handle is None:
            # One answer is enough: rtdecode refuses to create a second stream of the name of one of its own.
            found = pylsl.resolve_byprop("name", name, minimum=1, timeout=wait_s)
            if not found:
                raise DeadlineError(f"No stream {name!r} within {wait_s:g} s. Is `rtdecode run` running?")
            handle = found[0]
        self.uid, self.lost = handle.uid(), False
        self._host, self._timeout_s = handle.hostname(), timeout_s
        self._corrected, self._correction_s = corrected, 0.0
        self._inlet = pylsl.StreamInlet(handle, recover=False)
        try:
            info = self._inlet.info(timeout_s)
            # Before the stream is opened, so that nothing queues up meanwhile.
            self._correct()
            self._inlet.open_stream(timeout_s)
        except (pylsl.util.TimeoutError, pylsl.util.LostError):
            raise StreamLostError(f"Stream {name!r} was announced, but its outlet does not answer.") from None
        described = info.desc().child("rtdecode")
        if described.child_value("role") != "output":
            raise StreamError(f"Stream {name!r} is no output of `rtdecode run`; choose one of its streams.")
        self.labels = tuple(info.get_channel_labels() or ())
        self.marker_format = described.child_value("marker_format")
        self.classifies = described.child_value("kind") == "classification"
        self.output_names = _children(described.child("outputs"))
        self.decision_names = _children(described.child("decisions"))

    def pull(self, timeout_s: float = 0.2) -> tuple[list[list[Any]], NDArray[np.float64], float]:
        """Wait for at least one sample; return values, stamps, and when they were there (LSL's clock)."""
        values: list[list[Any]] = []
        stamps: list[float] = []
        try:
            # One at a time: `pull_chunk` throws away what it has when the outlet ends meanwhile.
            row, stamp = self._inlet.pull_sample(timeout_s)
            while row is not None:
                values.append(row)
                stamps.append(stamp + self._correction_s)
                if len(values) == _MOST_ROWS:
                    break
                row, stamp = self._inlet.pull_sample(0.0)
            self._correct()
        except (pylsl.util.TimeoutError, pylsl.util.LostError):
            self.lost = True
        return values, np.array(stamps), pylsl.local_clock()

    def _correct(self) -> None:
        if self._corrected:
            self._correction_s, _ = clock_correction(self._inlet, self._host, self._timeout_s)

    def close(self) -> None:
        """Let go of the stream."""
        self._inlet.close_stream()


def _children(parent: Any) -> tuple[str, ...]:
    values, child = [], parent.first_child()
    while not child.empty():
        values.append(child.child_value())
        child = child.next_sibling()
    return tuple(values)
