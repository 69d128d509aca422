"""In a decoder file what stands along time is an image of one row; the numbers stay those of the network."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from offline.export import to_onnx
from offline.models import LFCNN, BrainModule, Deep4Net, EEGNet


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
    proto, x = to_onnx(network.eval().fused()), torch.randn(1, network.n_channels, network.n_times)
    weights = {weight.name: weight for weight in proto.graph.initializer}
    kernels = [weights[node.input[1]].dims for node in proto.graph.node if node.op_type == "Conv"]
    assert kernels and all(len(kernel) == 4 for kernel in kernels)
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
