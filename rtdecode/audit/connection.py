"""The audit of a session: one connection after the other."""

from collections.abc import Sequence

import numpy as np

from rtdecode.audit.comparison import Comparison, Due
from rtdecode.audit.evidence import Evidence, Row
from rtdecode.audit.following import Difference, Followed, follow
from rtdecode.audit.verdict import ConnectionAudit, Item, Verdict
from rtdecode.contract import Event
from rtdecode.decoder import Decoder
from rtdecode.device import DeviceName, DeviceSettings
from rtdecode.errors import RecordingError
from rtdecode.libraries import libraries
from rtdecode.model_file import ModelFile

_CLOSE = 1e-5
# Why events give nothing that came before the connection or after it: nobody need have seen them.
_UNSEEN = ("before-start", "end")
# A clock offset that moves by less is not told (1 ms), and its sum with a stamp is rounded.
_UNTOLD_S = 1.001e-3


def audit(evidence: Sequence[Evidence], model: ModelFile, on: DeviceName = "cpu") -> list[ConnectionAudit]:
    """Audit every connection of a session.

    Parameters
    ----------
    evidence : sequence of Evidence
        See `read_evidence`.
    model : ModelFile
        The decoder file that is said to have run.
    on : str
        The device to decode again on: `cpu` or `cuda`.

    Raises
    ------
    RecordingError
        The file does not fit what was recorded.
    """
    return [_audit(number, one, model, on) for number, one in enumerate(evidence, 1)]


def _audit(number: int, evidence: Evidence, model: ModelFile, on: DeviceName) -> ConnectionAudit:
    start, now = evidence.start, libraries()
    then = {key: start.versions.get(key, "unknown") for key in now}
    result = ConnectionAudit(number, {key: (then[key], now[key]) for key in now if then[key] != now[key]})
    ran_on = start.settings.device
    device = ran_on if ran_on.name == on else DeviceSettings(name=on)
    if "cuda" in (ran_on.name, on):
        result.versions["device"] = str(ran_on), str(device)
    if start.sha256 != model.sha256:
        began = (start.first_timestamp or 0.0) + start.correction_s
        message = "the file has another SHA-256 than the one that ran"
        result.items.append(Item("model", Verdict.DIFFERING, began, 0, model.sha256, start.sha256, message))
    _refuse_other_outputs(evidence.rows, model, start.model)
    stamps = _Stamps(evidence, model)
    origin = _origin(evidence)
    if model.contract.events and evidence.events is None:
        origin = "the stream of events was not recorded"
    if isinstance(origin, str):
        result.problem = origin
        if origin == _MISSING:
            result.items.append(stamps.item(Difference(0, start.first_timestamp or 0.0, origin)))
        result.items += [Item("predictions", Verdict.UNKNOWN, row.timestamp) for row in evidence.rows]
        result.items += [Item("markers", Verdict.UNKNOWN, t, found=str(m)) for t, m in evidence.markers or ()]
        return result

    def make() -> Decoder:
        settings, name = start.settings, f"The session's {start.stream.name!r}"
        return Decoder(
            model, start.signal, settings.guard, name, RecordingError, start.speed, settings.policy, device
        )

    followed = follow(evidence, make, origin, stamps.newest)
    result.items += map(stamps.item, followed.differences)
    result.items += _compare(evidence, model, followed, stamps, _CLOSE if result.versions else 0.0)
    return result


class _Stamps:
    """From the source's clock into that of the decoder's host, as far as was told."""

    def __init__(self, evidence: Evidence, model: ModelFile) -> None:
        start = evidence.start
        self._offsets = [(-1, start.correction_s), *evidence.corrections]
        hop_s = model.contract.window.hop / model.contract.signal.sfreq / start.speed
        # On the same host the offset is exactly 0: stamps are those of the source to the last bit.
        same = all(seconds == 0 for _, seconds in self._offsets) and start.one_clock
        self.tolerance_s = 0.0 if same else min(_UNTOLD_S, 0.45 * hop_s)
        self.newest = max((row.timestamp for row in evidence.rows), default=-np.inf) - self._offsets[-1][1]

    def local(self, raw: float, sample: int) -> float:
        return raw + next((s for since, s in reversed(self._offsets) if sample > since), self._offsets[0][1])

    def is_same(self, event: Event | None, other: Event) -> bool:
        """Tell whether two events are one."""
        same = event is not None and event.label == other.label
        return same and event is not None and abs(event.timestamp - other.timestamp) <= self.tolerance_s

    def item(self, difference: Difference) -> Item:
        """Tell a difference of the signal."""
        sample, message = difference.sample, difference.message
        return Item(
            "signal", Verdict.DIFFERING, self.local(difference.raw_timestamp, sample), sample, message=message
        )


