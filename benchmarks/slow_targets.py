"""How often figures of target channels mislead: of slow signals that have nothing, or something, in common.

`python benchmarks/slow_targets.py` prints the table of docs/evaluation.md, "Targets that change slowly".
"""

import argparse
from collections.abc import Sequence
from math import asin, pi, sqrt

import numpy as np
from joblib import Parallel, delayed
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

from rtdecode.evaluation.permutation import permute_values
from rtdecode.scoring import regression

TIME_CONSTANTS_S = (0.02, 4.0, 10.0, 20.0, 40.0, 100.0)
SEGMENT_S, N_WINDOWS = 2.0, 4
ONE, THREE = (150,), (50, 50, 50)
# Of the truth in a prediction: to be found, and to be held by the interval, whose true correlation this makes.
FOUND, HELD = 0.7, 0.5
TRUE = 6 / pi * asin(HELD / sqrt(1 + HELD**2) / 2)
N_ORDERS = 199

_Floats = NDArray[np.float64]


def slow(random: Generator, sizes: Sequence[int], tau_s: float) -> _Floats:
    """Return a signal (n_segments, n_windows) of recordings, which forgets itself with a time constant."""
    keeps = np.exp(-SEGMENT_S / N_WINDOWS / tau_s)
    settling = round(10 * tau_s / SEGMENT_S * N_WINDOWS) + 1
    parts = [
        lfilter([1], [1, -keeps], random.standard_normal(settling + n * N_WINDOWS))[settling:].reshape(n, N_WINDOWS)
        for n in sizes
    ]
    return np.concatenate(parts)


def small(tau_s: float, sizes: Sequence[int], share: float, in_time: bool, n: int) -> tuple[float, float]:
    """Return how often p is 0.05 or less where there is one, and how often there is none."""
    random, recordings = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes).tolist()
    found = []
    for seed in range(n):
        truth, noise = slow(random, sizes, tau_s), slow(random, sizes, tau_s)
        _, spearman = permute_values(truth, share * truth + noise, recordings, N_ORDERS, seed, in_time)
        found.append(spearman.p)
    told = np.array(found)[np.isfinite(found)]
    return float(np.mean(told <= 0.05)) if len(told) else float("nan"), 1 - len(told) / n


def holds(tau_s: float, recordings: Sequence[int] | None, n: int) -> float:
    """Return how often the 95 % interval of one recording holds the true correlation, where there is one."""
    random, held = np.random.default_rng(0), []
    for _ in range(n):
        truth, noise = slow(random, ONE, tau_s), slow(random, ONE, tau_s)
        _, figure = regression(truth[..., None], (HELD * truth + noise)[..., None], ["x"], recordings)
        if np.isfinite(figure.low):
            held.append(figure.low <= TRUE <= figure.high)
    return float(np.mean(held)) if held else float("nan")


def row(tau_s: float, n_pairs: int, n_intervals: int) -> list[float]:
    """Return all shares of one time constant, in the order of the table."""
    before, now = (small(tau_s, ONE, 0.0, in_time, n_pairs)[0] for in_time in (False, True))
    three = [small(tau_s, THREE, 0.0, in_time, n_pairs)[0] for in_time in (False, True)]
    single, rule = (holds(tau_s, of, n_intervals) for of in (None, [0] * ONE[0]))
    return [before, now, *three, *small(tau_s, ONE, FOUND, True, n_pairs), single, rule]


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400, help="of signals for each share of small p")
    parser.add_argument("--intervals", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    rows = Parallel(given.jobs)(delayed(row)(tau_s, given.pairs, given.intervals) for tau_s in TIME_CONSTANTS_S)
    print("| time constant, s | exchanged | shifted | three: exchanged | shifted | found | too few | single | rule |")
    print("|---" * 9 + "|")
    for tau_s, shares in zip(TIME_CONSTANTS_S, rows, strict=True):
        print(f"| {tau_s:g} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")


if __name__ == "__main__":
    main()
