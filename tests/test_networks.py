"""The published networks against their published outputs, and what each of them promises."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from offline.checkpoint import Checkpoint
from offline.export import export
from offline.models import (
    NETWORKS,
    VARCNN,
    BrainModule,
    Deep4Net,
    EEGNet,
    FBLightConvNet,
    Inputs,
    ShallowFBCSPNet,
    make_network,
)
from offline.models.closed_form import ClosedForm
from offline.models.spectrum import Spectrum
from offline.recipes import FilterBankRecipe
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Clamp
from tests import formulas
from tests.builders import build_contract, build_recording, build_signal

# Those that learn by gradient descent; the others are in test_closed_form.
every_network = pytest.mark.parametrize("name", [n for n in NETWORKS if not issubclass(NETWORKS[n], ClosedForm)])


SETTINGS = {"fblightconvnet": {"segment": 100}, "brainmodule": {"hidden": 16, "depth": 4}}


def inputs(n_channels, n_times, n_outputs):
    return Inputs(n_channels, n_times, n_outputs, 128.0, tuple(f"E{i}" for i in range(n_channels)))


def load(network, weights):
    """Put numpy weights into a network; every parameter and statistic must be there."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), missing
    return network.eval()


def norm(oracle, theirs, ours):
    """Rename a batch norm's arrays."""
    keys = ("weight", "bias", "running_mean", "running_var")
    return {f"{ours}.{key}": oracle[f"w/{theirs}.{key}"] for key in keys}


def varcnn(oracle, config):
    n_latent, n_outputs = config["n_latent"], config["n_outputs"]
    fc = oracle["w/fc_weights"].reshape(-1, n_latent, n_outputs).transpose(2, 1, 0).reshape(n_outputs, -1)
    weights = {
        "demix.weight": oracle["w/dmx_weights"].T[:, :, None],
        "demix.bias": oracle["w/dmx_bias"],
        "temporal.weight": oracle["w/tconv_weights"][0].transpose(2, 1, 0),
        "temporal.bias": oracle["w/tconv_bias"],
        "fc.weight": fc,
        "fc.bias": oracle["w/fc_bias"],
    }
    return load(VARCNN(8, 64, 4, n_latent=n_latent, filter_length=config["filter_length"]), weights)


def eegnet(oracle, config):
    network = EEGNet(config["n_chans"], config["n_times"], config["n_outputs"])
    classifier = oracle["w/final_layer.conv_classifier.weight"]
    weights = {
        "temporal.weight": oracle["w/conv_temporal.weight"],
        "spatial.weight": oracle["eff/conv_spatial.weight"],
        "depth.weight": oracle["w/conv_separable_depth.weight"],
        "point.weight": oracle["w/conv_separable_point.weight"],
        "fc.weight": classifier.reshape(len(classifier), -1),
        "fc.bias": oracle["w/final_layer.conv_classifier.bias"],
        **norm(oracle, "bnorm_temporal", "norm_temporal"),
        **norm(oracle, "bnorm_1", "norm1"),
        **norm(oracle, "bnorm_2", "norm2"),
    }
    return load(network, weights)


def time_and_space(oracle):
    classifier = oracle["w/final_layer.conv_classifier.weight"]
    return {
        "temporal.weight": oracle["w/conv_time_spat.conv_time.weight"],
        "temporal.bias": oracle["w/conv_time_spat.conv_time.bias"],
        "spatial.weight": oracle["w/conv_time_spat.conv_spat.weight"],
        "fc.weight": classifier.reshape(len(classifier), -1),
        "fc.bias": oracle["w/final_layer.conv_classifier.bias"],
        **norm(oracle, "bnorm", "norm"),
    }


def shallow(oracle, config):
    return load(ShallowFBCSPNet(config["n_chans"], config["n_times"], config["n_outputs"]), time_and_space(oracle))


