"""Evidence in what `run --save` wrote: one connection, as the decoder saw it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.audit.evidence import PAUSES, UNTIMELY, Evidence, Row, Start, Stop, parsed, valid
from rtdecode.contract import Event
from rtdecode.errors import RecordingError
from rtdecode.recording import read_recording


def read_saved(path: Path, column: str) -> Evidence:
    """Read an .npz; see `read_evidence`."""
    recording = read_recording(path)
    with np.load(path, allow_pickle=False) as arrays:
        names = ("timestamps", f"prediction_{column}", "prediction_reasons", "prediction_decisions", "about")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise RecordingError(
                f"Recording {path} was not written by `run --save`, or by another decoder: {missing}."
            )
        about = parsed(str(arrays["about"]), str(path))
        stamps = np.asarray(arrays["timestamps"], np.float64)
        columns = ("prediction_timestamps", f"prediction_{column}", "prediction_labels", "prediction_reasons")
        kept = list(zip(*(arrays[name] for name in columns), strict=True))
        decided = list(zip(arrays["prediction_timestamps"], arrays["prediction_decisions"], strict=True))
        events = _pairs(arrays["event_timestamps"], arrays["event_labels"])
        at_events = "prediction_events" in arrays
        of_rows = _pairs(arrays["prediction_event_timestamps"], arrays["prediction_events"]) if at_events else ()
    rows = [
        Row(float(t), None if np.isnan(v).all() else np.asarray(v, np.float32), int(label), str(reason) or None)
        for t, v, label, reason in kept
    ]
    start = valid(Start, {**about, "correction_s": 0.0, "signal": recording.signal.model_dump()}, str(path))
    # Whatever markers were published as, decisions are kept by index.
    settings = start.settings.model_copy(update={"marker_format": "int32"})
    return Evidence(
        start=start.model_copy(update={"settings": settings}),
        samples=recording.samples,
        timestamps=stamps,
        rows=tuple(rows),
        markers=tuple((float(t), int(index)) for t, index in decided if index >= 0),
        events=events,
        stop=Stop(samples=len(stamps), last_timestamp=float(stamps[-1])),
        pauses=tuple(row.timestamp for row in rows if row.reason in PAUSES),
        untimely=frozenset(e for e, row in zip(of_rows, rows, strict=False) if e.label and row.reason in UNTIMELY),
    )


def _pairs(stamps: NDArray[np.float64], labels: NDArray[np.str_]) -> tuple[Event, ...]:
    return tuple(Event(float(t), str(label)) for t, label in zip(stamps, labels, strict=True))
