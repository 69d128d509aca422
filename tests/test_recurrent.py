"""A recurrent head: what it learns on sequences it gives window by window."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from offline.checkpoint import make_checkpoint, read_checkpoint
from offline.dataset import Cutter, load_dataset
from offline.evaluation import run_fold
from offline.export import export
from offline.learning import PenalisedNet
from offline.models import EEGNet, Inputs, Recurrent, make_network
from offline.partition import make_folds
from offline.simulation import simulate
from offline.sources import find_sources
from offline.training import build
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError
from tests.test_training import configuration


def recurrent(cell, network="lfcnn"):
    torch.manual_seed(0)
    told = Inputs(4, 200, 3, 128.0, tuple("abcd"))
    return Recurrent(make_network(network, told, {}), cell, hidden=6).eval()


@pytest.mark.parametrize("network", ["lfcnn", "eegnet", "shallow"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_window_by_window_is_the_sequence(cell, network):
    model, x = recurrent(cell, network).double(), torch.randn(2, 5, 4, 200).double()
    with torch.no_grad():
        expected, state = model(x), [tensor.double() for tensor in model.initial_state(2)]
        for k in range(5):
            logits, *state = model.fused().step(x[:, k], *state)
            assert torch.allclose(logits, expected[:, k], atol=1e-12)


def test_every_parameter_learns_and_the_networks_limits_hold():
    model = Recurrent(EEGNet(4, 200, 3), "lstm", hidden=6).train()
    model(torch.randn(8, 5, 4, 200)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    with torch.no_grad():
        model.network.fc.weight.mul_(100)
    model.constrain()
    assert model.network.fc.weight.norm(dim=1).max() <= 0.25 + 1e-5


def test_what_has_no_last_layer_is_told():
    network = make_network("tests.test_foreign:Mean", Inputs(4, 200, 3, 128.0, tuple("abcd")), {})
    with pytest.raises(ValueError, match="a network whose last layer is its `fc`"):
        Recurrent(network)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for run in (1, 2):
        simulate(12, run).save(folder / f"run-{run}.npz")
    settings = configuration(
        recordings={"pattern": "run-{run}.npz", "decoder_per": None},
        model={"recurrent": {"cell": "lstm", "hidden": 5}},
        training={"max_epochs": 2},
        window={"stride_s": 0.5},
        baseline=None,
    )
    return load_dataset(settings, find_sources(settings, folder)["all"])


@pytest.fixture(scope="module")
def result(dataset):
    return run_fold(dataset, make_folds(dataset)[0])


@pytest.fixture(scope="module")
def model(dataset, result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_checkpoint(dataset, result.fitted, {1}, []).save(folder / "c.pt")
    return export(read_checkpoint(folder / "c.pt"), folder / "m.onnx")


def test_the_file_carries_the_state_and_decoding_does_not_depend_on_chunking(model):
    assert [state.name for state in model.contract.states] == ["h", "c"]
    assert model.contract.parity.chunked_identical and model.contract.parity.n_chunked_predictions > 30


def test_every_trial_is_a_sequence_that_starts_anew(dataset, result, model):
    trial = next(t for t in dataset.trials if t.id in result.fold.test)
    windows = Cutter(dataset, result.fitted.steps).cut([trial], result.fitted.n_times, result.fitted.hop)
    engine = Engine(model)
    stepped = np.stack([engine.run(x) for x in windows.x])
    assert len(stepped) > 5
    assert np.abs(stepped - result.fitted.outputs(windows)).max() < 1e-5
    alone = [Engine(model).run(x) for x in windows.x]
    assert np.abs(stepped - alone).max() > 1e-4


def test_the_windows_of_a_sequence_are_a_hop_apart(dataset, result):
    steps, n_times, hop = result.fitted.steps, result.fitted.n_times, result.fitted.hop
    trial = dataset.trials[0]
    stride = round(dataset.configuration.stride_s * 160)
    assert stride == hop != round(dataset.configuration.window.stride_s * 160)
    windows = Cutter(dataset, steps).cut([trial], n_times, stride)
    assert np.array_equal(windows.x[1][:, : n_times - hop], windows.x[0][:, hop:])


def test_every_window_of_a_sequence_is_learned_from(dataset):
    """Half of what a sequence is asked for is wrong at its beginning: the loss must show it."""
    network = build(dataset, dataset.trials)[1]
    net = PenalisedNet(network, criterion=torch.nn.CrossEntropyLoss).initialize()
    confident = torch.tensor([20.0, -20.0]).expand(1, 4, 2)
    wrong_first, right = torch.tensor([[1, 1, 0, 0]]), torch.zeros(1, 4, dtype=torch.long)
    assert net.get_loss(confident, wrong_first) > 10 > net.get_loss(confident, right)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network": "tangent-space", "settings": {}}, "learns by gradient descent"),
        ({"network": "lfcnn", "recurrent": {"hidden": 0}}, "hidden"),
    ],
)
def test_what_cannot_be_recurrent_is_told(dataset, change, told):
    with pytest.raises((ConfigurationError, ValueError), match=told):
        settings = configuration(model={"recurrent": {}, **change})
        build(replace(dataset, configuration=settings), dataset.trials)
