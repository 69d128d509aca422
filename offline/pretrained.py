"""Weights to begin with: of a decoder file or a checkpoint, behind the preprocessing they were trained behind."""

from pathlib import Path
from typing import Any

from offline.checkpoint import network_with, read_weights
from offline.configuration import TrainingConfiguration
from offline.dataset import Dataset
from offline.models import Network
from offline.models.closed_form import ClosedForm
from offline.partition import make_folds
from rtdecode.configuration import validate
from rtdecode.contract import Contract, Signal
from rtdecode.errors import ConfigurationError

_LONGEST = 80


def begun_with(dataset: Dataset) -> tuple[Contract, Network] | None:
    """Return the decoder that `training.init_from` names, if it does.

    Raises
    ------
    ConfigurationError
        It is another network or has other settings, channels, preprocessing, windows or outputs; it is fitted in
        closed form or tells people apart; or it has learned from a recording that may be tested on.
    ModelError
        It cannot be read, or its file does not hold the weights.
    """
    path = begun_from(dataset)
    if path is None:
        return None
    contract, weights = read_weights(path)
    document = contract.provenance.configuration
    there = _what(validate(TrainingConfiguration, document, f"The configuration in {path}"))
    here = _what(dataset.configuration)
    problem = _other_signal(dataset.signal, contract.signal) or next(
        (f"its {key} is {_shown(there[key])}, not {_shown(here[key])}" for key in here if here[key] != there[key]), ""
    )
    if not problem and dataset.subjects:
        problem = "its network tells people apart, and new ones are no one it knows"
    if not problem and (seen := _seen(dataset, contract)):
        problem = f"it has learned from {', '.join(seen)}, on which it would be tested"
    if problem:
        raise ConfigurationError(f"Training cannot begin with {path} (training.init_from): {problem}.")
    network = network_with(weights, contract, path, dataset.positions, named=dataset.configuration.model.network)
    if isinstance(network, ClosedForm):
        raise ConfigurationError(
            f"Training cannot begin with {path} (training.init_from): it is fitted in closed form, at once."
        )
    return contract, network


def begun_from(dataset: Dataset) -> Path | None:
    """Return the file that `training.init_from` names for a decoder's own recordings, by what they have in common."""
    named = dataset.configuration.training.init_from
    if named is None:
        return None
    parts = [source.parts for source in dataset.sources if source.own]
    common = {key: value for key, value in parts[0].items() if all(p[key] == value for p in parts)}
    try:
        return Path(named.format(**common))
    except (LookupError, ValueError, AttributeError):
        raise ConfigurationError(
            f"training.init_from: {named!r} speaks of what a decoder's recordings do not have in common; that is "
            f"{', '.join(common) or 'nothing'}."
        ) from None


def _what(configuration: TrainingConfiguration) -> dict[str, Any]:
    """Return what of a configuration has to be the same, by the names there."""
    document = configuration.model_dump(mode="json")
    return {
        **{f"model.{key}": document["model"][key] for key in ("network", "settings", "recurrent")},
        "preprocessing": document["preprocessing"],
        "window.length_s": configuration.window and configuration.window.length_s,
        "events": document["events"],
        "trials.classes": list(configuration.class_names),
        "targets": document["targets"],
        "recordings.subject": configuration.recordings.subject,
    }


def _other_signal(here: Signal, there: Signal) -> str:
    lacking = [name for name in there.ch_names if name not in here.ch_names]
    unknown = [name for name in here.ch_names if name not in there.ch_names]
    if lacking or unknown:
        told = f"lacks here {_shown(', '.join(lacking))}" if lacking else f"knows no {_shown(', '.join(unknown))}"
        return f"it has other channels: it {told}"
    return "" if here == there else "its channels have another order, type, unit or rate"


def _seen(dataset: Dataset, contract: Contract) -> list[str]:
    """Name the recordings that are tested on and that a decoder has learned from."""
    known = set(contract.provenance.data_fingerprint.split("+"))
    if known.isdisjoint(fingerprint[:16] for fingerprint in dataset.fingerprints):
        return []
    tested = {name for fold in make_folds(dataset) for name in fold.test}
    sources = {dataset.stretches[trial.recording][0] for trial in dataset.trials if trial.id in tested}
    return [dataset.sources[number].name for number in sorted(sources) if dataset.fingerprints[number][:16] in known]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
