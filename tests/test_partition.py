"""Partitions: whatever splits a data set, nothing stands on two sides; and what does so by hand is refused."""

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from offline.dataset import Dataset, Trial
from offline.leaks import refuse_leaks
from offline.partition import Fold, make_folds
from offline.sources import Source
from offline.stored import StoredRecording
from offline.workflow import train
from rtdecode.contract import Signal
from rtdecode.errors import ConfigurationError, RecordingError
from tests.test_training import OTHERS, QUIET, configuration, data, dataset_of  # noqa: F401

PARTS = ("subject", "session", "run")
SIGNAL = Signal(ch_names=("Cz",), ch_types=("eeg",), units=("uV",), sfreq=100.0)
SPLITS = [
    {"kind": "leave-one-run-out"},
    {"kind": "leave-one-run-out", "test_on": {"session": ["1"]}},
    {"kind": "leave-one-group-out", "groups": ["subject"]},
    {"kind": "leave-one-group-out", "groups": ["subject", "session"]},
    {"kind": "leave-one-group-out", "groups": ["session"], "test_on": {"run": ["1"]}},
    {"kind": "group-k-fold", "groups": ["subject"], "n_folds": 2},
    {"kind": "group-k-fold", "groups": ["run", "session"], "n_folds": 3},
    {"kind": "held-out-runs", "held_out": {"run": ["2"]}},
    {"kind": "held-out-runs", "held_out": {"run": ["2"]}, "test_on": {"session": ["1"]}},
    {"kind": "stratified-blocks", "n_folds": 3},
    {"kind": "blocks", "n_folds": 2},
    {"kind": "predefined", "folds": {"first": ["*run-1"], "second": ["*run-2"]}},
]


@st.composite
def datasets(draw, splits=SPLITS):
    """Data sets without samples: people, sessions and runs, with gaps, and trials that may overlap."""
    split = draw(st.sampled_from(splits))
    settings = configuration(
        recordings={"pattern": "sub-{subject}_ses-{session}_run-{run}.npz", "decoder_per": None},
        split=split,
        training={"validation": draw(st.sampled_from([0.1, 0.2, 0.5])), "seed": draw(st.integers(0, 3))},
    )
    length, step = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    others = draw(st.booleans())
    dataset = Dataset(settings, SIGNAL, [], [], [], [], [])
    for subject in range(draw(st.integers(1, 3))):
        for session, run in ((s, r) for s in range(1, draw(st.integers(1, 2)) + 1) for r in (1, 2)):
            name = f"sub-{subject}_ses-{session}_run-{run}"
            parts = dict(zip(PARTS, map(str, (subject, session, run)), strict=True))
            n_trials, number = draw(st.integers(3, 8)), len(dataset.sources)
            gap_after = draw(st.integers(1, n_trials))
            dataset.sources.append(Source(Path(name), name, parts, own=subject == 0 or not others))
            dataset.stored.append(StoredRecording(Path(name), Path(name), SIGNAL, (), {}, name, name, (), 1000))
            for begin, numbers in ((0, range(gap_after)), (500, range(gap_after, n_trials))):
                dataset.stretches.append((number, begin, begin + 500))
                for at, n in enumerate(numbers):
                    span = at * step, at * step + length
                    dataset.trials.append(Trial(f"{name}#{n}", len(dataset.stretches) - 1, n % 2, *span))
    return dataset


def held(dataset, ids):
    """Every sample of the files that these trials' windows may hold."""
    by_id = {t.id: t for t in dataset.trials}
    for trial in (by_id[i] for i in ids):
        source, begin, _ = dataset.stretches[trial.recording]
        yield from ((dataset.fingerprints[source], begin + n) for n in range(trial.start, trial.stop))


def shares(dataset, fold):
    return any(set(held(dataset, a)) & set(held(dataset, b)) for a, b in combinations(fold.sides.values(), 2))


def folds_of(dataset):
    """What it is divided into, unless it is too small for that."""
    try:
        return make_folds(dataset)
    except RecordingError as error:
        assert "leaks" not in str(error)
        reject()


