"""What MNE's annotations say of raw data: events, seams, and stretches that are bad."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.recording.arrays import GAP_S

_BAD = ("BAD",)

# What MNE's own filters stop at (`skip_by_annotation`), and what stands between concatenated runs beside it.
_SEAMS = ("EDGE", "BAD BOUNDARY", "BAD_ACQ_SKIP")


class Marks:
    """What is marked in raw data, by samples counted from its first, and the stamps that follow from it.

    Attributes
    ----------
    kept : array of bool, (n_samples,)
        Which samples are one's own: while an acquisition skips, a file is filled up with values nobody measured.
    """

    def __init__(self, raw: Any) -> None:
        self._sfreq = float(raw.info["sfreq"])
        seams, bad = _marked(raw, _SEAMS), _marked(raw, _BAD, without=_SEAMS)
        self.kept = np.ones(raw.n_times, bool)
        for start, stop in seams:
            self.kept[start:stop] = False
        # Before the first sample there is nothing to be kept apart from.
        self._anew = np.unique(seams[seams[:, 1] > 0, 1])
        # What is marked at a moment is marked at its sample.
        self._bad = np.column_stack([bad[:, 0], np.maximum(bad[:, 1] - 1, bad[:, 0])])

    def stamps(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the stamps of samples: behind every seam a gap, after which every decoder starts anew."""
        stamps: NDArray[np.float64] = samples / self._sfreq + GAP_S * np.searchsorted(self._anew, samples, "right")
        return stamps

    @property
    def bad_spans(self) -> tuple[tuple[float, float], ...]:
        """Stamps of the first and last sample of each bad stretch."""
        return tuple((first, last) for first, last in self.stamps(self._bad).tolist())


def _marked(raw: Any, kinds: tuple[str, ...], without: tuple[str, ...] = ()) -> NDArray[np.int64]:
    """Return the samples [start, stop) (n, 2) of annotations of some kinds."""
    chosen = [i for i, text in enumerate(raw.annotations.description) if _is(text, kinds) and not _is(text, without)]
    onsets = raw.annotations.onset[chosen] - raw.first_time
    ends = onsets + raw.annotations.duration[chosen]
    return np.column_stack([raw.time_as_index(at, use_rounding=True) for at in (onsets, ends)]).astype(np.int64)


def _is(description: str, kinds: tuple[str, ...]) -> bool:
    return description.upper().startswith(kinds)


def annotated_events(raw: Any) -> list[tuple[int, str]]:
    """Return (sample, label) of the annotations that mark neither seams nor bad stretches."""
    import mne

    labels = sorted({d for d in raw.annotations.description if not _is(d, (*_BAD, *_SEAMS))})
    if not labels:
        return []
    found, _ = mne.events_from_annotations(raw, {label: i for i, label in enumerate(labels)}, regexp=None)
    return [(int(sample), str(labels[code])) for sample, _, code in found]
