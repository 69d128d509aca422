"""The incremental form: it gives what the windowed one gives, whatever arrives, and a hop costs what is new."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.checkpoint import Checkpoint
from offline.export import export, to_onnx
from offline.models import LFCNN, VARCNN, BrainModule, Deep4Net, EEGNet, FBLightConvNet, Recurrent, ShallowFBCSPNet
from offline.models.base import Network
from rtdecode.bound import Bound
from rtdecode.contract import EventWindow, Incremental, Windowed
from rtdecode.decoder import Decoder
from rtdecode.device import DeviceSettings
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.model_file import ModelFile, read_model, rewrite, write_model
from rtdecode.parts import joined, together
from rtdecode.preprocessing import Clamp
from rtdecode.proof import prove_chunking
from rtdecode.ring import Features, aligned
from tests.builders import assert_same, build_contract, build_recording, build_signal
from tests.processes import run_rtdecode
from tests.test_decoder import broken, chunk_sizes

HOP = 3
# Of a single new value the graph is another one.
AT_EVERY_SAMPLE = {"varcnn", "eegnet", "shallow-joint", "deep4-avg", "brainmodule-plain"}
# What a window holds beyond the last feature differs, as do strides, dilations and kinds of pooling.
NETWORKS = {
    "lfcnn": lambda: LFCNN(5, 61, 3, n_latent=6, padding="valid", pooling=5, stride=3, pool_padding="valid"),
    "varcnn": lambda: VARCNN(5, 60, 3, n_latent=6, padding="valid", pool_type="avg"),
    "eegnet": lambda: EEGNet(5, 257, 3, padding="valid"),
    "eegnet-max": lambda: EEGNet(5, 200, 3, padding="valid", pool_type="max", nonlinearity="relu"),
    "shallow": lambda: ShallowFBCSPNet(5, 149, 3),
    "shallow-joint": lambda: ShallowFBCSPNet(5, 140, 3, split_first_layer=False, pool_type="max", batch_norm=False),
    "deep4": lambda: Deep4Net(5, 150, 3, n_filters=(9, 8), filter_lengths=4),
    "deep4-avg": lambda: Deep4Net(
        5, 151, 3, n_filters=(9,), filter_lengths=4, stride_before_pool=True, later_pool_type="avg"
    ),
    "fblightconvnet": lambda: FBLightConvNet(5, 120, 3, segment=40, bias=True),
    "brainmodule": lambda: BrainModule(5, 100, 3, hidden=8, depth=4, padding="valid", growth=1.3),
    "brainmodule-plain": lambda: BrainModule(5, 80, 3, hidden=8, depth=3, padding="valid", skip=False, glu=0),
}  # fmt: skip


@dataclass
class Both:
    """A network and its decoder files of either form."""

    network: Network
    windowed: ModelFile
    incremental: ModelFile

    @property
    def hop(self):
        return self.incremental.contract.window.hop


def contract_for(network, hop=HOP):
    contract = build_contract(build_signal(5), steps=[Clamp(limit=1e4)], n_times=network.n_times, hop=hop)
    outputs = contract.outputs.model_copy(update={"class_names": ("a", "b", "c")})
    return contract.model_copy(update={"outputs": outputs, "trials": None})


def incremental(network, path, hop=HOP):
    fused = network.eval().fused()
    parts = fused.stepping()
    form = Incremental(n_features=parts.n_features, stride=parts.stride, behind=parts.behind)
    write_model(to_onnx(fused, parts, hop), contract_for(network, hop).model_copy(update={"form": form}), path)
    return read_model(path)


def both_forms(name, folder):
    torch.manual_seed(0)
    network, hop = NETWORKS[name]().eval(), 1 if name in AT_EVERY_SAMPLE else HOP
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.running_mean, 0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    write_model(to_onnx(network.fused()), contract_for(network, hop), folder / "windowed.onnx")
    return Both(network, read_model(folder / "windowed.onnx"), incremental(network, folder / "incremental.onnx", hop))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in ("eegnet-max", "shallow-joint", "deep4-avg") else [])
        for name in NETWORKS
    ],
)
def both(request, tmp_path_factory):
    return both_forms(request.param, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    return both_forms("shallow", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def lfcnn(tmp_path_factory):
    return both_forms("lfcnn", tmp_path_factory.mktemp("model")).incremental


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).standard_normal((5, n_samples)).astype(np.float32)


def steps(engine, signal):
    """What an engine gives at each end of a hop, which is all that it takes."""
    hop = engine.n_times
    return {end: engine.run(signal[:, end - hop : end]) for end in range(hop, signal.shape[1] + 1, hop)}


def assert_agree(some, others):
    """The same but for rounding: also why there is nothing, and the label where it is not a matter of rounding."""
    assert [(p.sample, p.reason, p.imputed) for p in some] == [(p.sample, p.reason, p.imputed) for p in others]
    for a, b in zip(some, others, strict=True):
        if a.proba is not None:
            assert np.abs(a.proba - b.proba).max() < 1e-5
            assert a.label == b.label or np.diff(np.sort(b.proba)[-2:]) < 2e-5


def test_at_every_hop_it_gives_what_the_network_gives_for_the_window(both):
    signal, n_times = noise(both.network.n_times + 150), both.network.n_times
    given = {end: out for end, out in steps(Engine(both.incremental), signal).items() if end >= n_times}
    windows = np.stack([signal[:, end - n_times : end] for end in given])
    with torch.no_grad():
        expected = torch.softmax(both.network(torch.from_numpy(windows)), 1).numpy()
    assert len(given) == len(range(n_times + 150 - (n_times + 150) % both.hop, n_times - 1, -both.hop))
    assert np.ptp(expected, axis=0).max() > 1e-4
    assert np.abs(np.stack(list(given.values())) - expected).max() < 1e-5


@settings(max_examples=8)
@given(
    sizes=chunk_sizes,
    faults=st.dictionaries(st.integers(1, 400), st.sampled_from(["nan", "gap", "back", "stamp"]), max_size=2),
    resets=st.sets(st.integers(1, 400), max_size=2),
)
def test_any_chunks_gaps_and_resets_agree_with_the_windowed_form_and_with_one_push_to_the_bit(
    both, sizes, faults, resets
):
    recording = broken(faults, 700, build_signal(5))
    # Of the order of one, as what networks are trained on.
    recording.samples[:] *= np.float32(0.1)

    def decoded(model, sizes):
        decoder, ends, predictions = Decoder(model), {*np.cumsum(sizes, dtype=int), *resets, 700}, []
        for start, end in pairwise(sorted({0, *ends})):
            predictions += decoder.push(recording.samples[start:end], recording.timestamps[start:end])
            if end in resets:
                predictions.append(decoder.reset("stream-lost"))
        return predictions

    ours = decoded(both.incremental, sizes)
    assert any(p.proba is not None for p in ours)
    assert_same(ours, decoded(both.incremental, ()))
    assert_agree(ours, decoded(both.windowed, sizes))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_front_gives_the_same_features_a_sample_at_a_time_and_at_once(name):
    front, x = NETWORKS[name]().eval().fused().stepping().front, torch.from_numpy(noise(300))[None]
    with torch.no_grad():
        whole, *_ = front(x, *front.past)
        past, features = front.past, []
        for sample in x.split(1, dim=2):
            new, *past = front(sample, *past)
            features.append(new)
    assert torch.allclose(torch.cat(features, dim=1), whole, atol=1e-5)


def test_decoding_in_chunks_is_decoding_in_one_shot(both):
    recording = build_recording(600, build_signal(5))
    proof = prove_chunking(recording, lambda: Decoder(both.incremental))
    assert proof.one_shot and not proof.differing and proof.n_predictions > 50


def test_what_is_not_finite_leaves_with_the_window(tmp_path):
    # ONNX Runtime's rectifier and maximum let NaN through as a number, in either form.
    network = LFCNN(5, 60, 3, n_latent=6, padding="valid", nonlinearity="identity", pool_type="avg")
    signal, n_times = noise(400), network.n_times
    signal[2, 150] = np.nan
    given = steps(Engine(incremental(network, tmp_path / "m.onnx")), signal)
    finite = [end for end, out in given.items() if np.isfinite(out).all()]
    assert finite == [end for end in range(HOP, 401, HOP) if end >= n_times and not end - n_times <= 150 < end]


@pytest.mark.parametrize(
    ("name", "hop"),
    [
        pytest.param(name, hop, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])
        for name, hop in (("shallow", 100), ("shallow", 1), ("eegnet", 1), ("fblightconvnet", 1))
    ],
)
def test_a_million_samples_far_from_zero_leave_no_trace(tmp_path, name, hop):
    """A thousand standard deviations from zero, sums that are corrected rather than taken anew drift away."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    # What it was trained on lay there too.
    network(torch.randn(20, 5, network.n_times) + 1000)
    model = incremental(network, tmp_path / "m.onnx", hop=hop)
    engine, fresh, rng = Engine(model), Engine(model), np.random.default_rng(0)
    for _ in range(100):
        blocks = (rng.standard_normal((5, 10_000)) + 1000).astype(np.float32)
        given = steps(engine, blocks)
    anew = {end: values for end, values in steps(fresh, blocks).items() if end >= network.n_times}
    assert np.ptp(list(given.values()), axis=0).max() > 1e-4
    assert max(np.abs(given[end] - values).max() for end, values in anew.items()) < 1e-6


