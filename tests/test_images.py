"""In a decoder file what stands along time is an image of one row; the numbers stay those of the network."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from offline.export import to_onnx
from offline.models import LFCNN, BrainModule, Deep4Net, EEGNet
from offline.models.base import Network


class Computed(Network):
    """Convolves with weights that it computes."""

    def __init__(self, n_channels, n_times, n_outputs):
        super().__init__(n_channels, n_times, n_outputs)
        self.fc = torch.nn.Linear(n_times, n_outputs)

    def features(self, x):
        return torch.nn.functional.conv1d(x, x.mean(dim=2)[:1, :, None].sigmoid())


@pytest.mark.parametrize(
    "network",
    [
        LFCNN(5, 60, 3, pooling=5, stride=3, nonlinearity="square"),
        LFCNN(5, 61, 3, pooling=5, stride=3, pool_type="avg", nonlinearity="gelu"),
        EEGNet(5, 200, 3),
        Deep4Net(5, 150, 3, n_filters=(9,), later_pool_type="avg"),
        BrainModule(5, 40, 3, hidden=8, depth=3),
    ],
    ids=["lfcnn", "lfcnn-avg", "eegnet", "deep4", "brainmodule"],
)
def test_convolutions_over_time_become_those_of_images(network):
    proto = to_onnx(network.eval().fused())
    weights = {weight.name: weight for weight in proto.graph.initializer}
    kernels = [weights[node.input[1]].dims for node in proto.graph.node if node.op_type == "Conv"]
    assert kernels and all(len(kernel) == 4 for kernel in kernels)
    assert_same_numbers(network, proto)


def test_weights_that_are_computed_stay_as_they_are():
    network = Computed(5, 40, 3)
    assert_same_numbers(network, to_onnx(network.eval()))


def assert_same_numbers(network, proto):
    x = torch.randn(1, network.n_channels, network.n_times)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"x": x.numpy()})
    with torch.no_grad():
        assert np.allclose(given, network.outputs(x), atol=1e-6)


def test_between_two_convolutions_nothing_goes_back_to_rows():
    proto = to_onnx(LFCNN(5, 60, 3, padding="valid").eval().fused())
    first, *_ = [node.op_type for node in proto.graph.node]
    n_turned = sum(node.op_type in ("Squeeze", "Unsqueeze") for node in proto.graph.node)
    assert first == "Unsqueeze" and n_turned == 2