_MISSING = "the decoder's first sample is missing in the recording"


def _origin(evidence: Evidence) -> int | str:
    """Return where the decoder's first sample is in the recording, or why that is not known."""
    first, stamps = evidence.start.first_timestamp, evidence.timestamps
    if first is None:
        return "the decoder's first sample had no stamp: where it is in the recording is not known"
    if len(found := np.flatnonzero(stamps == first)):
        return int(found[0])
    finite = stamps[np.isfinite(stamps)]
    if not len(finite) or first > finite.max():
        return "the recording of the source ends before the decoder began"
    if first < finite.min():
        return (
            f"the recording of the source begins {finite.min() - first:.3f} s after the decoder did, and what it saw "
            "first is not known. `rtdecode run --wait-listener` waits for the recorder"
        )
    return _MISSING


def _untold_pauses(evidence: Evidence, tolerance_s: float) -> list[Item]:
    """Return the stalls and losses that were told, and of which no row speaks; the last row may be the recorder's."""
    spoken = np.array([row.timestamp for row in evidence.rows if row.outputs is None])
    last = max((row.timestamp for row in evidence.rows), default=-np.inf)
    message = "a stall or loss is told here, and no row abstains"
    return [
        Item("predictions", Verdict.MISSING, told, message=message)
        for told in evidence.pauses
        if told < last and not np.any(np.abs(spoken - told) <= tolerance_s)
    ]


def _refuse_other_outputs(rows: Sequence[Row], model: ModelFile, ran: str) -> None:
    names = model.contract.outputs.names
    other = next((row for row in rows if row.outputs is not None and len(row.outputs) != len(names)), None)
    if other is not None and other.outputs is not None:
        raise RecordingError(
            f"The session's decoder {ran!r} gave {len(other.outputs)} outputs; model {model.name!r} gives "
            f"{', '.join(names)}. Give the file that ran."
        )


def _compare(
    evidence: Evidence, model: ModelFile, followed: Followed, stamps: _Stamps, tolerance: float
) -> list[Item]:
    until = followed.until if followed.until is not None else len(followed.seen)
    due = [
        Due(p, stamps.local(p.timestamp, p.sample), p.sample < followed.due and p.reason not in _UNSEEN)
        for p in followed.predictions
        if p.sample < until and not any(stamps.is_same(p.event, e) for e in evidence.untimely)
    ]
    rows, markers = list(evidence.rows), list(evidence.markers or ())
    if model.contract.events:
        # They were published when the events came; here they stand in the order of their own time.
        due.sort(key=lambda one: one.timestamp)
        rows.sort(key=lambda row: row.timestamp)
        markers.sort(key=lambda marker: marker[0])
    complete = until == len(followed.seen)
    last = float(evidence.timestamps[-1 if complete else followed.seen[until - 1]])
    end = stamps.local(last, until) + stamps.tolerance_s
    told = np.sort([*evidence.pauses, *(stamps.local(e.timestamp, until) for e in evidence.untimely)])
    pauses = frozenset(
        j for j, row in enumerate(rows)
        if row.outputs is None and np.any(np.abs(told - row.timestamp) <= stamps.tolerance_s)
    )  # fmt: skip
    names = model.contract.decision_names(evidence.start.settings.policy)
    comparison = Comparison(model.contract.outputs, names, tolerance, stamps.tolerance_s, end)
    skips = [(sample, n) for sample, n in evidence.skips if sample < until]
    items, published = comparison.rows(due, rows, pauses, skips)
    items += _untold_pauses(evidence, stamps.tolerance_s)
    if evidence.markers is not None:
        items += comparison.markers(published, markers, evidence.start.settings.marker_format)
    return items
