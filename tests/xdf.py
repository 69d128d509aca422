"""A writer of small XDF files as LabRecorder writes them (specification: github.com/sccn/xdf/wiki/Specifications)."""

import struct

import numpy as np

_BOUNDARY = bytes.fromhex("43A546DCCBF5410FB30ED5467383CBE4")
_DTYPES = {"float32": "<f4", "double64": "<f8", "int8": "<i1", "int16": "<i2", "int32": "<i4", "int64": "<i8"}


def chunk(tag, content):
    return b"\x04" + struct.pack("<I", 2 + len(content)) + struct.pack("<H", tag) + content


def _info(name, kind, n_channels, sfreq, channel_format, desc):
    return (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type>"
        f"<channel_count>{n_channels}</channel_count><nominal_srate>{sfreq}</nominal_srate>"
        f"<channel_format>{channel_format}</channel_format><desc>{desc}</desc></info>"
    )


def _samples(number, stamps, values, channel_format):
    rows = b"".join(
        b"\x08" + struct.pack("<d", stamp) + _encoded(value, channel_format)
        for stamp, value in zip(stamps, values, strict=True)
    )
    return chunk(3, struct.pack("<I", number) + b"\x04" + struct.pack("<I", len(stamps)) + rows)


def _encoded(value, channel_format):
    if channel_format == "string":
        return b"".join(map(_text, [value] if isinstance(value, str) else value))
    return np.asarray(value).astype(_DTYPES[channel_format]).tobytes()


def _text(value):
    encoded = value if isinstance(value, bytes) else value.encode()
    return b"\x04" + struct.pack("<I", len(encoded)) + encoded


def write_xdf(path, *streams):
    """Write streams, each a dict: name, kind, n_channels, sfreq, format, stamps, values, desc, offsets.

    `offsets` are pairs (time in the stream's clock, what must be added to reach the recorder's). `info` is the whole
    description, in the place of name, kind, n_channels, sfreq and desc.
    """
    content = b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    for number, s in enumerate(streams, 1):
        info = s.get("info") or _info(
            s["name"], s["kind"], s["n_channels"], s["sfreq"], s["format"], s.get("desc", "")
        )
        content += chunk(2, struct.pack("<I", number) + info.encode())
    for number, s in enumerate(streams, 1):
        for at, offset in s.get("offsets", ()):
            content += chunk(4, struct.pack("<Idd", number, at, offset))
        content += chunk(5, _BOUNDARY)
        if len(s["stamps"]):
            content += _samples(number, s["stamps"], s["values"], s["format"])
    for number, s in enumerate(streams, 1):
        end = f"<?xml version='1.0'?><info><sample_count>{len(s['stamps'])}</sample_count></info>"
        content += chunk(6, struct.pack("<I", number) + end.encode())
    path.write_bytes(content)
    return path
