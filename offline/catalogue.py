"""The runs in a folder: found, filtered, compared. It reads what they left, and needs nothing that trains."""

import csv
import difflib
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rtdecode.errors import ConfigurationError
from rtdecode.scoring import Figure, mean_interval

Interval = tuple[float, float, float]
_CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*")
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class KeptRun:
    """What the folder of a run tells.

    Attributes
    ----------
    folder : Path
        Where it is.
    began : str
        When, ISO 8601.
    configuration : dict of str to str
        What was asked for, by path, with dots.
    partition : dict of str to list
        The folds of each decoder.
    n_done : int
        Folds that are fitted.
    scores : dict of str to Figure
        The first figure of each decoder; nothing while folds are left.
    recordings : dict of str to str
        Fingerprints of what it was trained and tested on, by name.
    """

    folder: Path
    began: str
    configuration: dict[str, str]
    partition: dict[str, list[dict[str, Any]]]
    n_done: int
    scores: dict[str, Figure]
    recordings: dict[str, str]

    @property
    def worth(self) -> Interval | None:
        """What its decoders are worth; None while folds are left."""
        return worth(list(self.scores.values())) if self.scores else None

    @property
    def told(self) -> dict[str, Any]:
        """What the list tells; conditions may ask for it, as for all of the configuration."""
        value, low, high = self.worth or (None, None, None)
        return {
            "run": str(self.folder),
            "name": self.configuration["name"],
            "network": self.configuration["model.network"],
            "began": self.began,
            "decoders": len(self.partition),
            "folds": sum(map(len, self.partition.values())),
            "done": self.n_done,
            "figure": next((figure.name for figure in self.scores.values()), ""),
            "score": value,
            "low": low,
            "high": high,
        }

    def over(self, other: "KeptRun") -> Interval | None:
        """Return by how much it is better, paired over decoders; None if they are too few or not tested alike."""
        alike = (self.partition, self.recordings) == (other.partition, other.recordings)
        alike = alike and self.told["figure"] == other.told["figure"]
        if self is other or not alike or min(len(self.scores), len(other.scores)) < 2:
            return None
        return mean_interval([figure.value - other.scores[decoder].value for decoder, figure in self.scores.items()])

    def tells(self, key: str) -> Any:
        """Return what it tells by that name; None if nothing."""
        return {**self.configuration, **self.told}.get(key)

    def meets(self, key: str, wanted: str, compared: Callable[[Any, Any], bool]) -> bool:
        """Say whether a condition holds; numbers are compared as such. What a run does not tell meets none."""
        given = self.tells(key)
        if given is None:
            return False
        if _is_number(given) and _is_number(wanted):
            return compared(float(given), float(wanted))
        return compared(str(given), wanted)


def _is_number(told: Any) -> bool:
    try:
        float(told)
    except (TypeError, ValueError):
        return False
    return True


def worth(figures: Sequence[Figure]) -> Interval:
    """Return a figure with its 95 % interval: the mean over decoders (Student's), or that of the only one."""
    if len(figures) > 1:
        return mean_interval([figure.value for figure in figures])
    return figures[0].value, figures[0].low, figures[0].high


