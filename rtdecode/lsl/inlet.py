"""Reading one stream, raw: no dejittering, no recovery behind our back."""

import ctypes
import math
from collections.abc import Sequence

import numpy as np
import pylsl
from numpy.typing import NDArray
from pydantic import ValidationError

from rtdecode.configuration import reason_of
from rtdecode.contract import DEFAULT_UNITS, Signal, canonical_unit
from rtdecode.errors import StreamError, StreamLostError
from rtdecode.lsl.clock import clock_correction
from rtdecode.lsl.discovery import StreamFound
from rtdecode.recording.session import NUMBERS

_BUFFER_S = 360
# Of one pull: what is made of more at once stays with the allocator.
MOST_SAMPLES = 512
# What liblsl calls the type of values that it hands out.
_SUFFIXES = {"float32": "f", "double64": "d", "int8": "c", "int16": "s", "int32": "i", "int64": "l"}
_pull_chunk = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    *[ctypes.c_void_p] * 3,
    *[ctypes.c_ulong] * 2,
    ctypes.c_double,
    ctypes.c_void_p,
)


Met = tuple[pylsl.StreamInlet, pylsl.StreamInfo]


def meet(stream: StreamFound, timeout_s: float = 5.0) -> Met:
    """Connect to a stream, have its outlet describe it, and read its clock, which takes 0.6 s the first time.

    Nothing is subscribed yet, so nothing queues up meanwhile.

    Raises
    ------
    StreamLostError
        The outlet does not answer.
    """
    inlet = pylsl.StreamInlet(stream.handle, max_buflen=_BUFFER_S, recover=False)
    try:
        info = inlet.info(timeout_s)
        inlet.time_correction(timeout_s)
    except (pylsl.util.TimeoutError, pylsl.util.LostError):
        raise StreamLostError(
            f"Stream {stream} was announced, but its outlet does not answer. Check its firewall."
        ) from None
    return inlet, info


class StreamInlet:
    """A connection to one stream.

    `recover=False`: liblsl would reconnect to an outlet of the same name with other channels and another rate
    and tell nobody. Reconnecting is ours, with a full handshake.

    Parameters
    ----------
    stream : StreamFound
        What to connect to.
    timeout_s : float
        For each answer of the outlet.
    met : Met, optional
        What `meet` returned for this stream, if it was called before.
    """

    def __init__(self, stream: StreamFound, timeout_s: float, met: Met | None = None) -> None:
        self.stream = stream
        self._timeout_s = timeout_s
        self._inlet, self._info = met or meet(stream, timeout_s)

    def open(self) -> None:
        """Subscribe: from here on every sample is kept for `pull`."""
        try:
            self._inlet.open_stream(self._timeout_s)
        except (pylsl.util.TimeoutError, pylsl.util.LostError):
            raise StreamLostError(f"Stream {self.stream} cannot be opened; its outlet went away.") from None

    def correction(self) -> tuple[float, float]:
        """Return seconds to add to a raw stamp to bring it into this host's clock, and their uncertainty."""
        try:
            return clock_correction(self._inlet, self.stream.host, self._timeout_s)
        except (pylsl.util.TimeoutError, pylsl.util.LostError):
            raise StreamLostError(f"Stream {self.stream.name!r} is lost: its clock does not answer.") from None

    def close(self) -> None:
        """Let go of the stream, of liblsl's threads and of their sockets."""
        self._inlet.close_stream()
        del self._inlet


