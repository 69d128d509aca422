"""Recordings from which nothing could be learned: told before anything is fitted."""

from typing import TYPE_CHECKING

import numpy as np

from rtdecode.errors import RecordingError

if TYPE_CHECKING:
    from offline.dataset import Dataset


def refuse_absent_classes(dataset: "Dataset") -> None:
    """Refuse recordings that hold no trial of a class, or no segment; RecordingError says why."""
    configuration, whole, trials = dataset.configuration, dataset.stored, dataset.trials
    looked_at = configuration.looked_at
    if configuration.trials is None or looked_at is None:
        if not trials:
            but = " without samples that are marked bad" if dataset.marked else ""
            raise RecordingError(
                f"No recording holds an unbroken segment of {configuration.span_s:g} s (targets.segment_s){but}."
            )
        return
    missing = [name for i, name in enumerate(configuration.class_names) if all(t.truth != i for t in trials)]
    _refuse_marked(dataset, missing)
    if missing:
        labels = [e.label for r in whole for e in r.events]
        wanted = {label for name in missing for label in configuration.trials.classes[name]}
        n = sum(label in wanted for label in labels)
        if n:
            raise RecordingError(
                f"{n} events of class {', '.join(missing)} are there, but none has unbroken data from "
                f"{looked_at.tmin_s:g} to {looked_at.tmax_s:g} s after it (trials.tmin_s, "
                f"tmax_s; {whole[0].path} lasts {whole[0].n_samples / whole[0].signal.sfreq:.0f} s)."
            )
        there = sorted(set(labels))
        raise RecordingError(
            f"No trial of class {', '.join(missing)} in {whole[0].path} and {len(whole) - 1} more; "
            f"event labels there: {', '.join(there[:12]) or 'none'}."
        )


def _refuse_marked(dataset: "Dataset", missing: list[str]) -> None:
    """Refuse a class all of whose trials are marked bad."""
    names = dataset.configuration.class_names
    gone = [trial for trial in dataset.marked if names[trial.truth] in missing]
    if gone:
        classes = ", ".join(sorted({names[trial.truth] for trial in gone}))
        raise RecordingError(
            f"No trial of class {classes} is left: samples of all {len(gone)} are marked bad (annotations that begin "
            f"with BAD, first in {dataset.source(gone[0]).path}). Mark less, or take more recordings."
        )


def refuse_values(dataset: "Dataset") -> None:
    """Refuse target channels from which nothing, or no logarithm, could be learned."""
    targets = dataset.configuration.targets
    assert targets is not None
    for number, name in enumerate(targets.channels):
        known = [channel[np.isfinite(channel)] for channel in (values()[:, number] for values in dataset.values)]
        lowest = min((values.min(initial=np.inf), source) for source, values in enumerate(known))
        if lowest[0] == max(values.max(initial=-np.inf) for values in known):
            raise RecordingError(
                f"Target channel {name} is {lowest[0]:g} throughout all recordings: there is nothing to decode."
            )
        if targets.transform == "log" and lowest[0] <= 0:
            raise RecordingError(
                f"Target channel {name} falls to {lowest[0]:g} in {dataset.stored[lowest[1]].path}, which has no "
                "logarithm. Leave targets.transform: log out."
            )
