"""Recordings decoded as live, and what cannot be evaluated, told before any figure."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Classification, Contract, Policy, Regression
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.evaluation.tuning import tuned_on
from rtdecode.guard import GuardSettings
from rtdecode.model_file import ModelFile
from rtdecode.recording import Recording, read_recording
from rtdecode.replay import Replay, decode_recording

# As in BIDS.
PERSON = r"sub-([^_/\\]+)"


@dataclass(frozen=True)
class Decoded:
    """A recording, decoded as live.

    Attributes
    ----------
    path : Path
        The file.
    person : str
        Whose it is; empty if nothing tells.
    fingerprint : str
        Of the recording, as the decoder file's provenance tells it.
    trained_on, tuned_on : bool
        Whether the decoder was trained on it, and whether its policy was tuned on it.
    duration_s : float
        How long it is.
    labels : Counter of str
        Its events.
    replay : Replay
        What the decoder gave.
    """

    path: Path
    person: str
    fingerprint: str
    trained_on: bool
    tuned_on: bool
    duration_s: float
    labels: Counter[str]
    replay: Replay

    @property
    def abstained(self) -> Counter[str]:
        """Abstentions by reason."""
        return Counter(p.reason for p in self.replay.predictions if p.reason)

    @property
    def n_asked(self) -> int:
        """Events of the decoder's classes."""
        trials = self.replay.contract.trials
        return sum(n for label, n in self.labels.items() if trials and trials.class_of(label) is not None)

    @property
    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Truth and values (n_segments, n_windows, n_targets) of a regression.

        RecordingError if the recording does not tell the truth.
        """
        pairs = self.replay.pairs
        if pairs is None or not len(pairs[0]):
            targets = self.replay.contract.targets
            lacking = f"channels {', '.join(targets.channels)}" if targets and targets.channels else "trials"
            raise RecordingError(
                f"Recording {self.path} does not tell what should have been decoded: it lacks the {lacking}, or no "
                "whole segment of it could be decoded."
            )
        return pairs


def plain_policy(contract: Contract, rest: tuple[str, ...]) -> Policy:
    """Return what decisions are counted by where a file has no policy: it decides what is halfway to certain.

    That is, a class whose probability is halfway between chance and certainty; then none for as long as a trial.
    """
    assert contract.trials is not None
    threshold = (1 + 1 / len(contract.outputs.names)) / 2
    return Policy(threshold=threshold, refractory_s=contract.trials.tmax_s - contract.trials.tmin_s, rest=rest)


def policy_for(model: ModelFile, rest: tuple[str, ...]) -> Policy | None:
    """Return what decides when a model is evaluated; ConfigurationError if it cannot be."""
    contract = model.contract
    if contract.trials is None and contract.targets is None:
        raise ConfigurationError(
            f"{model.path} says neither which events are trials nor what its targets are: nothing tells what it "
            "should have decoded. Train it with `trials`, or with `targets`."
        )
    decides = isinstance(contract.outputs, Classification) and not contract.events
    if rest and (contract.policy or not decides):
        why = "its policy says what rest is" if contract.policy else "it decides nothing at rest"
        raise ConfigurationError(f"--rest is not for {model.path}: {why}.")
    if contract.policy or not decides:
        return contract.policy
    if problem := Policy(rest=rest).problem(contract.outputs.names):
        raise ConfigurationError(f"--rest: {problem}.")
    return plain_policy(contract, rest)


def person_in(path: Path, pattern: str) -> str:
    """Return whose recording it is, by the first group of a regular expression that a path is searched for."""
    try:
        found = re.search(pattern, path.as_posix())
        return (found.group(1) or "") if found else ""
    except (re.error, IndexError):
        raise ConfigurationError(
            f"--person {pattern!r} is no regular expression with one group, such as {PERSON!r}."
        ) from None


def decode_all(
    model: ModelFile,
    paths: Sequence[Path],
    policy: Policy | None,
    person: str,
    guard: GuardSettings | None,
    stream: str | None,
    progress: Callable[[str], None] | None,
) -> list[Decoded]:
    """Decode recordings as live, one after the other: see `rtdecode.evaluation.evaluate`."""
    people = [person_in(path, person) for path in paths]
    known = set(model.contract.provenance.data_fingerprint.split("+"))
    decoded: dict[str, Decoded] = {}
    for path, whose in zip(paths, people, strict=True):
        if progress:
            progress(f"decoding {path.name}")
        recording = read_recording(path, stream)
        fingerprint = recording.fingerprint()[:16]
        if fingerprint in decoded:
            raise RecordingError(f"{path} is the same recording as {decoded[fingerprint].path}: give it once.")
        decoder = Decoder(model, recording.signal, guard, f"Recording {path}", policy=policy)
        replay = decode_recording(recording, decoder)
        decoded[fingerprint] = Decoded(
            path=path,
            person=whose,
            fingerprint=fingerprint,
            trained_on=fingerprint in known,
            tuned_on=tuned_on(model.contract, fingerprint),
            duration_s=recording.duration_s,
            labels=_labels(recording),
            replay=replay,
        )
    found = list(decoded.values())
    _refuse_missing(model, found, policy)
    return found


def _labels(recording: Recording) -> Counter[str]:
    return Counter(event.label for event in recording.events)


def _refuse_missing(model: ModelFile, decoded: Sequence[Decoded], policy: Policy | None) -> None:
    """Raise RecordingError if a class has no trial, or a regression a single one: no figure would mean anything."""
    contract = model.contract
    if isinstance(contract.outputs, Regression):
        if sum(len(one.pairs[0]) for one in decoded) < 2:
            raise RecordingError(f"{model.path} cannot be judged by a single trial or segment; give more.")
        return
    assert contract.trials is not None
    labels = sum((one.labels for one in decoded), Counter[str]())
    told = ", ".join(f"{label} ({n})" for label, n in labels.most_common(20)) or "none"
    found = {trial.truth for one in decoded for trial in one.replay.trials}
    idle = set(policy.rest) if policy else set()
    of_trials = {name: i for i, name in enumerate(contract.outputs.names) if name in contract.trials.classes}
    missing = [name for name, i in of_trials.items() if i not in found and (name not in idle or not found)]
    if not missing:
        return
    wanted = "; ".join(f"{name}: {', '.join(contract.trials.classes[name])}" for name in missing)
    if any(n for label, n in labels.items() if contract.trials.class_of(label) in missing):
        why = (
            "their events are there, but no window of their trials could be decoded (a gap, the warm-up, or the end) "
            "or all of them are marked bad"
        )
    else:
        why = f"the recordings' events are {told}"
    raise RecordingError(f"No trial of {', '.join(missing)} can be scored (events {wanted}): {why}.")
