"""A recurrent head: what it learns on sequences it gives window by window."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from offline.models import EEGNet, Inputs, make_network
from offline.models.recurrent import Recurrent


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


class _Step(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, *state):
        return self.model.step(x, *state)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.filterwarnings("ignore")  # the exporter warns of deprecations inside torch itself
def test_a_step_exports_with_its_state(cell):
    model, x = recurrent(cell), torch.randn(1, 5, 4, 200)
    names = [f"state_{name}" for name in model.state_names]
    program = torch.onnx.export(
        _Step(model),
        (x[:, 0], *model.initial_state()),
        input_names=["x", *names],
        output_names=["logits", *(f"next_{name}" for name in names)],
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    state = [tensor.numpy() for tensor in model.initial_state()]
    with torch.no_grad():
        expected = model(x)[0].numpy()
    for k, window in enumerate(x[0].numpy()):
        logits, *state = session.run(None, {"x": window[None], **dict(zip(names, state, strict=True))})
        assert np.allclose(logits[0], expected[k], atol=1e-5)


def test_every_parameter_learns_and_the_networks_limits_hold():
    model = Recurrent(EEGNet(4, 200, 3), "lstm", hidden=6).train()
    model(torch.randn(8, 5, 4, 200)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    with torch.no_grad():
        model.network.fc.weight.mul_(100)
    model.constrain()
    assert model.network.fc.weight.norm(dim=1).max() <= 0.25 + 1e-5


def test_what_has_no_last_layer_is_told():
    network = make_network("tests.test_networks:Described", Inputs(4, 200, 3, 128.0, tuple("abcd")), {})
    with pytest.raises(ValueError, match="a network whose last layer is its `fc`"):
        Recurrent(network)
