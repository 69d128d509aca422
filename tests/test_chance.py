"""With labels that mean nothing the whole pipeline scores at chance: preprocessing, partition, fit, score."""

import numpy as np
import pytest
from scipy.stats import hypergeom, kstest, ttest_ind

from offline.configuration import TrainingConfiguration
from offline.dataset import load_dataset
from offline.evaluation import run_fold
from offline.partition import make_folds
from offline.sources import find_sources
from rtdecode.contract import Event, Signal
from rtdecode.recording import Recording

N_CHANNELS, N_TRIALS, SFREQ, TRIAL_S = 30, 24, 50.0, 0.4
NAMES = tuple(f"E{i}" for i in range(N_CHANNELS))
SIGNAL = Signal(ch_names=NAMES, ch_types=("eeg",) * N_CHANNELS, units=("uV",) * N_CHANNELS, sfreq=SFREQ)
ONSETS = 1.0 + TRIAL_S * np.arange(N_TRIALS)


def some_channels(rng, runs):
    """Channels that were chosen without a look at the labels."""
    return rng.choice(NAMES, 3, replace=False)


def best_channels(rng, runs):
    """A leak: those that tell the labels of all runs best, of the run to be tested too."""
    means, labels = [], []
    for run in runs:
        for event in run.events:
            at = run.sample_at(event.timestamp)
            means.append(run.samples[at : at + round(TRIAL_S * SFREQ)].mean(axis=0))
            labels.append(event.label == "left")
    t = ttest_ind(np.array(means)[labels], np.array(means)[~np.array(labels)]).statistic
    return np.array(NAMES)[np.argsort(-np.abs(t))[:3]]


def shuffled(rng):
    """A run of noise: half of its trials are called left, half right, whichever they are."""
    samples = rng.standard_normal((round((ONSETS[-1] + 2) * SFREQ), N_CHANNELS), np.float32)
    labels = rng.permutation(["left", "right"] * (N_TRIALS // 2))
    events = tuple(Event(float(t), str(label)) for t, label in zip(ONSETS, labels, strict=True))
    return Recording(SIGNAL, samples, np.arange(len(samples)) / SFREQ, events)


def p_of_chance(folder, seed, choose):
    """How likely the held-out run would be decided as well as that by chance: uniform if it is chance.

    Given how many trials were called left, the right ones among them follow a hypergeometric distribution (Fisher's
    exact test); where a score can be reached by several outcomes a seeded draw divides between them.
    """
    rng = np.random.default_rng(seed)
    runs = [shuffled(rng) for _ in range(2)]
    for number, run in enumerate(runs):
        run.save(folder / f"run-{number}.npz")
    settings = TrainingConfiguration.model_validate(
        {
            "name": "chance",
            "recordings": {"pattern": "run-{run}.npz"},
            "channels": {"names": choose(rng, runs).tolist()},
            "trials": {"classes": {"left": ["left"], "right": ["right"]}, "tmin_s": 0.0, "tmax_s": TRIAL_S},
            "window": {"length_s": 0.2, "stride_s": 0.1, "hop_s": 0.1},
            "preprocessing": [{"step": "filter", "h_freq": 20, "order": 2}, {"step": "whiten"}],
            "model": {"network": "lda", "settings": {"pooling": 5}},
            "split": {"kind": "held-out-runs", "held_out": {"run": ["1"]}},
        }
    )
    dataset = load_dataset(settings, find_sources(settings, folder)["all"])
    (fold,) = make_folds(dataset)
    result = run_fold(dataset, fold)
    called_left, is_left = result.network.argmax(axis=1) == 0, result.truth == 0
    chance = hypergeom(N_TRIALS, is_left.sum(), called_left.sum())
    right = (called_left & is_left).sum()
    return chance.sf(right) + rng.uniform() * chance.pmf(right)


@pytest.mark.parametrize(
    ("choose", "uniform"), [(some_channels, True), (best_channels, False)], ids=["as it is", "with a leak"]
)
def test_p_values_of_shuffled_labels_are_uniform_unless_something_leaks(tmp_path, choose, uniform):
    p = kstest([p_of_chance(tmp_path, seed, choose) for seed in range(24)], "uniform").pvalue
    assert (p > 0.05) if uniform else (p < 1e-3)
