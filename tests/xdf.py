"""A writer of small XDF files (specification: github.com/sccn/xdf/wiki/Specifications)."""

import struct


def chunk(tag, content):
    return b"\x04" + struct.pack("<I", 2 + len(content)) + struct.pack("<H", tag) + content


def _header(number, name, kind, n_channels, sfreq, channel_format, desc):
    xml = (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type>"
        f"<channel_count>{n_channels}</channel_count><nominal_srate>{sfreq}</nominal_srate>"
        f"<channel_format>{channel_format}</channel_format><desc>{desc}</desc></info>"
    )
    return chunk(2, struct.pack("<I", number) + xml.encode())


def _samples(number, stamps, values, encode):
    rows = b"".join(
        b"\x08" + struct.pack("<d", stamp) + encode(value) for stamp, value in zip(stamps, values, strict=True)
    )
    return chunk(3, struct.pack("<I", number) + b"\x04" + struct.pack("<I", len(stamps)) + rows)


def _text(value):
    encoded = value.encode()
    return b"\x01" + bytes([len(encoded)]) + encoded


_ENCODE = {"string": _text, "int32": lambda v: struct.pack("<i", v), "float32": lambda v: v.astype("<f4").tobytes()}


def write_xdf(path, *streams):
    """Write streams, each a dict: name, kind, n_channels, sfreq, format, stamps, values, desc, offsets.

    `offsets` are pairs (time in the stream's clock, what must be added to reach the recorder's).
    """
    content = b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    for number, s in enumerate(streams, 1):
        content += _header(number, s["name"], s["kind"], s["n_channels"], s["sfreq"], s["format"], s.get("desc", ""))
    for number, s in enumerate(streams, 1):
        for at, offset in s.get("offsets", ()):
            content += chunk(4, struct.pack("<Idd", number, at, offset))
        content += _samples(number, s["stamps"], s["values"], _ENCODE[s["format"]])
    for number, _ in enumerate(streams, 1):
        content += chunk(6, struct.pack("<I", number) + b"<?xml version='1.0'?><info></info>")
    path.write_bytes(content)
    return path
