"""Reading a decoder's outputs."""

from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray

from rtdecode.errors import DeadlineError


class OutputReader:
    """Receives one stream by its exact name, values as they come.

    Parameters
    ----------
    name : str
        Of the stream, for example `rtdecode-lfcnn-proba`.
    wait_s : float
        How long to wait for it.

    Attributes
    ----------
    labels : tuple of str
        Names of its channels.
    """

    def __init__(self, name: str, wait_s: float = 30.0) -> None:
        # One answer is enough: rtdecode refuses to create a second stream of the name of one of its own.
        found = pylsl.resolve_byprop("name", name, minimum=1, timeout=wait_s)
        if not found:
            raise DeadlineError(f"No stream {name!r} within {wait_s:g} s. Is `rtdecode run` running?")
        self._inlet = pylsl.StreamInlet(found[0], recover=False)
        labels = self._inlet.info(5.0).get_channel_labels()
        self.labels = tuple(labels or ())
        self._inlet.open_stream(5.0)

    def pull(self, timeout_s: float = 0.2) -> tuple[list[list[Any]], NDArray[np.float64], float]:
        """Wait for at least one sample; return values, stamps, and when they were there (LSL's clock)."""
        try:
            values, stamps = self._inlet.pull_chunk(timeout=timeout_s, max_samples=1024, min_samples=1)
        except pylsl.util.LostError:
            values, stamps = [], np.empty(0)
        return values, np.asarray(stamps), pylsl.local_clock()

    def close(self) -> None:
        """Let go of the stream."""
        self._inlet.close_stream()
