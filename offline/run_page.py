"""The page of a training run: how it learned, what it confuses, what each decoder is worth."""

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from math import isfinite

import numpy as np

from offline.catalogue import flat, worth
from offline.checkpoint import versions
from offline.configuration import TrainingConfiguration
from offline.evaluation import Comparison, FoldResult
from rtdecode.evaluation.axes import Axes
from rtdecode.evaluation.drawing import draw_confusion, draw_forest
from rtdecode.page import facts, figure, header, page, pair, table, tiles
from rtdecode.page.svg import svg
from rtdecode.scoring import confusion

_WIDE, _HEIGHT = 860, 270
_LOSSES = {"valid_loss": ("curve", "right", "validation"), "train_loss": ("wrong", "false", "training")}


def run_page(
    name: str,
    configuration: TrainingConfiguration,
    results: Mapping[str, list[FoldResult]],
    comparisons: Mapping[str, Comparison],
) -> str:
    """Return the page of a run: one file of HTML that needs nothing but itself."""
    folds = [result for of_group in results.values() for result in of_group]
    halves = [*_confusion(folds, configuration), *_forest(comparisons, configuration)]
    style = (files("rtdecode.evaluation") / "report.css").read_text(encoding="utf-8")
    body = [
        header("training run", configuration.name, _lead(comparisons, configuration), ""),
        tiles(_tiles(folds, comparisons, configuration)),
        *_curves(folds),
        *([pair(halves[0], "".join(halves[1:]))] if halves else []),
        _scores(comparisons),
        pair(facts("What was asked for", _asked(name, configuration)), facts("Versions", versions())),
    ]
    return page(f"Run {name}", style, body)


def _lead(comparisons: Mapping[str, Comparison], configuration: TrainingConfiguration) -> str:
    firsts = [comparison.network[0] for comparison in comparisons.values()]
    value, low, high = worth(firsts)
    over = f"mean over {len(firsts)} decoders" if len(firsts) > 1 else f"n = {firsts[0].n}"
    return (
        f"<b>{escape(firsts[0].name)} {value:.3f}</b> [{low:.3f}, {high:.3f}], {over}; "
        f"{escape(configuration.model.network)}, {configuration.split.kind}"
    )


def _tiles(
    folds: Sequence[FoldResult], comparisons: Mapping[str, Comparison], configuration: TrainingConfiguration
) -> list[tuple[str, str, str]]:
    what = "trials" if configuration.trials else "segments"
    return [
        ("decoders", str(len(comparisons)), ""),
        ("folds", str(len(folds)), ""),
        (f"tested {what}", str(sum(len(r.truth) for r in folds)), ""),
        ("epochs, median", f"{np.median([r.fitted.n_epochs for r in folds]):g}", ""),
        ("fitting a fold, median", f"{np.median([r.seconds for r in folds]):.1f}", "s"),
    ]


def _curves(folds: Sequence[FoldResult]) -> list[str]:
    learned = [r.fitted.curves for r in folds if r.fitted.n_epochs > 1]
    if not learned:
        return []
    by_name = {name: [[epoch[name] for epoch in curves] for curves in learned] for name in _LOSSES}
    losses = np.array([loss for each in by_name.values() for curve in each for loss in curve])
    # Losses that leap at first would press what follows into a line.
    most = 1.05 * float(np.percentile(losses, 99))
    axes = Axes((1.0, float(max(map(len, learned)))), (min(0.0, float(losses.min())), most), _WIDE, _HEIGHT)

    def drawn(curve: Sequence[float], style: str) -> str:
        return axes.curve(range(1, len(curve) + 1), [min(loss, most) for loss in curve], style)

    parts = axes.frame("epoch", "loss")
    parts += [drawn(curve, "person") for curve in by_name["valid_loss"]]
    parts += [drawn(_means(by_name[name]), style) for name, (style, _, _) in _LOSSES.items()]
    keys = "".join(f'<i class="key {key}"></i>{told}' for _, key, told in _LOSSES.values())
    words = f"{keys}, means of the folds still learning; grey: validation of each of {len(learned)} folds"
    return [figure("Learning curves", words, svg(_WIDE, _HEIGHT, "Loss by epoch", parts))]


def _means(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean in each epoch, of those that got so far."""
    epochs = itertools.zip_longest(*curves)
    return [float(np.mean([loss for loss in losses if loss is not None])) for losses in epochs]


def _confusion(folds: Sequence[FoldResult], configuration: TrainingConfiguration) -> list[str]:
    if configuration.targets is not None:
        return []
    truth = np.concatenate([r.truth for r in folds])
    decided = np.concatenate([r.network.argmax(axis=1) for r in folds])
    counts = confusion(truth, decided, len(configuration.class_names))
    words = f"n = {len(truth)} tested trials, truth in rows"
    return [figure("Confusion matrix", words, draw_confusion(counts, configuration.class_names))]


def _forest(comparisons: Mapping[str, Comparison], configuration: TrainingConfiguration) -> list[str]:
    if len(comparisons) < 2:
        return []
    rows = [(group, comparison.network[0]) for group, comparison in comparisons.items()]
    name = rows[0][1].name
    what = "trials" if configuration.trials else "segments"
    words = f"95 % interval over {what}; of the mean over decoders (Student); dashed: chance"
    return [figure("Each decoder", words, draw_forest(rows, worth([f for _, f in rows]), name))]


def _scores(comparisons: Mapping[str, Comparison]) -> str:
    has_baseline = any(comparison.baseline for comparison in comparisons.values())
    heads = ["figure", "", "95 % interval", "chance", "n", *(["csp-lda, same folds"] if has_baseline else [])]
    rows = []
    for group, comparison in comparisons.items():
        baselines = {other.name: other for other in comparison.baseline}
        for f in comparison.network:
            chance = f"{f.chance:.3f}" if isfinite(f.chance) else ""
            cells = [escape(f.name), f"{f.value:.3f}", f.between(), chance, str(f.n)]
            cells += [f"{baselines[f.name].value:.3f}"] if f.name in baselines else []
            rows.append(f"<tr><th>{escape(group)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return table("<th>decoder</th>" + "".join(f"<th>{head}</th>" for head in heads), rows)


def _asked(name: str, configuration: TrainingConfiguration) -> dict[str, str]:
    return {"run": name, **flat(configuration.model_dump(mode="json", exclude_defaults=True))}
