"""Policies tuned on training runs and scored on held-out ones; docs/evaluation.md says how, and what came out.

`python benchmarks/policies.py --data DIR` (about ten minutes) prints its tables.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from offline.calibration import fit_calibrated
from offline.checkpoint import make_checkpoint
from offline.configuration import TrainingConfiguration, read_configuration
from offline.dataset import Dataset, Trial, load_dataset
from offline.export import to_onnx
from offline.partition import blocks, divide_for_stopping, make_folds
from offline.sources import find_sources
from offline.tune import grid, table, thresholds, tune
from rtdecode.contract import Accumulated, Policy
from rtdecode.decisions import NOT_COUNTED, Course, decision_figures
from rtdecode.decoder import Decoder
from rtdecode.model_file import ModelFile, read_model, write_model
from rtdecode.policy import Decider
from rtdecode.replay import decode_recording
from rtdecode.scoring import mean_of

FALSE_PER_MINUTE = 2.0
EEG, SSVEP = ["007", "002"], ["01", "02", "03", "04", "05", "06"]
# Configuration, people, class that stands for doing nothing.
DATA = [("eegmmidb-tangent", EEG, ""), ("ssvep-tangent", SSVEP, ""), ("eegmmidb-tangent", EEG, "rest")]


@dataclass(frozen=True)
class Held:
    """What one held-out part gave: tuning predictions, held-out predictions."""

    tuning: list[Course]
    scored: list[Course]


def with_rest(configuration: TrainingConfiguration, rest: str) -> TrainingConfiguration:
    """Add a class of that event, and weigh the classes."""
    document = configuration.model_dump(mode="json")
    document["trials"]["classes"][rest] = [rest]
    document["training"]["class_weight"] = "balanced"
    return TrainingConfiguration.model_validate(document)


def fit(dataset: Dataset, trials: list[Trial]) -> ModelFile:
    """Fit a decoder on these trials and make a file of it (without the proof: nobody keeps it)."""
    fitted = fit_calibrated(dataset, *divide_for_stopping(dataset, trials))
    checkpoint = make_checkpoint(dataset, fitted, {t.recording for t in trials}, [])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_model(to_onnx(checkpoint.network.fused()), checkpoint.contract, path)
        return read_model(path)


def decoded(dataset: Dataset, model: ModelFile, source: int, trials: list[Trial], rest: tuple[str, ...]) -> Course:
    """Decode a recording whole; of its trials only these count."""
    (number,) = (number for number, of in enumerate(dataset.source_of) if of == source)
    recording = dataset.recording(number)
    course = decode_recording(recording, Decoder(model, recording.signal, policy=Policy(rest=rest))).course
    assert course is not None and dataset.configuration.trials is not None
    tmin = round(dataset.configuration.trials.tmin_s * recording.signal.sfreq)
    counted = np.isin(course.events, [t.start - tmin for t in trials])
    numbers = np.where(counted[course.trial], course.trial, NOT_COUNTED)
    return replace(course, trial=np.where(course.trial >= 0, numbers, course.trial))


def divisions(dataset: Dataset, idle: tuple[str, ...]) -> Iterator[Held]:
    """Decode every held-out part, and for each what is left, in a nested way."""
    by_id = {t.id: t for t in dataset.trials}
    for fold in make_folds(dataset):
        rest = [by_id[i] for i in (*fold.train, *fold.validation)]
        sources = sorted({dataset.source_of[t.recording] for t in rest})
        if len(sources) > 1:
            parts = [
                ([t for t in rest if dataset.source_of[t.recording] != s],
                 [t for t in rest if dataset.source_of[t.recording] == s])
                for s in sources
            ]  # fmt: skip
        else:
            parts = list(blocks(rest, 4))
        tuning = [
            decoded(dataset, fit(dataset, learned), dataset.source_of[held[0].recording], held, idle)
            for learned, held in parts
        ]
        tested = [by_id[i] for i in fold.test]
        (source,) = {dataset.source_of[t.recording] for t in tested}
        yield Held(tuning, [decoded(dataset, fit(dataset, rest), source, tested, idle)])


def forced(
    course: Course, policy: Policy, dataset: Dataset
) -> Iterator[tuple[int, list[int], list[float], int, int]]:
    """Give for each counted trial: truth, what each window says, their times; which one decides, and for what."""
    configuration = dataset.configuration
    assert configuration.trials is not None
    tmin, tmax = configuration.trials.tmin_s, configuration.trials.tmax_s
    for number, (truth, event) in enumerate(zip(course.truth, course.events, strict=True)):
        times = (course.samples - event) / course.sfreq
        hops = np.flatnonzero((times >= tmin) & (times <= tmax) & course.decoded)
        if number not in course.trial or not len(hops):
            continue
        decider, at = Decider(policy, configuration.class_names, course.hop_s, course.sfreq), len(hops) - 1
        said = [int(course.proba[h].argmax()) for h in hops]
        for i, h in enumerate(hops):
            decision = decider.decide(course.proba[h], int(course.samples[h]))
            if decision is not None:
                at = i
                break
        assert decider.probabilities is not None
        yield int(truth), said, list(times[hops]), at, int(np.argmax(decider.probabilities))


def sequential(courses: list[Course], threshold: float, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, float]:
    """Return whether accumulated and single-window decisions of each trial are right, and their mean time."""
    assert dataset.configuration.window is not None
    window_s = dataset.configuration.window.length_s
    policy = Policy(evidence=Accumulated(independent_s=window_s), threshold=threshold)
    trials = [t for course in courses for t in forced(course, policy, dataset)]
    mean_s = float(np.mean([times[at] for _, _, times, at, _ in trials]))
    accumulated = np.array([decided == truth for truth, _, _, _, decided in trials])
    single = np.array(
        [said[np.abs(np.array(times) - mean_s).argmin()] == truth for truth, said, times, _, _ in trials]
    )
    return accumulated, single, mean_s


def compare(held: list[Held], dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Decide one person's held-out trials both ways, the bound chosen on the tuning predictions: which are right."""
    accumulated, single = [], []
    for part in held:
        bounds = thresholds(len(dataset.configuration.class_names))
        scores = [sequential(part.tuning, bound, dataset) for bound in bounds]
        best = max(range(len(bounds)), key=lambda i: (scores[i][0].mean(), -scores[i][2]))
        a, s, mean_s = sequential(part.scored, bounds[best], dataset)
        accumulated.append(a)
        single.append(s)
        print(f"  bound {bounds[best]:.4f}: mean time {mean_s:.2f} s")
    return np.concatenate(accumulated), np.concatenate(single)


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data, console = parser.parse_args().data, Console(width=110)
    for name, people, rest in DATA:
        configuration, idle = read_configuration(name), (rest,) if rest else ()
        if rest:
            configuration = with_rest(configuration, rest)
        class_names = configuration.class_names
        sources = find_sources(configuration, data)
        everyone: list[tuple[np.ndarray, np.ndarray]] = []
        for person in people:
            console.rule(f"{name}, {person}{', with a rest class' if rest else ''}")
            dataset = load_dataset(configuration, sources[person])
            held, decisions = list(divisions(dataset, idle)), []
            assert configuration.window is not None
            policies = grid(len(class_names), configuration.span_s, configuration.window.length_s, idle)
            for part in held:
                best, tried = tune(part.tuning, policies, class_names, FALSE_PER_MINUTE)
                print(best.policy.told())
                console.print(table(best, tried))
                decisions += [course.decide(best.policy, class_names) for course in part.scored]
            scored = [course for part in held for course in part.scored]
            print("held out:")
            for figure in decision_figures(scored, decisions):
                print(f"  {figure.name}: {figure}")
            console.file.flush()
            if not rest:
                everyone.append(compare(held, dataset))
                a, s = everyone[-1]
                print(f"  accumulated {a.mean():.3f}, single window {s.mean():.3f}, n = {len(a)}", flush=True)
        if everyone:
            a, s = (np.concatenate(parts) for parts in zip(*everyone, strict=True))
            print(f"{name}, all: {mean_of(a.astype(float) - s, 'accumulated less single window', 0.0)}", flush=True)


if __name__ == "__main__":
    main()
