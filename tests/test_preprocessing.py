import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from rtdecode.errors import ModelError
from rtdecode.preprocessing import (
    Chain,
    Clamp,
    Decimate,
    Filter,
    FilterBank,
    Linear,
    Pick,
    Resample,
    RunningAlign,
    RunningStandardize,
    Scale,
    Standardize,
    filters,
    read_steps,
)
from tests.builders import SFREQ, build_signal, build_steps

SIGNAL = build_signal(5)


def running_align(method, **more):
    settings = {"time_constant_s": 2.0, "minimum_s": 0.5, "update_s": 0.25, "shrinkage": 0.001, "sfreq": SFREQ}
    return RunningAlign(method=method, **{**settings, **more})


RANDOM = np.random.default_rng(3)
STEPS = {
    "pick": Pick.by_name(SIGNAL, ("E3", "E0", "E4")),
    "average-reference": Linear.average_reference(SIGNAL),
    "channel-reference": Linear.channel_reference(SIGNAL, ("E1", "E2")),
    "bipolar": Linear.bipolar(SIGNAL, (("E0", "E1"), ("E4", "E2"))),
    "dense": Linear(
        matrix=RANDOM.standard_normal((7, 5)),
        ch_names=tuple("abcdefg"),
        ch_types=("eeg",) * 7,
        units=("uV",) * 7,
    ),
    "whitening": Linear.whitening(SIGNAL, RANDOM.standard_normal((300, 5)) @ RANDOM.standard_normal((5, 5))),
    "scale": Scale.to_units(SIGNAL, {"eeg": "V"}),
    "bandpass": Filter.butterworth(SFREQ, 4.0, 30.0),
    "highpass": Filter.butterworth(SFREQ, 1.0, None, order=2),
    "lowpass": Filter.butterworth(SFREQ, None, 20.0),
    "notch": Filter.notches(SFREQ, (16.0, 50.0)),
    "filter-bank": FilterBank.butterworth(SFREQ, ((4.0, 8.0), (8.0, 12.0), (20.0, 30.0))),
    "chebyshev-bank": FilterBank.chebyshev(SFREQ, ((4.0, 8.0), (8.0, 12.0))),
    "decimate": Decimate.design(3),
    "resample": Resample.to_rate(SIGNAL, 100.0),
    "raise": Resample.to_rate(SIGNAL, 300.0),
    "running-standardize": RunningStandardize(time_constant_s=0.5, minimum_s=1.0, sfreq=SFREQ),
    "running-align": running_align("euclidean"),
    "running-align-riemannian": running_align("riemannian"),
    "standardize": Standardize.fit(RANDOM.standard_normal((100, 5)) + 2),
    "clamp": Clamp(limit=1.5),
}
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())


def run(step, samples, sizes=()):
    """Process samples in chunks of these sizes, and the rest at once."""
    state, parts, at = step.start(samples.shape[1]), [], 0
    for size in [*sizes, len(samples)]:
        parts.append(step.process(samples[at : at + size], state))
        at += size
    return np.concatenate(parts)


def noise(n_samples, n_channels=5, seed=1):
    return np.random.default_rng(seed).standard_normal((n_samples, n_channels)) * 10 + 3


@every_step
@given(sizes=st.lists(st.integers(0, 40), max_size=12))
def test_any_chunking_gives_the_same_bits(step, sizes):
    samples = noise(200)
    assert run(step, samples, sizes).tobytes() == run(step, samples).tobytes()


@every_step
def test_input_is_left_as_it_is(step):
    samples = noise(50)
    before = samples.copy()
    run(step, samples, [7, 20])
    assert np.array_equal(samples, before)


@every_step
def test_empty_chunks_do_nothing(step):
    samples = noise(60)
    with_empty = run(step, samples, [0, 0, 13, 0, 20, 0])
    assert with_empty.tobytes() == run(step, samples).tobytes()
    assert len(step.process(samples[:0], step.start(5))) == 0


@every_step
@given(n=st.integers(1, 99))
def test_output_does_not_know_the_future(step, n):
    samples = noise(100)
    changed = samples.copy()
    changed[n:] = noise(100 - n, seed=9) * 100
    n_out = step.n_outputs(n)
    assert run(step, samples)[:n_out].tobytes() == run(step, changed)[:n_out].tobytes()


@every_step
def test_survives_the_file(step):
    (again,) = read_steps([step.model_dump()])
    assert run(again, noise(80)).tobytes() == run(step, noise(80)).tobytes()
    assert again.output(SIGNAL) == step.output(SIGNAL)


@every_step
def test_output_has_the_channels_it_says(step):
    assert run(step, noise(30)).shape[1] == step.output(SIGNAL).n_channels


