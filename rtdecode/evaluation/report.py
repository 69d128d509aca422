"""The report of an evaluation: one page of HTML that needs nothing but itself."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from math import isfinite

from rtdecode.contract import Classification, Regression
from rtdecode.decisions import tally
from rtdecode.evaluation.decoded import Decoded
from rtdecode.evaluation.drawing import (
    draw_confusion,
    draw_decisions,
    draw_forest,
    draw_null,
    draw_over_time,
    draw_reliability,
    draw_values,
)
from rtdecode.evaluation.evaluation import Evaluation
from rtdecode.evaluation.figures import courses_of, headline, in_time, kind, values_of
from rtdecode.evaluation.tuning import tuning_of
from rtdecode.page import badge, facts, figure, header, page, pair, table, tiles

# What stands in large print, its short name and unit, in this order.
_TILES = {
    "accuracy over trials": ("accuracy", ""),
    "kappa": ("Cohen's kappa", ""),
    "AUC": ("AUC", ""),
    "bits per minute": ("information rate", "bit/min"),
    "false per minute": ("false at rest", "/min"),
    "median s to the right one": ("time to detection", "s"),
    "calibration error": ("calibration error", ""),
}
_MOST_TILES = 6
_WHAT = {
    "accuracy over trials": "each decided by the mean log probability of its windows; Wilson",
    "accuracy over windows": "those that lie in their trial whole; Wilson, by the number of trials",
    "kappa": "agreement beyond chance; the accuracy's interval",
    "AUC": "each class against the others, their mean; bootstrap over trials",
    "calibration error": "expected error of the windows' probabilities; chance: the same if they are true",
    "bits per minute": "Wolpaw, a decision at the end of each trial's span, pauses not counted",
    "bits per minute, decided": "Wolpaw, first decisions, in the time they took; bootstrap over trials",
    "trials right first": "their first decision is right; Wilson",
    "right of those decided": "first decisions that are right; Wilson",
    "decisions per trial": "bootstrap over trials",
    "false per minute": "decisions outside of trials; Garwood's exact interval",
    "median s to the right one": "from the cue to the newest sample of a right first decision; bootstrap",
}


def report(evaluation: Evaluation) -> str:
    """Return the page."""
    style = (files("rtdecode.evaluation") / "report.css").read_text(encoding="utf-8")
    body = [
        _head(evaluation),
        *_warnings(evaluation),
        tiles(_tiles(evaluation)),
        *_drawings(evaluation),
        _table(evaluation),
        _recordings(evaluation),
        pair(facts("The decoder", _decoder(evaluation)), facts("How it was evaluated", _asked(evaluation))),
        _notes(evaluation),
    ]
    return page(f"Evaluation of {evaluation.model.name}", style, body)


def _head(e: Evaluation) -> str:
    first = e.figures[0]
    null = e.nulls.get(first.name)
    p = f", {null.told}" if null else ""
    whose = f" of {_count(len(e.people), 'person', 'people')}" if any(e.people) else ""
    interval = f" {first.between()}, chance {first.chance:.3f}" if first.told_whole else ""
    told = (
        f"<b>{escape(first.name)} {first.value:.3f}</b>{interval}{p}; n = {first.n} in "
        f"{_count(len(e.decoded), 'recording')}{whose}"
    )
    return header("evaluation, as it will live", e.model.name, told, _badge(e))


def _badge(e: Evaluation) -> str:
    if e.trained_on:
        return badge(False, "trained on these")
    if e.tuned_on:
        return badge(False, "policy tuned on these")
    return badge(True, "held out") if _tells_training(e) else ""


def _tells_training(e: Evaluation) -> bool:
    """Say whether the file tells what it was trained on."""
    return bool(e.model.contract.provenance.recordings)


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _warnings(e: Evaluation) -> list[str]:
    trained = " (or on parts of them). What they give says nothing about new data."
    tuned = ". What it decides there says nothing about new data; what windows and trials give does."
    told = (("The decoder was trained", e.trained_on, trained), ("The policy was tuned", e.tuned_on, tuned))
    return [_warning(what, on, len(e.decoded), so) for what, on, so in told if on]


def _warning(what: str, on: Sequence[Decoded], n: int, so: str) -> str:
    names = ", ".join(escape(one.path.name) for one in on)
    return f'<p class="warning">{what} on {len(on)} of these {n} recordings: {names}{so}</p>'


def _tiles(e: Evaluation) -> list[tuple[str, str, str]]:
    found = {kind(figure): figure for figure in e.figures}
    if isinstance(e.model.contract.outputs, Regression):
        return [(escape(name), f"{figure.value:.2f}", "") for name, figure in found.items()][:_MOST_TILES]
    chosen = [(told, found[name], unit) for name, (told, unit) in _TILES.items() if name in found]
    return [(told, _large(figure.value, unit), unit) for told, figure, unit in chosen][:_MOST_TILES]


def _large(value: float, unit: str) -> str:
    return f"{value:.3f}" if not unit else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _drawings(e: Evaluation) -> list[str]:
    if isinstance(e.model.contract.outputs, Regression):
        halves = [*_values(e), *_nulls(e)]
    else:
        halves = [*_of_trials(e), *_of_decisions(e), *_nulls(e)]
    halves += _forest(e)
    rows = [
        pair(left, right) for left, right in zip(halves[::2], [*halves[1::2], ""][: len(halves[::2])], strict=True)
    ]
    return [*_over_time(e), *rows]


def _over_time(e: Evaluation) -> list[str]:
    course, trials = e.over_time, e.model.contract.trials
    if course is None or trials is None or len(course.time_s) < 2:
        return []
    each = [one for own in e.people.values() if (one := e.over_time_of(own))] if len(e.people) > 1 else []
    grey = "; grey: each person" if each else ""
    most = max(course.figures, key=lambda figure: figure.n)
    words = (
        f"share of n = {most.n} trials right by a single window, 95 % interval over trials (Wilson){grey}; shaded: "
        "windows that lie in the trial whole"
    )
    drawing = draw_over_time(course, each, most.chance, (trials.tmin_s + e.window_s, trials.tmax_s))
    return [figure("Accuracy over time", words, drawing)]


def _of_trials(e: Evaluation) -> list[str]:
    assert e.confusion is not None and e.reliability is not None
    n_windows = int(e.reliability.n.sum())
    return [
        figure(
            "Confusion matrix",
            f"n = {e.confusion.sum()} trials, truth in rows",
            draw_confusion(e.confusion, e.model.contract.outputs.names),
        ),
        figure(
            "Reliability",
            f"{n_windows} windows of {len(e.trials)} trials; bars: how many are so sure; 95 % interval over trials",
            draw_reliability(e.reliability),
        ),
    ]


def _of_decisions(e: Evaluation) -> list[str]:
    counted = tally(*courses) if (courses := courses_of(e.decoded))[0] else None
    if counted is None or not len(counted.truth):
        return []
    words = f'<i class="key right"></i>right <i class="key false"></i>wrong, of n = {len(counted.truth)} trials'
    return [figure("Time to detection", words, draw_decisions(counted))]


def _nulls(e: Evaluation) -> list[str]:
    name = e.figures[0].name
    null = e.nulls.get(name)
    if null is None or not len(null.values):
        return []
    words = f"{'truths shifted in time' if in_time(e.model.contract) else 'truths exchanged'}, {null.told}"
    return [figure("Permutation test", words, draw_null(null, name))]


def _values(e: Evaluation) -> list[str]:
    outputs = e.model.contract.outputs
    assert isinstance(outputs, Regression)
    truth, predicted = values_of(e.decoded)
    words = f"n = {truth[..., 0].size} windows of {len(truth)} segments or trials; dashed: as it should be"
    named = enumerate(zip(outputs.names, outputs.units, strict=True))
    return [
        figure(escape(name), words, draw_values(truth[..., i], predicted[..., i], name, unit))
        for i, (name, unit) in named
    ]


def _forest(e: Evaluation) -> list[str]:
    name = e.figures[0].name
    if e.by_person:
        rows = [(person or "?", own[0]) for person, own in e.by_person.items() if own and own[0].name == name]
        found = next((mean for mean in e.over_people if mean.name == name), None)
        mean = (found.mean, found.low, found.high) if found else None
        title, words = "Each person", "95 % interval over trials; of the mean over people (Student)"
    else:
        names = _apart([one.path.name.split(".")[0] for one in e.decoded])
        of_each = (headline(e.model.contract, one) for one in e.decoded)
        rows = [(told, f) for told, f in zip(names, of_each, strict=True) if f]
        mean, title, words = None, "Each recording", "95 % interval over trials"
    if len(rows) < 2:
        return []
    return [figure(title, f"{words}; dashed: chance", draw_forest(rows, mean, name))]


def _apart(names: list[str]) -> list[str]:
    """Shorten names, whose parts BIDS divides by _, to what they do not share."""
    parts = [name.split("_") for name in names]
    shared = set(parts[0]).intersection(*parts)
    return [
        " ".join(part for part in own if part not in shared) or name for own, name in zip(parts, names, strict=True)
    ]


def _table(e: Evaluation) -> str:
    means = {mean.name: mean for mean in e.over_people}
    people = "<th>mean over people</th>" if means else ""
    rows = []
    for f in e.figures:
        null = e.nulls.get(f.name)
        p = f"{null.p:.2g}" if null and len(null.values) else ""
        mean = means.get(kind(f))
        of_people = f"{mean.mean:.3f} [{mean.low:.2f}, {mean.high:.2f}], n = {mean.n_people}" if mean else ""
        cells = [
            f"{f.value:.3f}",
            f.between(),
            f"{f.chance:.3f}" if isfinite(f.chance) else "",
            str(f.n),
            p,
        ]
        if means:
            cells.append(of_people)
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th>{escape(f.name)}</th>{row}<td class="words">{_WHAT.get(kind(f), "")}</td></tr>')
    heads = "".join(f"<th>{head}</th>" for head in ("", "95 % interval", "chance", "n", "p"))
    return table(f"<th>figure</th>{heads}{people}<th></th>", rows)


def _recordings(e: Evaluation) -> str:
    rows = []
    for one in e.decoded:
        first = headline(e.model.contract, one)
        n = len(one.replay.predictions)
        silent = sum(one.abstained.values())
        why = ", ".join(f"{reason} {count}" for reason, count in one.abstained.most_common())
        cells = [
            escape(one.person),
            f"{one.duration_s / 60:.1f}",
            f"{len(one.replay.trials)} of {one.n_asked}" if one.n_asked else "",
            f"{first.value:.3f} {first.between(2)}" if first else "",
            str(n - silent),
            str(silent),
        ]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        told = f"{'trained on; ' if one.trained_on else ''}{'policy tuned on; ' if one.tuned_on else ''}"
        rows.append(f'<tr><th>{escape(one.path.name)}</th>{row}<td class="words">{told}{escape(why)}</td></tr>')
    names = ("person", "min", "trials scored", e.figures[0].name, "predictions", "abstained")
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    return table(f"<th>recording</th>{heads}<th></th>", rows)


def _decoder(e: Evaluation) -> dict[str, str]:
    contract, provenance = e.model.contract, e.model.contract.provenance
    outputs = contract.outputs
    tuned = tuning_of(contract)
    return {
        "network": f"{provenance.network}, {contract.signal.n_channels} channels at {contract.signal.sfreq:g} Hz",
        "gives": " | ".join(outputs.names),
        "trained on": ", ".join(provenance.recordings) or "not told",
        **({"policy tuned": "; ".join(tuned)} if tuned else {}),
        "SHA-256": e.model.sha256,
    }


def _asked(e: Evaluation) -> dict[str, str]:
    contract = e.model.contract
    told = {"when": e.created, "window": f"{e.window_s:g} s"}
    if contract.trials:
        told["trial"] = f"{contract.trials.tmin_s:g} to {contract.trials.tmax_s:g} s after the event"
    if e.policy:
        told["decides"] = e.policy.told()
        if e.policy != contract.policy:
            told["decides"] += " (the file has no policy: the plainest one stands in; `rtdecode tune` finds a better)"
    if isinstance(contract.outputs, Classification) and contract.trials:
        labels = sum((one.labels for one in e.decoded), Counter[str]())
        unknown = [f"{label} ({n})" for label, n in labels.items() if contract.trials.class_of(label) is None]
        told["other events"] = ", ".join(unknown[:20]) or "none"
    how = "shifted in time" if in_time(contract) else "exchanged"
    told["permutations"] = f"{e.n_permutations}, seed {e.seed}, truths {how} within each recording"
    return told


def _notes(e: Evaluation) -> str:
    unseen = "None of the recordings is one it was trained on, by their fingerprints. "
    if e.trained_on or not _tells_training(e):
        unseen = "" if e.trained_on else "The file does not tell what it was trained on. "
    return (
        "<footer><p>Every recording went through the decoder as it would live, at its real hop: these are the "
        f"predictions of <code>rtdecode replay</code>. {unseen}Trials are taken as independent, segments "
        "to depend on their neighbours; intervals over trials say nothing about other people or days, those over "
        "people do. A bootstrap cannot see beyond what there is: "
        "where everything is right its interval is none.</p><p>Wolpaw's rate takes classes to be equally "
        "probable, errors to be spread evenly, and decisions to be independent (doi 10.1016/S1388-2457(02)00057-3). "
        "Chance of an accuracy is always saying the most frequent class; of decisions, the same ones shifted in time "
        "at random; of R2 and Spearman, the 97.5th percentile when truths of trials are exchanged, those of segments "
        "shifted in time. The permutation test takes trials of a recording to be exchangeable, and a target to go on "
        "as it does, whenever it begins; p is never below 1 / (permutations + 1).</p></footer>"
    )
