"""Windows that are cut out of trials when they are asked for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import EventWindow


class Cuts:
    """Windows (n_windows, n_channels, n_times) of float32, of which only those that are asked for are in memory.

    Indexing gives arrays, as that of an array would; so does `np.asarray`, of all of them.

    Parameters
    ----------
    trials : array of float32, (n_trials, n_channels, n_samples)
        What they are cut out of, which may be mapped.
    at : array of int64, (n_windows, 2)
        Each one's trial, and its first sample there.
    last : array of int64, (n_windows,)
        Where the last window that its trial has room for would begin.
    reach : int
        Samples to cut.
    at_events : EventWindow or None
        What makes a window of them, if that is not all.
    """

    def __init__(
        self,
        trials: NDArray[np.float32],
        at: NDArray[np.int64],
        last: NDArray[np.int64],
        reach: int,
        at_events: EventWindow | None,
    ) -> None:
        self._trials, self._at, self._last, self._reach, self._at_events = trials, at, last, reach, at_events

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        return self._cut_all(self._at[index])

    def moved(self, index: Any, by: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what indexing does, but of windows that begin `by` samples later, as far as their trial goes."""
        at = self._at[index]
        starts = np.clip(at[..., 1] + by, 0, self._last[index])
        return self._cut_all(np.stack([at[..., 0], starts], axis=-1))

    def _cut_all(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        windows = np.stack([self._cut(trial, start) for trial, start in at.reshape(-1, 2).tolist()])
        return windows.reshape(*at.shape[:-1], *windows.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)

    def _cut(self, trial: int, start: int) -> NDArray[np.float32]:
        samples = self._trials[trial, :, start : start + self._reach]
        return self._at_events.corrected(samples) if self._at_events else samples


@dataclass(frozen=True)
class Windows:
    """Windows cut out of trials.

    Attributes
    ----------
    x : Cuts, (n_windows, n_channels, n_times)
        What networks see.
    y : array of int64, (n_windows,), or of float32, (n_windows, n_targets)
        Class indices, or values.
    trial : array of int64, (n_windows,)
        Position of each window's trial in the list they were cut from.
    subject : array of int64, (n_windows,)
        Index of the person each is of.
    """

    x: Cuts
    y: NDArray[np.int64] | NDArray[np.float32]
    trial: NDArray[np.int64]
    subject: NDArray[np.int64]
