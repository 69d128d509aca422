"""A permutation test: what could be had if the truth were another order of itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.scoring import TOO_FEW, against_others
from rtdecode.surrogates import dependence, enough, members, shifts

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
# Equal figures may differ by how their sums were rounded.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Null:
    """A figure, and what it is when truths are exchanged.

    Attributes
    ----------
    name : str
        Of the figure.
    observed : float
        With the truths where they belong.
    values : array, (n_permutations,)
        With truths exchanged within each recording; none where that would mean nothing.
    """

    name: str
    observed: float
    values: _Floats

    @property
    def p(self) -> float:
        """Share of exchanges that are as good or better, the observed one among them; NaN without any.

        So it is never 0 (Phipson, Smyth 2010, doi 10.2202/1544-6115.1585).
        """
        if not len(self.values):
            return nan
        at_least = np.count_nonzero(self.values >= self.observed - _ROUNDING)
        return float((1 + at_least) / (1 + len(self.values)))

    @property
    def told(self) -> str:
        """The p in words."""
        if not len(self.values):
            return f"no p: {TOO_FEW}"
        return f"p = {self.p:.2g} of {len(self.values)} permutations"


def exchanges(blocks: Sequence[int], n: int, seed: int) -> Iterator[_Ints]:
    """Give `n` random orders (n_trials,), in which only trials of one block have changed places.

    Exchangeable are trials of a recording: what differs between recordings (how many trials of a class, how well it
    went) stays as it is. That labels come in random order within each is taken for granted.
    """
    parts = members(blocks)
    rng = np.random.default_rng(seed)
    for _ in range(n):
        order = np.arange(len(blocks))
        for inside in parts:
            order[inside] = rng.permutation(inside)
        yield order


def permute_classes(truth: ArrayLike, evidence: _Floats, blocks: Sequence[int], n: int, seed: int) -> list[Null]:
    """Test accuracy and AUC of trials: truth (n_trials,), evidence (n_trials, n_classes), block of each.

    Cohen's kappa has the p of the accuracy: an exchange leaves both margins of the confusion matrix as they are. The
    AUC is that of ranks, which stay (Mann, Whitney 1947, doi 10.1214/aoms/1177730491).
    """
    from scipy.stats import rankdata

    truth, decided = np.asarray(truth), evidence.argmax(axis=1)
    classes, label, n_of = np.unique(truth, return_inverse=True, return_counts=True)
    measures: dict[str, Callable[[_Ints], float]] = {
        "accuracy": lambda order: float(np.mean(truth[order] == decided))
    }
    if len(classes) > 1:
        ranks = rankdata(against_others(evidence[:, classes]), axis=0)
        trial, least, pairs = np.arange(len(truth)), n_of * (n_of + 1) / 2, n_of * (len(truth) - n_of)

        def mean_auc(order: _Ints) -> float:
            sums = np.bincount(label[order], ranks[trial, label[order]])
            return float(np.mean((sums - least) / pairs))

        measures["AUC"] = mean_auc
    shuffled = [[measure(order) for measure in measures.values()] for order in exchanges(blocks, n, seed)]
    as_it_is = np.arange(len(truth))
    return [
        Null(name, measure(as_it_is), column)
        for (name, measure), column in zip(measures.items(), np.array(shuffled).T, strict=True)
    ]


def permute_values(
    truth: _Floats, predicted: _Floats, blocks: Sequence[int], n: int, seed: int, in_time: bool
) -> list[Null]:
    """Test R2 and Spearman's correlation of one target (n_segments, n_windows), segments exchanged whole.

    `in_time`: they follow each other in their recording, so that neighbours are alike. Then the truth of each is
    shifted in time (see `surrogates.shifts`); to exchange them as if they were independent would take what any two
    slow signals have in common by chance for decoding. Nothing is tested where there are too few.

    With the order only the sum of products of truth and prediction changes, and it is made of those of two segments.
    """
    from scipy.stats import rankdata

    orders, predicted_order = list(_orders(truth, blocks, n, seed, in_time)), np.arange(len(truth))

    def sums(t: _Floats, p: _Floats) -> tuple[float, _Floats]:
        products = t @ p.T
        drawn = [products[order, predicted_order].sum() for order in orders]
        return float(np.trace(products)), np.array(drawn, np.float64)

    t, p = truth - truth.mean(), predicted - truth.mean()
    spread, squares = float((t * t).sum()), float((t * t).sum() + (p * p).sum())
    ranks = [rankdata(values).reshape(values.shape) - (values.size + 1) / 2 for values in (truth, predicted)]
    norm = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    nulls = []
    if spread:
        observed, null = sums(t, p)
        nulls.append(Null("R2", 1 - (squares - 2 * observed) / spread, 1 - (squares - 2 * null) / spread))
    if norm:
        observed, null = sums(*ranks)
        nulls.append(Null("Spearman", observed / norm, null / norm))
    return nulls


def _orders(truth: _Floats, blocks: Sequence[int], n: int, seed: int, in_time: bool) -> Iterator[_Ints]:
    if not in_time:
        yield from exchanges(blocks, n, seed)
    elif enough(blocks, dependence(truth, blocks)):
        yield from shifts(blocks, n, np.random.default_rng(seed))