def test_the_front_does_not_know_how_long_the_window_is(tmp_path):
    shapes = []
    for n_times in (200, 800):
        model = incremental(LFCNN(5, n_times, 3, padding="valid"), tmp_path / "m.onnx")
        shapes.append({name: shape for name, shape in model.inputs.items() if name != "features"})
    assert shapes[0] == shapes[1]
    assert shapes[0]["x"] == (1, 5, HOP)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (LFCNN(5, 60, 3), "pads with zeros where the stream has a past"),
        (LFCNN(5, 60, 3, padding="valid", pooling=5, stride=2), "pads with zeros"),
        (EEGNet(5, 200, 3), "pads with zeros"),
        (BrainModule(5, 60, 3, hidden=4, depth=2, causal=True), "pads with zeros"),
        (Recurrent(ShallowFBCSPNet(5, 140, 3)), "from window to window"),
    ],
)
def test_what_has_no_incremental_form_says_why(network, told):
    with pytest.raises(ValueError, match=told):
        network.eval().fused().stepping()


def exported(network, path, form):
    probe = build_recording(network.n_times + 20 * HOP, build_signal(5))
    return export(Checkpoint(contract_for(network), network.eval(), probe), path, form=form)


@pytest.mark.slow
def test_the_faster_form_is_written_and_inspect_says_which_and_why(tmp_path):
    torch.manual_seed(0)
    model = exported(ShallowFBCSPNet(5, 3000, 3), tmp_path / "m.onnx", "auto")
    assert model.contract.form.kind == "incremental"
    assert model.contract.parity.torch_onnx_max < 1e-5 and model.contract.parity.n_windows > 100
    code, output = run_rtdecode("inspect", model.path)
    told = " ".join(output.split())
    assert code == 0
    assert "incremental: a hop costs its 3 new samples and a head over 194 features (" in told
    assert "ms a hop where it was exported; windowed," in told


