"""What is put together when a file is loaded gives what each step by itself gives, and any chunks the same bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from offline.export import to_onnx
from offline.models import LFCNN, EEGNet, ShallowFBCSPNet
from rtdecode.contract import EventWindow
from rtdecode.decoder import Decoder
from rtdecode.device import DeviceSettings
from rtdecode.engine import Engine
from rtdecode.fusion import fuse
from rtdecode.mixing import without_mixing
from rtdecode.model_file import read_model
from rtdecode.preprocessing import (
    Chain,
    Clamp,
    Decimate,
    Filter,
    FilterBank,
    Linear,
    Pick,
    Resample,
    RunningStandardize,
    Scale,
    Standardize,
    merge,
)
from rtdecode.proof import prove_chunking
from tests.builders import (
    CLASSES,
    VALUES,
    assert_same,
    build_contract,
    build_model,
    build_recording,
    build_signal,
    graph,
)
from tests.processes import run_rtdecode
from tests.test_decoder import broken, chunk_sizes
from tests.test_stepping import contract_for, incremental

N_CHANNELS = 6
SIGNAL = build_signal(N_CHANNELS)
RANDOM = np.random.default_rng(5)
LEVEL = 1e5 * RANDOM.standard_normal(N_CHANNELS)


def dense(signal, n_out):
    weights = np.random.default_rng(n_out).standard_normal((n_out, signal.n_channels)) / signal.n_channels
    names = tuple(f"D{i}" for i in range(n_out))
    return Linear(matrix=weights, ch_names=names, ch_types=("eeg",) * n_out, units=("uV",) * n_out)


def standardize(signal):
    """As if the data lay a hundred thousand deviations from zero."""
    n = signal.n_channels
    return Standardize(mean=np.resize(LEVEL, n), std=np.linspace(0.5, 2, n))


def bands(sfreq):
    return (0.05 * sfreq, 0.1 * sfreq), (0.1 * sfreq, 0.2 * sfreq)


# Each makes a step for the signal that enters it.
KINDS = {
    "reference": Linear.average_reference,
    "fewer": lambda s: dense(s, max(1, s.n_channels - 3)),
    "more": lambda s: dense(s, s.n_channels + 2),
    "pick": lambda s: Pick.by_name(s, s.ch_names[::-2]),
    "scale": lambda s: Scale(factors=np.linspace(0.1, 3, s.n_channels), units=s.units),
    "standardize": standardize,
    "filter": lambda s: Filter.butterworth(s.sfreq, 0.05 * s.sfreq, 0.2 * s.sfreq, order=2),
    "lowpass": lambda s: Filter.butterworth(s.sfreq, None, 0.2 * s.sfreq, order=2),
    "bank": lambda s: FilterBank.butterworth(s.sfreq, bands(s.sfreq)),
    "decimate": lambda s: Decimate.design(2),
    "resample": lambda s: Resample.to_rate(s, 0.75 * s.sfreq),
    "clamp": lambda s: Clamp(limit=2.0),
    "running": lambda s: RunningStandardize(time_constant_s=0.5, minimum_s=0.0, sfreq=s.sfreq),
}  # fmt: skip


def made(kinds):
    steps, signal = [], SIGNAL
    for kind in kinds:
        steps.append(KINDS[kind](signal))
        signal = steps[-1].output(signal)
    return steps


def leaving(steps, samples, cuts, resets):
    chain, given = Chain(steps, SIGNAL), []
    for begin, end in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        if begin in resets:
            chain.reset()
        given.append(chain.process(samples[begin:end]))
    return np.concatenate(given)


@pytest.mark.parametrize("before", [("reference", "standardize"), ("scale", "standardize"), ("pick", "standardize")])
@pytest.mark.parametrize("between", ["clamp", "running"])
def test_channels_are_picked_behind_what_was_put_together(before, between):
    steps = made([*before, between, "pick"])
    samples = np.random.default_rng(0).standard_normal((150, N_CHANNELS)) + LEVEL
    merged, _ = merge(steps, SIGNAL, 1)
    assert len(merged) < len(steps)
    assert np.abs(leaving(merged, samples, [], []) - leaving(steps, samples, [], [])).max() < 1e-5


def test_factors_whose_product_is_too_large_are_not_put_together():
    steps = [Scale(factors=np.full(N_CHANNELS, factor), units=SIGNAL.units) for factor in (1e200, 1e200, 1e-200)]
    assert np.array_equal(leaving(merge(steps, SIGNAL, 1)[0], np.full((3, N_CHANNELS), 1e-150), [], []),
                          leaving(steps, np.full((3, N_CHANNELS), 1e-150), [], []))  # fmt: skip


@settings(max_examples=20)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=7),
    cuts=st.lists(st.integers(0, 150), max_size=6).map(sorted),
    resets=st.sets(st.integers(1, 150), max_size=2),
    far=st.booleans(),
)
def test_merged_steps_give_what_the_steps_give_whatever_they_are_and_however_far_from_zero(kinds, cuts, resets, far):
    steps = made(kinds)
    samples = (np.random.default_rng(0).standard_normal((150, N_CHANNELS)) + far * LEVEL).astype(np.float32)
    merged, _ = merge(steps, SIGNAL, 1)
    cuts = sorted({*cuts, *resets})
    expected = leaving(steps, samples.astype(float), cuts, resets)
    given = leaving(merged, samples.astype(float), cuts, resets)
    assert given.shape == expected.shape
    assert np.abs(given - expected).max(initial=0) <= 1e-5 * max(1, np.abs(expected).std())
    whole = leaving(merged, samples.astype(float), sorted(resets), resets)
    assert given.tobytes() == whole.tobytes()
    # What is waited for, and how late it comes, does not change.
    ours, theirs = Chain(merged, SIGNAL), Chain(steps, SIGNAL)
    for told in ("settling", "minimum", "factor", "group_delay_s", "warm_up"):
        assert getattr(ours, told) == getattr(theirs, told)
    assert ours.output.n_channels == theirs.output.n_channels and ours.output.sfreq == theirs.output.sfreq


def test_what_a_mean_adds_is_subtracted_before_the_filter_where_it_was():
    """Behind a low-pass a mean is a mean; before it, it is one that the filter has to let through."""
    kinds = ["standardize", "lowpass", "standardize", "fewer"]
    samples = RANDOM.standard_normal((400, N_CHANNELS)) + LEVEL
    merged, _ = merge(made(kinds), SIGNAL, 1)
    assert [step.step for step in merged] == ["mixed", "filter", "scaled"]
    expected = leaving(made(kinds), samples, [], set())
    assert np.abs(leaving(merged, samples, [], set()) - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        (["reference", "filter", "scale", "fewer"], ["mixed", "filter"]),
        (["reference", "scale", "pick", "standardize"], ["mixed"]),
        (["scale", "standardize"], ["scaled"]),
        (["filter", "decimate", "fewer"], ["linear", "filter", "decimate"]),
        (["filter", "more"], ["filter", "linear"]),
        (["filter", "clamp", "fewer"], ["filter", "clamp", "linear"]),
        (["reference", "bank", "fewer"], ["linear", "filter-bank", "linear"]),
        (["filter", "running", "fewer"], ["filter", "running-standardize", "linear"]),
        (["reference", "filter", "standardize"], ["linear", "filter", "standardize"]),
    ],
)
def test_what_saves_work_is_merged_and_nothing_else(kinds, left):
    merged, _ = merge(made(kinds), SIGNAL, 1)
    assert [step.step for step in merged] == left


def test_of_a_chain_however_long_few_ways_are_compared():
    """Each filter that a mixing could pass doubles them: forty would never end."""
    steps = made(["reference", "lowpass"] * 40 + ["fewer"])
    merged, _ = merge(steps, SIGNAL, 1)
    assert len(merged) < len(steps)


N_TIMES, N_MIXED = 24, 3


def mixing_graph(n_channels=N_CHANNELS, bias=True):
    """A mixing of the channels, a bias, a rectifier, and sums over the window."""
    rng = np.random.default_rng(1)
    weights = {
        "mix": rng.standard_normal((N_MIXED, n_channels, 1)).astype(np.float32) / n_channels,
        "bias": rng.standard_normal(N_MIXED).astype(np.float32),
        "dense": rng.standard_normal((N_MIXED * N_TIMES, 2)).astype(np.float32) / N_TIMES,
    }
    nodes = [
        helper.make_node("Conv", ["x", "mix", *(["bias"] if bias else [])], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["rectified"]),
        helper.make_node("Flatten", ["rectified"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["values"]),
    ]
    return graph(nodes, weights, {"x": (1, n_channels, N_TIMES)}, {"values": (1, 2)})


def mixing_model(folder, kinds, **more):
    contract = build_contract(SIGNAL, made(kinds), n_times=N_TIMES, **{"truth": VALUES, **more})
    return read_model(build_model(folder / "m.onnx", contract, mixing_graph()))


@pytest.fixture(
    scope="module", params=[["reference", "filter", "scale"], ["standardize", "reference", "filter", "decimate"]]
)
def model(request, tmp_path_factory):
    return mixing_model(tmp_path_factory.mktemp("model"), request.param)


@settings(max_examples=6)
@given(
    sizes=chunk_sizes,
    faults=st.dictionaries(st.integers(1, 600), st.sampled_from(["nan", "gap", "back", "stamp"]), max_size=2),
)
def test_a_decoder_gives_what_it_gives_step_by_step_and_any_chunks_the_same_bits(model, sizes, faults):
    recording = broken(faults, 700, SIGNAL)

    def decoded(sizes, **more):
        decoder, predictions, at = Decoder(model, **more), [], 0
        for size in [*sizes, 700]:
            predictions += decoder.push(recording.samples[at : at + size], recording.timestamps[at : at + size])
            at += size
        return predictions

    ours, step_by_step = decoded(sizes), decoded((), merge=False)
    assert Decoder(model).fused.model.inputs["x"][1] == N_MIXED
    assert_same(ours, decoded(()))
    assert [(p.sample, p.reason) for p in ours] == [(p.sample, p.reason) for p in step_by_step]
    pairs = [(a.values, b.values) for a, b in zip(ours, step_by_step, strict=True) if b.values is not None]
    assert len(pairs) > 10
    assert max(np.abs(a - b).max() for a, b in pairs) < 1e-5 * np.std([b for _, b in pairs])


def test_the_mixing_is_taken_out_of_the_graph_and_done_before_the_filter(tmp_path):
    decoder = Decoder(mixing_model(tmp_path, ["reference", "filter", "scale"]))
    assert [step.step for step in decoder.fused.chain.steps] == ["mixed", "filter"]
    assert decoder.engine.n_times == N_TIMES and decoder.fused.model.inputs["x"] == (1, N_MIXED, N_TIMES)
    # What the file says is told as it stands there.
    assert [step.step for step in decoder.chain.steps] == ["linear", "filter", "scale"]
    assert decoder.model.inputs["x"] == (1, N_CHANNELS, N_TIMES)


def test_inspect_shows_what_is_run_and_why(tmp_path):
    code, output = run_rtdecode("inspect", mixing_model(tmp_path, ["reference", "filter", "scale", "clamp"]).path)
    told = " ".join(output.split())
    assert code == 0
    assert "What is run of it" in told and "average reference (eeg): 6 -> 6 channels + scale to uV" in told
    assert "clamp at +-2: nothing that mixes channels moves past this" in told
    assert "the network's first mixing: 6 -> 3 channels stays in the graph, where it costs less" in told


def test_on_another_device_the_graph_stays_as_it_is(tmp_path):
    model = mixing_model(tmp_path, ["reference", "filter", "scale"])
    chain = Chain(made(["reference", "filter", "scale"]), SIGNAL)
    fused = fuse(model, chain, DeviceSettings(name="cuda"))
    assert fused.model is model and "'cuda'" in fused.told[0]


def test_windows_at_events_with_a_baseline_give_the_same(tmp_path):
    truth = {**VALUES, "trials": CLASSES["trials"]}
    events = EventWindow(first=-13, before=6, baseline=(1, 5), max_event_lag_s=0.5)
    model = mixing_model(tmp_path, ["reference", "filter", "scale"], truth=truth, events=events, hop=1)
    recording = build_recording(1200, SIGNAL)
    given = [Decoder(model, merge=merge).push(recording.samples, recording.timestamps, recording.events)
             for merge in (True, False)]  # fmt: skip
    assert Decoder(model).fused.model.inputs["x"][1] == N_MIXED
    assert len(given[0]) == len(recording.events) > 3
    pairs = [(a.values, b.values) for a, b in zip(*given, strict=True)]
    assert max(np.abs(a - b).max() for a, b in pairs) < 1e-5 * np.std([b for _, b in pairs])
    assert not prove_chunking(recording, lambda: Decoder(model)).differing


BEGIN_WITH_A_MIXING = {
    "lfcnn": lambda: LFCNN(5, 61, 3, n_latent=4, padding="valid", pooling=5, stride=3, pool_padding="valid"),
    "eegnet": lambda: EEGNet(5, 257, 3, padding="valid"),
}


@pytest.mark.parametrize(
    ("name", "hop"),
    [
        ("lfcnn", 0),
        ("eegnet", 1),
        *(
            pytest.param(*more, marks=pytest.mark.slow)
            for more in [("eegnet", 0), ("lfcnn", 1), ("lfcnn", 3), ("eegnet", 3)]
        ),
    ],
)
def test_a_networks_first_mixing_and_the_rest_of_its_graph_are_the_graph(tmp_path, name, hop):
    torch.manual_seed(0)
    network = BEGIN_WITH_A_MIXING[name]().eval()
    if hop:
        model = incremental(network, tmp_path / "m.onnx", hop)
    else:
        path = build_model(tmp_path / "m.onnx", contract_for(network), to_onnx(network.fused()))
        model = read_model(path)
    matrix, rest = without_mixing(model)
    assert matrix.shape == (rest.inputs["x"][1], 5)
    whole, behind, n_runs = Engine(model), Engine(rest), 2 * network.n_times // (hop or network.n_times)
    blocks = np.random.default_rng(0).standard_normal((n_runs, 5, whole.n_times)).astype(np.float32)
    given = [(whole.run(x), behind.run((matrix @ x).astype(np.float32))) for x in blocks]
    assert np.isfinite(given[-1][0]).all()
    assert np.nanmax(np.abs(np.subtract(*zip(*given, strict=True)))) < 1e-5


@pytest.mark.parametrize("hop", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_network_that_begins_with_more_than_one_sample_is_left_whole(tmp_path, hop):
    assert without_mixing(incremental(ShallowFBCSPNet(5, 149, 3).eval(), tmp_path / "m.onnx", hop)) is None