def deep4(oracle, config):
    weights = time_and_space(oracle)
    for block in (2, 3, 4):
        weights[f"blocks.{block - 2}.1.weight"] = oracle[f"w/conv_{block}.weight"][..., 0]
        weights |= norm(oracle, f"bnorm_{block}", f"blocks.{block - 2}.2")
    settings = {"n_temporal": config["n_filters_time"], "n_spatial": config["n_filters_spat"]}
    widths = tuple(config[f"n_filters_{block}"] for block in (2, 3, 4))
    network = Deep4Net(config["n_chans"], config["n_times"], config["n_outputs"], n_filters=widths, **settings)
    return load(network, weights)


def fblightconvnet(oracle, config):
    n_bands = oracle["act_filterbank"].shape[1]
    spatial = oracle["w/spatial_conv.0.weight"]
    weights = {
        "spatial.weight": spatial.reshape(len(spatial), -1, 1),
        "spatial.bias": oracle["w/spatial_conv.0.bias"],
        "attention": oracle["w/attn_conv.weight"][:, 0],
        "fc.weight": oracle["w/final_layer.weight"],
        "fc.bias": oracle["w/final_layer.bias"],
        **norm(oracle, "spatial_conv.1", "norm"),
    }
    settings = {"n_filters": config["n_filters_spat"], "segment": config["win_len"], "heads": config["heads"]}
    network = FBLightConvNet(n_bands * config["n_chans"], config["n_times"], config["n_outputs"], **settings)
    return load(network, weights)


def brainmodule(oracle, config):
    given = {"hidden_dim": "hidden", "n_virtual_channels": "n_virtual"}
    passed = ("hidden_dim", "depth", "dilation_period", "n_subjects", "subject_dim", "subject_layers",
              "embedding_scale", "n_virtual_channels")  # fmt: skip
    settings = {given.get(key, key): config[key] for key in passed if key in config}
    if "channel_positions" in oracle.files:
        settings |= {"positions": oracle["channel_positions"], "spatial_attention": True}
    network = BrainModule(config["n_chans"], config["n_times"], config["n_outputs"], **settings)
    renamed = {
        "input_projection": "projection", "encoder.sequence": "encoder.blocks", "final_layer.2": "fc",
        "subject_layers_module.weights": "subject_layer", "subject_embedding.embedding": "embedding",
        "merger.heads": "attention.heads",
    }  # fmt: skip
    weights = {}
    for key in oracle.files:
        name = key.removeprefix("w/")
        if name == key or name.endswith(("num_batches_tracked", "embedding.pos")):
            continue
        for theirs, ours in renamed.items():
            name = name.replace(theirs, ours)
        if name.startswith("encoder.glus."):
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        weights[name] = oracle[key]
    for buffer in ("attention.positions", "attention.embedding"):
        if buffer in network.state_dict():
            weights[buffer] = network.state_dict()[buffer].numpy()
    return load(network, weights)


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("BrainModule", "BrainModule_subject")),
        "BrainModule_merger",
    ],
)
def test_brainmodule_is_reproduced_and_folds_its_subject_away(shared, tmp_path, name):
    oracle = np.load(shared / f"oracles/{name}.npz")
    network = brainmodule(oracle, json.loads(str(oracle["config"])))
    x, expected = torch.from_numpy(oracle["x"]), oracle["output"]
    subjects = torch.from_numpy(oracle["subject_index"]).long() if "subject_index" in oracle.files else None
    with torch.no_grad():
        assert np.abs(network(x, subjects).numpy() - expected).max() < 1e-5
    of_whom = [0] * len(x) if subjects is None else subjects.tolist()
    engines = {subject: exported(network.for_subject(subject), tmp_path) for subject in set(of_whom)}
    proba = torch.softmax(torch.from_numpy(expected), 1).numpy()
    for i, subject in enumerate(of_whom):
        assert np.abs(engines[subject].run(oracle["x"][i]) - proba[i]).max() < 1e-5


