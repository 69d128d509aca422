"""Choosing a policy: every recording is decoded once, and policies are tried on what was decoded."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rtdecode.contract import Accumulated, Classification, Contract, Exponential, Mean, Policy, Score
from rtdecode.decisions import Course, Tally, decision_figures, tally
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.evaluation.tuning import OF_POLICY
from rtdecode.files import write_rows
from rtdecode.model_file import ModelFile
from rtdecode.recording import Recording
from rtdecode.replay import decode_recording
from rtdecode.scoring import Figure

_N_THRESHOLDS = 9
_HYSTERESIS = 0.2


@dataclass(frozen=True)
class Tried:
    """A policy and what it did."""

    policy: Policy
    tally: Tally

    @property
    def worth(self) -> tuple[float, float]:
        """What is to be large: first the gain, then (times of equal gain) how soon it decides."""
        median = self.tally.median_s
        return self.tally.gain, -median if median == median else -float("inf")


def thresholds(n_classes: int) -> list[float]:
    """Return thresholds from halfway between chance and certainty on, each halving what is left."""
    return [1 - (1 - 1 / n_classes) * 2.0**-i for i in range(1, _N_THRESHOLDS + 1)]


def grid(n_classes: int, span_s: float, window_s: float, rest: tuple[str, ...] = ()) -> list[Policy]:
    """Return the policies that are tried; durations go by the trials' span and the window.

    One threshold for all classes: few recordings hold enough false activations to tell classes apart.
    """
    smoothed = (Mean(), Mean(over_s=span_s / 6), Mean(over_s=span_s / 3), Exponential(tau_s=span_s / 3))
    accumulated = (Accumulated(independent_s=window_s, timeout_s=timeout_s) for timeout_s in (span_s, 2 * span_s))
    ways = [
        {"evidence": evidence, "dwell_s": dwell_s, "hysteresis": hysteresis}
        for evidence, dwell_s, hysteresis in itertools.product(smoothed, (0.0, span_s / 6), (None, _HYSTERESIS))
    ]
    ways += [{"evidence": evidence} for evidence in accumulated]
    return [
        Policy(**way, refractory_s=refractory_s, threshold=threshold, rest=rest)
        for way in ways
        for refractory_s in (span_s / 3, span_s)
        for threshold in thresholds(n_classes)
    ]


def policies_for(model: ModelFile, rest: tuple[str, ...]) -> list[Policy]:
    """Return the policies to try for a decoder file; ConfigurationError says why there are none."""
    contract = model.contract
    outputs, trials = contract.outputs, contract.trials
    if not isinstance(outputs, Classification) or trials is None:
        raise ConfigurationError(f"{model.path} has no classes with trials to decide; there is nothing to tune.")
    if contract.events:
        raise ConfigurationError(
            f"{model.path} predicts at events: there is no rate of false activations. A policy of repeated events is "
            "given by the training configuration, or by `rtdecode run --config`."
        )
    if problem := Policy(rest=rest).problem(outputs.class_names):
        raise ConfigurationError(f"--rest: {problem}.")
    window_s = contract.window.n_times / Decoder(model).chain.output.sfreq
    return grid(len(outputs.class_names), trials.tmax_s - trials.tmin_s, window_s, rest)


def course_of(model: ModelFile, recording: Recording, rest: tuple[str, ...]) -> Course:
    """Decode a recording with a decoder of classes; ConfigurationError if it was trained on it."""
    if recording.fingerprint()[:16] in model.contract.provenance.data_fingerprint:
        raise ConfigurationError(
            f"{model.path} was trained on {recording.path}: how sure it is there says nothing about new data. Tune "
            "on other recordings, or take the decoder of a fold, which never saw one (rtdecode export "
            "RUN/GROUP/FOLD.pt)."
        )
    decoder = Decoder(model, recording.signal, source_name=f"Recording {recording.path}", policy=Policy(rest=rest))
    course = decode_recording(recording, decoder).course
    assert course is not None
    return course


def figures_of(policy: Policy, courses: Sequence[Course], class_names: tuple[str, ...]) -> list[Figure]:
    """Return what a policy's decisions on decoded recordings are worth."""
    decided = [course.decide(policy, class_names) for course in courses]
    return decision_figures(courses, decided)


