"""LF-CNN against its published outputs, and against the formulas in numpy."""

import json

import numpy as np
import pytest
import torch

from offline.checkpoint import Checkpoint
from offline.export import export
from offline.models import LFCNN, VARCNN, Inputs, make_network
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError
from rtdecode.preprocessing import Clamp
from tests.builders import build_contract, build_recording, build_signal


def network_from(weights, **settings):
    """Build a network from weights in MNEflow's layout."""
    n_channels, n_latent = weights["dmx_weights"].shape
    filter_length = weights["tconv_weights"].shape[1]
    network = LFCNN(
        n_channels, n_outputs=weights["fc_bias"].size, n_latent=n_latent, filter_length=filter_length, **settings
    ).eval()
    n_outputs = weights["fc_bias"].size
    fc = weights["fc_weights"].reshape(-1, n_latent, n_outputs).transpose(2, 1, 0).reshape(n_outputs, -1)
    tensors = {
        "demix.weight": weights["dmx_weights"].T[:, :, None],
        "demix.bias": weights["dmx_bias"],
        "temporal.weight": weights["tconv_weights"][0, :, :, 0].T[:, None, :],
        "temporal.bias": weights["tconv_bias"],
        "fc.weight": fc,
        "fc.bias": weights["fc_bias"],
    }
    network.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in tensors.items()})
    return network


