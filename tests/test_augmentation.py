"""What is done to windows that are learned from, and to no others."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from offline.augmentation import Augmentation, Augmenter, opposite
from offline.dataset import Cutter
from offline.training import build, fit_network
from rtdecode.errors import ConfigurationError
from tests.test_learning import dataset_of, parts_of, recordings  # noqa: F401
from tests.test_training import configuration

NAMES, CLASSES = ("C3", "Cz", "C4", "FC1", "FC2"), ("left", "right", "feet")
KINDS = {
    "channel-dropout": {"share": 0.5},
    "noise": {"std": 0.5},
    "gain": {"factor": 2.0},
    "sign-flip": {},
    "mirror": {"classes": [["left", "right"]]},
}
CHANGES = [
    {"kind": "time-shift", "max_s": 0.5},
    *({"kind": kind, **settings} for kind, settings in KINDS.items()),
]


def augmenter(*changes, **more):
    made = [TypeAdapter(Augmentation).validate_python({**change, **more}) for change in changes]
    return Augmenter(made, NAMES, 100.0, CLASSES, room=100)


def windows(n=6, lead=(), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *lead, len(NAMES), 20)).astype(np.float32)
    return x, rng.integers(0, 3, (n, *lead))


kinds, seeds = st.sampled_from(CHANGES), st.integers(0, 2**32)


@given(kinds, seeds, st.sampled_from([(), (4,)]), st.sampled_from([0.0, 0.3, 1.0]))
def test_shape_and_type_stay_and_a_seed_gives_the_same_again(change, seed, lead, probability):
    augment, (x, y) = augmenter(change, probability=probability), windows(lead=lead)
    before = x.copy(), y.copy()
    some, other = (augment(x, y, np.random.default_rng(seed)) for _ in range(2))
    assert [(a.shape, a.dtype) for a in some] == [(a.shape, a.dtype) for a in before]
    assert all(np.array_equal(a, b) for a, b in zip(some, other, strict=True))
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])


@given(st.lists(kinds, max_size=6), seeds)
def test_what_is_never_to_happen_never_does(changes, seed):
    augment, (x, y) = augmenter(*changes, {"kind": "sign-flip"}, probability=0.0), windows()
    rng = np.random.default_rng(seed)
    assert not augment.shifts(50, rng).any()
    assert all(np.array_equal(a, b) for a, b in zip(augment(x, y, rng), (x, y), strict=True))


@pytest.mark.parametrize("kind", ["mirror", "sign-flip"])
@given(seeds)
def test_done_twice_is_not_done(kind, seed):
    augment, (x, y) = augmenter({"kind": kind, **KINDS[kind]}, probability=1.0), windows(seed=seed)
    rng = np.random.default_rng(0)
    once = augment(x, y, rng)
    assert not np.array_equal(once[0], x)
    assert all(np.array_equal(a, b) for a, b in zip(augment(*once, rng), (x, y), strict=True))


def test_a_mirror_exchanges_channels_and_classes():
    x, y = windows()
    image, classes = augmenter(CHANGES[-1], probability=1.0)(x, y, np.random.default_rng(0))
    assert np.array_equal(image, x[:, [2, 1, 0, 4, 3]]) and np.array_equal(classes, np.array([1, 0, 2])[y])


@given(seeds)
def test_each_changes_as_much_as_it_says(seed):
    (x, y), rng = windows(40, seed=seed), np.random.default_rng(seed)
    changed = {c["kind"]: augmenter(c, probability=1.0)(x, y, rng)[0] for c in CHANGES[1:]}
    silent = ~changed["channel-dropout"].any(axis=-1)
    assert np.array_equal(changed["channel-dropout"][~silent], x[~silent]) and 0.3 < silent.mean() < 0.7
    added = (changed["noise"] - x).std(axis=-1) / x.std(axis=-1)
    assert 0.4 < added.mean() < 0.6
    gain = changed["gain"] / x
    assert np.allclose(gain, gain[:, :1, :1], rtol=1e-4) and gain.min() > 0.499 and gain.max() < 2.001
    assert abs(augmenter(CHANGES[0], probability=1.0).shifts(1000, rng)).max() <= 50


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Fp1", "Fpz", "Fp2"], [2, 1, 0]),
        (["T7", "T8", "AFF5h", "AFF6h", "PO10", "PO9"], [1, 0, 3, 2, 5, 4]),
        (["C4 8-12 Hz", "C3 8-12 Hz", "C4 12-16 Hz", "C3 12-16 Hz"], [1, 0, 3, 2]),
        (["FC3-CP3", "FC4-CP4", "FCz-CPz"], [1, 0, 2]),
    ],
)
def test_the_opposite_is_known_by_name(names, expected):
    assert opposite(names) == expected


@pytest.mark.parametrize(
    "names",
    [["C3", "Cz"], ["E1", "E2"], ["MEG0111", "MEG0112"], ["C3-C4"], ["E1 8-12 Hz"], ["A3", "A4"], ["C11", "C12"]],
)
def test_a_channel_without_an_opposite_is_told(names):
    with pytest.raises(ConfigurationError, match=f"mirror finds no opposite of {names[0]}"):
        opposite(names)


@pytest.mark.parametrize(
    ("augmentation", "more", "told"),
    [
        ({"kind": "mirror", "classes": [["left", "rigth"]]}, {}, "names classes that are not there: rigth"),
        ({"kind": "mirror", "classes": [["left", "left"]]}, {}, "names a class twice"),
        ({"kind": "sign-flip"}, {"window": None, "events": {}}, "sign-flip is for classes that differ in rhythms"),
        ({"kind": "time-shift", "max_s": 0.1}, {"window": None, "events": {}}, "time-shift needs a sliding window"),
    ],
)
def test_what_would_teach_wrong_things_is_refused(augmentation, more, told):
    with pytest.raises(ValueError, match=told):
        configuration(training={"augmentation": [augmentation]}, **more)


@pytest.mark.parametrize("stride", [40, 10_000])
def test_windows_are_moved_within_their_trial_only(recordings, stride):  # noqa: F811
    dataset = dataset_of(recordings)
    steps, _, n_times = build(dataset, dataset.trials)
    every, sparse = (Cutter(dataset, steps).cut(dataset.trials[:3], n_times, each) for each in (1, stride))
    by = np.random.default_rng(0).integers(-60, 61, len(sparse.x))
    for number, moved in enumerate(sparse.x.moved(np.arange(len(sparse.x)), by)):
        own = every.x[np.flatnonzero(every.trial == sparse.trial[number])]
        assert (own == moved).all(axis=(1, 2)).any()
    assert np.array_equal(sparse.x.moved(np.arange(len(sparse.x)), 0 * by), sparse.x[:])
    assert np.array_equal(sparse.x.moved(0, np.array(1)), every.x[1])


def test_a_shift_without_room_is_refused(recordings):  # noqa: F811
    dataset = dataset_of(recordings, training={"augmentation": CHANGES[:1]})
    longest = Cutter(dataset, build(dataset, dataset.trials)[0]).longest
    full = {"length_s": longest / dataset.signal.sfreq}
    dataset = dataset_of(recordings, window=full, training={"augmentation": CHANGES[:1]})
    with pytest.raises(ConfigurationError, match="time-shift has no room, as a window is as long as its trial"):
        build(dataset, dataset.trials)


def test_only_what_is_learned_from_is_changed(recordings, monkeypatch):  # noqa: F811
    seen = {True: [], False: []}
    augmented = [{"kind": "gain", "factor": 3.0, "probability": 1.0}, *CHANGES]
    for augmentation in ([], augmented):
        dataset = dataset_of(recordings, training={"augmentation": augmentation, "max_epochs": 1})
        _, network, _ = build(dataset, dataset.trials)

        def watch(self, x, into=bool(augmentation)):
            seen[into].append((self.training, x.detach().clone()))
            return self.head(self.features(x))

        with monkeypatch.context() as patch:
            patch.setattr(type(network), "forward", watch)
            fit_network(dataset, *parts_of(dataset))
    plain, changed = (
        {training: torch.cat([x for t, x in seen[into] if t is training]) for training in (True, False)}
        for into in (False, True)
    )
    assert torch.equal(plain[False], changed[False]) and not torch.equal(plain[True], changed[True])
