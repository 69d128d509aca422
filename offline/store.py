"""What is made of recordings once and kept: folders of .npy arrays and JSON, addressed by all they were made of.

A folder is written aside, takes its name in one step and is never changed afterwards. So whoever has mapped its
files goes on reading what he mapped, and of two processes that make the same at once the second one's is thrown away.
"""

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import DTypeLike, NDArray
from platformdirs import user_cache_path

import rtdecode
from rtdecode.errors import ConfigurationError

PLACE = "RTDECODE_STORE"
_PACKAGES = ("numpy", "scipy", "mne", "pyxdf")
_BLOCK = 1 << 20
_NAMED = re.compile(r"(?m)^(?:DataFile|MarkerFile)=(.*?)\s*$")
_OURS = re.compile(r"[a-z]+-[0-9a-f]{32}(\.|$)")


def place() -> Path:
    """Return the store's folder: RTDECODE_STORE, or one among the user's caches."""
    told = os.environ.get(PLACE)
    return Path(told) if told else user_cache_path("rtdecode", appauthor=False)


def kept(kind: str, made_of: dict[str, Any], write: Callable[[Path], None]) -> Path:
    """Return the folder of what was made of `made_of`; `write` fills a new one.

    Parameters
    ----------
    kind : str
        What it holds.
    made_of : dict
        All that its content depends on, but for the code and the libraries, as JSON can hold it.
    write : callable
        Writes its files into the folder it is given.

    Raises
    ------
    ConfigurationError
        There is no room for it, or it cannot be written.
    """
    document = json.dumps({"code": _code(), **made_of}, sort_keys=True, ensure_ascii=False)
    folder = place() / f"{kind}-{hashlib.sha256(document.encode()).hexdigest()[:32]}"
    if folder.is_dir():
        return folder
    with _told():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            write(aside)
            write_text(aside / "made-of.json", document)
            _name(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _name(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:
        # Another process was sooner; what it made is the same.
        if not folder.is_dir():
            raise


@contextlib.contextmanager
def _told(what: str = "kept in") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Preprocessed recordings cannot be {what} {place()}: {error.strerror}. Make room there, end what uses "
            f"it, or set {PLACE} to another folder."
        ) from None


@cache
def _code() -> dict[str, str]:
    """Return what turns recordings into arrays: the text of the code, and the versions of what it calls."""
    here = Path(__file__).parent
    ours = (*sorted(Path(rtdecode.__file__).parent.rglob("*.py")), here / "store.py", here / "stored.py")
    return {"rtdecode": digest_of(ours), **{name: version(name) for name in _PACKAGES}}


def digest_of(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of what is in files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def content(path: Path) -> str:
    """Return the SHA-256 of all that is read with a recording's file, and of the names it goes by."""
    digest = hashlib.sha256()
    for part in _files(path):
        known_as = part.relative_to(path.parent) if part.is_relative_to(path.parent) else part
        digest.update(f"{known_as.as_posix()}\n".encode())
        with part.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the files that a recording may be in: those of its folder, or those that share its name."""
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    if path.suffix in (".npz", ".mat", ".xdf", ".xdfz", ".edf", ".bdf", ".gdf"):
        return [path]
    name = path.name.partition(".")[0].partition("_split-")[0]
    siblings = [*path.parent.glob(f"{glob.escape(name)}[._-]*"), *_named_in(path)]
    return sorted({path, *(part for part in siblings if part.is_file())})


def _named_in(path: Path) -> list[Path]:
    """Return files that a recording's file names, whatever they are called; of EEGLAB all that it may name."""
    if path.suffix == ".set":
        return [*path.parent.glob("*.fdt")]
    if path.suffix != ".vhdr":
        return []
    named = _NAMED.findall(path.read_text(encoding="latin-1"))
    return [path.parent / name.replace("$b", path.stem) for name in named]


def write_text(path: Path, text: str) -> None:
    """Write a text that is on the disk before the folder gets its name."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike, blocks: Iterable[NDArray[Any]]) -> None:
    """Write an .npy of this shape out of blocks of its rows; only one of them is in memory."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _there(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):
        raise ConfigurationError(
            f"{path} is gone or damaged: was the store cleared meanwhile? Run this again, after `rtdecode store "
            "--clear` if need be."
        ) from None


def read_json(path: Path) -> Any:
    """Read a JSON file of the store; ConfigurationError if it is gone."""
    with _there(path):
        return json.loads(path.read_text(encoding="utf-8"))


def mapped(path: Path) -> NDArray[Any]:
    """Map an .npy of the store; ConfigurationError if it is gone."""
    with _there(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    # Slices of a plain array cost a tenth of those of a memmap.
    return np.asarray(array)


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array in a file without a name, which is gone with the array, however the process ends."""
    with _told():
        place().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place()) as file:
            if hasattr(os, "posix_fallocate"):
                # A disk that fills up later would end the process without a word.
                os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
            return np.asarray(np.memmap(file, dtype, "w+", shape=shape))


def folders() -> list[Path]:
    """Return what is in the store, what was not finished included; nothing else that lies there."""
    return sorted(folder for folder in place().glob("*") if _OURS.match(folder.name))


def size_bytes() -> int:
    """Return how much the store holds."""
    return sum(path.stat().st_size for folder in folders() for path in folder.rglob("*") if path.is_file())


def clear() -> None:
    """Remove all that is kept; ConfigurationError if some of it is in use."""
    for folder in folders():
        with _told("removed from"):
            # Under another name first: what is half removed must not be taken for whole.
            shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}.{uuid4().hex}")))
