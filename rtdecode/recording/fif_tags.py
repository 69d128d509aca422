"""The tags of a FIF file, walked before its reader sees it.

MNE takes a file that ends between two buffers for a shorter recording. What tells is that the blocks in it are
not closed.
"""

import gzip
import os
import struct
from pathlib import Path
from typing import IO

from rtdecode.errors import RecordingError

_FILE_ID, _BLOCK_START, _BLOCK_END, _REF_ROLE, _REF_FILE_NAME = 100, 104, 105, 115, 118
_NEXT_FILE = 2
_MOST_TEXT = 4096


def refuse_cut_fif(path: Path) -> None:
    """Raise RecordingError if a FIF file, or a part of it in a file of its own, is cut off or missing."""
    seen = []
    part: Path | None = path
    while part is not None and part not in seen:
        if not part.exists():
            raise RecordingError(f"Recording {path} goes on in {part}, which does not exist. Copy all its parts.")
        seen.append(part)
        with gzip.open(part) if part.suffix == ".gz" else part.open("rb") as file:
            following = _walk(file, part)  # type: ignore[arg-type]
        part = part.parent / following if following else None


def _walk(file: IO[bytes], path: Path) -> str | None:
    """Walk a file from tag to tag; return the name of the file in which it goes on."""
    size = file.seek(0, os.SEEK_END)
    at, open_blocks, n_blocks, role, following = 0, 0, 0, 0, None
    while at + 16 <= size:
        file.seek(at)
        kind, _, length, after = struct.unpack(">iiii", file.read(16))
        end = at + 16 + length
        if at == 0 and (kind, length) != (_FILE_ID, 20):
            raise RecordingError(f"Recording {path} is not a FIF file.")
        if length < 0 or (0 < after < end):
            raise RecordingError(f"Recording {path} is damaged at byte {at}: a tag of {length} bytes.")
        if end > size:
            break
        n_blocks += kind == _BLOCK_START
        open_blocks += (kind == _BLOCK_START) - (kind == _BLOCK_END)
        if kind == _REF_ROLE:
            (role,) = struct.unpack(">i", file.read(4))
        elif kind == _REF_FILE_NAME and role == _NEXT_FILE:
            following = file.read(min(length, _MOST_TEXT)).decode("latin-1")
        if after < 0:
            at = size
            break
        at = after or end
    if open_blocks or not n_blocks or at != size:
        raise RecordingError(
            f"Recording {path} is cut off after byte {min(at, size)} of {size}: {open_blocks} blocks are not closed. "
            "Copy or save it again."
        )
    return following