@given(datasets())
def test_whatever_splits_a_data_set_nothing_stands_on_two_sides(dataset):
    for fold in folds_of(dataset):
        assert all(fold.sides.values()) and not shares(dataset, fold)


@given(datasets([split for split in SPLITS if "groups" in split]))
def test_a_group_that_is_tested_on_trains_nothing(dataset):
    split, source_of = dataset.configuration.split, {t.id: dataset.source(t) for t in dataset.trials}
    folds = folds_of(dataset)
    for fold in folds:
        tested, learned = (
            {tuple(source_of[i].parts[part] for part in split.groups) for i in ids}
            for ids in (fold.test, fold.train + fold.validation)
        )
        assert not tested & learned
        assert all(source_of[i].own and source_of[i].has(split.test_on) for i in fold.test)
    tested = [i for fold in folds for i in fold.test]
    assert sorted(tested) == sorted(i for i, s in source_of.items() if s.own and s.has(split.test_on))


@given(datasets([split for split in SPLITS if "held_out" in split]))
def test_what_is_held_out_trains_nothing_whether_it_is_tested_on_or_not(dataset):
    held_out, source_of = {"run": ["2"]}, {t.id: dataset.source(t) for t in dataset.trials}
    for fold in folds_of(dataset):
        assert all(source_of[i].has(held_out) for i in fold.test)
        assert not any(source_of[i].own and source_of[i].has(held_out) for i in fold.train + fold.validation)


@given(datasets(), st.data())
def test_a_partition_by_hand_is_refused_if_and_only_if_it_shares_samples(dataset, drawn):
    sides = drawn.draw(st.lists(st.integers(0, 3), min_size=len(dataset.trials), max_size=len(dataset.trials)))
    parts = [tuple(t.id for t, side in zip(dataset.trials, sides, strict=True) if side == k) for k in range(3)]
    fold = Fold("by-hand", *parts)
    if shares(dataset, fold):
        with pytest.raises(RecordingError, match=r"'by-hand' leaks: trials .* share"):
            refuse_leaks(dataset, [fold])
    else:
        refuse_leaks(dataset, [fold])


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_trial_whose_windows_stand_on_two_sides_is_refused(data, side):  # noqa: F811
    dataset = dataset_of(data)
    fold = make_folds(dataset)[1]
    leaking = replace(fold, **{side: (*fold.sides[side], fold.train[3])})
    with pytest.raises(RecordingError, match=f"trial {fold.train[3]} stands in both (train|{side}) and"):
        refuse_leaks(dataset, [leaking])


NEIGHBOURS = {"kind": "predefined", "folds": {"early": ["sub-a_run-01#[0-7]"], "late": ["sub-a_run-01#[89]"]}}


def refused(data, tmp_path, told, **changes):  # noqa: F811
    with pytest.raises(RecordingError, match=told):
        train(configuration(**changes), data, tmp_path / "run", ["a"], [], 1, QUIET)
    assert not (tmp_path / "run").exists()


def test_trials_that_overlap_across_a_predefined_border_are_refused_before_anything_is_fitted(data, tmp_path):  # noqa: F811
    told = r"'early' leaks: trials sub-a_run-01#7 \(test\) and sub-a_run-01#8 \(\w+\) share 80 samples"
    refused(data, tmp_path, told, split=NEIGHBOURS, trials={"tmax_s": 5.5})


def test_the_reach_of_a_baseline_counts(data, tmp_path):  # noqa: F811
    at_events = {"window": None, "trials": {"tmin_s": 0.0, "tmax_s": 3.0}, "split": NEIGHBOURS}
    assert make_folds(dataset_of(data, **at_events, events={"baseline_s": [-1.5, 0.0]}))
    refused(data, tmp_path, "#8 .* share 80 samples", **at_events, events={"baseline_s": [-2.0, 0.0]})