def exported(network, folder, hop=8):
    """Write the network as a decoder file and return its engine."""
    signal = build_signal(network.n_channels)
    contract = build_contract(signal, steps=[Clamp(limit=1e3)], n_times=network.n_times, hop=hop)
    names = tuple(f"class {i}" for i in range(network.n_outputs))
    outputs = contract.outputs.model_copy(update={"class_names": names})
    contract = contract.model_copy(update={"outputs": outputs, "trials": None})
    probe = build_recording(network.n_times + 20 * hop, signal)
    return Engine(export(Checkpoint(contract, network, probe), folder / "m.onnx", form="windowed"))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("VARCNN", varcnn),
        ("EEGNet", eegnet),
        ("ShallowFBCSPNet", shallow),
        pytest.param("Deep4Net", deep4, marks=pytest.mark.slow),
        ("FBLightConvNet", fblightconvnet),
        pytest.param("FBLightConvNet_iir_causal", fblightconvnet, marks=pytest.mark.slow),
    ],
)
def test_published_outputs_are_reproduced_in_torch_and_from_the_file(shared, tmp_path, name, build):
    oracle = np.load(shared / f"oracles/{name}.npz")
    network = build(oracle, json.loads(str(oracle["config"])))
    x = oracle["x"] if "x" in oracle.files else oracle["x_bct"]
    if "act_filterbank" in oracle.files:
        x = oracle["act_filterbank"].reshape(len(x), -1, x.shape[2])
    with torch.no_grad():
        logits = network(torch.from_numpy(x)).numpy()
    assert np.abs(logits - oracle["output"]).max() < 1e-5
    engine = exported(network, tmp_path)
    expected = torch.softmax(torch.from_numpy(oracle["output"]), 1).numpy()
    assert np.abs(np.stack([engine.run(window) for window in x]) - expected).max() < 1e-5


def trained(name, n_channels=5, n_times=500, n_outputs=3, **settings):
    """A network whose statistics are no longer trivial."""
    torch.manual_seed(0)
    network = make_network(name, inputs(n_channels, n_times, n_outputs), SETTINGS.get(name, {}) | settings)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.randn(16, n_channels, n_times)).square().mean().backward()
        optimiser.step()
        network.constrain()
    return network.eval()


@every_network
def test_the_file_gives_what_torch_gives(tmp_path, name):
    network = trained(name)
    engine = exported(network, tmp_path)
    x = torch.randn(5, 5, 500)
    with torch.no_grad():
        expected = torch.softmax(network(x), 1).numpy()
    assert np.abs(np.stack([engine.run(window) for window in x.numpy()]) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "settings", "formula"),
    [
        ("varcnn", {}, formulas.varcnn),
        ("eegnet", {}, formulas.eegnet),
        ("eegnet", {"padding": "valid", "pool_type": "max"}, partial(formulas.eegnet, padding="valid", how=np.max)),
        ("eegnet", {"kernel_length": 33, "f1": 4, "d": 3}, formulas.eegnet),
        ("shallow", {}, formulas.shallow),
        ("shallow", {"pool_type": "max", "pooling": 70}, partial(formulas.shallow, how=np.max, size=70)),
        ("shallow", {"batch_norm": False, "nonlinearity": "elu"}, partial(formulas.shallow, activation=formulas.elu)),
        ("deep4", {}, formulas.deep4),
        ("deep4", {"first_pool_type": "avg", "later_pool_type": "avg"}, partial(formulas.deep4, how=np.mean)),
        ("fblightconvnet", {}, formulas.fblightconvnet),
        ("brainmodule", {}, formulas.brainmodule),
        ("brainmodule", {"growth": 1.3, "kernel": 4}, formulas.brainmodule),
        ("brainmodule", {"dilation_growth": 1.5}, partial(formulas.brainmodule, dilations=(1, 1, 2, 3))),
        ("brainmodule", {"batch_norm": False, "skip": False}, partial(formulas.brainmodule, skip=False)),
        ("brainmodule", {"glu": 1, "glu_context": 0}, partial(formulas.brainmodule, glu=1)),
    ],
)
def test_a_network_is_its_formulas_as_trained_and_as_exported(name, settings, formula):
    network, x = trained(name, **settings), torch.randn(2, 5, 500)
    weights = {key: value.double().numpy() for key, value in network.state_dict().items()}
    expected = np.stack([formula(window, weights) for window in x.double().numpy()])
    with torch.no_grad():
        assert np.allclose(network(x), expected, atol=2e-6)
        assert np.allclose(network.fused()(x), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("shallow", {"split_first_layer": False}),
        ("deep4", {"stride_before_pool": True, "n_filters": (10,), "filter_lengths": (4,)}),
        ("deep4", {"split_first_layer": False, "batch_norm": False, "first_pool_nonlinearity": "tanh"}),
        ("fblightconvnet", {"weight_softmax": False, "bias": True, "segment": 500}),
        ("eegnet", {"batch_norm_affine": False, "spatial_dropout": True}),
        ("brainmodule", {"n_fft": 32}),
        ("brainmodule", {"padding": "valid"}),
    ],
)
def test_what_is_exported_is_what_was_trained(name, settings):
    network, x = trained(name, **settings), torch.randn(2, 5, 500)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        assert torch.allclose(network.fused()(x), network(x), atol=2e-6)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@every_network