def numpy_lfcnn(x, weights, pooling, stride, pool_type, padding):
    """The formulas, window by window, with loops: logits (n_outputs,) of x (n_channels, n_times)."""
    latent = weights["dmx_weights"].T @ x + weights["dmx_bias"][:, None]
    kernels = weights["tconv_weights"][0, :, :, 0].T
    length = kernels.shape[1]
    if padding == "same":
        left = (length - 1) // 2
        latent = np.pad(latent, ((0, 0), (left, length - 1 - left)))
    n = latent.shape[1] - length + 1
    filtered = np.stack([(latent[:, t : t + length] * kernels).sum(axis=1) for t in range(n)], axis=1)
    active = np.maximum(filtered + weights["tconv_bias"][:, None], 0)
    n_pooled = -(-n // stride)
    left = max((n_pooled - 1) * stride + pooling - n, 0) // 2
    pool = np.max if pool_type == "max" else np.mean
    pooled = np.stack(
        [pool(active[:, max(i * stride - left, 0) : i * stride - left + pooling], axis=1) for i in range(n_pooled)]
    )
    return pooled.reshape(-1) @ weights["fc_weights"] + weights["fc_bias"]


def random_weights(n_channels, n_latent, length, n_features, n_outputs=3):
    rng = np.random.default_rng(0)
    shapes = {
        "dmx_weights": (n_channels, n_latent),
        "dmx_bias": (n_latent,),
        "tconv_weights": (1, length, n_latent, 1),
        "tconv_bias": (n_latent,),
        "fc_weights": (n_features * n_latent, n_outputs),
        "fc_bias": (n_outputs,),
    }
    return {name: rng.standard_normal(shape).astype(np.float32) * 0.3 for name, shape in shapes.items()}


def proba_from_file(network, x, folder):
    """Export and run each window (batch, n_channels, n_times)."""
    n_channels, n_times = x.shape[1:]
    signal = build_signal(n_channels)
    contract = build_contract(signal, steps=[Clamp(limit=1e3)], n_times=n_times, hop=8)
    names = tuple(f"class {i}" for i in range(network.n_outputs))
    outputs = contract.outputs.model_copy(update={"class_names": names})
    contract = contract.model_copy(update={"outputs": outputs, "trials": None})
    engine = Engine(
        export(Checkpoint(contract, network, build_recording(600, signal)), folder / "m.onnx", form="windowed")
    )
    return np.stack([engine.run(window) for window in x])


@pytest.mark.parametrize("name", ["LFCNN", "LFCNN_alt_valid"])
def test_published_outputs_are_reproduced_in_torch_and_from_the_file(shared, tmp_path, name):
    oracle = np.load(shared / f"oracles/{name}.npz")
    config = json.loads(str(oracle["config"]))
    weights = {key[2:]: oracle[key] for key in oracle.files if key.startswith("w/")}
    network = network_from(
        weights,
        n_times=config["n_times"],
        pooling=config["pooling"],
        stride=config["stride"],
        pool_type=config["pool_type"],
        padding=config["padding"].lower(),
        nonlinearity=config["nonlin"],
    )
    with torch.no_grad():
        logits = network(torch.from_numpy(oracle["x_bct"])).numpy()
    assert np.abs(logits - oracle["output"]).max() < 1e-5
    expected = torch.softmax(torch.from_numpy(oracle["output"]), 1).numpy()
    assert np.abs(proba_from_file(network, oracle["x_bct"], tmp_path) - expected).max() < 1e-5


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("pool_type", ["max", "avg"])
@pytest.mark.parametrize(("length", "pooling", "stride"), [(7, 2, 2), (9, 4, 3), (4, 5, 2), (1, 3, 5), (6, 50, 50)])
def test_the_network_is_its_formulas(padding, pool_type, length, pooling, stride):
    n_times, n_channels = 41, 5
    n_filtered = n_times if padding == "same" else n_times - length + 1
    weights = random_weights(n_channels, 3, length, -(-n_filtered // stride))
    settings = {"pooling": pooling, "stride": stride, "pool_type": pool_type, "padding": padding}
    network = network_from(weights, n_times=n_times, **settings)
    x = np.random.default_rng(1).standard_normal((6, n_channels, n_times)).astype(np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(x)).numpy()
    expected = np.stack([numpy_lfcnn(window, weights, **settings) for window in x])
    assert np.allclose(logits, expected, atol=1e-5)


def test_parameters_are_as_many_as_published():
    assert sum(p.numel() for p in LFCNN(22, 1000, 4).parameters()) == 64_996


def test_biases_start_at_a_tenth():
    assert all((p == 0.1).all() for name, p in LFCNN(4, 50, 2).named_parameters() if name.endswith("bias"))


def test_the_penalty_is_the_sum_of_absolute_weights_of_its_scope():
    network = LFCNN(4, 50, 2, l1=0.5, l1_scope=("fc", "demix"), l2=0.25, l2_scope=("temporal",))
    expected = (
        0.5 * (network.fc.weight.abs().sum() + network.demix.weight.abs().sum())
        + 0.25 * (network.temporal.weight**2).sum()
    )
    assert network.penalty().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("make", [LFCNN, VARCNN])
def test_each_component_and_output_keeps_a_norm_of_one(make):
    network = make(4, 50, 2, n_latent=3, unit_norm=("demix", "temporal", "fc"))
    network.train()(torch.randn(8, 4, 50)).square().sum().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    network.constrain()
    for layer in (network.demix, network.temporal, network.fc, network.with_head(5).fc):
        assert torch.allclose(layer.weight.flatten(1).norm(dim=1), torch.ones(len(layer.weight)))


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("lfcn", {}, "did you mean 'lfcnn'"),
        ("lfcnn", {"n_latnt": 4}, "did you mean 'n_latent'"),
        ("lfcnn", {"pool_type": "median"}, "must be one of max, avg; got 'median'"),
        ("lfcnn", {"padding": "valid", "filter_length": 99}, "longer than the window"),
        ("lfcnn", {"n_outputs": 3}, "has no setting"),
    ],
)
def test_a_wrong_setting_is_told_with_the_right_one(name, settings, told):
    with pytest.raises(ConfigurationError, match=told):
        make_network(name, Inputs(4, 50, 2, 100.0, tuple("abcd")), settings)


def test_the_exported_decoder_runs_as_torch_does(tmp_path):
    """Preprocessing, windows and network from the file, against torch on windows cut by hand."""
    signal = build_signal()
    network = LFCNN(4, 32, 2).eval()
    contract = build_contract(signal, steps=[Clamp(limit=20.0)], n_times=32, hop=8)
    recording = build_recording(400, signal)
    model = export(Checkpoint(contract, network, recording), tmp_path / "m.onnx")
    clipped = np.clip(recording.samples, -20, 20)
    for p in Decoder(model).push(recording.samples, recording.timestamps):
        if p.proba is not None:
            window = torch.from_numpy(clipped[p.sample - 31 : p.sample + 1].T.copy())[None]
            with torch.no_grad():
                expected = torch.softmax(network(window), 1)[0].numpy()
            assert np.allclose(p.proba, expected, atol=1e-5)
