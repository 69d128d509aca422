"""The chunks of an XDF file, walked before its reader sees it (github.com/sccn/xdf/wiki/Specifications).

pyxdf drops what it cannot read, up to whole chunks, and makes up the end of a sample that is cut off.
"""

import gzip
import io
import math
import os
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from rtdecode.errors import RecordingError, RecordingWarning

_HEADER, _SAMPLES, _CLOCK_OFFSET, _FOOTER = 2, 3, 4, 6
_BOUNDARY = bytes.fromhex("43A546DCCBF5410FB30ED5467383CBE4")
_BYTES = {"float32": 4, "double64": 8, "string": 2, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
_MOST_CHANNELS = 100_000


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream's description, and the bytes of one sample without its stamp.

    Of text they are the fewest: one to tell the length's size, and it.
    """

    info: ElementTree.Element
    n_channels: int
    n_bytes: int
    text: bool


class _Cut(Exception):
    """The file ends in the middle of what was read."""


def whole_chunks(path: Path) -> tuple[IO[bytes], dict[int, ElementTree.Element]]:
    """Open an XDF file at its begin, without what is cut off at its end.

    Of a chunk of samples that is cut off, the samples that are whole are kept.

    Returns
    -------
    file : file of bytes
        To be closed by the caller.
    infos : dict of int to Element
        How each stream describes itself (`info`), by its number.

    Raises
    ------
    RecordingError
        The file is damaged elsewhere than at its end; the message says at which byte.

    Warns
    -----
    RecordingWarning
        Something is cut off, or a stream was not ended by its recorder.
    """
    file: IO[bytes] = path.open("rb") if path.suffix == ".xdf" else gzip.GzipFile(path)  # type: ignore[assignment]
    try:
        size = file.seek(0, os.SEEK_END)
        at, rest, streams, ended = _walk(file, size, path)
        infos = {number: stream.info for number, stream in streams.items()}
        if endless := streams.keys() - ended:
            warnings.warn(
                f"Recording {path} may be cut off: its recorder did not end stream {', '.join(map(str, endless))}.",
                RecordingWarning,
                stacklevel=2,
            )
        if at == size:
            file.seek(0)
            return file, infos
        warnings.warn(
            f"Recording {path} is cut off: the chunk at byte {at} of {size} is not whole"
            + (f"; of its samples the first {rest[1]} are used." if rest else " and is not used."),
            RecordingWarning,
            stacklevel=2,
        )
        file.seek(0)
        whole = io.BytesIO(file.read(at) + (rest[0] if rest else b""))
    except BaseException:
        file.close()
        raise
    file.close()
    return whole, infos


def _walk(
    file: IO[bytes], size: int, path: Path
) -> tuple[int, tuple[bytes, int] | None, dict[int, _Stream], set[int]]:
    """Walk a file from chunk to chunk.

    Returns
    -------
    at : int
        Where the whole chunks end.
    rest : (bytes, int) or None
        If samples are cut off there, a chunk of those that are whole, and their number.
    streams : dict of int to _Stream
        All of them.
    ended : set of int
        Those with a footer.
    """
    streams: dict[int, _Stream] = {}
    ended: set[int] = set()
    file.seek(0)
    if file.read(4) != b"XDF:":
        raise RecordingError(f"Recording {path} is not an XDF file.")
    at = 4
    while at < size:
        file.seek(at)
        where = f"Recording {path} is damaged at byte {at}"
        try:
            length = _varlen(file, where)
            end = file.tell() + length
            if length < 2:
                raise RecordingError(f"{where}: a chunk of {length} bytes.")
            (tag,) = struct.unpack("<H", _take(file, 2))
            if not 1 <= tag <= 6:
                raise RecordingError(f"{where}: there is no chunk of kind {tag}.")
            if end > size:
                raise _Cut
            number = _check_chunk(file, tag, length - 2, streams, where)
            if tag == _FOOTER and number is not None:
                ended.add(number)
        except _Cut:
            # A file that goes on after a chunk that has no room in it was not cut off.
            file.seek(at)
            if _BOUNDARY in file.read():
                raise RecordingError(f"{where}: a chunk does not end where it says.") from None
            file.seek(at)
            return at, _whole_samples(file, streams, where), streams, ended
        at = end
    return at, None, streams, ended


def _take(file: IO[bytes], n: int) -> bytes:
    content = file.read(n)
    if len(content) < n:
        raise _Cut
    return content


def _varlen(file: IO[bytes], where: str) -> int:
    n = _take(file, 1)[0]
    if n not in (1, 4, 8):
        raise RecordingError(f"{where}: a length of {n} bytes, where 1, 4 or 8 are possible.")
    return int.from_bytes(_take(file, n), "little")


def _check_chunk(file: IO[bytes], tag: int, length: int, streams: dict[int, _Stream], where: str) -> int | None:
    """Check a chunk that is whole; return the number of its stream, if it belongs to one."""
    if tag not in (_HEADER, _SAMPLES, _CLOCK_OFFSET, _FOOTER):
        return None
    if length < 4 or (tag == _CLOCK_OFFSET and length != 20):
        raise RecordingError(f"{where}: a chunk of {length} bytes is too short or too long for its kind ({tag}).")
    begin = file.tell()
    (number,) = struct.unpack("<I", _take(file, 4))
    if tag == _HEADER:
        if number in streams:
            raise RecordingError(f"{where}: stream {number} is described twice.")
        streams[number] = _read_header(_take(file, length - 4), where)
    elif number not in streams:
        raise RecordingError(f"{where}: stream {number} was not described before.")
    elif tag == _SAMPLES:
        stream, n = streams[number], _varlen(file, where)
        least = n * (1 + stream.n_bytes)
        given = begin + length - file.tell()
        # Every sample may or may not have a stamp of its own.
        fits = given >= least if stream.text else given in range(least, least + 8 * n + 1, 8)
        if not fits:
            raise RecordingError(f"{where}: {n} samples cannot be in {given} bytes.")
    return int(number)


def _read_header(xml: bytes, where: str) -> _Stream:
    try:
        info = ElementTree.fromstring(xml.decode("utf-8", "replace"))
        text = {key: info.findtext(key) or "" for key in ("name", "type", "channel_count", "nominal_srate")}
        n_channels, sfreq = int(text["channel_count"]), float(text["nominal_srate"])
        kind = info.findtext("channel_format") or ""
    except (ElementTree.ParseError, ValueError) as error:
        raise RecordingError(f"{where}: the description of a stream cannot be read ({error}).") from None
    if kind not in _BYTES or not 1 <= n_channels <= _MOST_CHANNELS or not (math.isfinite(sfreq) and sfreq >= 0):
        raise RecordingError(
            f"{where}: a stream of {n_channels} channels of {kind or 'no format'} at {sfreq:g} Hz; needed are 1 to "
            f"{_MOST_CHANNELS} channels of {', '.join(_BYTES)} at 0 Hz or more."
        )
    return _Stream(info, n_channels, n_channels * _BYTES[kind], kind == "string")


def _whole_samples(file: IO[bytes], streams: dict[int, _Stream], where: str) -> tuple[bytes, int] | None:
    """Make a chunk of those samples of the chunk that begins here that are whole."""
    try:
        _varlen(file, where)
        tag, number = struct.unpack("<HI", _take(file, 6))
        if tag != _SAMPLES or number not in streams:
            return None
        stream, declared = streams[number], _varlen(file, where)
    except _Cut:
        return None
    content, n = b"", 0
    begin = end = file.tell()
    try:
        while n < declared:
            if _take(file, 1) != b"\0":
                _take(file, 8)
            if stream.text:
                for _ in range(stream.n_channels):
                    _take(file, _varlen(file, where))
            else:
                _take(file, stream.n_bytes)
            n, end = n + 1, file.tell()
    except _Cut:
        pass
    if not n:
        return None
    file.seek(begin)
    content = struct.pack("<HIBQ", _SAMPLES, number, 8, n) + file.read(end - begin)
    return b"\x08" + struct.pack("<Q", len(content)) + content, n
