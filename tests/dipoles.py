"""A simulated head: current dipoles in a sphere under radial magnetometers, of which two tell the class.

Nothing of it is measured from a brain. In a spherical conductor the radial field is that of the dipole alone: Sarvas
1987, Physics in Medicine and Biology 32, 11-22, doi 10.1088/0031-9155/32/1/004.
"""

import numpy as np

from rtdecode.contract import Signal
from rtdecode.recording import Event, Recording

SFREQ = 100.0
N_SENSORS, N_TRIAL = 24, 100
CLASSES = ("a", "b", "c")
# Source 0 tells class a, source 1 class b; c shows in neither. Two others have the same rhythms; the last is the
# strongest.
RHYTHMS_HZ = np.array([10.0, 22.0, 10.0, 22.0, 6.0, 30.0, 15.0])
AMPLITUDES_FT = 100.0 * np.array([1, 1, 1, 1, 1, 1, 3])
LATENCY_S = (0.30, 0.55)
_NOISE_FT = 100.0


def topographies(seed):
    """Return the fields (n_sources, n_sensors) of dipoles that differ, each of a mean square of one."""
    rng = np.random.default_rng(seed)
    height = 1 - 0.9 * (np.arange(N_SENSORS) + 0.5) / N_SENSORS
    angle = np.arange(N_SENSORS) * np.pi * (3 - np.sqrt(5))
    around = np.sqrt(1 - height**2)
    outward = np.stack([around * np.cos(angle), around * np.sin(angle), height], axis=1)
    fields = []
    while len(fields) < len(RHYTHMS_HZ):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        depth, moment = rng.uniform(0.06, 0.08), np.cross(direction, rng.standard_normal(3))
        away = 0.12 * outward - depth * direction
        field = (outward * np.cross(moment, away)).sum(axis=1) / np.linalg.norm(away, axis=1) ** 3
        field /= np.sqrt((field**2).mean())
        if direction[2] > 0.25 and all(abs(np.corrcoef(field, other)[0, 1]) < 0.7 for other in fields):
            fields.append(field)
    return np.array(fields)


def induced(fields, seed, n_trials, gain=2.5):
    """Record a run in which a class shows in the power of its source, `gain` times the amplitude."""
    rng = np.random.default_rng(seed)
    classes, activity = _background(rng, n_trials)
    for source in (0, 1):
        activity[source] *= 1 + (gain - 1) * _in_trials(classes == source)
    return _recorded(rng, fields, activity, classes)


def evoked(fields, seed, n_trials, amplitude=2.0):
    """Record a run in which a class shows in a response of its source, at its latency."""
    rng = np.random.default_rng(seed)
    classes, activity = _background(rng, n_trials)
    activity[:2] *= 0.3
    times = np.arange(N_TRIAL) / SFREQ
    for i in np.flatnonzero(classes < 2):
        bump = np.exp(-(((times - LATENCY_S[classes[i]]) / 0.04) ** 2) / 2)
        start = N_TRIAL * (2 * i + 1) // 2
        activity[classes[i], start : start + N_TRIAL] += amplitude * AMPLITUDES_FT[0] * rng.uniform(0.7, 1.3) * bump
    return _recorded(rng, fields, activity, classes)


def _background(rng, n_trials):
    classes = rng.permutation(np.arange(n_trials) % len(CLASSES))
    n = (n_trials + 1) * N_TRIAL
    frequencies = np.fft.rfftfreq(n, 1 / SFREQ)
    shapes = np.exp(-(((frequencies - RHYTHMS_HZ[:, None]) / 1.5) ** 2) / 2)
    rhythms = np.fft.irfft(np.fft.rfft(rng.standard_normal((len(shapes), n))) * shapes, n)
    return classes, AMPLITUDES_FT[:, None] * rhythms / rhythms.std(axis=1, keepdims=True)


def _in_trials(chosen):
    """Return 1 within the chosen trials and 0 outside, with soft edges."""
    edge = np.zeros(N_TRIAL // 2)
    taper = np.hanning(21)
    return np.convolve(np.concatenate([edge, np.repeat(chosen, N_TRIAL), edge]), taper / taper.sum(), mode="same")


def _recorded(rng, fields, activity, classes):
    samples = activity.T @ fields + _NOISE_FT * rng.standard_normal((activity.shape[1], N_SENSORS))
    names = tuple(f"M{i}" for i in range(N_SENSORS))
    signal = Signal(ch_names=names, ch_types=("mag",) * N_SENSORS, units=("fT",) * N_SENSORS, sfreq=SFREQ)
    onsets = (np.arange(len(classes)) + 0.5) * N_TRIAL / SFREQ
    events = tuple(Event(float(t), CLASSES[c]) for t, c in zip(onsets, classes, strict=True))
    return Recording(signal, samples.astype(np.float32), np.arange(len(samples)) / SFREQ, events)
