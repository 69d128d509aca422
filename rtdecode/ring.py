"""The newest samples, kept so that any window of them is contiguous in time."""

import numpy as np
from numpy.typing import NDArray


class Ring:
    """Double-written ring of the newest samples, channels first, float32.

    Every sample is written twice, `capacity` columns apart, so that the last n <= capacity samples always
    stand side by side and a window is a view.

    Parameters
    ----------
    n_channels, capacity : int
        Channels, and samples kept.
    """

    def __init__(self, n_channels: int, capacity: int) -> None:
        self._buffer: NDArray[np.float32] = np.zeros((n_channels, 2 * capacity), np.float32)
        self.capacity = capacity
        self.written = 0

    def clear(self) -> None:
        """Forget everything."""
        self.written = 0

    def write(self, samples: NDArray[np.floating]) -> None:
        """Append samples (n_samples, n_channels), rounded to float32."""
        n, capacity = len(samples), self.capacity
        kept = samples[-capacity:].T
        at = (self.written + n - kept.shape[1]) % capacity
        head = min(kept.shape[1], capacity - at)
        for start in (0, capacity):
            self._buffer[:, start + at : start + at + head] = kept[:, :head]
            self._buffer[:, start : start + kept.shape[1] - head] = kept[:, head:]
        self.written += n

    def window(self, n_times: int, before: int = 0) -> NDArray[np.float32]:
        """Return the last `n_times` samples as a view (n_channels, n_times), oldest first.

        The newest `before` samples are passed over.
        The view is valid until the next write.

        Raises
        ------
        ValueError
            If fewer samples were written, or the ring is shorter.
        """
        if n_times + before > min(self.written, self.capacity):
            raise ValueError(f"{n_times + before} samples asked for, {min(self.written, self.capacity)} kept")
        end = (self.written - 1) % self.capacity + 1 + self.capacity - before
        return self._buffer[:, end - n_times : end]