@given(sizes=st.lists(st.integers(0, 50), max_size=12))
def test_a_chain_of_steps_does_not_depend_on_chunking(sizes):
    signal = build_signal()
    samples, whole, chunked = noise(300, 4), Chain(build_steps(signal), signal), Chain(build_steps(signal), signal)
    parts, at = [], 0
    for size in [*sizes, 300]:
        parts.append(chunked.process(samples[at : at + size]))
        at += size
    assert np.concatenate(parts).tobytes() == whole.process(samples).tobytes()


def test_filter_is_the_textbook_one_after_its_start():
    samples, step = noise(400), STEPS["bandpass"]
    reference = scipy_signal.sosfilt(step.sos.copy(), samples - samples[0], axis=0)
    assert np.allclose(run(step, samples), reference, atol=1e-9)


def test_a_scipy_without_its_private_part_filters_the_same(monkeypatch):
    samples, step = noise(400), STEPS["bandpass"]
    expected = run(step, samples)
    monkeypatch.setattr(filters.PathFinder, "find_spec", lambda *_: None)
    filters._kernel.cache_clear()
    assert run(step, samples).tobytes() == expected.tobytes()
    monkeypatch.undo()
    filters._kernel.cache_clear()


@pytest.mark.parametrize("name", ["bandpass", "highpass", "notch", "lowpass", "decimate"])
def test_filter_starts_as_if_the_first_sample_had_always_been(name):
    step = STEPS[name]
    constant = np.full((120, 5), 7.0)
    expected = 0.0 if name in ("bandpass", "highpass") else 7.0
    # Chebyshev's ripple lets 0 Hz through at -0.05 dB.
    assert np.allclose(run(step, constant), expected, rtol=6e-3, atol=1e-9)


def test_notch_removes_its_frequency_and_little_else():
    t = np.arange(4000) / SFREQ
    for frequency, low, high in ((50.0, 0.0, 0.01), (30.0, 0.98, 1.02)):
        tone = np.sin(2 * np.pi * frequency * t)[:, None]
        gain = run(STEPS["notch"], tone)[2000:].std() / tone.std()
        assert low <= gain <= high


def test_a_filter_bank_is_its_filters_side_by_side_band_major():
    samples, bands = noise(200), STEPS["filter-bank"].bands_hz
    side_by_side = [run(Filter.butterworth(SFREQ, low, high), samples) for low, high in bands]
    assert run(STEPS["filter-bank"], samples).tobytes() == np.concatenate(side_by_side, axis=1).tobytes()
    assert STEPS["filter-bank"].output(SIGNAL).ch_names[5] == "E0 8-12 Hz"


def test_the_chebyshev_bank_keeps_to_its_specification():
    step = FilterBank.chebyshev(250.0, ((8.0, 12.0),))
    gain = np.abs(scipy_signal.sosfreqz(step.sos[0], worN=[6.0, 8.0, 10.0, 12.0, 14.0, 40.0], fs=250.0)[1])
    decibels = 20 * np.log10(gain)
    assert (decibels[[0, 4, 5]] <= -30 + 1e-6).all() and (decibels[[1, 2, 3]] >= -3 - 1e-6).all()


def test_decimation_removes_what_would_alias():
    t = np.arange(3000) / SFREQ
    tone = np.sin(2 * np.pi * 40.0 * t)[:, None]
    assert run(STEPS["decimate"], tone)[300:].std() < 1e-3


@pytest.mark.parametrize("by", [2, 3, 5])
def test_decimated_output_k_exists_when_input_k_times_by_has_arrived(by):
    step = Decimate.design(by)
    state = step.start(1)
    counts = [len(step.process(np.zeros((1, 1)), state)) for _ in range(4 * by)]
    assert counts == [1, *[0] * (by - 1)] * 4


def test_settling_is_when_the_step_response_stays_within_one_percent():
    step = STEPS["highpass"]
    response = scipy_signal.sosfilt(step.sos.copy(), np.ones(5000))
    n = step.settling()
    assert np.abs(response[n:]).max() <= 0.01 < np.abs(response[n - 1])


def test_group_delay_is_that_of_a_slow_envelope():
    step = STEPS["bandpass"]
    t = np.arange(2000)
    carrier = 2 * np.pi * np.sqrt(4.0 * 30.0) / SFREQ
    envelope = np.exp(-(((t - 1000) / 150.0) ** 2))
    out = np.abs(scipy_signal.hilbert(run(step, (envelope * np.cos(carrier * t))[:, None])[:, 0]))
    delay = (out**2 * t).sum() / (out**2).sum() - 1000
    assert step.group_delay() == pytest.approx(delay, abs=0.5)


def test_chain_adds_settling_and_delay_at_the_input_rate():
    signal = build_signal()
    decimate, lowpass = Decimate.design(4), Filter.butterworth(SFREQ / 4, None, 5.0)
    chain = Chain([decimate, lowpass], signal)
    assert chain.factor == 4
    assert chain.settling == decimate.settling() + 4 * lowpass.settling()
    assert chain.group_delay_s == pytest.approx((decimate.group_delay() + 4 * lowpass.group_delay()) / SFREQ)


