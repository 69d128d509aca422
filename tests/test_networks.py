"""The published networks against their published outputs, and what each of them promises."""

import json

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
from rtdecode.engine import Engine, read_model
from rtdecode.preprocessing import Clamp
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


@pytest.mark.parametrize("name", ["BrainModule", "BrainModule_subject", "BrainModule_merger"])
def test_brainmodule_is_reproduced_and_folds_its_subject_away(shared, tmp_path, name):
    oracle = np.load(shared / f"oracles/{name}.npz")
    network = brainmodule(oracle, json.loads(str(oracle["config"])))
    x, expected = torch.from_numpy(oracle["x"]), oracle["output"]
    subjects = torch.from_numpy(oracle["subject_index"]).long() if "subject_index" in oracle.files else None
    with torch.no_grad():
        assert np.abs(network(x, subjects).numpy() - expected).max() < 1e-5
    for i, window in enumerate(oracle["x"]):
        plain = network.for_subject(0 if subjects is None else int(subjects[i]))
        engine = exported(plain, tmp_path)
        proba = torch.softmax(torch.from_numpy(expected[i]), 0).numpy()
        assert np.abs(engine.run(window) - proba).max() < 1e-5


def exported(network, folder, hop=8):
    """Write the network as a decoder file and return its engine."""
    signal = build_signal(network.n_channels)
    contract = build_contract(signal, steps=[Clamp(limit=1e3)], n_times=network.n_times, hop=hop)
    names = tuple(f"class {i}" for i in range(network.n_outputs))
    outputs = contract.outputs.model_copy(update={"class_names": names})
    contract = contract.model_copy(update={"outputs": outputs, "trials": None})
    probe = build_recording(network.n_times + 20 * hop, signal)
    return Engine(read_model(export(Checkpoint(contract, network, probe), folder / "m.onnx").path))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("VARCNN", varcnn),
        ("EEGNet", eegnet),
        ("ShallowFBCSPNet", shallow),
        ("Deep4Net", deep4),
        ("FBLightConvNet", fblightconvnet),
        ("FBLightConvNet_iir_causal", fblightconvnet),
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


def trained(name, n_channels=5, n_times=500, n_outputs=3):
    """A network whose statistics are no longer trivial."""
    torch.manual_seed(0)
    network = make_network(name, inputs(n_channels, n_times, n_outputs), SETTINGS.get(name, {}))
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


@pytest.mark.parametrize(
    "settings",
    [{"growth": 1.3}, {"kernel": 4}, {"dilation_growth": 1.5}, {"batch_norm": False}, {"skip": False}, {"glu": 0}],
    ids=str,
)
def test_brainmodules_variants_keep_the_length_and_export(tmp_path, settings):
    torch.manual_seed(0)
    network = BrainModule(4, 60, 2, hidden=8, depth=4, **settings).eval()
    assert network.encoder(torch.zeros(1, 8, 60)).shape[2] == 60
    exported(network, tmp_path)


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
    from rtdecode.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="a window of 20 samples is too short"):
        make_network(name, inputs(5, 20, 3), {})
