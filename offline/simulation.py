"""A simulated motor-imagery subject, for the demo and the tests. Nothing of it is measured from a brain.

Background: 1/f noise, mixed through a covariance that falls with the distance between electrodes.
Signal: a mu (11 Hz) and a beta (21 Hz) rhythm under C3 and C4 that get weaker on the side opposite to the
imagined hand (event-related desynchronisation; Pfurtscheller & Lopes da Silva 1999, doi
10.1016/S1388-2457(99)00141-8).
"""

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.recording import Event, Recording

# Position on the head seen from above, nose up, radius 1 at the ears.
_POSITIONS = {
    "Fz": (0.0, 0.4), "FC3": (-0.45, 0.22), "FC4": (0.45, 0.22), "FCz": (0.0, 0.2),
    "C5": (-0.75, 0.0), "C3": (-0.5, 0.0), "C1": (-0.25, 0.0), "Cz": (0.0, 0.0), "C2": (0.25, 0.0),
    "C4": (0.5, 0.0), "C6": (0.75, 0.0), "CP3": (-0.45, -0.22), "CPz": (0.0, -0.2), "CP4": (0.45, -0.22),
    "Pz": (0.0, -0.4), "POz": (0.0, -0.6),
}  # fmt: skip
SFREQ = 160.0
TRIAL_S, REST_S = 3.0, 1.5
_BACKGROUND_UV, _RHYTHM_UV, _ERD = 12.0, 5.0, 0.45


def simulate(n_trials: int, seed: int, name: str = "simulated") -> Recording:
    """Simulate a run: trials of 3 s, left and right in random order, 1.5 s of rest before each.

    Parameters
    ----------
    n_trials : int
        Half of each class.
    seed : int
        Two runs with different seeds are two runs of the same subject.
    """
    rng = np.random.default_rng(seed)
    positions = np.array(list(_POSITIONS.values()))
    n_samples = round((n_trials * (TRIAL_S + REST_S) + REST_S) * SFREQ)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    mixing = np.linalg.cholesky(np.exp(-((distance / 0.5) ** 2)) + 1e-6 * np.eye(len(positions)))
    samples = _BACKGROUND_UV * _pink(rng, (n_samples, len(positions))) @ mixing.T
    labels = rng.permutation(np.repeat(["left", "right"], [n_trials // 2, n_trials - n_trials // 2]))
    onsets = REST_S + (TRIAL_S + REST_S) * np.arange(n_trials)
    for centre, weaker in (("C3", "right"), ("C4", "left")):
        gain = _gain(n_samples, onsets[labels == weaker])
        near = np.exp(-((np.linalg.norm(positions - _POSITIONS[centre], axis=1) / 0.3) ** 2))
        rhythm = _rhythm(rng, n_samples, 11.0, 2.0) + 0.5 * _rhythm(rng, n_samples, 21.0, 3.0)
        samples += _RHYTHM_UV * (gain * rhythm)[:, None] * near
    n_channels = len(positions)
    signal = Signal(
        ch_names=tuple(_POSITIONS), ch_types=("eeg",) * n_channels, units=("uV",) * n_channels, sfreq=SFREQ
    )
    events = tuple(Event(float(t), str(label)) for t, label in zip(onsets, labels, strict=True))
    plane = {name: (0.5 + x / 2, 0.5 + y / 2) for name, (x, y) in _POSITIONS.items()}
    return Recording(signal, samples.astype(np.float32), np.arange(n_samples) / SFREQ, events, name, plane)


def _pink(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return noise whose power falls with 1/f, of unit variance."""
    n = shape[0]
    frequency = np.fft.rfftfreq(n, 1 / SFREQ)
    frequency[0] = frequency[1]
    spectrum = np.fft.rfft(rng.standard_normal(shape), axis=0) / np.sqrt(frequency)[:, None]
    noise = np.fft.irfft(spectrum, n, axis=0)
    scaled: NDArray[np.float64] = noise / noise.std(axis=0)
    return scaled


def _rhythm(rng: np.random.Generator, n_samples: int, centre_hz: float, width_hz: float) -> NDArray[np.float64]:
    """Return narrow-band noise of unit variance."""
    frequency = np.fft.rfftfreq(n_samples, 1 / SFREQ)
    shape = np.exp(-(((frequency - centre_hz) / width_hz) ** 2))
    rhythm = np.fft.irfft(np.fft.rfft(rng.standard_normal(n_samples)) * shape, n_samples)
    scaled: NDArray[np.float64] = rhythm / rhythm.std()
    return scaled


def _gain(n_samples: int, onsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rhythm's amplitude: 1, and lower from 0.3 s after each onset to the trial's end."""
    gain, t = np.ones(n_samples), np.arange(n_samples) / SFREQ
    for onset in onsets:
        gain[(t >= onset + 0.3) & (t < onset + TRIAL_S + 0.3)] = 1.0 - _ERD
    ramp = np.hanning(round(0.2 * SFREQ))
    return np.convolve(gain, ramp / ramp.sum(), mode="same")