def test_a_new_head_for_another_number_of_outputs_leaves_the_features(name):
    network, x = trained(name), torch.randn(2, 5, 500)
    other = network.with_head(1)
    with torch.no_grad():
        before = network(x)
        assert other(x).shape == (2, 1)
        assert torch.equal(other.features(x), network.features(x))
        for parameter in other.parameters():
            parameter.zero_()
        assert torch.equal(network(x), before)


@every_network
def test_a_time_step_of_the_features_rests_on_its_receptive_field(name):
    network = trained(name)
    x = torch.randn(1, 5, 500, requires_grad=True)
    steps = network.sequence(x) if name == "brainmodule" else network.features(x)
    middle = steps.flatten(2)[0, :, steps.shape[2] // 2] if steps.dim() > 2 else steps
    middle.square().sum().backward()
    (seen,) = x.grad[0].abs().sum(dim=0).nonzero(as_tuple=True)
    field = network.receptive_field
    assert seen.max() - seen.min() + 1 <= (field or 500)
    assert field is None or seen.max() - seen.min() + 1 > field - (field - 1) // 3


@every_network
def test_one_windows_output_does_not_depend_on_the_others_of_its_batch(name):
    network, x = trained(name), torch.randn(4, 5, 500)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(window[None]) for window in x])
    assert torch.allclose(together, alone, atol=1e-5)


@every_network
def test_a_network_is_rebuilt_from_its_weights(name):
    network, again = trained(name), make_network(name, inputs(5, 500, 3), SETTINGS.get(name, {})).eval()
    again.load_state_dict(network.state_dict())
    x = torch.randn(2, 5, 500)
    with torch.no_grad():
        assert torch.equal(network(x), again(x))


