"""The components of a network: what it reads off the channels by linear filters, and what it makes of them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offline.interpretation.relevance import Readout
from offline.models import Network
from offline.models.brainmodule import BrainModule
from offline.models.closed_form import ClosedForm
from offline.models.csplda import CSPLDA
from offline.models.eegnet import EEGNet
from offline.models.fblightconvnet import FBLightConvNet
from offline.models.lda import ShrinkageLDA
from offline.models.lfcnn import LFCNN
from offline.models.recurrent import Recurrent
from offline.models.schirrmeister import TimeThenSpace
from offline.models.tangent import TangentSpace

_Floats = NDArray[np.float64]
# Directions of each class that are shown of a tangent space.
_N_DIRECTIONS = 3


@dataclass(frozen=True)
class Components:
    """Linear spatial filters of a network.

    Attributes
    ----------
    what : str
        What they are, in a sentence.
    filters : array, (n_components, n_channels')
        A component is the sum over the channels that the network sees of filter times signal.
    kernels : array or None
        What each component is filtered with over time, as networks have it (correlated, not convolved):
        (n_components, n_taps), or (n_filters, n_components, n_taps) over all of them.
    weights : array, (n_components, n_outputs) or None
        What the network's own linear model gives each component for each output, if it is one number.
    in_power : bool
        Whether a component's power is what counts, so that its sign says nothing.
    share : array, (n_components,) or None
        How much of each filter over time and space (its squared norm) the pair that is shown stands for.
    exact : str
        What is not exact about them; empty if nothing is.
    features : callable or None
        From windows to pooled features (n_windows, n_components, n_pooled) of which the outputs are linear.
    without : callable or None
        Takes a component's number and returns a copy of the network without it.
    """

    what: str
    filters: _Floats
    kernels: _Floats | None = None
    weights: _Floats | None = None
    in_power: bool = False
    share: _Floats | None = None
    exact: str = ""
    features: Callable[[Tensor], Tensor] | None = None
    without: Callable[[int], Network] | None = None

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.filters)

    @property
    def signs(self) -> _Floats:
        """Which way round each component is seen by what follows: the sign of its kernel's largest tap.

        A filter and its kernel may both change sign, and nothing else of the network does.
        """
        if self.kernels is None:
            return np.ones(self.n)
        # Over all components: of the largest tap of any filter.
        taps = self.kernels if self.kernels.ndim == 2 else np.moveaxis(self.kernels, 1, 0).reshape(self.n, -1)
        return np.where(taps[np.arange(self.n), np.abs(taps).argmax(axis=1)] < 0, -1.0, 1.0)

    def readout(
        self, network: Network, windows: NDArray[np.float32], targets: NDArray[np.integer] | NDArray[np.floating]
    ) -> Readout | None:
        """Return the last layer over the components' features, if the outputs are linear in them.

        Values are put on the scale of the layer, as they are learned.
        """
        if self.features is None or self.n == 0:
            return None
        with torch.no_grad():
            parts = [self.features(torch.from_numpy(windows[i : i + 256])) for i in range(0, len(windows), 256)]
        pooled = torch.cat(parts).double().numpy()
        weights = array(network.fc.weight).reshape(network.n_outputs, *pooled.shape[1:])
        bias = array(network.fc.bias)
        if isinstance(network, ClosedForm) and targets.ndim == 1:
            weights, bias = centred(weights), centred(bias)
        if network.target_mean is not None and network.target_std is not None:
            values = np.log(targets) if network.target_log else targets
            targets = (values - array(network.target_mean)) / array(network.target_std)
        elif network.sharpness is not None:
            weights, bias = weights * float(network.sharpness), bias * float(network.sharpness)
        return Readout(pooled, weights, bias, targets)


def array(tensor: Tensor) -> _Floats:
    """Return weights as they are."""
    return np.asarray(tensor.detach().double().numpy())


def components_of(network: Network) -> Components | str:
    """Return the components of a network, or a sentence that says why it has none to show."""
    if isinstance(network, Recurrent):
        inner = components_of(network.network)
        return inner if isinstance(inner, str) else replace(inner, features=None, without=None, weights=None)
    for kind, made in _OF.items():
        if isinstance(network, kind):
            return made(network)
    return (
        f"A {type(network).__name__} has no linear spatial stage that is known here: what it rests on is shown by "
        "leaving out channels, times and bands."
    )


def _lfcnn(network: LFCNN) -> Components:
    temporal = array(network.temporal.weight)
    return Components(
        what="demixed components, each filtered over time, pooled, and read by the dense layer",
        filters=array(network.demix.weight)[:, :, 0],
        kernels=temporal[:, 0] if network.temporal.groups > 1 or len(temporal) == 1 else temporal,
        in_power=network.nonlinearity.name in ("square", "log"),
        features=network.features,
        without=_without(network, "demix", zero_bias=True),
    )


def _eegnet(network: EEGNet) -> Components:
    fused = network.fused()
    return Components(
        what="spatial filters, each behind its temporal filter",
        filters=array(network.spatial.weight)[:, 0, :, 0],
        kernels=array(fused.spatial.weight)[:, 0, 0],
        without=_without(network, "spatial"),
    )


def _time_then_space(network: TimeThenSpace) -> Components:
    fused = network.fused()
    assert isinstance(fused.temporal, nn.Conv1d)
    both = array(fused.temporal.weight)  # (n_filters, n_channels, n_taps)
    space, size, time = np.linalg.svd(both, full_matrices=False)
    share = size[:, 0] ** 2 / np.maximum((size**2).sum(axis=1), 1e-300)
    return Components(
        what="filters over time and space, each by the spatial and the temporal filter that come nearest to it",
        filters=space[:, :, 0] * size[:, :1],
        kernels=time[:, 0],
        in_power=getattr(getattr(network, "nonlinearity", None), "name", "") == "square",
        share=share,
        exact="each filter over time and space is shown by the nearest product of a spatial and a temporal one",
        without=_without(network, "spatial" if isinstance(network.spatial, nn.Conv2d) else "temporal"),
    )


def _fblightconvnet(network: FBLightConvNet) -> Components:
    return Components(
        what="filters over bands and channels, whose log variance counts",
        filters=array(network.spatial.weight)[:, :, 0],
        in_power=True,
        without=_without(network, "spatial"),
    )


def _brainmodule(network: BrainModule) -> Components | str:
    if network.spectrum is not None:
        return "This network begins with a spectrum of each channel: no linear stage mixes the channels themselves."
    if network.conditioned:
        return "This network tells people apart; the decoder of one of them has a spatial stage."
    folded = network.for_subject(0).eval()
    return Components(
        what="the first projection of the channels, spatial attention included",
        filters=array(folded.projection.weight)[:, :, 0],
        without=_without(folded, "projection", zero_bias=True),
    )


def _csplda(network: CSPLDA) -> Components:
    return Components(
        what="common spatial patterns, whose log power is read by a linear model",
        filters=array(network.spatial.weight)[:, :, 0],
        weights=centred(array(network.fc.weight)).T,
        in_power=True,
        features=lambda x: network.features(x)[:, :, None],
    )


def _lda(network: ShrinkageLDA) -> Components:
    weights = centred(array(network.fc.weight)).reshape(network.n_outputs, network.n_channels, -1)
    n_segments = weights.shape[2]
    filters = weights.transpose(0, 2, 1).reshape(-1, network.n_channels)
    own = np.kron(np.eye(network.n_outputs), np.ones((n_segments, 1)))
    return Components(
        what=f"the linear model itself, of each output and each of {n_segments} segments of the window in turn",
        filters=filters,
        weights=own * np.linalg.norm(filters, axis=1, keepdims=True),
        exact="the channels' covariance at one time stands for that of the segments' means",
    )


def _tangent(network: TangentSpace) -> Components | str:
    if len(network.prototypes):
        return (
            "With prototypes a tangent space rests on how windows go along with time courses, which no spatial "
            "filter tells. See the responses, and what it rests on by leaving out channels, times and bands."
        )
    size, whitening = network.n_channels, array(network.whitening)
    rows, columns = np.triu_indices(size)
    filters, weights = [], []
    for output, coefficients in enumerate(centred(array(network.fc.weight))):
        # What the model is, to first order about the mean: the trace of a matrix times the whitened covariance.
        matrix = np.zeros((size, size))
        matrix[rows, columns] = np.where(rows == columns, 1.0, 0.5**0.5) * coefficients
        values, vectors = np.linalg.eigh(matrix + matrix.T - np.diag(np.diag(matrix)))
        best = np.argsort(-np.abs(values))[: min(_N_DIRECTIONS, size)]
        filters += [whitening @ vectors[:, i] for i in best]
        weights += [values[i] * np.eye(network.n_outputs)[output] for i in best]
    return Components(
        what="the directions whose power counts most for each class, near the mean of the training data",
        filters=np.array(filters),
        weights=np.array(weights),
        in_power=True,
        exact="the model is not linear in power: these are its first order about the training mean",
    )


_OF: dict[Any, Callable[[Any], Components | str]] = {
    LFCNN: _lfcnn,
    EEGNet: _eegnet,
    TimeThenSpace: _time_then_space,
    FBLightConvNet: _fblightconvnet,
    BrainModule: _brainmodule,
    CSPLDA: _csplda,
    ShrinkageLDA: _lda,
    TangentSpace: _tangent,
}


def centred(weights: _Floats) -> _Floats:
    """Return a classifier's weights (n_outputs, ...) about their mean over outputs, which says the same.

    Of two classes scikit-learn gives one the weights of zero; so neither is without. A single output is as it is.
    """
    return weights - weights.mean(axis=0) if len(weights) > 1 else weights


def _without(network: Network, layer: str, zero_bias: bool = False) -> Callable[[int], Network]:
    """Return what makes a copy in which a filter gives nothing; weights of the network stay as they are."""

    def left_out(number: int) -> Network:
        other = copy.deepcopy(network)
        module = other.get_submodule(layer)
        with torch.no_grad():
            module.get_parameter("weight")[number] = 0
            if zero_bias and module.bias is not None:
                module.get_parameter("bias")[number] = 0
        return other.eval()

    return left_out
