"""Which streams there are, and which one is meant."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pylsl
from pydantic import BaseModel, ConfigDict

from rtdecode.errors import StreamError

_FORMATS = {
    pylsl.cf_float32: "float32", pylsl.cf_double64: "double64", pylsl.cf_string: "string",
    pylsl.cf_int8: "int8", pylsl.cf_int16: "int16", pylsl.cf_int32: "int32", pylsl.cf_int64: "int64",
}  # fmt: skip

_TELL_EVERY_S = 0.05


@dataclass(frozen=True)
class StreamFound:
    """A stream on the network, as its outlet announces it.

    Attributes
    ----------
    name, type, source_id, uid, host : str
        Its identity; `uid` is new at every start of the outlet.
    n_channels : int
        Number of channels.
    sfreq : float
        Nominal rate in Hz; 0 for an irregular stream.
    channel_format : str
        Type of a value.
    """

    name: str
    type: str
    source_id: str
    uid: str
    host: str
    n_channels: int
    sfreq: float
    channel_format: str
    handle: Any = field(repr=False, compare=False)

    @property
    def identity(self) -> dict[str, str]:
        """Name, type, source_id, uid and host."""
        return {key: getattr(self, key) for key in ("name", "type", "source_id", "uid", "host")}

    def __str__(self) -> str:
        return (
            f"{self.name!r} (type {self.type or 'none'}, {self.n_channels} channels, {self.sfreq:g} Hz, "
            f"{self.channel_format}, source_id {self.source_id!r}, host {self.host}, uid {self.uid[:8]})"
        )


# Tells which of some streams is wanted; it may raise StreamError.
Wanted = Callable[[Sequence[StreamFound]], StreamFound | None]
Heard = Callable[[list[StreamFound]], None]


class StreamChoice(BaseModel):
    """Which stream is meant; what is left out may be anything.

    Without a name or source_id only streams of type EEG or MEG are considered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    type: str | None = None
    source_id: str | None = None
    host: str | None = None

    def fits(self, stream: StreamFound) -> bool:
        """Tell whether this stream may be the one."""
        if any(
            wanted is not None and wanted != found
            for wanted, found in (
                (self.name, stream.name),
                (self.source_id, stream.source_id),
                (self.host, stream.host),
            )
        ):
            return False
        if self.type is not None:
            return stream.type.upper() == self.type.upper()
        return bool(self.name or self.source_id) or stream.type.upper() in ("EEG", "MEG")

    def among(self, streams: Sequence[StreamFound], exclude: Sequence[str] = ()) -> StreamFound | None:
        """Return the one of these streams that is meant; None when none is.

        Streams of a name in `exclude` (those of our own outlets) are never meant.

        Raises
        ------
        StreamError
            More than one could be meant: which, is never guessed.
        """
        fitting = [s for s in streams if s.name not in exclude and self.fits(s)]
        if len(fitting) > 1:
            listed = "; ".join(str(s) for s in fitting)
            raise StreamError(
                f"{len(fitting)} streams could be meant by {self}; choose one with --stream, --type, "
                f"--source-id or --host, or stop the others: {listed}."
            )
        return fitting[0] if fitting else None

    def __str__(self) -> str:
        told = [f"{key} {value!r}" for key, value in self.model_dump().items() if value is not None]
        return "a stream with " + ", ".join(told) if told else "a stream of type EEG or MEG"


def list_streams(wait_s: float = 1.0, heard: Heard | None = None) -> list[StreamFound]:
    """Listen for `wait_s` seconds and return every stream that answered, in order of name.

    `heard` is told meanwhile, again and again, what has answered so far.
    """
    resolver, until = pylsl.ContinuousResolver(), time.monotonic() + wait_s
    while heard and (left_s := until - time.monotonic()) > _TELL_EVERY_S:
        time.sleep(min(_TELL_EVERY_S, left_s))
        heard(_described(resolver.results()))
    time.sleep(max(until - time.monotonic(), 0.0))
    return _described(resolver.results())


def _described(found: Iterable[pylsl.StreamInfo]) -> list[StreamFound]:
    """Return them in order of name."""
    streams = [
        StreamFound(
            info.name(),
            info.type(),
            info.source_id(),
            info.uid(),
            info.hostname(),
            info.channel_count(),
            info.nominal_srate(),
            _FORMATS.get(info.channel_format(), "undefined"),
            info,
        )
        for info in found
    ]
    return sorted(streams, key=lambda s: (s.name, s.uid))