@every_network
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    network = make_network(name, inputs(5, 500, 3), SETTINGS.get(name, {})).train()
    network(torch.randn(8, 5, 500)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_parameters_are_as_many_as_published():
    counts = {name: sum(p.numel() for p in NETWORKS[name](22, 1000, 4).parameters()) for name in ("lfcnn", "varcnn")}
    assert counts == {"lfcnn": 64_996, "varcnn": 71_940}


def test_brainmodule_is_as_large_as_published():
    assert sum(p.numel() for p in BrainModule(22, 1000, 4).parameters()) == 6_165_444


def test_brainmodules_receptive_field_is_67_samples_to_either_side():
    torch.manual_seed(0)
    network = BrainModule(2, 301, 2, hidden=4).eval()
    x = torch.randn(1, 2, 301, requires_grad=True)
    network.encoder(network.projection(x))[0, :, 150].sum().backward()
    (seen,) = x.grad[0].abs().sum(dim=0).nonzero(as_tuple=True)
    assert (seen.min().item(), seen.max().item()) == (150 - 67, 150 + 67)


def test_channels_that_are_dropped_are_made_up_for_by_the_others():
    network = BrainModule(8, 50, 2, hidden=4, depth=1, channel_dropout=0.5).train()
    seen = []
    network.projection.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    network(torch.ones(64, 8, 50))
    sums = seen[0].sum(dim=1)
    assert torch.allclose(sums[sums > 0], torch.tensor(8.0))
    assert (seen[0] == 0).any()


def test_a_network_for_several_people_asks_whose_data_it_sees():
    with pytest.raises(ValueError, match="whose data"):
        BrainModule(4, 50, 2, hidden=4, depth=1, n_subjects=3, subject_dim=2)(torch.zeros(1, 4, 50))


PLACES = tuple(map(tuple, np.random.default_rng(0).uniform(size=(5, 2)).tolist()))


def brain(n_times=60, n_subjects=0, **settings):
    """A small BrainModule in evaluation mode."""
    torch.manual_seed(0)
    types = ("eeg",) * 4 + ("eog",)
    told = Inputs(5, n_times, 2, 128.0, tuple("abcde"), PLACES, types, n_subjects=n_subjects)
    return make_network("brainmodule", told, {"hidden": 8, "depth": 4} | settings).eval()


def test_causal_features_of_a_sample_rest_on_no_later_one():
    network, x = brain(causal=True), torch.randn(1, 5, 60)
    later = torch.cat([x[:, :, :40], torch.randn(1, 5, 20)], dim=2)
    with torch.no_grad():
        a, b = network.sequence(x), network.sequence(later)
    assert network.causal and a.shape[2] == 60
    assert torch.equal(a[:, :, :40], b[:, :, :40]) and not torch.allclose(a[:, :, 40], b[:, :, 40])


@pytest.mark.parametrize("settings", [{}, {"kernel": 4, "growth": 1.5}, {"glu": 1, "skip": False}], ids=str)
def test_without_padding_the_context_stands_where_causal_padding_has_zeros(settings):
    padded, plain = brain(causal=True, **settings), brain(padding="valid", **settings)
    plain.load_state_dict(padded.state_dict())
    x, context = torch.randn(2, 5, 60), plain.receptive_field - 1
    with torch.no_grad():
        assert torch.allclose(plain.sequence(x), padded.sequence(x)[:, :, context:], atol=1e-6)
        assert torch.allclose(plain.features(x), plain.sequence(x).mean(dim=2))


@pytest.mark.parametrize("n_times", [96, 101])
def test_the_spectrum_is_torchs_own(n_times):
    x, hop, window = torch.randn(2, 3, n_times), 16, torch.hann_window(32)
    padded = torch.nn.functional.pad(x, (0, -n_times % hop))
    padded = torch.nn.functional.pad(padded, (8, 8), mode="reflect")
    frames = torch.stft(padded.flatten(0, 1), 32, hop, window=window, return_complex=True) / window.norm()
    parts = torch.view_as_real(frames).transpose(2, 3).reshape(2, 3 * 34, -1)
    assert torch.allclose(Spectrum(32, True)(x), parts, atol=2e-6)
    assert torch.allclose(Spectrum(32, False)(x), frames.abs().reshape(2, 3 * 17, -1), atol=2e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"subject_layers": True, "subject_dim": 3, "spatial_attention": True, "n_virtual": 7},
        {"subject_layers": True, "subject_layers_dim": "hidden", "embedding_scale": 10.0, "causal": True},
        {"subject_layers": True, "subject_dim": 3, "spatial_attention": True, "n_virtual": 7, "n_fft": 16},
        {"subject_layers": True, "subject_layers_identity": True, "n_fft": 16, "fft_complex": False},
        {"subject_dim": 3, "channel_dropout": 0.2, "padding": "valid"},
    ],
    ids=str,
)
def test_a_person_is_folded_away_whatever_stands_before(settings):
    network, x = brain(n_subjects=3, **settings), torch.randn(2, 5, 60)
    with torch.no_grad():
        expected = network(x, torch.tensor([2, 2]))
        assert torch.allclose(network.for_subject(2).fused()(x), expected, atol=1e-6)
        assert torch.allclose(network.fused()(x, torch.tensor([2, 2])), expected, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"n_fft": 16}, marks=pytest.mark.slow), {"n_fft": 16, "fft_complex": False}, {"padding": "valid"}],
    ids=str,
)
def test_brainmodules_variants_export(tmp_path, settings):
    exported(brain(spatial_attention=True, n_virtual=7, **settings), tmp_path)


