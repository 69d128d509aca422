"""What is newest, kept so that any window of it stands side by side."""

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
            if head < kept.shape[1]:
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


class Features:
    """Double-written ring of the features of every sample, of which a window takes every so many.

    Those that are taken together stand side by side in memory, so that they are handed on without a copy. Where they
    stand depends on the samples since the last `clear` alone: so does how vector code sums them.

    Parameters
    ----------
    n_taken, width : int
        Features of a window, and values of each.
    stride, behind : int
        Samples between them, and from the newest one to the end of the window.
    """

    def __init__(self, n_taken: int, width: int, stride: int, behind: int) -> None:
        self._n_taken, self._stride, self._behind, self._period = n_taken, stride, behind, stride * n_taken
        self._values = aligned((2 * self._period, width))
        # Sample t is the (t // stride)-th of its phase, t % stride; it has two rows. Twice, so that no run of samples
        # goes beyond the end.
        place, phase = np.divmod(np.arange(2 * self._period), stride)
        row = phase * 2 * n_taken + place % n_taken
        self._rows = np.stack([row, row + n_taken], axis=1)
        self.written = 0

    def clear(self) -> None:
        """Forget everything."""
        self.written = 0

    def write(self, features: NDArray[np.float32]) -> None:
        """Append features (n_samples, width)."""
        n = len(features)
        if n == 1:
            # As most often: to choose rows by an array takes longer than to write them.
            row = self._rows.item(self.written % self._period, 0)
            self._values[row] = self._values[row + self._n_taken] = features
        else:
            kept = features[-self._period :]
            first = (self.written + n - len(kept)) % self._period
            self._values[self._rows[first : first + len(kept)]] = kept[:, None]
        self.written += n

    def window(self, n_coming: int = 0) -> NDArray[np.float32]:
        """Return what the newest window takes: a view (n_taken, width), oldest first, valid until the next write.

        Or, before `n_coming` more samples are written, what the window after them takes of those that are there.
        """
        first = self.place(n_coming)
        return self._values[first : first + self._n_taken - self.n_missing(n_coming)]

    def place(self, n_coming: int = 0) -> int:
        """Return where that window stands: the same view as any other that stands there."""
        newest = (self.written + n_coming - 1 - self._behind) % self._period
        return int(self._rows.item(newest, 0)) + 1

    def n_missing(self, n_coming: int) -> int:
        """Return how many of what a window takes are of its newest `n_coming` samples."""
        return min(self._n_taken, max(0, -((self._behind - n_coming) // self._stride)))


def aligned(shape: tuple[int, ...], to: int = 64) -> NDArray[np.float32]:
    """Return zeros whose first value stands at a multiple of `to` bytes."""
    n = int(np.prod(shape))
    raw = np.zeros(4 * n + to, np.uint8)
    skip = -raw.ctypes.data % to
    return raw[skip : skip + 4 * n].view(np.float32).reshape(shape)
