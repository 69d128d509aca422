"""How much each component has to do with each output.

Zubarev et al. 2019, doi 10.1016/j.neuroimage.2019.04.068, and the package MNEflow. Nothing here touches a network:
what is left out is left out of sums.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit, log_softmax
from scipy.stats import rankdata


@dataclass(frozen=True)
class Readout:
    """A dense layer, the features it saw, and what it should have said.

    Attributes
    ----------
    features : array, (n_windows, n_components, n_pooled)
        Pooled components.
    weights : array, (n_outputs, n_components, n_pooled)
        Of the dense layer.
    bias : array, (n_outputs,)
        Of the dense layer.
    targets : array, (n_windows,) of int, or (n_windows, n_outputs) of float
        The class of each window, or the values it should give, on the scale of the layer.
    """

    features: NDArray[np.floating]
    weights: NDArray[np.floating]
    bias: NDArray[np.floating]
    targets: NDArray[np.integer] | NDArray[np.floating]

    @property
    def classifies(self) -> bool:
        """Whether the outputs are classes."""
        return self.targets.ndim == 1

    @cached_property
    def wanted(self) -> NDArray[np.float64]:
        """What each output should be, (n_windows, n_outputs): 1 for the class of a window and 0 for others."""
        if not self.classifies:
            return self.targets.astype(np.float64)
        wanted: NDArray[np.float64] = np.eye(len(self.bias))[self.targets.astype(int)]
        return wanted

    @cached_property
    def contributions(self) -> NDArray[np.float64]:
        """What each component adds to each output of each window, (n_windows, n_components, n_outputs)."""
        return np.asarray(np.einsum("nkt,okt->nko", self.features, self.weights, dtype=np.float64, optimize=True))

    @property
    def contrasted(self) -> "Readout":
        """The same layer, of each class's weights only what it has beyond the mean over the windows' classes.

        Probabilities stay as they are: what all classes have in common, they do not see.
        """
        if not self.classifies:
            raise ValueError("only classes are contrasted with each other")
        shares = self.wanted.mean(axis=0)
        weights = self.weights - np.tensordot(shares, self.weights, axes=1)
        return replace(self, weights=weights, bias=self.bias - shares @ self.bias)

    @property
    def centred(self) -> "Readout":
        """The same layer, its features told as deviations from their means: what is left out counts as its mean then.

        A component that hardly changes adds to the outputs what the bias could add; without it they go astray, though
        it tells nothing.
        """
        means = self.features.mean(axis=0, dtype=np.float64)
        bias = self.bias + np.einsum("kt,okt->o", means, self.weights)
        return replace(self, features=self.features - means, bias=bias)

    def outputs(self, contributions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return what the layer says of each window, (n_windows, n_outputs): logits, or values.

        Parameters
        ----------
        contributions : array, (n_windows, n_components, n_outputs), optional
            In the place of its own.
        """
        given = self.contributions if contributions is None else contributions
        return np.asarray(given.sum(axis=1) + self.bias)

    def loss(self, contributions: NDArray[np.float64] | None = None) -> float:
        """Return the mean cross-entropy (nats), or the mean squared error.

        Parameters
        ----------
        contributions : array, (n_windows, n_components, n_outputs), optional
            In the place of its own.
        """
        raw = self.outputs(contributions)
        if self.classifies:
            return float(-(log_softmax(raw, axis=1) * self.wanted).sum(axis=1).mean())
        return float(((raw - self.wanted) ** 2).mean())

    @cached_property
    def correlations(self) -> NDArray[np.float64]:
        """Correlation of each feature with each output's target, (n_outputs, n_components, n_pooled).

        Pearson's with the membership of a class, Spearman's with a value; 0 where one of both never changes.
        """
        features, wanted = self.features.astype(np.float64), self.wanted
        if not self.classifies:
            features, wanted = rankdata(features, axis=0), rankdata(wanted, axis=0)
        features, wanted = features - features.mean(axis=0), wanted - wanted.mean(axis=0)
        norms = np.sqrt(np.einsum("o,kt->okt", (wanted**2).sum(axis=0), (features**2).sum(axis=0)))
        shared = np.einsum("no,nkt->okt", wanted, features, optimize=True)
        correlations: NDArray[np.float64] = np.divide(shared, norms, out=np.zeros_like(shared), where=norms > 0)
        return correlations


def by_norm(readout: Readout) -> NDArray[np.float64]:
    """Return the Euclidean norm of each component's weights for each output, (n_components, n_outputs)."""
    return np.asarray(np.linalg.norm(readout.weights, axis=2).T, np.float64)


def by_weight(readout: Readout) -> NDArray[np.float64]:
    """Return the largest of each component's weights for each output, (n_components, n_outputs)."""
    return np.asarray(readout.weights.max(axis=2).T, np.float64)