def test_a_recording_under_two_paths_is_refused_where_it_stands_on_two_sides(data, tmp_path):  # noqa: F811
    for run in (1, 2):
        shutil.copy(data / f"sub-a_run-{run:02d}.npz", tmp_path)
    shutil.copy(data / "sub-a_run-01.npz", tmp_path / "sub-a_run-09.npz")
    refused(tmp_path, tmp_path, r"run-01.npz and .*run-09.npz are the same recording, and stand in")
    held_out = {"kind": "predefined", "folds": {"both": ["*run-01", "*run-09"]}}
    assert make_folds(dataset_of(tmp_path, split=held_out))


def test_across_people_nobody_is_tested_by_what_learned_from_them(data):  # noqa: F811
    split = {"kind": "leave-one-group-out", "groups": ["subject"], "test_on": {"run": ["01", "02"]}}
    (fold,) = make_folds(dataset_of(data, split=split, **OTHERS))
    assert fold.name == "subject-a" and len(fold.test) == 32
    assert all(i.startswith("sub-b") for i in fold.train + fold.validation)


def test_a_network_may_learn_from_others_alone(data, tmp_path):  # noqa: F811
    settings = configuration(
        split={"kind": "leave-one-group-out", "groups": ["subject"]},
        model={"network": "csp-lda", "settings": {}},
        **OTHERS,
    )
    run = train(settings, data, tmp_path / "run", [], [], 1, QUIET)
    partition = json.loads((tmp_path / "run" / "partition.json").read_text())
    assert {group: [fold["name"] for fold in folds] for group, folds in partition.items()} == {
        "a": ["subject-a"],
        "b": ["subject-b"],
    }
    for group, comparison in run.comparisons.items():
        (result,) = run.results[group]
        assert result.fitted.calibration.n_trials == 48
        for (figure,) in (comparison.network, comparison.baseline):
            assert figure.n == 48 and figure.low > figure.chance


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"kind": "predefined", "folds": {"x": ["*run-7"]}}, r"split\.folds\.x: '\*run-7' names no trial"),
        ({"kind": "predefined", "folds": {"x": ["*01"], "y": ["*01#3"]}}, r"sub-a_run-01#3 is in x and in y"),
        ({"kind": "predefined", "folds": {"x": ["*"]}}, "fold 'x' has 48 trials to test, 0 to train on"),
        ({"kind": "group-k-fold", "groups": ["run"], "n_folds": 4}, "number of splits n_splits=4 greater than"),
        ({"kind": "leave-one-group-out", "groups": ["subject"]}, "fewer than 2 unique groups"),
        ({"kind": "leave-one-run-out", "test_on": {"subject": ["b"]}}, "None of the 48 trials may be tested on"),
    ],
)
def test_a_split_that_does_not_fit_the_recordings_is_told(data, split, told):  # noqa: F811
    with pytest.raises(RecordingError, match=told):
        make_folds(dataset_of(data, split=split))


def test_a_decoder_whose_tested_trials_have_no_auc_is_told_before_any_is_fitted(data, tmp_path):  # noqa: F811
    split = {"kind": "predefined", "folds": {"first": ["*_run-01#0"]}}
    told = r"^Decoder 'a': Split 'predefined': no trial of class '\w+' is tested, and an AUC needs both"
    with pytest.raises(RecordingError, match=told):
        train(configuration(measure="auc", split=split), data, tmp_path / "run", ["a", "b"], [], 1, QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"kind": "leave-one-group-out"}, r"kind leave-one-group-out needs groups, for example \[subject\]"),
        ({"kind": "blocks", "groups": ["run"]}, "groups goes with kind leave-one-group-out or group-k-fold"),
        ({"kind": "predefined"}, "kind predefined needs folds, for example"),
    ],
)
def test_a_split_that_says_too_little_or_too_much_is_told(split, told):
    with pytest.raises(ValueError, match=told):
        configuration(split=split)


def test_groups_are_parts_of_the_pattern(data):  # noqa: F811
    with pytest.raises(ConfigurationError, match="'session', which is no part of the pattern"):
        dataset_of(data, split={"kind": "leave-one-group-out", "groups": ["session"]})