def test_only_channels_of_the_type_asked_for_are_dropped():
    network = brain(channel_dropout=0.9, channel_dropout_type="eog", channel_dropout_rescale=False).train()
    seen = []
    network.projection.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    network(torch.ones(64, 5, 60))
    assert (seen[0][:, :4] == 1).all() and {0.0, 1.0} == set(seen[0][:, 4].unique().tolist())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"spatial_attention": True}, "where the sensors are"),
        ({"channel_dropout": 0.1, "channel_dropout_type": "eog"}, "needs the types of the channels"),
        ({"padding": "valid", "depth": 10}, "a window of at least 135 samples"),
        ({"causal": True, "n_fft": 16}, "rests on later samples"),
        ({"n_fft": 15}, "n_fft must be even"),
        ({"dilation_growth": 0.5}, "dilation_growth must be at least 1"),
        ({"activation": "swish"}, "must be one of relu, elu"),
        ({"positions": PLACES}, "has no setting 'positions'"),
    ],
    ids=str,
)
def test_what_brainmodule_cannot_be_is_told(settings, told):
    with pytest.raises(ConfigurationError, match=told):
        make_network("brainmodule", inputs(5, 60, 2), settings)


def test_fblightconvnet_is_as_large_as_published():
    assert sum(p.numel() for p in FBLightConvNet(9 * 22, 1000, 4).parameters()) == 6_596


def test_segments_that_would_drop_the_newest_samples_are_refused():
    with pytest.raises(ValueError, match="must divide the window"):
        FBLightConvNet(8, 1000, 2, segment=300)


def test_max_norms_hold_after_a_step_however_large():
    network = EEGNet(5, 500, 3)
    with torch.no_grad():
        network.spatial.weight.mul_(100)
        network.fc.weight.mul_(100)
    network.constrain()
    assert network.spatial.weight.flatten(1).norm(dim=1).max() <= 1 + 1e-5
    assert network.fc.weight.norm(dim=1).max() <= 0.25 + 1e-5


@pytest.mark.parametrize("name", ["eegnet", "shallow", "deep4"])
def test_a_window_that_is_too_short_is_told(name):
    with pytest.raises(ConfigurationError, match="a window of 20 samples is too short"):
        make_network(name, inputs(5, 20, 3), {})


class Described(torch.nn.Module):
    """A module of someone's own with all that a network may offer."""

    causal, receptive_field = True, 3

    def __init__(self, n_chans, n_outputs, positions=None):
        super().__init__()
        self.mix, self.out, self.positions = torch.nn.Conv1d(n_chans, 2, 3), torch.nn.Linear(2, n_outputs), positions

    def sequence(self, x):
        return self.mix(x)

    def features(self, x):
        return self.sequence(x).mean(dim=2)

    def forward(self, x):
        return self.out(self.features(x))

    def penalty(self):
        return self.out.weight.square().sum()

    def constrain(self):
        self.out.weight.data.clamp_(-0.1, 0.1)


def test_a_module_of_ones_own_takes_part_as_far_as_it_can():
    network = make_network("tests.test_networks:Described", Inputs(5, 60, 2, 128.0, tuple("abcde"), PLACES), {})
    x = torch.randn(2, 5, 60)
    assert network.module.positions == PLACES and network.causal and network.receptive_field == 3
    assert torch.equal(network.features(x), network.sequence(x).mean(dim=2))
    network.constrain()
    assert 0 < network.penalty().item() <= 4 * 0.1**2 + 1e-6
    other = network.with_head(1)
    assert other(x).shape == (2, 1) and torch.equal(other.features(x), network.features(x))


def test_a_module_without_features_says_so():
    network = make_network("torch.nn:Flatten", Inputs(1, 2, 2, 128.0, ("a",)), {})
    with pytest.raises(NotImplementedError, match="Flatten has no features"):
        network.features(torch.zeros(1, 1, 2))
    assert not network.causal and network.penalty() is None


def test_a_number_of_bands_means_the_published_ones():
    signal = build_signal(2, sfreq=250.0)
    bank = FilterBankRecipe(step="filter-bank", bands_hz=9).build(signal, None)
    assert bank.bands_hz == tuple((float(low), float(low + 4)) for low in range(4, 40, 4))
