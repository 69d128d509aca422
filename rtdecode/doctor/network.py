"""liblsl and its configuration."""

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rtdecode.doctor.finding import Finding
from rtdecode.errors import ConfigurationError, StreamError


def lsl_configuration(environment: Mapping[str, str], here: Path, home: Path, system: Path) -> Path | None:
    """Return the configuration file that liblsl reads: the first of its list that is there.

    Parameters
    ----------
    environment : mapping
        Of the process; `LSLAPICFG` comes first.
    here, home, system : Path
        The working folder, the user's, and the one that stands for `/`.
    """
    places = [here / "lsl_api.cfg", home / "lsl_api" / "lsl_api.cfg", system / "etc" / "lsl_api" / "lsl_api.cfg"]
    if environment.get("LSLAPICFG"):
        places.insert(0, Path(environment["LSLAPICFG"]))
    return next((place for place in places if os.access(place, os.R_OK) and place.is_file()), None)


def examine_lsl() -> Iterator[Finding]:
    """Tell liblsl's version, which configuration file applies, and what it keeps from being found."""
    try:
        from rtdecode.lsl import versions
    except ConfigurationError as error:
        yield Finding("liblsl", str(error), exit_code=StreamError.exit_code)
        return
    told = versions()
    yield Finding("liblsl", f"{told['liblsl']} (pylsl {told['pylsl']})")
    path = lsl_configuration(os.environ, Path.cwd(), Path.home(), Path("/"))
    wanted = os.environ.get("LSLAPICFG")
    if wanted and path != Path(wanted):
        yield Finding("LSLAPICFG", f"names {wanted}, which cannot be read", "Correct it or unset it.")
    if path is None:
        yield Finding("configuration", "none; liblsl's defaults")
        return
    yield Finding("configuration", str(path))
    yield from judge_configuration(path)


def judge_configuration(path: Path) -> Iterator[Finding]:
    """Tell which settings of an lsl_api.cfg limit what is found."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        yield Finding(path.name, f"is not understood: {' '.join(str(error).split())}", "Correct it or take it away.")
        return
    scope = parser.get("multicast", "ResolveScope", fallback="site")
    advice = "Streams of other computers are not found; write `ResolveScope = site`." if scope == "machine" else ""
    yield Finding("ResolveScope", scope, advice)
    peers = parser.get("lab", "KnownPeers", fallback="{}").strip("{} ")
    yield Finding("KnownPeers", peers or "none: other computers are found by multicast only")
    session = parser.get("lab", "SessionID", fallback="default")
    if session != "default":
        yield Finding("SessionID", f"{session}: only streams with the same one are found")
