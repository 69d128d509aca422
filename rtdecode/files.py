"""Files that a command writes: whole or not at all, and a sentence where they cannot be."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rtdecode.errors import ConfigurationError


def refuse_output(path: Path, *endings: str) -> None:
    """Raise ConfigurationError, before any work is done, if a file cannot be written there."""
    if path.suffix not in endings:
        raise ConfigurationError(f"{path.name!r} cannot be written: its name must end in {' or '.join(endings)}.")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigurationError(f"{path} cannot be written: it is a folder, or its folder does not exist.")


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write into that takes the place of `path` when it is whole.

    Raises
    ------
    ConfigurationError
        It cannot be written. What stood there is as it was.
    """
    aside = path.with_name(f"{path.name}.writing")
    try:
        try:
            with aside.open("wb") as file:
                yield file
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror or error}.") from None


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file (see `writing`)."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 (see `writing`)."""
    write_bytes(path, text.encode())


def write_rows(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as .csv in UTF-8 (see `writing`)."""
    with writing(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        csv.writer(text).writerows(rows)