class SignalInlet(StreamInlet):
    """A connection to one signal stream.

    Parameters
    ----------
    stream : StreamFound
        What to connect to.
    ch_names : sequence of str, optional
        Labels for a stream that has none.
    units : str, optional
        Unit of all channels of a stream that declares none.
    timeout_s : float
        For each answer of the outlet.
    met : Met, optional
        What `meet` returned for this stream, if it was called before.

    Attributes
    ----------
    signal : Signal
        What the stream carries.
    speed : float
        How many times faster than at its nominal rate it comes and is stamped, as a replay tells.

    Raises
    ------
    StreamError
        It is no signal, or does not describe its channels.
    """

    def __init__(
        self,
        stream: StreamFound,
        ch_names: Sequence[str] | None = None,
        units: str | None = None,
        timeout_s: float = 5.0,
        met: Met | None = None,
    ) -> None:
        if stream.channel_format not in NUMBERS or stream.sfreq <= 0:
            raise StreamError(f"Stream {stream} is not a signal: a numeric format and a regular rate are needed.")
        super().__init__(stream, timeout_s, met)
        self.signal = _describe(self._info, stream, ch_names, units)
        self.speed = _speed(self._info, stream)
        # pylsl's own method, which makes and joins arrays at every call, takes twice as long.
        self._pull = _pull_chunk((f"lsl_pull_chunk_{_SUFFIXES[stream.channel_format]}", pylsl.lib.lib))
        self._values = np.empty((MOST_SAMPLES, stream.n_channels), NUMBERS[stream.channel_format])
        self._stamps = np.empty(MOST_SAMPLES)
        # Asking an array where it lies takes microseconds.
        self._at_values, self._at_stamps = self._values.ctypes.data, self._stamps.ctypes.data
        self._code = ctypes.c_int()

    def pull(self, timeout_s: float = 0.2) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Wait for at least one sample; return what is there, 512 samples at most.

        Returns
        -------
        samples : array of float32, (n_samples, n_channels)
            In the stream's units; empty after `timeout_s` without a sample.
        timestamps : array of float64, (n_samples,)
            Raw stamps, in the source's clock.

        Raises
        ------
        StreamLostError
            The source went away.
        """
        n = self._fill(0, 1, timeout_s)
        if n:
            n += self._fill(n, MOST_SAMPLES - n, 0.0)
        return self._values[:n].astype(np.float32), self._stamps[:n].copy()

    def _fill(self, at: int, most: int, timeout_s: float) -> int:
        """Wait for `most` samples, and put those that came behind the first `at`; return how many."""
        n_channels = self._values.shape[1]
        n_values: int = self._pull(
            self._inlet.obj,
            self._at_values + at * self._values.strides[0],
            self._at_stamps + at * self._stamps.itemsize,
            most * n_channels,
            most,
            timeout_s,
            ctypes.byref(self._code),
        )
        if self._code.value:
            try:
                pylsl.util.handle_error(self._code)
            except pylsl.util.LostError:
                raise StreamLostError(f"Stream {self.stream.name!r} is lost: its outlet went away.") from None
        return n_values // n_channels


def _describe(
    info: pylsl.StreamInfo, stream: StreamFound, ch_names: Sequence[str] | None, units: str | None
) -> Signal:
    fields: dict[str, list[str]] = {"label": [], "type": [], "unit": []}
    channel = info.desc().child("channels").child("channel")
    while not channel.empty():
        for key, values in fields.items():
            values.append(channel.child_value(key))
        channel = channel.next_sibling("channel")
    n = stream.n_channels
    names = list(ch_names or fields["label"])
    if len(names) != n or not all(names):
        told = f"lists {len(names)} channel labels for {n} channels" if any(names) else "has no channel labels"
        raise StreamError(
            f"Stream {stream} {told}. Let the source describe its channels, or list them as `ch_names` in "
            "the file given with `run --config`, or with `collect --ch-names`."
        )
    default = stream.type.lower() if stream.type.upper() in ("EEG", "MEG") else "misc"
    told_types = fields["type"] if len(fields["type"]) == n else [""] * n
    types = [(t or default).lower() for t in told_types]
    told_units = fields["unit"] if len(fields["unit"]) == n else [""] * n
    canonical = [
        canonical_unit(u or units or "none", t) or (None if t in DEFAULT_UNITS else "none")
        for u, t in zip(told_units, types, strict=True)
    ]
    bad = [f"{name} ({u!r})" for name, u, c in zip(names, told_units, canonical, strict=True) if c is None]
    if bad:
        raise StreamError(f"Stream {stream} declares units that are not known: {', '.join(bad[:6])}.")
    undeclared = [
        name for name, t, c in zip(names, types, canonical, strict=True) if c == "none" and t in DEFAULT_UNITS
    ]
    if undeclared:
        raise StreamError(
            f"Stream {stream} does not declare the unit of {len(undeclared)} channels "
            f"({undeclared[0]}, ...). "
            "Let the source declare it, or give `units` in the file given with `run --config`, or `collect --units`."
        )
    try:
        return Signal(
            ch_names=tuple(names), ch_types=tuple(types), units=tuple(map(str, canonical)), sfreq=stream.sfreq
        )
    except ValidationError as error:
        raise StreamError(f"Stream {stream}: {reason_of(error)}. Name each channel once at the source.") from None


def _speed(info: pylsl.StreamInfo, stream: StreamFound) -> float:
    told = info.desc().child("rtdecode").child_value("speed")
    try:
        speed = float(told or 1.0)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise StreamError(f"Stream {stream} tells that it is played at speed {told!r}; a number above 0 is needed.")
    return speed
