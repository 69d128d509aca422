"""Commands that listen to a decoder."""

import json
import math
import queue
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rtdecode.lsl import OutputRow

_SHORT = 100
# Short enough to end soon when that is asked for.
_HEAR_S = 0.2


def listen(
    name: Annotated[str, typer.Argument(help="NAME, NAME-proba, NAME-values or NAME-status of a decoder.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, nothing shortened.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="End after so many seconds.", show_default="at Ctrl-C", min=0.0)
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the stream.", min=0.2)] = 30.0,
) -> None:
    """Print what a decoder says as it comes: time of the data (LSL's clock), age on arrival, values.

    A decoder that ends is waited for, and listened to again when it is back.
    """
    from rtdecode.errors import DeadlineError
    from rtdecode.interrupts import Interrupts
    from rtdecode.lsl import OutputFeed, OutputRow

    rows: queue.SimpleQueue[OutputRow] = queue.SimpleQueue()
    interrupts, until = Interrupts().listen(), time.monotonic() + wait
    feed = OutputFeed((name,), rows.put)
    describe = _as_json if as_json else _as_line
    try:
        while not feed.wait(min(until, time.monotonic() + _HEAR_S)) and not interrupts.asked:
            if time.monotonic() >= until:
                raise DeadlineError(f"No stream {name!r} within {wait:g} s. Is `rtdecode run` running?")
        end, connected = time.monotonic() + (math.inf if seconds is None else seconds), True
        while not interrupts.asked and (left := end - time.monotonic()) > 0:
            if feed.connected != connected:
                connected = feed.connected
                print(f"{name} is {'back' if connected else 'away; waiting for it'}", file=sys.stderr, flush=True)
            with suppress(queue.Empty):
                print(describe(rows.get(timeout=min(left, _HEAR_S))), flush=True)
    finally:
        interrupts.ignore()
        feed.close()


def _as_json(row: "OutputRow") -> str:
    values = {label: _plain(value) for label, value in zip(row.reader.labels, row.values, strict=True)}
    times = {"timestamp": row.timestamp, "received": row.received, "age_s": row.received - row.timestamp}
    return json.dumps({**times, **values}, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return what JSON knows: documents for JSON text, None for what is not a number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _as_line(row: "OutputRow") -> str:
    return f"{row.timestamp:.6f}  age {1e3 * (row.received - row.timestamp):6.1f} ms  {_in_short(row)}"


def _in_short(row: "OutputRow") -> str:
    first, names = _plain(row.values[0]), row.reader.output_names
    if isinstance(first, dict):
        return ", ".join(f"{key} {value}" for key, value in first.items() if key != "version")[:_SHORT]
    if isinstance(first, int):
        return f"{first} ({row.reader.decision_names[first]})"
    if isinstance(first, str):
        return first
    if first is None:
        return "abstained"
    told = "  ".join(f"{name} {value:.4g}" for name, value in zip(names, row.values, strict=False))
    return f"{told}  -> {names[int(row.values[-1])]}" if row.reader.classifies else told
