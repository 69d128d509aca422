"""Faults on purpose: what is pushed when, without LSL; and once with it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.errors import ConfigurationError
from rtdecode.faults import EXAMPLE, FaultSettings, read_faults, schedule
from rtdecode.lsl import OutputReader
from rtdecode.recording import Session, read_recording
from rtdecode.schedule import Close, Incident, Open, Push
from tests.builders import SFREQ, build_recording
from tests.processes import rtdecode, run_rtdecode

N = 1500
RECORDING = build_recording(N)
# The index of a sample stands in each of its channels, so that any received one can be told.
RECORDING.samples[:] = np.arange(N, dtype=np.float32)[:, None]
KINDS = {
    "drop": {"n_samples": 3},
    "stall": {"for_s": 0.7},
    "burst": {"for_s": 2, "burst_ms": 300},
    "jitter": {"for_s": 1, "sigma_ms": 2},
    "drift": {"for_s": 2, "ppm": 500},
    "jump": {"for_s": 0.5, "by_s": -1},
    "rate": {"for_s": 1, "sfreq": 100},
    "restart": {"for_s": 0.5, "shuffled": True},
    "nan": {"n_samples": 4, "n_channels": 1},
    "flat": {"for_s": 0.5, "n_channels": 1},
    "scale": {"for_s": 0.5, "factor": 1000},
}
WHEN = st.fixed_dictionaries({"at_s": st.floats(0, 11, allow_subnormal=False)}) | st.just({"every_s": (1.0, 4.0)})
FAULT = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: WHEN.map(lambda when: {"fault": kind, **KINDS[kind], **when})
)
DISTURBANCE = FAULT.filter(
    lambda f: f["fault"] in ("drop", "stall", "burst", "jitter", "drift", "jump", "rate", "restart")
)


def actions(faults=(), chunk=8, seed=0, recording=RECORDING):
    settings = FaultSettings.model_validate({"seed": seed, "faults": list(faults)})
    return list(schedule(Session.of_recording(recording, "source"), settings, chunk, seed).actions())


def of(kind, found):
    """Actions of a kind, without the pushes of events."""
    return [action for action in found if isinstance(action, kind) and getattr(action, "stream", 0) == 0]


def marked(found):
    return [action for action in found if isinstance(action, Push) and action.stream == 1]


def pushed(found):
    """Indices, stamps and due times of all samples that are pushed, in order."""
    pushes = of(Push, found)
    stamps = np.concatenate([p.timestamps for p in pushes])
    due = np.repeat([p.due_s for p in pushes], [len(p.timestamps) for p in pushes])
    return np.concatenate([p.values[:, 0] for p in pushes]).astype(int), stamps, due


def test_without_faults_each_chunk_is_due_when_its_last_sample_is():
    found = actions(chunk=7)
    indices, stamps, _ = pushed(found)
    assert indices.tolist() == list(range(N))
    assert stamps.tobytes() == (RECORDING.timestamps - RECORDING.timestamps[0]).tobytes()
    assert all(p.due_s == p.timestamps[-1] for p in of(Push, found))
    first = RECORDING.timestamps[0]
    assert [(m.values[0, 0], m.due_s) for m in marked(found)] == [
        (e.label, e.timestamp - first) for e in RECORDING.events
    ]
    assert all(m.due_s == m.timestamps[0] for m in marked(found))
    assert len(found) == -(-N // 7) + len(RECORDING.events)


@given(st.lists(DISTURBANCE, max_size=5), st.sampled_from([0, 1, 8, 33]), st.integers(0, 99))
def test_every_sample_is_pushed_at_most_once_in_order_and_never_before_it_is_taken(faults, chunk, seed):
    found = actions(faults, chunk, seed)
    indices, stamps, due = pushed(found)
    assert np.all(np.diff(indices) > 0)
    assert np.all(np.diff(due) >= 0)
    if not any(f["fault"] in ("jitter", "drift", "jump") for f in faults):
        assert np.all(stamps <= due) and np.all(np.diff(stamps) > 0)
    if not any(f["fault"] in ("drop", "restart") for f in faults):
        assert len(indices) == N
    assert len(marked(found)) == len(RECORDING.events)


@given(st.lists(FAULT, max_size=4), st.integers(0, 99))
def test_the_same_seed_gives_the_same_schedule(faults, seed):
    def told(found):
        rows = [(type(a).__name__, a.due_s) for a in found]
        return rows, [(p.values.tobytes(), p.timestamps.tobytes()) for p in of(Push, found)], of(Incident, found)

    assert told(actions(faults, 0, seed)) == told(actions(faults, 0, seed))


def test_another_fault_in_the_list_changes_none_of_those_before_it():
    drop = {"fault": "drop", "every_s": [1, 4]}
    alone = of(Incident, actions([drop]))
    both = of(Incident, actions([drop, {"fault": "nan", "every_s": [1, 2]}]))
    assert len(alone) > 2 and [i for i in both if i.fault == "drop"] == alone


def test_random_times_keep_to_their_bounds():
    starts = [i.sample for i in of(Incident, actions([{"fault": "drop", "every_s": [1, 2], "n_samples": 5}]))]
    waits = (np.diff(starts) - 5) / SFREQ
    assert len(starts) > 5 and waits.min() >= 1 - 1 / SFREQ and waits.max() <= 2 + 1 / SFREQ


@given(st.integers(0, N - 1), st.integers(1, 300), st.sampled_from([0, 1, 8]))
def test_a_drop_takes_these_samples_and_no_others(at, n, chunk):
    indices, stamps, _ = pushed(actions([{"fault": "drop", "at_s": at / SFREQ, "n_samples": n}], chunk))
    expected = [i for i in range(N) if not at <= i < at + n]
    assert indices.tolist() == expected
    assert stamps.tolist() == [i / SFREQ for i in expected]


def test_a_stall_ends_in_one_burst():
    found = actions([{"fault": "stall", "at_s": 4, "for_s": 2}], chunk=8)
    burst = max(of(Push, found), key=lambda p: len(p.timestamps))
    assert (burst.timestamps[0], burst.due_s, len(burst.timestamps)) == (4.0, 6.0, 256)
    assert not [p for p in of(Push, found) if 4.0 < p.due_s < 6.0]


def test_bursts_hand_over_what_gathered():
    found = actions([{"fault": "burst", "at_s": 4, "for_s": 2, "burst_ms": 500}], chunk=1)
    assert [len(p.timestamps) for p in of(Push, found) if 4.0 <= p.timestamps[0] < 6.0] == [64] * 4


def test_stamps_jitter_drift_and_jump_as_told():
    def error(fault):
        _, stamps, due = pushed(actions([{"at_s": 4, **fault}], chunk=1))
        assert np.array_equal(due, np.arange(N) / SFREQ)
        return stamps - np.arange(N) / SFREQ

    jitter = error({"fault": "jitter", "for_s": 5, "sigma_ms": 3})
    assert not jitter[:512].any() and not jitter[512 + 640 :].any()
    assert 0.0027 < jitter[512 : 512 + 640].std() < 0.0033
    drift = error({"fault": "drift", "for_s": 5, "ppm": 1000})
    assert drift[511] == 0 and drift[512 + 639] == pytest.approx(0.005) and drift[-1] == pytest.approx(0.005)
    jump = error({"fault": "jump", "for_s": 1, "by_s": -2})
    assert np.allclose(jump, np.where((np.arange(N) >= 512) & (np.arange(N) < 640), -2.0, 0.0))


def test_another_rate_moves_stamps_and_pushes_alike():
    _, stamps, due = pushed(actions([{"fault": "rate", "at_s": 4, "for_s": 2, "sfreq": 64}], chunk=1))
    assert np.array_equal(stamps, due)
    steps = np.diff(stamps)
    assert np.allclose(steps[511 : 511 + 256], 1 / 64)
    assert np.allclose(np.delete(steps, np.s_[511 : 511 + 256]), 1 / SFREQ)


def test_a_restart_comes_back_with_what_was_asked_for():
    fault = {"fault": "restart", "at_s": 4, "for_s": 2, "sfreq": 64, "without": ["E1"], "source_id": "new"}
    found = actions([fault], chunk=8)
    (close,), (back,) = of(Close, found), of(Open, found)
    assert (close.due_s, back.due_s) == (4.0, 6.0 + 1 / 64 - 1 / SFREQ)
    assert back.layout.ch_names == ("E0", "E2", "E3") and back.layout.sfreq == 64 and back.source_id == "new"
    before, after = found.index(close), found.index(back)
    assert not of(Push, found[before:after])
    assert {p.values.shape[1] for p in of(Push, found[:before])} == {4}
    assert {p.values.shape[1] for p in of(Push, found[after:])} == {3}
    indices, stamps, _ = pushed(found)
    assert indices.tolist() == [*range(512), *range(768, N)]
    assert np.allclose(np.diff(stamps[512:]), 1 / 64)


def test_shuffled_channels_keep_their_values():
    recording = build_recording(N)
    found = actions([{"fault": "restart", "at_s": 4, "for_s": 2, "shuffled": True}], recording=recording)
    (back,) = of(Open, found)
    order = [recording.signal.ch_names.index(name) for name in back.layout.ch_names]
    after = np.concatenate([p.values for p in of(Push, found[found.index(back) :])])
    assert sorted(order) == [0, 1, 2, 3] and np.array_equal(after, recording.samples[768:, order])


def test_values_are_spoiled_where_told_and_the_recording_is_left_alone():
    recording = build_recording(N)
    kept = recording.samples.copy()
    faults = [
        {"fault": "nan", "at_s": 1, "n_samples": 3, "channels": ["E2"]},
        {"fault": "flat", "at_s": 2, "for_s": 1, "channels": ["E0", "E3"]},
        {"fault": "scale", "at_s": 4, "for_s": 1, "factor": 1000},
    ]
    expected = kept.copy()
    expected[128:131, 2] = np.nan
    expected[256:384, [0, 3]] = kept[256, [0, 3]]
    expected[512:640] *= np.float32(1000)
    samples = np.concatenate([p.values for p in of(Push, actions(faults, 33, recording=recording))])
    assert samples.tobytes() == expected.tobytes()
    assert recording.samples.tobytes() == kept.tobytes()


def test_an_incident_tells_its_sample_as_the_recording_and_as_a_consumer_counts():
    faults = [
        {"fault": "drop", "at_s": 1, "n_samples": 5},
        {"fault": "restart", "at_s": 2, "for_s": 1},
        {"fault": "nan", "at_s": 4},
    ]
    told = [(i.fault, i.sample, i.n_samples, i.pushed, i.due_s) for i in of(Incident, actions(faults))]
    assert told == [("drop", 128, 5, 128, 1.0), ("restart", 256, 128, 251, 2.0), ("nan", 512, 1, 128, 4.0)]


def test_the_shipped_example_has_every_fault_and_stands_in_the_docs():
    settings = read_faults("example")
    assert sorted(f.fault for f in settings.faults) == sorted(KINDS)
    docs = (EXAMPLE.parents[1] / "docs" / "online.md").read_text(encoding="utf-8")
    assert EXAMPLE.read_text(encoding="utf-8") in docs


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("faults: [{fault: dorp, at_s: 1}]", "faults.0: unknown fault 'dorp' (did you mean 'drop'?)"),
        ("faults: [drop]", "faults.0: a fault is written as {fault: NAME, ...}"),
        ("faults: [{fault: drop}]", "faults.0.drop: give either at_s or every_s: [low, high]"),
        ("faults: [{fault: drop, every_s: [3, 2]}]", "every_s: 3 is more than 2"),
        ("faults: [{fault: stall, at_s: 1}]", "key 'faults.0.stall.for_s' is missing"),
        ("faults: [{fault: drop, at_s: 1, n_sample: 2}]", "(did you mean 'n_samples'?)"),
        ("faults: [{fault: nan, at_s: 1, channels: [E0], n_channels: 1}]", "give channels or n_channels, not both"),
        ("fault: []", "unknown key 'fault' (did you mean 'faults'?)"),
    ],
)
def test_a_bad_faults_file_is_told_in_one_sentence(tmp_path, text, told):
    (tmp_path / "f.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        read_faults(str(tmp_path / "f.yaml"))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"fault": "drop", "at_s": 500}, "faults.0 (drop) begins at 500 s, but the recording ends at 11.7188 s"),
        ({"fault": "nan", "at_s": 1, "channels": ["E22"]}, "no channel 'E22' (did you mean 'E2'?)"),
        ({"fault": "restart", "at_s": 1, "for_s": 1, "without": ["E0", "E1", "E2", "E3"]}, "leaves no channel"),
    ],
)
def test_a_fault_that_does_not_fit_the_recording_is_refused(fault, told):
    with pytest.raises(ConfigurationError) as error:
        actions([fault])
    assert told in str(error.value)


def test_play_refuses_a_faults_file_that_is_not_there(recording_path):
    code, output = run_rtdecode("play", recording_path, "--faults", "gone.yaml")
    assert code == 2 and "gone.yaml does not exist" in output and "Traceback" not in output


def test_the_decoder_tells_what_the_player_did(tmp_path, names, model_path):
    """A gap, a NaN and a restart with shuffled channels: told by both, at the same sample and stamp."""
    source, ours = names
    build_recording(700).save(tmp_path / "r.npz")
    (tmp_path / "f.yaml").write_text(
        "faults:\n"
        "  - {fault: drop, at_s: 1, n_samples: 20}\n"
        "  - {fault: nan, at_s: 1.5, n_samples: 3, n_channels: 1}\n"
        "  - {fault: restart, at_s: 2, for_s: 0.5, shuffled: true, source_id: other}\n",
        encoding="utf-8",
    )
    run = ("run", "--model", model_path, "--stream", source, "--name", ours, "--save", tmp_path / "s.npz")
    with rtdecode(*run) as decoder:
        status = OutputReader(f"{ours}-status")
        with rtdecode("play", tmp_path / "r.npz", "--name", source, "--faults", tmp_path / "f.yaml") as player:
            assert player.wait() == 0
        values, stamps, _ = status.pull(1.0)
        decoder.interrupt()
        assert decoder.wait() == 0
        status.close()
    told = [(json.loads(v[0]), float(t)) for v, t in zip(values, stamps, strict=True)]
    lines = [line.removeprefix("fault ") for line in player.lines if line.startswith("fault ")]
    begun = {line.partition(":")[0]: float(line.partition("LSL time ")[2].partition(":")[0]) for line in lines}
    gap = next((d, t) for d, t in told if d["event"] == "gap")
    unsound = next((d, t) for d, t in told if (d["event"], d.get("reason")) == ("reset", "non-finite"))
    assert list(begun) == ["drop", "nan", "restart"]
    assert "sample 128, pushed 128" in lines[0] and gap[0]["sample"] == 128
    assert gap[1] == pytest.approx(begun["drop"] + 20 / SFREQ, abs=1e-5)
    # The last value stands for two of them; the third voids the window.
    assert unsound[0]["sample"] == 192 - 20 + 2
    assert unsound[1] == pytest.approx(begun["nan"] + 2 / SFREQ, abs=1e-5)
    assert "stream-lost" in {d.get("reason") for d, _ in told}
    saved = read_recording(tmp_path / "s-2.npz")
    names_now = saved.signal.ch_names
    assert sorted(names_now) == ["E0", "E1", "E2", "E3"]
    order = [int(name[1]) for name in names_now]
    tail = build_recording(700).samples[-len(saved.samples) :, order]
    assert saved.samples.tobytes() == tail.tobytes()
