"""Several networks on the same trials: what each is worth, and by how much they differ."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.stats import mannwhitneyu, spearmanr
from sklearn.metrics import r2_score

from offline.configuration import TrainingConfiguration
from offline.evaluation import FoldResult, in_time
from offline.tasks import Workers
from offline.workflow import Plan, Run, carry_out, new_folder, shown
from rtdecode.errors import ConfigurationError
from rtdecode.files import write_rows
from rtdecode.scoring import interval, mean_interval
from rtdecode.surrogates import dependence, enough, redraws

_DRAWS = 1000
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Compared:
    """Networks that were trained and tested on the same trials.

    Attributes
    ----------
    folder : Path
        Where the run of each is, in a folder of its name, and what compares them.
    configuration : TrainingConfiguration
        The first one.
    runs : dict of str to Run
        By the configurations' names.
    """

    folder: Path
    configuration: TrainingConfiguration
    runs: dict[str, Run]

    @property
    def decoders(self) -> list[str]:
        """Whose decoders were trained."""
        return list(next(iter(self.runs.values())).comparisons)

    @property
    def figures(self) -> list[str]:
        """What was measured."""
        first = next(iter(self.runs.values()))
        return [figure.name for figure in first.comparisons[self.decoders[0]].network]

    @property
    def unit(self) -> str:
        """What intervals are over."""
        if len(self.decoders) > 1:
            return self.configuration.recordings.decoder_per or "decoders"
        return "trials" if self.configuration.trials else "segments"

    def values(self, name: str, figure: int) -> list[float]:
        """Return what was measured of each decoder."""
        return [comparison.network[figure].value for comparison in self.runs[name].comparisons.values()]

    def worth(self, name: str, figure: int) -> Interval:
        """Return a figure with its 95 % interval: the mean over decoders (Student's), or that of the only one."""
        if len(self.decoders) > 1:
            return mean_interval(self.values(name, figure))
        (comparison,) = self.runs[name].comparisons.values()
        only = comparison.network[figure]
        return only.value, only.low, only.high

    @cached_property
    def over(self) -> dict[tuple[str, str, int], Interval]:
        """How much better a network is than another in a figure, with a 95 % interval.

        Paired over decoders (Student's), or for a single one over its trials or segments (bootstrap; segments of
        target channels in blocks, see `rtdecode.surrogates`; NaN where there are too few).
        """
        pairs = itertools.permutations(self.runs, 2)
        return {(*pair, number): self._over(*pair, number) for pair in pairs for number in range(len(self.figures))}

    def _over(self, name: str, other: str, figure: int) -> Interval:
        pairs = zip(self.values(name, figure), self.values(other, figure), strict=True)
        differences = [value - less for value, less in pairs]
        if len(self.decoders) > 1:
            return mean_interval(differences)
        (group,) = self.decoders
        results = [self.runs[n].results[group] for n in (name, other)]
        ours, theirs = (self._tested(r, figure) for r in results)
        drawn = self._blocks(results[0], figure) if self._in_time else _resampled(results[0], self.measure)
        return differences[0], *interval([ours(chosen) - theirs(chosen) for chosen in drawn])

    @property
    def _in_time(self) -> bool:
        return bool(self.configuration.target_channels)

    @staticmethod
    def _blocks(results: list[FoldResult], figure: int) -> Iterator[NDArray[np.int64]]:
        """Draw tested segments in blocks that follow each other."""
        order, recordings = in_time(results)
        shortest = min(r.truth.shape[1] for r in results)
        truth = np.concatenate([r.truth[:, :shortest, figure // 2] for r in results])[order]
        length = dependence(truth.astype(np.float64), recordings)
        if enough(recordings, length):
            for drawn in redraws(recordings, length, _DRAWS, np.random.default_rng(0)):
                yield order[drawn]

    @property
    def measure(self) -> str:
        """What kind of figure it is."""
        return self.configuration.measure if self.configuration.targets is None else "regression"

    def _tested(self, results: list[FoldResult], figure: int) -> Callable[[NDArray[np.int64]], float]:
        """Return what gives a figure's value on some of the tested trials."""
        if self.measure == "accuracy":
            right = np.concatenate([r.network.argmax(axis=1) == r.truth for r in results])
            return lambda chosen: float(right[chosen].mean())
        if self.measure == "auc":
            truth = np.concatenate([r.truth for r in results])
            evidence = np.concatenate([r.network[:, 1] - r.network[:, 0] for r in results])
            return lambda chosen: _auc(truth[chosen], evidence[chosen])
        target, kind = divmod(figure, 2)
        shortest = min(r.truth.shape[1] for r in results)
        values, given = (
            np.concatenate([part[:, :shortest, target] for part in parts])
            for parts in ([r.truth for r in results], [r.network for r in results])
        )
        of = (_r2, _spearman)[kind]
        return lambda chosen: of(values[chosen].ravel(), given[chosen].ravel())


def _auc(truth: NDArray[Any], evidence: NDArray[Any]) -> float:
    positive, negative = evidence[truth == 1], evidence[truth == 0]
    return float(mannwhitneyu(positive, negative, method="asymptotic").statistic) / (len(positive) * len(negative))


def _r2(truth: NDArray[Any], given: NDArray[Any]) -> float:
    return float(r2_score(truth, given))


def _spearman(truth: NDArray[Any], given: NDArray[Any]) -> float:
    return float(spearmanr(truth, given).statistic)


def _resampled(results: list[FoldResult], measure: str) -> list[NDArray[np.int64]]:
    """Draw tested trials with replacement: for an AUC of each class as many as there are."""
    rng, n = np.random.default_rng(0), sum(len(r.truth) for r in results)
    parts = [np.arange(n)]
    if measure == "auc":
        truth = np.concatenate([r.truth for r in results])
        parts = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    return [np.concatenate([rng.choice(part, len(part)) for part in parts]) for _ in range(_DRAWS)]


def compare(plans: list[Plan], folder: Path | None, final: list[str], workers: Workers, console: Console) -> Compared:
    """Train several networks on one partition, and compare them; see `offline.workflow.train`.

    ConfigurationError says why they cannot be compared, before any is trained.
    """
    names = [plan.configuration.name for plan in plans]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"What is compared needs a name each; there is {', '.join(names)}.")
    for plan in plans[1:]:
        _refuse_unlike(plans[0], plan)
    folder = folder or new_folder("comparison")
    runs = carry_out(plans, [folder / name for name in names], final, workers, console)
    compared = Compared(folder, plans[0].configuration, dict(zip(names, runs, strict=True)))
    write_rows(compared.folder / "comparison.csv", _rows(compared))
    draw(compared)
    return compared


def _refuse_unlike(first: Plan, other: Plan) -> None:
    """Refuse to compare what was not tested on the same: trials, folds, and what is measured."""
    names = f"{first.configuration.name} and {other.configuration.name}"
    for part in ("measure", "targets"):
        if getattr(first.configuration, part) != getattr(other.configuration, part):
            raise ConfigurationError(f"{names} cannot be compared: their {part} differ.")
    trials = [{g: (d.fingerprints, d.trials) for g, d in plan.datasets.items()} for plan in (first, other)]
    if trials[0] != trials[1]:
        raise ConfigurationError(
            f"{names} cannot be compared: their trials are not the same. Give them the same recordings, trials and "
            "baseline."
        )
    if first.folds != other.folds:
        raise ConfigurationError(
            f"{names} cannot be compared: they divide the trials otherwise. Give them the same split, "
            "training.validation and training.seed."
        )


def table(compared: Compared) -> Table:
    """Lay the comparison out: of each network every figure, and by how much it is better than the others."""
    several = len(compared.figures) > 1
    what = [] if several else compared.figures
    out = Table(
        title=", ".join([*what, compared.configuration.split.kind, f"[95 % interval over {compared.unit}]"]),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title_justify="left",
    )
    out.add_column("network")
    for heading in ("value", *(f"over {name}" for name in compared.runs)):
        out.add_column(heading, justify="right")
    for name in compared.runs:
        for number, figure in enumerate(compared.figures):
            over = {n: shown(*compared.over[name, n, number], sign="+") for n in compared.runs if n != name}
            told = f"{name}, {figure}" if several else name
            out.add_row(told, shown(*compared.worth(name, number)), *(over.get(n, "") for n in compared.runs))
    return out


def _rows(compared: Compared) -> Iterator[list[Any]]:
    yield ["figure", "network", "over", "value", "low", "high"]
    for number, figure in enumerate(compared.figures):
        for name in compared.runs:
            yield [figure, name, "", *compared.worth(name, number)]
            for other in compared.runs:
                if other != name:
                    yield [figure, name, other, *compared.over[name, other, number]]


def draw(compared: Compared) -> None:
    """Draw what each decoder is worth with each network, and the paired differences to the first one."""
    from matplotlib.figure import Figure

    names = list(compared.runs)
    rows = np.arange(len(names))
    figure = Figure(figsize=(9, 1 + len(compared.figures) * (0.8 + 0.4 * len(names))), layout="constrained")
    axes = figure.subplots(len(compared.figures), 2, squeeze=False, sharey=True)
    for number, (worth, over) in enumerate(axes):
        if len(compared.decoders) > 1:
            each = np.array([compared.values(name, number) for name in names])
            worth.plot(each, rows, color="0.75", marker=".", linewidth=0.8)
        _intervals(worth, rows, [compared.worth(name, number) for name in names])
        _intervals(over, rows[1:], [compared.over[name, names[0], number] for name in names[1:]])
        over.axvline(0, color="0.5", linewidth=0.8)
        worth.set(title=compared.figures[number], yticks=rows, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        over.set(title=f"over {names[0]}")
    figure.suptitle(f"95 % intervals over {compared.unit}", fontsize="small")
    figure.savefig(compared.folder / "comparison.svg")


def _intervals(axes: Any, rows: NDArray[np.int64], intervals: list[Interval]) -> None:
    values, lows, highs = np.transpose(intervals)
    axes.plot(values, rows, "o", color="black")
    axes.hlines(rows, lows, highs, color="black")
