"""A decoder out of one cued recording: what `rtdecode collect --train` does after the last cue."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from offline.commands import export
from offline.configuration import TrainingConfiguration, read_configuration
from offline.workflow import table
from offline.workflow import train as train_all
from rtdecode.configuration import validate
from rtdecode.cues import REST, CueSettings
from rtdecode.errors import ConfigurationError
from rtdecode.runtime import runtime_version
from rtdecode.scoring import Figure


def adapted(
    configuration: TrainingConfiguration, recording: Path, cues: CueSettings
) -> tuple[TrainingConfiguration, list[str]]:
    """Make a configuration one for a cued recording; tell what was changed.

    Recordings are this one. Classes become those cued, unless they are the same (or with the rests one more). Trials
    end with their cue, and windows are as much shorter as these. A split by runs becomes one by blocks of trials.

    Raises
    ------
    ConfigurationError
        It has no trials, or does not fit the cues.
    """
    document, where = configuration.model_dump(mode="json", exclude_unset=True), f"Configuration {configuration.name}"
    if configuration.trials is None:
        raise ConfigurationError(f"{where} has no trials: it cannot be trained on cues.")
    changed = []

    def change(part: str, **to: Any) -> None:
        changed.append(f"{part}: " + ", ".join(f"{key} {value}" for key, value in to.items()))
        document[part].update(to)

    document["recordings"] = {"pattern": recording.name}
    labels = {label for labels in configuration.trials.classes.values() for label in labels}
    if labels - {REST} != set(cues.classes):
        labels = set(cues.classes)
        change("trials", classes={name: [name] for name in cues.classes})
    longest_s = cues.cue_s if REST not in labels else min(cues.cue_s, cues.rest_s[0])
    tmin_s, tmax_s = configuration.trials.tmin_s, min(configuration.trials.tmax_s, longest_s)
    if tmax_s <= tmin_s:
        raise ConfigurationError(
            f"{where}: trials.tmin_s is {tmin_s:g} s, but cues or rests end after {longest_s:g} s."
        )
    if tmax_s < configuration.trials.tmax_s:
        change("trials", tmax_s=tmax_s)
        shorter = (tmax_s - tmin_s) / configuration.span_s
        if configuration.window:
            change("window", length_s=round(shorter * configuration.window.length_s, 3))
    if configuration.split.kind not in ("blocks", "stratified-blocks"):
        changed.append("split: stratified-blocks")
        document["split"] = {"kind": "stratified-blocks"}
    return validate(TrainingConfiguration, document, where), changed


class Trainer:
    """Trains from a recording that is yet to come; what can be refused is refused at once.

    Parameters
    ----------
    configuration : str
        A YAML file, or the name of a shipped one.
    recording, model : Path
        The .npz that will be there, and the decoder file to write; its checkpoint stands beside it.
    cues : CueSettings
        What will be cued.

    Raises
    ------
    ConfigurationError
        The configuration does not fit, or a file is there already.
    """

    def __init__(self, configuration: str, recording: Path, model: Path, cues: CueSettings) -> None:
        self._recording, self._model = recording, model
        self._checkpoint = model.with_suffix(".pt")
        self._folder = model.with_suffix(".training")
        self._configuration, self._changed = adapted(read_configuration(configuration), recording, cues)
        runtime_version()
        for path in (model, self._checkpoint, self._folder):
            if path.exists():
                raise ConfigurationError(f"{path} exists already. Give another --model; nothing is overwritten.")

    def train(self, stream: str) -> None:
        """Train, tell the score and whether it is above chance, write the decoder, and tell how to go on."""
        configuration = self._configuration
        # Not a terminal: wide enough for the tables.
        out = Console(width=None if sys.stdout.isatty() else 100)
        for line in self._changed:
            print(f"{configuration.name}, changed for this recording: {line}")
        run = train_all(configuration, self._recording.parent, self._folder, [], ["all"], 1, out)
        out.print(table(run, configuration))
        shutil.copyfile(run.finals["all"], self._checkpoint)
        export(self._checkpoint, self._model, network=configuration.model.network)
        figures = run.comparisons["all"].network
        print("\n".join(verdict(figure, configuration.split.n_folds) for figure in figures))
        print(f"Go on with: {shlex.join(['rtdecode', 'run', '--model', str(self._model), '--stream', stream])}")


def verdict(figure: Figure, n_folds: int) -> str:
    """Tell a figure of a session in words: how it was measured, and whether it is above chance."""
    told = f"{figure.name} {figure}: each of {n_folds} blocks of trials by a decoder that was trained on the others."
    if figure.low > figure.chance:
        return f"{told} Another session may be worse: cap and person will not be quite the same."
    return (
        f"{told} This is NOT above chance: nothing shows that the decoder has learned anything. Do not close a loop "
        "on it; record more trials, or look at the cap and at what the subject was asked to do."
    )