def test_reset_voids_filters():
    signal = build_signal()
    chain = Chain(build_steps(signal), signal)
    first = chain.process(noise(100, 4))
    chain.reset()
    assert chain.process(noise(100, 4)).tobytes() == first.tobytes()


def test_average_reference_leaves_no_mean():
    assert np.allclose(run(STEPS["average-reference"], noise(20)).mean(axis=1), 0, atol=1e-12)


def test_average_reference_leaves_other_types_alone():
    signal = SIGNAL.with_channels(SIGNAL.ch_names, ("eeg", "eeg", "eog", "eeg", "eog"), SIGNAL.units)
    samples = noise(10)
    out = run(Linear.average_reference(signal), samples)
    assert np.array_equal(out[:, [2, 4]], samples[:, [2, 4]])
    assert np.allclose(out[:, [0, 1, 3]].mean(axis=1), 0, atol=1e-12)


def test_channel_reference_subtracts_the_named_channels():
    samples = noise(10)
    out = run(STEPS["channel-reference"], samples)
    assert np.allclose(out, samples - samples[:, [1, 2]].mean(axis=1, keepdims=True))


def test_bipolar_is_a_difference_with_a_name():
    samples = noise(10)
    assert np.allclose(run(STEPS["bipolar"], samples)[:, 1], samples[:, 4] - samples[:, 2])
    assert STEPS["bipolar"].output(SIGNAL).ch_names == ("E0-E1", "E4-E2")


def test_whitening_leaves_uncorrelated_channels():
    samples = noise(4000) @ np.random.default_rng(5).standard_normal((5, 5))
    white = run(Linear.whitening(SIGNAL, samples, shrinkage=0.0), samples)
    assert np.allclose(np.cov(white, rowvar=False), np.eye(5), atol=1e-9)


def test_whitening_survives_a_flat_channel():
    samples = noise(400)
    samples[:, 2] = 4.0
    assert np.isfinite(run(Linear.whitening(SIGNAL, samples), samples)).all()


def test_scale_converts_units():
    assert np.allclose(run(STEPS["scale"], noise(4)), noise(4) * 1e-6)
    assert set(STEPS["scale"].output(SIGNAL).units) == {"V"}


def test_scale_refuses_another_dimension():
    with pytest.raises(ValueError, match="unit"):
        Scale.to_units(SIGNAL, {"eeg": "fT"})


def test_standardize_gives_zero_mean_and_unit_deviation():
    samples = noise(500)
    out = run(Standardize.fit(samples), samples)
    assert np.allclose(out.mean(axis=0), 0) and np.allclose(out.std(axis=0), 1)


def test_standardize_survives_a_flat_channel():
    samples = noise(50)
    samples[:, 2] = 4.0
    assert np.isfinite(run(Standardize.fit(samples), samples)).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Filter.butterworth(100.0, 8.0, 60.0), "between 0 and half the rate"),
        (lambda: Filter.butterworth(100.0, 30.0, 8.0), "between 0 and half the rate"),
        (lambda: Filter.butterworth(100.0, None, None), "got none"),
        (lambda: Filter.notches(100.0, (50.0,)), "between 0 and half the rate"),
        (lambda: Pick.by_name(SIGNAL, ("E0", "X")), "missing: X"),
        (lambda: Linear.bipolar(SIGNAL, (("E0", "X"),)), "missing: X"),
        (lambda: Linear.channel_reference(SIGNAL, ("X",)), "missing: X"),
        (lambda: Linear.average_reference(SIGNAL, "mag"), "no channel"),
    ],
)
def test_impossible_settings_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize(
    "step",
    [
        Filter.butterworth(2 * SFREQ, 4.0, 30.0),
        Standardize(mean=np.zeros(3), std=np.ones(3)),
        Pick(indices=(1,), ch_names=("E0",)),
        Pick(indices=(11,), ch_names=("E11",)),
        Linear(matrix=np.ones((1, 3)), ch_names=("a",), ch_types=("eeg",), units=("uV",)),
    ],
)
def test_a_chain_refuses_a_step_that_does_not_fit(step):
    with pytest.raises(ModelError, match="step 1"):
        Chain([step], SIGNAL)


@pytest.mark.parametrize(
    "record",
    [
        {"step": "fft"},
        {"step": "clamp", "limit": -1.0},
        {"step": "clamp", "limit": 1.0, "more": 2},
        {"step": "standardize", "mean": [0.0], "std": [0.0]},
        {"step": "decimate", "by": 2, "sos": [[float("nan")] * 6]},
        {},
    ],
)
def test_a_damaged_step_is_refused(record):
    with pytest.raises(ModelError, match="step 1 is wrong"):
        read_steps([record])