def by_correlation(readout: Readout) -> NDArray[np.float64]:
    """Return the largest correlation with the target among each component's features, (n_components, n_outputs)."""
    return np.asarray(readout.correlations.max(axis=2).T)


def by_weighted_correlation(readout: Readout) -> NDArray[np.float64]:
    """Return the largest |weight times correlation| of each component and output, (n_components, n_outputs)."""
    return np.asarray(np.abs(readout.weights * readout.correlations).max(axis=2).T)


def by_cross_entropy(readout: Readout) -> NDArray[np.float64]:
    """Return how near each component's best feature is to telling each class, (n_components, n_outputs).

    The paper's distance: the cross-entropy (nats) between the feature, taken as a log-odds, and the class. What is
    returned is its negative, so that more is more relevant here too.
    """
    if not readout.classifies:
        raise ValueError("the cross-entropy distance is for classes")
    features, wanted = readout.features.astype(np.float64), readout.wanted
    hit, miss = -log_expit(features), -log_expit(-features)
    distance = np.einsum("no,nkt->okt", wanted, hit) + np.einsum("no,nkt->okt", 1 - wanted, miss)
    return np.asarray(-distance.min(axis=2).T / len(features))


def by_elimination(readout: Readout) -> NDArray[np.float64]:
    """Return how much the loss grows without each component in each output, (n_components, n_outputs)."""
    whole, grown = readout.loss(), np.empty(readout.contributions.shape[1:])
    for k, o in np.ndindex(grown.shape):
        without = readout.contributions.copy()
        without[:, k, o] = 0
        grown[k, o] = readout.loss(without) - whole
    return grown


def combined_relevance(readout: Readout) -> NDArray[np.float64]:
    """Return the largest product of weight and class mean of each component and output, (n_components, n_outputs)."""
    means = np.einsum("no,nkt->okt", readout.wanted, readout.features) / readout.wanted.sum(axis=0)[:, None, None]
    return np.asarray((readout.weights * means).max(axis=2).T)


@dataclass(frozen=True)
class Elimination:
    """Components in the order in which they can be spared.

    Attributes
    ----------
    order : array of int, (n_components,)
        The least relevant first.
    losses : array of float64, (n_components + 1,)
        With all of them, without the first, and so on; the last with none.
    """

    order: NDArray[np.int_]
    losses: NDArray[np.float64]


def recursive_elimination(readout: Readout) -> Elimination:
    """Leave out, time and again, the component without which the loss is least: its features count as zero."""
    left, order = readout.contributions.copy(), list[int]()
    losses, there = [readout.loss()], list(range(left.shape[1]))
    while there:
        found = []
        for k in there:
            kept = left.copy()
            kept[:, k] = 0
            found.append(readout.loss(kept))
        least = int(np.argmin(found))
        losses.append(found[least])
        order.append(there.pop(least))
        left[:, order[-1]] = 0
    return Elimination(np.array(order), np.array(losses))


def by_permutation(readout: Readout, n_repeats: int, random: Generator) -> NDArray[np.float64]:
    """Return how much the loss grows with a component's features from other windows, (n_repeats, n_components).

    Any other windows, those of the same trial among them: what hardly changes within a trial may seem worth less.
    Breiman 2001, Random forests, doi 10.1023/A:1010933404324.
    """
    whole, grown = readout.loss(), np.empty((n_repeats, readout.contributions.shape[1]))
    for i, k in np.ndindex(grown.shape):
        shuffled = readout.contributions.copy()
        shuffled[:, k] = random.permutation(shuffled[:, k])
        grown[i, k] = readout.loss(shuffled) - whole
    return grown


def by_shapley(readout: Readout, n_orders: int, random: Generator) -> NDArray[np.float64]:
    """Return how much the loss falls as components come in, in each of `n_orders` random orders.

    The mean over orders estimates Shapley's value: components that tell the same share what it is worth, and the sum
    over components is what all of them are worth, in each order. Castro et al. 2009, doi 10.1016/j.cor.2008.04.004.

    Returns
    -------
    array of float64, (n_orders, n_components)
    """
    gained = np.empty((n_orders, readout.contributions.shape[1]))
    nothing = np.zeros_like(readout.contributions)
    for row in gained:
        there, loss = nothing.copy(), readout.loss(nothing)
        for k in random.permutation(len(row)):
            there[:, k] = readout.contributions[:, k]
            before, loss = loss, readout.loss(there)
            row[k] = before - loss
    return gained


def ranked(relevance: ArrayLike) -> NDArray[np.int_]:
    """Return the components (n_components, n_outputs), the most relevant for each output first."""
    return np.argsort(-np.asarray(relevance), axis=0, kind="stable")
