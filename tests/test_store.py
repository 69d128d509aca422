"""Recordings are read, searched and preprocessed once."""

import json
import sys
import tracemalloc
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from offline import store, stored
from offline.checkpoint import read_checkpoint
from offline.dataset import Cutter
from offline.moments import Moments
from offline.simulation import simulate
from offline.training import build
from offline.workflow import train
from rtdecode.contract import Signal
from rtdecode.errors import ConfigurationError, RecordingError
from rtdecode.preprocessing import Standardize
from rtdecode.recording import Event, Recording, read_recording
from tests.processes import Program, rtdecode
from tests.test_training import QUIET, configuration, data, dataset_of  # noqa: F401


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """An empty store."""
    monkeypatch.setenv(store.PLACE, str(tmp_path / "store"))
    return tmp_path / "store"


def windows_of(dataset):
    steps, _, n_times = build(dataset, dataset.trials)
    return Cutter(dataset, steps).cut(dataset.trials, n_times, 40)


def made(kept):
    return sorted(folder.name for folder in kept.iterdir())


def test_a_second_time_nothing_is_read_or_preprocessed(data, kept, monkeypatch):  # noqa: F811
    some = windows_of(dataset_of(data))
    before = made(kept)

    def never(*_):
        raise AssertionError("this was kept")

    monkeypatch.setattr(stored, "read_recording", never)
    again = windows_of(dataset_of(data))
    assert np.asarray(some.x).tobytes() == np.asarray(again.x).tobytes() and np.array_equal(some.y, again.y)
    assert made(kept) == before == sorted(set(before))
    kinds = [name.partition("-")[0] for name in before]
    assert [kinds.count(kind) for kind in ("recording", "truth", "features")] == [3, 3, 3]


def test_no_pickle_is_kept(data, kept):  # noqa: F811
    windows_of(dataset_of(data))
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".npy", ".json"}
    for path in files:
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)
        else:
            json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"model": {"settings": {"n_latent": 4}}}, []),
        ({"preprocessing": [{"step": "filter", "l_freq": 7, "h_freq": 28}, {"step": "whiten"}]}, ["features"]),
        ({"trials": {"tmax_s": 2.5}}, ["truth"]),
        ({"channels": {"types": None, "names": ["C3", "C4"]}}, ["features"]),
    ],
    ids=["network", "steps", "trials", "channels"],
)
def test_of_what_was_changed_as_much_is_made_anew_as_needed(data, kept, changes, anew):  # noqa: F811
    windows_of(dataset_of(data))
    before = made(kept)
    windows_of(dataset_of(data, **changes))
    new = [name for name in made(kept) if name not in before]
    assert [name.partition("-")[0] for name in new] == 3 * anew