def test_where_there_is_no_incremental_form_the_file_is_windowed_and_says_why(tmp_path):
    form = exported(LFCNN(5, 60, 3), tmp_path / "m.onnx", "auto").contract.form
    assert form.kind == "windowed" and "pads with zeros" in form.why


@pytest.mark.parametrize(
    ("form", "told"), [("incremental", "no incremental form: the network pads"), ("fast", "'fast'")]
)
def test_a_form_that_cannot_be_is_refused(tmp_path, form, told):
    with pytest.raises((ConfigurationError, ModelError), match=told):
        exported(LFCNN(5, 60, 3), tmp_path / "m.onnx", form)


@pytest.mark.parametrize(
    ("form", "more", "told"),
    [
        ({"n_features": 2, "stride": 3, "behind": 3}, {}, "a newer feature than the newest"),
        ({"n_features": 32, "stride": 2}, {}, "go beyond the window"),
        ({"n_features": 3}, {"events": EventWindow(first=0)}, "for sliding windows"),
    ],
)
def test_a_form_that_does_not_hold_is_refused(form, more, told):
    with pytest.raises(ValueError, match=told):
        build_contract(n_times=61, form=Incremental(**form), **more)


def test_a_form_that_is_not_the_graphs_is_refused(lfcnn, tmp_path):
    for form in (Windowed(), lfcnn.contract.form.model_copy(update={"n_features": 4})):
        wrong = rewrite(lfcnn, lfcnn.contract.model_copy(update={"form": form}), tmp_path / "m.onnx")
        with pytest.raises(ModelError, match="the graph takes"):
            Decoder(wrong)