def find_runs(folder: Path) -> list[KeptRun]:
    """Return the runs in a folder and those below, in the order of their beginnings.

    ConfigurationError if there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"There are no runs in {folder}: it is no folder (now in {Path.cwd()}).")
    found = [_read(path.parent) for path in folder.rglob("began.json")]
    return sorted((run for run in found if run), key=lambda run: (run.began, run.folder))


def _read(folder: Path) -> KeptRun | None:
    try:
        began, configuration, partition, origin = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("began", "configuration", "partition", "origin")
        )
        done = [(folder / group / f"{fold['name']}.npz").exists() for group in partition for fold in partition[group]]
        scores = _scores(folder / "scores.csv")
        return KeptRun(folder, began, flat(configuration), partition, sum(done), scores, origin["recordings"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # Something else.
        return None


def _scores(path: Path) -> dict[str, Figure]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["pipeline"] == "network"]
    return {row["decoder"]: _figure(**row) for row in rows if row["figure"] == rows[0]["figure"]}


def _figure(figure: str, value: str, low: str, high: str, chance: str, n: str, **_: str) -> Figure:
    return Figure(figure, float(value), float(low), float(high), float(chance), int(n))


def matching(runs: Sequence[KeptRun], conditions: Sequence[str]) -> list[KeptRun]:
    """Return the runs that meet all conditions, such as `network=eegnet`, `score>0.7`, `began>=2026-11-01`.

    ConfigurationError if a condition is none, no run tells what it asks for, or numbers are to be above or below what
    is none.
    """
    for condition in conditions:
        parts = _CONDITION.fullmatch(condition)
        if parts is None:
            raise ConfigurationError(
                f"--where {condition!r} is no condition; give one such as network=eegnet, 'score>0.7' or "
                "'began>=2026-11-01'."
            )
        key, sign, wanted = parts.groups()
        known = list(dict.fromkeys(name for run in runs for name in (*run.told, *run.configuration)))
        if runs and key not in known:
            near = difflib.get_close_matches(key, known, n=1) or [name for name in known if name.endswith(f".{key}")]
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(runs[0].told)}, and every setting."
            raise ConfigurationError(f"--where {condition!r}: no run tells {key!r}; {hint}")
        ordered = sign not in ("=", "!=")
        if ordered and not _is_number(wanted) and any(_is_number(run.tells(key)) for run in runs):
            raise ConfigurationError(f"--where {condition!r}: {key} is a number, {wanted!r} is none.")
        runs = [run for run in runs if run.meets(key, wanted, _COMPARED[sign])]
    return list(runs)


def flat(document: Mapping[str, Any], at: str = "") -> dict[str, str]:
    """Return the leaves of a document by their path, with dots, as JSON writes them; texts as they are."""
    found: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{at}{key}.")
        else:
            found[f"{at}{key}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def table(runs: Sequence[KeptRun], folder: Path) -> Table:
    """Lay runs out, one a row."""
    out = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("", "run", "network", "began"):
        out.add_column(heading, overflow="fold")
    for heading in ("decoders", "folds", "score [95 % interval]"):
        out.add_column(heading, justify="right")
    for number, run in enumerate(runs, 1):
        told = run.told
        folds = f"{told['folds']}" if told["done"] == told["folds"] else f"{told['done']} of {told['folds']}"
        score = f"{told['figure']} {_shown(run.worth)}" if run.worth else "not done"
        where = str(run.folder.relative_to(folder))
        out.add_row(str(number), where, told["network"], told["began"], str(told["decoders"]), folds, score)
    return out


def comparison(runs: Sequence[KeptRun]) -> Table:
    """Lay out side by side in what runs differ, what each is worth, and by how much it is better than the first."""
    out = Table(
        title="What differs, by the numbers of the list above", box=SIMPLE_HEAD, pad_edge=False, title_justify="left"
    )
    out.add_column("", overflow="fold")
    for number, _ in enumerate(runs, 1):
        out.add_column(str(number), overflow="fold")
    keys = dict.fromkeys(key for run in runs for key in run.configuration)
    for key in keys:
        values = [run.configuration.get(key, "") for run in runs]
        if len(set(values)) > 1:
            out.add_row(key, *values)
    for name in dict.fromkeys(name for run in runs for name in run.recordings):
        prints = [run.recordings.get(name, "")[:16] for run in runs]
        if len(set(prints)) > 1:
            out.add_row(name, *prints)
    out.add_section()
    out.add_row("score", *(_shown(run.worth) for run in runs))
    if any(run.over(runs[0]) for run in runs):
        out.add_row("over 1, paired", *(_shown(run.over(runs[0]), sign="+") for run in runs))
    return out


def _shown(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return ""
    value, low, high = interval
    return f"{value:{sign}.3f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def as_json(runs: Sequence[KeptRun]) -> str:
    """Return all that the folders tell, but for the partitions."""
    return json.dumps(
        [
            {**run.told, "scores": {n: asdict(f) for n, f in run.scores.items()}, "configuration": run.configuration}
            for run in runs
        ],
        indent=1,
        ensure_ascii=False,
    )
