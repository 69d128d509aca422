"""Which files a configuration speaks of, and whose each is."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offline.configuration import Recordings, TrainingConfiguration
from offline.downloads import downloaded
from rtdecode.errors import ConfigurationError


@dataclass(frozen=True)
class Source:
    """A file that the configuration's pattern matches, and what its name says.

    Attributes
    ----------
    path : Path
        Where it is.
    name : str
        Its path below the data folder without what all have in common; different for every file.
    parts : dict of str to str
        What the pattern's braces captured.
    own : bool
        Whether it belongs to the decoder at hand; those of others only ever train.
    """

    path: Path
    name: str
    parts: dict[str, str]
    own: bool = True

    def has(self, wanted: dict[str, tuple[str, ...]]) -> bool:
        """Tell whether the captured parts have one of the wanted values each."""
        return all(self.parts[key] in values for key, values in wanted.items())


def named_sources(paths: Sequence[Path]) -> list[Source]:
    """Return files that are named one by one; those of the same name are numbered."""
    stems = [path.stem for path in paths]
    named = [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems, 1)]
    return [Source(path, name, {}) for path, name in zip(paths, named, strict=True)]


def data_folder(given: str | None, configurations: Sequence[TrainingConfiguration]) -> Path:
    """Return `--data DIR` or RTDECODE_DATA; ConfigurationError if neither is a folder.

    `mne:NAME` is a data set of MNE, of which what the configurations speak of is downloaded if it is not there.
    """
    told = given or os.environ.get("RTDECODE_DATA")
    if not told:
        raise ConfigurationError("Where are the recordings? Give --data DIR, or set RTDECODE_DATA.")
    if told.startswith("mne:"):
        wanted = [configuration.recordings for configuration in configurations]
        return downloaded(told.removeprefix("mne:"), lambda path: any(_selects(each, path) for each in wanted))
    if not Path(told).is_dir():
        raise ConfigurationError(f"Data folder {told} does not exist (now in {Path.cwd()}).")
    return Path(told)


def _selects(recordings: Recordings, path: str) -> bool:
    match = _regex(recordings.pattern).fullmatch(path)
    return match is not None and Source(Path(path), "", match.groupdict()).has(recordings.select)


def _regex(pattern: str) -> re.Pattern[str]:
    """Turn a pattern into one that captures its parts; a part that stands twice is the same both times."""
    pieces, names = re.split(r"{\w+}", pattern), _parts_of(pattern)
    captures = [f"(?P<{n}>[^/]+?)" if names.index(n) == i else f"(?P={n})" for i, n in enumerate(names)]
    literal = ["[^/]*".join(map(re.escape, piece.split("*"))) for piece in pieces]
    return re.compile("".join(p + c for p, c in zip(literal, [*captures, ""], strict=True)))


def _parts_of(pattern: str) -> list[str]:
    return re.findall(r"{(\w+)}", pattern)


def find_sources(configuration: TrainingConfiguration, data: Path) -> dict[str, list[Source]]:
    """Return the files of each decoder, by the value of `decoder_per` ("all" without it)."""
    wanted = configuration.recordings
    names = _parts_of(wanted.pattern)
    split = configuration.split
    parts = filter(None, [wanted.decoder_per, wanted.subject])
    for key in [*wanted.select, *split.test_on, *split.held_out, *split.groups, *parts]:
        if key not in names:
            raise ConfigurationError(
                f"The configuration speaks of {key!r}, which is no part of the pattern {wanted.pattern!r}."
            )
    regex = _regex(wanted.pattern)
    groups: dict[str, list[Source]] = {}
    matching = []
    for path in sorted(data.glob(re.sub(r"{\w+}", "*", wanted.pattern))):
        match = regex.fullmatch(path.relative_to(data).as_posix())
        if match is None:
            continue
        source = Source(path, _name(path, data, wanted.pattern), match.groupdict())
        matching.append(source)
        if source.has(wanted.select):
            group = source.parts[wanted.decoder_per] if wanted.decoder_per else "all"
            groups.setdefault(group, []).append(source)
    names = [s.name for sources in groups.values() for s in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"Two recordings are told apart by their ending only: {', '.join(twice)}.")
    if not matching:
        raise ConfigurationError(f"No recordings in {data}: no file matches {wanted.pattern!r}.")
    for where, chosen in (
        ("recordings.select", wanted.select),
        ("split.test_on", split.test_on),
        ("split.held_out", split.held_out),
    ):
        _refuse_absent(where, chosen, matching)
    if not groups:
        raise ConfigurationError(f"No recordings in {data}: no file has all of recordings.select together.")
    if wanted.others:
        return {
            group: own + [replace(s, own=False) for other, theirs in groups.items() if other != group for s in theirs]
            for group, own in groups.items()
        }
    return groups


def _refuse_absent(where: str, chosen: dict[str, tuple[str, ...]], sources: list[Source]) -> None:
    for key, values in chosen.items():
        there = sorted({s.parts[key] for s in sources})
        for value in values:
            if value not in there:
                raise ConfigurationError(f"{where}: no recording has {key} {value!r}; there is {', '.join(there)}.")


def _name(path: Path, data: Path, pattern: str) -> str:
    """Name a file by its path from the first folder on that differs between files, without its ending."""
    parts = path.relative_to(data).parts
    fixed = next(i for i, part in enumerate(Path(pattern).parts) if "{" in part or i == len(parts) - 1)
    return re.sub(r"(_raw)?(\.fif)?(\.gz|\.[A-Za-z]\w*)?$", "", "-".join(parts[fixed:]))
