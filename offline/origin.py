"""What a run rests on: recordings, packages and code. It goes on only where all of that is the same."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import offline
import rtdecode
from offline.checkpoint import versions
from offline.configuration import TrainingConfiguration
from offline.dataset import Dataset
from offline.models import find_module
from offline.pretrained import begun_from
from offline.store import digest_of


def origin(configuration: TrainingConfiguration, datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """Return what tells recordings, packages, code, and weights to begin with from others, as JSON can hold it."""
    recordings = {
        source.name: fingerprint
        for dataset in datasets.values()
        for source, fingerprint in zip(dataset.sources, dataset.fingerprints, strict=True)
    }
    begun = [path for dataset in datasets.values() if (path := begun_from(dataset))]
    return {
        "recordings": recordings,
        "packages": versions(),
        "code": _code(configuration.model.network),
        **({"init_from": {str(path): digest_of([path]) for path in begun}} if begun else {}),
    }


def _code(network: str) -> dict[str, str]:
    """Return the SHA-256 of our own code, and of that of a network by its import path."""
    folders = [Path(folder) for package in (rtdecode, offline) for folder in package.__path__]
    ours = [path for folder in folders for path in folder.rglob("*.py")]
    found = {"rtdecode": digest_of(sorted(ours))}
    return {**found, network: digest_of(_files(network))} if ":" in network else found


def _files(network: str) -> list[Path]:
    """Return what a network of the user's own was read from.

    The files of its package that were loaded; of a module that is in none, itself and those beside it.
    """
    find_module(network)
    name = network.partition(":")[0]
    top = name.partition(".")[0]
    loaded = {
        key: Path(file) for key, module in [*sys.modules.items()] if (file := getattr(module, "__file__", None))
    }
    package = {key: path for key, path in loaded.items() if key.partition(".")[0] == top}
    if name not in package:
        # What was typed at a prompt is in no file.
        return []
    if hasattr(sys.modules[top], "__path__"):
        return sorted(package.values())
    beside = {path for key, path in loaded.items() if key != "__main__" and path.parent == package[name].parent}
    return sorted(beside | {package[name]})