def test_parts_that_are_not_apart_are_refused(lfcnn, tmp_path):
    proto = onnx.load_from_string(lfcnn.graph)
    head = next(node for node in proto.graph.node if "features" in node.input)
    head.input[list(head.input).index("features")] = "x"
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="cannot load"):
        Decoder(read_model(tmp_path / "m.onnx"))


def test_more_features_than_are_kept_are_refused(shallow, tmp_path):
    whole = shallow.incremental.contract
    form = whole.form.model_copy(update={"stride": 3_000_000})
    window = whole.window.model_copy(update={"n_times": 10_000_000})
    contract = whole.model_copy(update={"form": form, "window": window})
    with pytest.raises(ModelError, match="more features than"):
        Decoder(rewrite(shallow.incremental, contract, tmp_path / "m.onnx"))


def test_one_graph_that_keeps_its_features_gives_what_the_two_parts_give(both):
    model, n_hops = both.incremental, 3 * both.network.n_times // both.hop
    divided, x = Engine(model), aligned(model.inputs["x"])
    graph, carried = joined(model, model.contract.form)
    whole = Bound(model, graph, x, carried, DeviceSettings())
    expected, given = [], []
    for block in np.hsplit(noise(n_hops * both.hop), n_hops):
        expected.append(divided.run(block))
        x[0] = block
        given.append(whole.run().copy())
    # Until a window is full there is nothing to compare.
    full = np.isfinite(expected).all(axis=1)
    assert full.sum() > n_hops // 2 and np.abs(np.subtract(given, expected)[full]).max() < 1e-6


def in_two(model, monkeypatch):
    monkeypatch.setattr("rtdecode.parts.together", lambda *_: None)
    engine = Engine(model)
    monkeypatch.undo()
    return engine


def test_one_session_gives_what_one_for_each_part_gives(both, monkeypatch):
    signal = noise(both.network.n_times + 40 * both.hop)
    one, two = (steps(engine, signal) for engine in (Engine(both.incremental), in_two(both.incremental, monkeypatch)))
    given, expected = (np.stack([*values.values()][-40:]) for values in (one, two))
    assert np.ptp(expected, axis=0).max() > 1e-6
    assert np.abs(given - expected).max() < 1e-6


def test_a_head_that_needs_nothing_of_the_same_hop_gives_the_same_bits(tmp_path, monkeypatch):
    """The newest feature that it takes is of a sample before: the arithmetic is that of two sessions."""
    model = incremental(ShallowFBCSPNet(5, 149, 3), tmp_path / "m.onnx", hop=1)
    assert model.contract.form.behind >= 1
    signal = noise(300)
    one, two = (steps(engine, signal) for engine in (Engine(model), in_two(model, monkeypatch)))
    assert np.isfinite(one[300]).all()
    assert all(one[end].tobytes() == two[end].tobytes() for end in one)


@pytest.mark.parametrize(("hop", "inputs"), [pytest.param(1, 67, marks=pytest.mark.slow), (40, 64)])
def test_of_a_window_only_features_of_earlier_hops_are_given_to_the_graph(tmp_path, hop, inputs):
    torch.manual_seed(0)
    model = incremental(ShallowFBCSPNet(5, 1098, 3), tmp_path / "m.onnx", hop)
    form = model.contract.form
    assert (form.n_features, form.stride, form.behind) == (67, 15, 9)
    n_new = Features(form.n_features, 40, form.stride, form.behind).n_missing(hop)
    graph, *_ = together(model, n_new)
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load_from_string(graph).graph.input
    }
    assert shapes["features"] == [inputs * 40, 1]
