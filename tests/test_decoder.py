import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import helper

import rtdecode
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import RecordingError
from rtdecode.model_file import read_model
from rtdecode.preprocessing import Clamp
from rtdecode.proof import one_shot
from tests.builders import (
    assert_same,
    build_contract,
    build_model,
    build_recording,
    build_signal,
    build_state,
    counting_graph,
    graph,
    push_in_chunks,
)

chunk_sizes = st.lists(st.integers(0, 90), max_size=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx"))


def decode(model, recording, sizes=()):
    return push_in_chunks(Decoder(model), recording, sizes)


def broken(kind_at, n_samples=1500, signal=None):
    """Return a recording with faults put in, at these samples."""
    recording = build_recording(n_samples, signal)
    for at, kind in kind_at.items():
        if kind == "nan":
            recording.samples[at : at + 4, 1] = np.nan
        elif kind == "gap":
            recording.timestamps[at:] += 0.25
        elif kind == "back":
            recording.timestamps[at:] -= 0.25
        else:
            recording.timestamps[at] = np.nan
    return recording


@given(sizes=chunk_sizes)
def test_any_chunking_gives_the_same_bits(model, sizes):
    recording = build_recording()
    assert_same(decode(model, recording, sizes), decode(model, recording))


@given(
    sizes=chunk_sizes,
    faults=st.dictionaries(st.integers(1, 1400), st.sampled_from(["nan", "gap", "back", "stamp"]), max_size=4),
)
def test_any_chunking_of_a_broken_stream_gives_the_same_bits(model, sizes, faults):
    recording = broken(faults)
    ours, whole = decode(model, recording, sizes), decode(model, recording)
    assert [(p.sample, p.label, p.reason) for p in ours] == [(p.sample, p.label, p.reason) for p in whole]
    for a, b in zip(ours, whole, strict=True):
        assert (a.proba is None) == (b.proba is None)
        assert a.proba is None or a.proba.tobytes() == b.proba.tobytes()


def test_a_fault_before_the_channels_were_judged_gives_the_same_for_any_chunking(tmp_path):
    contract = build_contract(steps=[], n_times=4, hop=4)
    model = read_model(build_model(tmp_path / "m.onnx", contract))
    recording = broken({30: "gap"}, 400)
    single, whole = decode(model, recording, [1] * 400), decode(model, recording)
    assert [(p.sample, p.reason) for p in single] == [(p.sample, p.reason) for p in whole]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A model of windows so short that only the channels, not judged yet, keep it from decoding."""
    contract = build_contract(steps=[], n_times=4, hop=1)
    return read_model(build_model(tmp_path_factory.mktemp("quick") / "model.onnx", contract))


def without(lost):
    """What a stream of a wrong scale gives that has lost these samples."""
    recording, kept = build_recording(400), ~np.isin(np.arange(400), list(lost))
    return 1e3 * recording.samples[kept], recording.timestamps[kept]


def test_nothing_is_decoded_before_the_channels_were_judged_though_lost_samples_are_stood_in_for(quick):
    told = Decoder(quick).push(*without({20, 30, 40}))
    assert all(p.reason for p in told) and {p.reason for p in told} == {"warming-up", "amplitude"}


@example(lost={16, 65})
@given(lost=st.sets(st.integers(1, 200), max_size=12))
def test_nor_is_anything_wherever_samples_are_lost(quick, lost):
    told = Decoder(quick).push(*without(lost))
    # What is too much to be stood in for is a gap.
    assert all(p.reason for p in told) and {p.reason for p in told} - {"gap"} == {"warming-up", "amplitude"}


def test_chunked_equals_one_shot(model, recording):
    expected = dict(one_shot(Decoder(model), recording))
    decoded = {p.sample: p.proba for p in decode(model, recording, [1, 7, 200]) if p.proba is not None}
    assert decoded.keys() == expected.keys() and len(decoded) > 50
    assert all(decoded[at].tobytes() == expected[at].tobytes() for at in decoded)


@given(n=st.integers(1, 1499))
def test_no_prediction_knows_the_future(model, n):
    recording, changed = build_recording(), build_recording()
    changed.samples[n:] *= -7
    some, others = decode(model, recording), decode(model, changed)
    before = [p for p in some if p.sample < n]
    assert_same(before, others[: len(before)])


def test_input_is_left_as_it_is(model):
    recording, before = build_recording(), build_recording()
    decode(model, recording, [100])
    assert recording.samples.tobytes() == before.samples.tobytes()
    assert recording.timestamps.tobytes() == before.timestamps.tobytes()


def test_empty_chunks_do_nothing(model, recording):
    decoder = Decoder(model)
    for _ in range(3):
        assert decoder.push(np.empty((0, 4)), []) == []
    assert_same(push_in_chunks(decoder, recording, [0, 0, 5]), decode(model, recording))


def test_every_hop_gives_one_prediction_stamped_with_its_newest_sample(model, recording):
    predictions = decode(model, recording)
    # Decimation by 2, hop 4: output k exists at input 2k, so hops end at inputs 6, 14, 22, ...
    assert [p.sample for p in predictions] == list(range(6, 1500, 8))
    assert [p.timestamp for p in predictions] == [recording.timestamps[p.sample] for p in predictions]


def test_warm_up_is_settling_and_window(model, recording):
    decoder = Decoder(model)
    predictions = decoder.push(recording.samples, recording.timestamps)
    n_abstained = sum(p.reason == "warming-up" for p in predictions)
    settling = -(-decoder.chain.settling // 2)
    assert decoder.warm_up == settling + 32
    assert n_abstained == -(-decoder.warm_up // 4) - 1
    assert all(p.reason is None for p in predictions[n_abstained:])


def test_label_is_the_most_probable_class(model, recording):
    for p in decode(model, recording):
        assert p.label == (-1 if p.proba is None else int(p.proba.argmax()))


def test_probabilities_sum_to_one(model, recording):
    sums = [p.proba.sum() for p in decode(model, recording) if p.proba is not None]
    assert np.allclose(sums, 1, atol=1e-6)


@pytest.mark.parametrize(("kind", "reason"), [("gap", "gap"), ("nan", "non-finite"), ("back", "clock")])
@pytest.mark.parametrize("at", [300, 707, 711])
def test_a_fault_leads_to_an_abstention_and_a_new_warm_up(model, kind, reason, at):
    predictions = decode(model, broken({at: kind}))
    n_first = next(i for i, p in enumerate(predictions) if p.reason == reason)
    # Two values that are not finite are held, and another time is believed when three stamps agree.
    assert predictions[n_first].sample == at + (kind != "gap") * 2
    after = predictions[n_first + 1 :]
    n_warming = sum(p.reason == "warming-up" for p in after)
    assert n_warming > 5
    assert all(p.proba is not None for p in after[n_warming:]) and len(after) > n_warming


@pytest.mark.parametrize(("kind", "resumes"), [("gap", 0), ("nan", 4), ("back", 2)])
def test_after_a_fault_the_decoder_is_a_fresh_one(model, kind, resumes):
    recording, at = broken({500: kind}), 500 + resumes
    after = [p for p in decode(model, recording) if p.sample >= at and p.reason not in ("gap", "clock", "non-finite")]
    fresh = Decoder(model).push(recording.samples[at:], recording.timestamps[at:])
    assert [p.sample for p in after] == [p.sample + at for p in fresh]
    # The fresh one must judge its channels first.
    decoded = [(a, b) for a, b in zip(after, fresh, strict=True) if b.proba is not None]
    assert len(decoded) > 100 and all(a.proba.tobytes() == b.proba.tobytes() for a, b in decoded)


def test_a_stream_of_nothing_but_nan_abstains_at_every_hop(model):
    stamps = np.arange(200) / 128
    predictions = Decoder(model).push(np.full((200, 4), np.nan), stamps)
    assert len(predictions) == 1 + 200 // 8
    assert all(math.isfinite(p.timestamp) for p in predictions)
    assert {p.reason for p in predictions} == {"non-finite"}


def test_reset_starts_anew(model, recording):
    decoder = Decoder(model)
    decoder.push(recording.samples, recording.timestamps)
    abstention = decoder.reset("stream-lost", 5.0)
    assert (abstention.reason, abstention.timestamp, abstention.label) == ("stream-lost", 5.0, -1)
    again = decoder.push(recording.samples, recording.timestamps)
    fresh = decode(model, recording)
    assert [p.proba is None or p.proba.tobytes() for p in again] == [
        p.proba is None or p.proba.tobytes() for p in fresh
    ]


def test_channels_are_matched_by_name_and_units_converted(model):
    recording = build_recording()
    order = [2, 0, 3, 1]
    names = [recording.signal.ch_names[i] for i in order]
    source = recording.signal.with_channels(["X", *names], ["eog", *["eeg"] * 4], ["uV", *["mV"] * 4])
    samples = np.column_stack([np.full(1500, 9e9), recording.samples[:, order].astype(np.float64) * 1e-3])
    ours = Decoder(model, source).push(samples, recording.timestamps)
    expected = decode(model, recording)
    for a, b in zip(ours, expected, strict=True):
        assert a.proba is b.proba or np.allclose(a.proba, b.proba, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ch_names": ("E0", "e1", "E2", "E3")}, r"lacks 1 of the 4 .*E1 \(near names: E1 -> e1\)"),
        ({"sfreq": 256.0}, "runs at 256 Hz, .* needs 128 Hz"),
        ({"units": ("uV", "uV", "none", "uV")}, r"another unit .* E2 \(none instead of uV\)"),
        ({"ch_types": ("eeg", "eeg", "eeg", "eog")}, r"another type .* E3 \(eog instead of eeg\)"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_with_what_differs(model, change, told):
    source = build_signal().model_copy(update=change)
    with pytest.raises(RecordingError, match=told):
        Decoder(model, source)


def test_two_nominal_rates_within_1e_4_are_equal(model):
    Decoder(model, build_signal(sfreq=128.01))


@pytest.mark.parametrize(
    ("samples", "stamps"), [(np.zeros((5, 3)), np.zeros(5)), (np.zeros((5, 4)), np.zeros(4)), (np.zeros(4), [0.0])]
)
def test_wrong_shapes_are_refused(model, samples, stamps):
    with pytest.raises(ValueError, match="is needed"):
        Decoder(model).push(samples, stamps)


def test_an_artefact_does_not_stay_in_the_state(tmp_path):
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Add", ["state_count", "sum"], ["next_state_count"]),
        helper.make_node("Concat", ["next_state_count", "state_count"], ["proba"], axis=1),
    ]
    shapes = {"x": (1, 4, 4), "state_count": (1, 1)}, {"proba": (1, 2), "next_state_count": (1, 1)}
    contract = build_contract(steps=[], n_times=4, hop=4, states=(build_state(),))
    engine = Engine(read_model(build_model(tmp_path / "m.onnx", contract, graph(nodes, {}, *shapes))))
    window, artefact = np.ones((4, 4), np.float32), np.full((4, 4), 3e38, np.float32)
    first, broken, after = (engine.run(x) for x in (window, artefact, window))
    assert np.isnan(broken).all() and after.tolist() == first.tolist() == [16.0, 0.0]


def test_states_travel_from_hop_to_hop_and_start_anew_after_a_gap(tmp_path):
    contract = build_contract(steps=[Clamp(limit=1.0)], n_times=4, hop=4, states=(build_state(),))
    decoder = rtdecode.load(build_model(tmp_path / "m.onnx", contract, counting_graph(4, 4)))
    recording = build_recording(88)
    recording.timestamps[77:] += 1.0
    counts = [None if p.proba is None else p.proba[0] for p in push_in_chunks(decoder, recording, [])]
    # Nothing is decoded before the channels were judged, after half a second.
    assert counts == [None] * 16 + [17, 18, 19, None, 1, 2]


def test_a_window_longer_than_the_recording_gives_abstentions_only(model):
    recording = build_recording(40)
    assert {p.reason for p in decode(model, recording)} == {"warming-up"}


def test_a_graph_that_gives_nan_leads_to_abstentions(tmp_path):
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0), helper.make_node("Sqrt", ["s"], ["r"])]
    nodes.append(helper.make_node("Reshape", ["r", "shape"], ["one"]))
    nodes.append(helper.make_node("Concat", ["one", "one"], ["proba"], axis=1))
    weights = {"axes": np.array([0, 1, 2]), "shape": np.array([1, 1])}
    proto = graph(nodes, weights, {"x": (1, 4, 4)}, {"proba": (1, 2)})
    contract = build_contract(steps=[Clamp(limit=9.0)], n_times=4, hop=4)
    decoder = rtdecode.load(build_model(tmp_path / "m.onnx", contract, proto))
    samples = build_recording(72).samples
    samples[64:68], samples[68:] = 1.0, -1.0
    reasons = [p.reason for p in decoder.push(samples, np.arange(72) / 128)]
    assert reasons[16:] == [None, "non-finite-output"]