def with_policy(contract: Contract, policy: Policy, figures: Sequence[Figure], split: str) -> Contract:
    """Return a contract with this policy and its figures in the place of an older one's."""
    provenance = contract.provenance
    kept = [score for score in provenance.scores if not score.name.startswith(OF_POLICY)]
    new = [
        Score(**{**asdict(figure), "name": f"{OF_POLICY}{figure.name}"}, split=split)
        for figure in figures
        if math.isfinite(figure.chance)
    ]
    provenance = provenance.model_copy(update={"scores": (*kept, *new)})
    return contract.model_copy(update={"policy": policy, "provenance": provenance})


def attempt(courses: Sequence[Course], policy: Policy, class_names: tuple[str, ...]) -> Tried:
    """Try a policy on decoded recordings."""
    decided = [course.decide(policy, class_names) for course in courses]
    return Tried(policy, tally(courses, decided))


def tune(
    courses: Sequence[Course],
    policies: Sequence[Policy],
    class_names: tuple[str, ...],
    false_per_minute: float,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tried, list[Tried]]:
    """Return the best policy within the wanted rate, and all that were tried.

    The best is the one with the largest share of trials decided right first, less those decided wrong first; of
    equal ones that which decides sooner.

    Raises
    ------
    RecordingError
        The recordings have no trial, or nothing outside of trials.
    ConfigurationError
        No policy both keeps to the rate and decides more trials right than wrong.
    """
    tried = []
    for number, policy in enumerate(policies, 1):
        tried.append(attempt(courses, policy, class_names))
        if progress:
            progress(number)
    some = tried[0].tally
    if not len(some.truth) or not some.minutes:
        lacking = "no trial of a class that can be decided" if not len(some.truth) else "nothing outside of trials"
        raise RecordingError(f"The recordings hold {lacking} that was decoded; a policy needs both to be tuned.")
    kept = [t for t in tried if t.tally.false_per_minute <= false_per_minute]
    best = max(kept, key=lambda t: t.worth, default=None)
    if best is None or best.tally.gain <= 0:
        least = min((t for t in tried if t.tally.gain > 0), key=lambda t: t.tally.false_per_minute, default=None)
        told = "no policy that was tried decides more trials right than wrong"
        if least is not None:
            rate = least.tally.false_per_minute
            told = f"the least with which anything is decided is {rate:.2f}, for a gain of {least.tally.gain:.2f}"
        raise ConfigurationError(
            f"No policy with at most {false_per_minute:g} false activations per minute is of use: {told}. Allow "
            "more, train a rest class, or record more."
        )
    return best, tried


def curve(best: Tried, tried: Sequence[Tried]) -> list[Tried]:
    """Return the policies that differ from the best in the threshold only: speed against accuracy."""
    anywhere = {"threshold": 0.0}
    like = best.policy.model_copy(update=anywhere)
    return [t for t in tried if t.policy.model_copy(update=anywhere) == like]


def row(tried: Tried) -> dict[str, float]:
    """Return the figures of a policy by name."""
    counted = tried.tally
    decided = counted.first >= 0
    return {
        "threshold": tried.policy.threshold,
        "false_per_minute": counted.false_per_minute,
        "trials_decided": float(decided.mean()),
        "trials_right": float(counted.right.mean()),
        "accuracy": float(counted.right[decided].mean()) if decided.any() else math.nan,
        "median_s": counted.median_s,
    }


def table(best: Tried, tried: Sequence[Tried]) -> Table:
    """Lay the curve out, the best marked."""
    out = Table(title="Speed against accuracy, first decisions of trials", box=SIMPLE_HEAD, title_justify="left")
    for heading in ("threshold", "false/min", "decided", "right", "right of decided", "median s", ""):
        out.add_column(heading, justify="right")
    for one in curve(best, tried):
        threshold, *figures = row(one).values()
        out.add_row(f"{threshold:.4f}", *(f"{f:.2f}" for f in figures), "<--" if one is best else "")
    return out


def write_tried(tried: Sequence[Tried], path: Path) -> None:
    """Write all that was tried as .csv: a row per policy."""
    rows = ([one.policy.told(), *row(one).values()] for one in tried)
    write_rows(path, [["policy", *row(tried[0])], *rows])
