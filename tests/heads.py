"""Simulated heads: trials of two classes at electrodes of the 10-20 system, from sources whose place is known."""

import numpy as np

from offline.interpretation.occlusion import Signals
from offline.interpretation.parts import in_band
from rtdecode.contract import Signal

SFREQ, N_TIMES = 128.0, 192
# Seen from above, nose up, radius 1 at the ears.
PLACES = {
    "Fp1": (-0.3, 0.9), "Fp2": (0.3, 0.9), "F7": (-0.75, 0.58), "F3": (-0.4, 0.45), "Fz": (0.0, 0.45),
    "F4": (0.4, 0.45), "F8": (0.75, 0.58), "FC1": (-0.2, 0.22), "FC2": (0.2, 0.22), "T7": (-0.95, 0.0),
    "C3": (-0.48, 0.0), "Cz": (0.0, 0.0), "C4": (0.48, 0.0), "T8": (0.95, 0.0), "CP1": (-0.2, -0.22),
    "CP2": (0.2, -0.22), "P3": (-0.4, -0.45), "Pz": (0.0, -0.45), "P4": (0.4, -0.45), "Oz": (0.0, -0.95),
}  # fmt: skip
# One frontal electrode only.
CENTRAL = [name for name in PLACES if name == "Fz" or name[0] in "CPO" or name.startswith("FC")]
_TIME = np.arange(N_TIMES) / SFREQ


def signal_of(ch_names):
    n = len(ch_names)
    return Signal(ch_names=tuple(ch_names), ch_types=("eeg",) * n, units=("uV",) * n, sfreq=SFREQ)


def spread(ch_names, *places, width):
    """How much each electrode has of sources at these places."""
    at = np.array([PLACES[name] for name in ch_names])
    return sum(np.exp(-((np.linalg.norm(at - place, axis=1) / width) ** 2)) for place in places)


def blinks(ch_names, rng, classes, uv=100.0, of_class=(0.15, 0.85)):
    """What eyes add (n_trials, n_channels, n_times): a blink in so many trials of each class."""
    blinked = rng.random(len(classes)) < np.asarray(of_class)[classes]
    at_s = 0.7 + 0.1 * rng.standard_normal(len(classes))
    course = uv * blinked[:, None] * np.exp(-(((_TIME - at_s[:, None]) / 0.12) ** 2))
    return spread(ch_names, (-0.3, 1.0), (0.3, 1.0), width=0.6)[:, None] * course[:, None]


def muscles(ch_names, rng, classes, uv=8.0):
    """What the temples add: 32-60 Hz that is stronger in one class."""
    course = in_band(rng.standard_normal((len(classes), N_TIMES)), (32.0, 60.0), SFREQ)
    course *= uv / course.std() * np.where(classes == 1, 1.0, 0.4)[:, None]
    return spread(ch_names, (-0.95, 0.1), (0.95, 0.1), width=0.35)[:, None] * course[:, None]


def slow_wave(ch_names, rng, classes, place, uv=25.0, centre_s=0.8, width_s=0.3):
    """What a slow source of the brain adds: up in one class, down in the other."""
    course = uv * (2 * classes - 1)[:, None] * np.exp(-(((_TIME - centre_s) / width_s) ** 2))
    return spread(ch_names, place, width=0.45)[:, None] * course[:, None]


def rhythm(ch_names, rng, classes, uv=10.0):
    """What the hands' areas add: 9-13 Hz that is weaker on one side in each class."""
    added = 0
    for side, weaker in ((-0.48, 1), (0.48, 0)):
        course = in_band(rng.standard_normal((len(classes), N_TIMES)), (9.0, 13.0), SFREQ)
        course *= uv / course.std() * np.where(classes == weaker, 0.4, 1.0)[:, None]
        added = added + spread(ch_names, (side, 0.0), width=0.3)[:, None] * course[:, None]
    return added


def background(ch_names, rng, n_trials):
    """1/f noise of 12 uV that neighbours share, and 1 uV of each electrode's own."""
    at = np.array([PLACES[name] for name in ch_names])
    distance = np.linalg.norm(at[:, None] - at, axis=2)
    mixing = np.linalg.cholesky(np.exp(-((distance / 0.5) ** 2)) + 1e-3 * np.eye(len(at)))
    freqs = np.fft.rfftfreq(N_TIMES, 1 / SFREQ)
    freqs[0] = freqs[1]
    noise = np.fft.rfft(rng.standard_normal((n_trials, len(at), N_TIMES))) / np.sqrt(freqs)
    pink = np.fft.irfft(noise, N_TIMES)
    return 12 * mixing @ (pink / pink.std()) + rng.standard_normal(pink.shape)


def trials(ch_names, sources, seed, n_trials):
    """Return trials (n_trials, n_channels, n_times) and their classes."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.arange(n_trials) % 2)
    x = background(ch_names, rng, n_trials)
    # Everyone blinks now and then.
    x += blinks(ch_names, rng, classes, 60.0, (0.15, 0.15))
    for source, *more in sources:
        x += source(ch_names, rng, classes, *more)
    return x.astype(np.float32), classes


def signals_of(x, classes, predict, n_blocks=2):
    numbers = np.arange(len(x))
    block = numbers * n_blocks // len(x)
    names = tuple(f"E{i}" for i in range(x.shape[1]))
    return Signals(x, numbers, block, numbers, classes, SFREQ, names, lambda part, chosen: predict(part))


def by_amplitude(x, classes):
    """A linear decoder of what is slower than 8 Hz: LDA, shrunk."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    def features(windows):
        return windows.reshape(*windows.shape[:2], -1, 16).mean(axis=3).reshape(len(windows), -1)

    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features(x), classes)
    return lambda windows: found.predict_proba(features(windows))


def by_power(x, classes):
    """CSP+LDA of everything above 0.5 Hz."""
    import torch

    from offline.models import CSPLDA

    network = CSPLDA(x.shape[1], x.shape[2], 2)

    def given(windows):
        return np.ascontiguousarray(windows - windows.mean(axis=2, keepdims=True), np.float32)

    network.fit(given(x), classes)
    return lambda windows: network.outputs(torch.from_numpy(given(windows))).detach().numpy()