def test_a_changed_recording_is_read_anew_and_the_others_are_not(data, kept, tmp_path):  # noqa: F811
    for path in data.glob("sub-a_*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    windows_of(dataset_of(tmp_path))
    before, changed = made(kept), tmp_path / "sub-a_run-02.npz"
    recording = read_recording(changed)
    replace(recording, samples=2 * recording.samples).save(changed)
    dataset = dataset_of(tmp_path)
    windows_of(dataset)
    assert len(made(kept)) == len(before) + 3
    assert np.array_equal(dataset.recording(1).samples, 2 * recording.samples)


def test_a_recording_in_several_files_is_known_by_all_of_them(tmp_path):
    (tmp_path / "a.vhdr").write_text("header")
    alone = store.content(tmp_path / "a.vhdr")
    (tmp_path / "a.eeg").write_text("samples")
    both = store.content(tmp_path / "a.vhdr")
    (tmp_path / "ab.eeg").write_text("another's")
    assert alone != both == store.content(tmp_path / "a.vhdr")


def test_a_recording_is_known_by_the_files_that_its_header_names(tmp_path):
    (tmp_path / "a.vhdr").write_text("DataFile=first.eeg\nMarkerFile=$b.vmrk\n")
    contents = []
    for text in ("some", "other"):
        (tmp_path / "first.eeg").write_text(text)
        contents.append(store.content(tmp_path / "a.vhdr"))
    assert contents[0] != contents[1]


@pytest.mark.parametrize("name", ["a.set", "no ending", "[a].vhdr"])
def test_a_recording_is_known_by_its_own_file_whatever_its_name(tmp_path, name):
    contents = []
    for text in ("some", "other"):
        (tmp_path / name).write_text(text)
        contents.append(store.content(tmp_path / name))
    assert contents[0] != contents[1]


def test_the_code_that_makes_it_counts(data, kept, monkeypatch):  # noqa: F811
    windows_of(dataset_of(data))
    n = len(made(kept))
    monkeypatch.setattr(store, "_code", lambda: {"rtdecode": "newer"})
    windows_of(dataset_of(data))
    assert len(made(kept)) == 2 * n


def test_what_could_not_be_made_leaves_nothing(kept, tmp_path):
    signal = Signal(ch_names=("a",), ch_types=("eeg",), units=("uV",), sfreq=100.0)
    samples = np.full((100, 1), np.nan, np.float32)
    Recording(signal, samples, np.arange(100) / 100).save(tmp_path / "bad.npz")
    with pytest.raises(RecordingError, match="not finite, first at sample 0"):
        stored.store_recording(tmp_path / "bad.npz")
    assert made(kept) == []


def test_where_nothing_can_be_written_that_is_told(data, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(store.PLACE, str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"cannot be kept in .*file: .*RTDECODE_STORE"):
        dataset_of(data)


def test_what_is_mapped_stays_when_another_was_sooner(kept):
    """A folder that came to be while ours was made is not touched."""
    folder = None

    def write_late(aside):
        nonlocal folder
        folder = store.kept("truth", {"of": "two"}, lambda aside: store.write_text(aside / "by", "the sooner"))
        store.write_text(aside / "by", "the later")

    assert store.kept("truth", {"of": "two"}, write_late) == folder
    assert (folder / "by").read_text() == "the sooner" and len(made(kept)) == 1


def written(settings, folder):
    (folder / "c.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return folder / "c.yaml"


@pytest.mark.slow
def test_two_processes_that_make_the_same_at_once_end_with_one_good_set(data, kept, tmp_path):  # noqa: F811
    settings = configuration(model={"network": "csp-lda", "settings": {}}, baseline=None)
    path = written(settings, tmp_path)
    runs = [tmp_path / "run-1", tmp_path / "run-2"]
    with ExitStack() as stack:
        programs = [stack.enter_context(rtdecode("train", path, "--data", data, "-o", run)) for run in runs]
        assert [program.wait() for program in programs] == [0, 0], programs[0].output + programs[1].output
    names = made(kept)
    # Of six recordings each, and of what each of two people's three folds were trained on.
    kinds = Counter(name.partition("-")[0] for name in names)
    assert all("." not in name for name in names) and set(kinds.values()) == {6} and len(kinds) == 4
    assert (runs[0] / "scores.csv").read_bytes() == (runs[1] / "scores.csv").read_bytes()
    dataset_of(data)
    assert made(kept) == names


def test_the_store_tells_its_size_and_is_cleared_of_nothing_else(called, data, kept):  # noqa: F811
    windows_of(dataset_of(data))
    (kept / "mine.txt").write_text("not of the store")
    code, output = called("store")
    assert code == 0 and str(kept) in "".join(output.split()) and "9 parts" in output
    code, output = called("store", "--clear")
    assert code == 0 and made(kept) == ["mine.txt"]


# Samples of a simulated recording.
HALF_S = 80


def bits(amplitude):
    return np.array([amplitude.low, amplitude.high, amplitude.std, amplitude.spread]).tobytes()


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Three runs of 6 min, one with a gap: more than is read at once, and no whole number of half seconds."""
    folder, n = tmp_path_factory.mktemp("long"), 90_077
    for run in (1, 2, 3):
        recording = simulate(6, run)
        rng, size = np.random.default_rng(run), (n, recording.signal.n_channels)
        samples = rng.normal(1e4, 10 * run, size).astype(np.float32)
        stamps = np.arange(n) / recording.signal.sfreq + np.where(np.arange(n) > 70_000, 5.0 * (run == 2), 0.0)
        replace(recording, samples=samples, timestamps=stamps).save(folder / f"sub-a_run-{run:02d}.npz")
    return folder


class TestAmplitude:
    """How large recordings are is measured in pieces, and once."""

    @pytest.mark.parametrize("numbers", [{0}, {0, 1, 2, 3}])
    def test_it_is_that_of_the_whole_arrays(self, long, numbers):
        dataset = dataset_of(long)
        assert len(dataset.stretches) == 4
        told, wholes = dataset.amplitude(numbers), [dataset.recording(i).samples.astype(float) for i in numbers]
        whole = np.concatenate(wholes)
        halves = [samples[: len(samples) // HALF_S * HALF_S].reshape(-1, HALF_S, 16) for samples in wholes]
        spread = np.concatenate([half.std(axis=1) for half in halves])
        assert np.allclose([told.low, told.high], np.percentile(whole, [0.1, 99.9], axis=0), rtol=1e-6)
        assert np.allclose(told.std, whole.std(axis=0), rtol=1e-6)
        assert np.allclose(told.spread, np.median(spread, axis=0), rtol=1e-6)

    def test_a_second_time_nothing_is_read(self, long, monkeypatch):
        some = dataset_of(long).amplitude({0, 1})

        def never(*_):
            raise AssertionError("this was kept")

        dataset = dataset_of(long)
        monkeypatch.setattr(stored, "sensor_samples", never)
        assert bits(dataset.amplitude({1, 0})) == bits(some)
        with pytest.raises(AssertionError, match="kept"):
            dataset.amplitude({0})

    def test_folds_of_the_same_recordings_measure_them_once(self, data, kept):  # noqa: F811
        settings = configuration(split={"kind": "stratified-blocks", "n_folds": 4}, training={"max_epochs": 1})
        run = train(settings, data, kept.parent / "run", ["a"], ["a"], 1, QUIET)
        paths = [*(run.folder / "a").glob("*.pt"), run.finals["a"]]
        measured = [bits(read_checkpoint(path).contract.amplitude) for path in paths]
        assert len(set(measured)) == 1 < len(measured)
        assert sum(name.startswith("amplitude-") for name in made(kept)) == 1

    def test_no_recording_is_in_memory_whole(self, long):
        dataset = dataset_of(long)
        tracemalloc.start()
        try:
            dataset.amplitude({0, 1, 2, 3})
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < dataset.recording(0).samples.nbytes

    def test_recordings_shorter_than_half_a_second_tell_no_spread(self, tmp_path):
        recording = simulate(6, 1)
        short = replace(recording, samples=recording.samples[:79], timestamps=recording.timestamps[:79])
        short.save(tmp_path / "r.npz")
        parts = [(stored.store_recording(tmp_path / "r.npz"), 0, 79)]
        assert stored.store_amplitude(parts, recording.signal).spread is None


@given(st.integers(1, 5), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_samples_that_come_in_parts_have_the_moments_of_all(n_channels, sizes, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(3, 2, (size, n_channels)) @ rng.normal(0, 1, (n_channels, n_channels)) for size in sizes]
    moments = Moments(n_channels)
    for part in parts:
        moments.add(part)
    whole, alike = np.concatenate(parts), moments.alike()
    assert np.allclose(alike.mean(axis=0), whole.mean(axis=0), atol=1e-8)
    expected = np.cov(whole, rowvar=False, ddof=0)
    assert np.allclose(np.cov(alike, rowvar=False, ddof=0), expected, atol=1e-8 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("value", [0.0, 0.1, 5000.0])
def test_what_is_flat_in_training_is_not_blown_up(value):
    samples = np.random.default_rng(0).normal(3, 2, (1000, 4))
    samples[:, 1] = value
    moments = Moments(4)
    for part in np.array_split(samples, 7):
        moments.add(part)
    assert Standardize.fit(moments.alike()).std[1] == Standardize.fit(samples).std[1] == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process allocates")
def test_a_set_that_is_larger_than_memory_is_trained_on(tmp_path, kept):
    """64 channels, 83 minutes: 200 MiB as they are read, twice as much preprocessed, as much again in windows."""
    signal = Signal(
        ch_names=tuple(f"E{i}" for i in range(64)), ch_types=("eeg",) * 64, units=("uV",) * 64, sfreq=160.0
    )
    rng, most_mib = np.random.default_rng(0), 160
    for run in range(40):
        samples = rng.standard_normal((20_000, 64), np.float32)
        events = tuple(Event(4.0 * i, ("left", "right")[i % 2]) for i in range(1, 30))
        Recording(signal, samples, np.arange(20_000) / 160, events).save(tmp_path / f"sub-a_run-{run:02d}.npz")
    settings = configuration(
        split={"kind": "held-out-runs", "held_out": {"run": ["00"]}},
        window={"length_s": 1.5, "stride_s": 0.5, "hop_s": 0.1},
        training={"max_epochs": 2},
        baseline=None,
    )
    path = written(settings, tmp_path)
    script = Path(__file__).with_name("limited.py")
    arguments = ("train", path, "--data", tmp_path, "-o", tmp_path / "run")
    with Program(script, str(most_mib), *map(str, arguments)) as program:
        code = program.wait(280)
    assert code == 0, program.output
    assert store.size_bytes() > 3 * (most_mib << 20)
