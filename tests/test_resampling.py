"""A rate changed by a fraction: which outputs exist when, and that they are the signal."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from rtdecode.contract import read_metadata, write_metadata
from rtdecode.decoder import Decoder
from rtdecode.errors import ModelError
from rtdecode.model_file import read_model
from rtdecode.preprocessing import Chain, Decimate, Filter, Resample, RunningAlign, RunningStandardize, read_steps
from rtdecode.proof import one_shot
from tests.builders import assert_same, build_contract, build_model, build_recording, build_signal, push_in_chunks

# Lower and higher, above and below two, and whole both ways.
RATES = [(128.0, 100.0), (128.0, 50.0), (128.0, 300.0), (128.0, 150.0), (512.0, 250.0), (128.0, 32.0), (64.0, 128.0)]
rates = pytest.mark.parametrize(("before", "after"), RATES)


def resample(before, after):
    return Resample.to_rate(build_signal(1, before), after)


def run(step, samples):
    return step.process(samples[:, None], step.start(1))[:, 0]


@rates
def test_output_k_exists_when_input_k_down_by_up_has_arrived(before, after):
    step = resample(before, after)
    chain = Chain([step], build_signal(1, before))
    counts = [len(chain.process(np.zeros((1, 1)))) for _ in range(2 * step.down + 3)]
    newest = np.repeat(np.arange(len(counts)), counts)
    assert newest.tolist() == [-(-k * step.down // step.up) for k in range(len(newest))]
    assert newest.tolist() == [chain.newest_input(k) for k in range(len(newest))]
    assert np.cumsum(counts).tolist() == [chain.n_outputs(n + 1) for n in range(len(counts))]


@rates
def test_a_resampled_signal_is_the_low_passed_zero_stuffed_one(before, after):
    step = resample(before, after)
    # The analogue low-pass is approached by a digital one at many times the common rate.
    finer = 128 * step.up
    samples = np.insert(np.random.default_rng(0).standard_normal(300), 0, 0.0)
    stuffed = np.zeros(len(samples) * finer)
    stuffed[::finer] = samples * finer
    edge = 0.8 * min(1.0, step.up / step.down) / finer
    low_passed = scipy_signal.sosfilt(scipy_signal.cheby1(8, 0.05, edge, output="sos"), stuffed)
    outputs = low_passed[finer - 128 :: 128 * step.down]
    assert np.allclose(run(step, samples), outputs[: step.n_outputs(len(samples))], atol=1e-4 * np.abs(outputs).max())


@rates
@pytest.mark.parametrize("share", [0.03, 0.2, 0.37])
def test_a_sinusoid_keeps_its_amplitude(before, after, share):
    omega = 2 * np.pi * share * min(before, after)
    out = run(resample(before, after), np.sin(omega * np.arange(4000) / before))
    phase = omega * np.arange(len(out))[-400:] / after
    # Least squares: at some rates the samples stand at few phases of the sinusoid.
    (sine, cosine), residual, *_ = np.linalg.lstsq(np.stack([np.sin(phase), np.cos(phase)], axis=1), out[-400:])
    assert np.hypot(sine, cosine) == pytest.approx(1.0, abs=0.01)
    assert residual / 400 < 1e-4


@rates
def test_the_group_delay_is_that_of_a_slow_envelope(before, after):
    step = resample(before, after)
    t = np.arange(4000)
    carrier = 2 * np.pi * 0.2 * min(1.0, after / before)
    width = 150.0 * max(1.0, before / after)
    out = np.abs(scipy_signal.hilbert(run(step, np.exp(-(((t - 2000) / width) ** 2)) * np.cos(carrier * t))))
    newest = np.array([step.newest_input(k) for k in range(len(out))])
    delay = (out**2 * newest).sum() / (out**2).sum() - 2000
    assert step.group_delay() == pytest.approx(delay, abs=0.25)


@pytest.mark.parametrize(("before", "after"), [(512.0, 250.0), (1000.0, 128.0)])
def test_what_would_alias_is_removed(before, after):
    tone = np.sin(2 * np.pi * 0.7 * after * np.arange(6000) / before)
    assert run(resample(before, after), tone)[-200:].std() < 2e-3


def test_a_raised_rate_holds_no_images():
    tone = np.sin(2 * np.pi * 20.0 * np.arange(6000) / 100.0)
    power = np.abs(np.fft.rfft(run(resample(100.0, 250.0), tone)[-1000:] * np.hanning(1000)))
    frequencies = np.fft.rfftfreq(1000, 1 / 250.0)
    assert frequencies[power.argmax()] == pytest.approx(20.0)
    assert power[np.abs(frequencies - 20.0) > 2].max() < 0.01 * power.max()


@rates
def test_it_starts_as_if_the_first_sample_had_always_been(before, after):
    # Chebyshev's ripple lets 0 Hz through at -0.05 dB.
    assert np.allclose(run(resample(before, after), np.full(200, 7.0)), 7.0, rtol=7e-3)


@rates
def test_settling_is_when_a_step_stays_within_one_percent(before, after):
    step = resample(before, after)
    response = run(step, np.insert(np.ones(3000), 0, 0.0))
    inside = np.abs(response - response[-1]) <= 0.01 * response.max()
    since = np.array([step.newest_input(k) for k in range(len(response))]) - 1
    assert inside[since >= step.settling()].all() and not inside[since == step.settling() - 1].all()


@given(
    rates_hz=st.lists(st.sampled_from([60.0, 96.0, 100.0, 128.0, 150.0, 240.0]), min_size=1, max_size=3),
    by=st.integers(1, 3),
)
def test_a_chain_counts_the_outputs_of_all_its_steps(rates_hz, by):
    signal, steps = build_signal(1, 180.0), []
    if by > 1:
        steps.append(Decimate.design(by))
    for sfreq in rates_hz:
        steps.append(Resample.to_rate(Chain(steps, signal).output, sfreq))
    chain = Chain(steps, signal)
    counts = np.array([len(chain.process(np.zeros((1, 1)))) for _ in range(200)])
    newest = np.repeat(np.arange(200), counts)
    assert chain.output.sfreq == pytest.approx(rates_hz[-1])
    assert [chain.newest_input(k) for k in range(len(newest))] == newest.tolist()
    assert [chain.n_outputs(n) for n in range(201)] == [0, *np.cumsum(counts)]
    for n in (1, 7, 50):
        within = np.convolve(counts, np.ones(n, int), mode="valid")
        fewest, most = chain.outputs_within(n)
        assert fewest <= within.min() and within.max() <= most


@pytest.mark.parametrize("after", [128.0 * 4.01, 128_001.0, 999_999.0])
def test_a_rate_raised_more_than_fourfold_is_refused(after):
    with pytest.raises(ValueError, match="more than 4 times the 128 Hz that there are"):
        resample(128.0, after)


@pytest.mark.parametrize("after", [100.001, 0.1, 300.001])
def test_a_rate_that_is_no_small_fraction_is_refused(after):
    with pytest.raises(ValueError, match="no fraction of 128 Hz in whole numbers up to 1000; choose"):
        resample(128.0, after)


@pytest.mark.parametrize(
    "change",
    [
        {"up": 2000},
        {"down": 0},
        {"up": 50, "down": 100},
        {"residues": [[1.0, 0.0]]},
        {"poles": [], "residues": []},
        {"poles": [[0.1, 1.0]] * 4},
    ],
)
def test_a_damaged_step_is_refused(change):
    with pytest.raises(ModelError, match="step 1 is wrong"):
        read_steps([{**resample(128.0, 100.0).model_dump(), **change}])


def steps_with(after):
    """Return steps of every kind of state around a change of rate from 128 Hz."""
    signal, running = build_signal(), {"time_constant_s": 2.0, "minimum_s": 0.5}
    return [
        Filter.butterworth(128.0, 4.0, 20.0, order=2),
        RunningAlign(**running, method="riemannian", update_s=0.3, shrinkage=0.01, sfreq=128.0),
        Resample.to_rate(signal, after),
        RunningStandardize(**running, sfreq=after),
    ]


@pytest.fixture(scope="module", params=[100.0, pytest.param(300.0, marks=pytest.mark.slow)])
def model(request, tmp_path_factory):
    contract = build_contract(steps=steps_with(request.param), hop=11)
    return read_model(build_model(tmp_path_factory.mktemp("model") / "model.onnx", contract))


@given(
    sizes=st.lists(st.integers(0, 90), max_size=10),
    faults=st.dictionaries(st.integers(1, 550), st.sampled_from([0.25, -0.25, np.nan]), max_size=3),
)
def test_any_chunking_gives_the_same_bits(model, sizes, faults):
    recording = build_recording(600)
    for at, fault in faults.items():
        if np.isnan(fault):
            recording.samples[at : at + 60] = fault
        else:
            recording.timestamps[at:] += fault
    assert_same(push_in_chunks(Decoder(model), recording, sizes), push_in_chunks(Decoder(model), recording, ()))


def test_chunked_equals_one_shot(model, recording):
    expected = dict(one_shot(Decoder(model), recording))
    decoded = {p.sample: p.proba for p in push_in_chunks(Decoder(model), recording, [1, 7, 200]) if p.label >= 0}
    assert decoded.keys() == expected.keys() and len(decoded) > 80
    assert all(decoded[at].tobytes() == expected[at].tobytes() for at in decoded)


def test_a_hop_ends_with_the_input_its_last_output_rests_on(model, recording):
    decoder = Decoder(model)
    predictions = decoder.push(recording.samples, recording.timestamps)
    factor = decoder.chain.factor
    assert [p.sample for p in predictions] == [
        math.ceil((k - 1) * factor) for k in range(11, decoder.chain.n_outputs(1500) + 1, 11)
    ]
    assert [p.timestamp for p in predictions] == [recording.timestamps[p.sample] for p in predictions]


def test_a_stream_of_nothing_but_nan_abstains_at_every_hop(model):
    decoder = Decoder(model)
    predictions = decoder.push(np.full((1000, 4), np.nan), np.arange(1000) / 128)
    assert len(predictions) == 1 + int(1000 / (11 * decoder.chain.factor))


def test_no_prediction_knows_the_future(model, recording):
    before = push_in_chunks(Decoder(model), recording, ())
    recording.samples[1000:] *= -7
    known = [p for p in before if p.sample < 1000]
    assert_same(known, push_in_chunks(Decoder(model), recording, ())[: len(known)])


def test_the_steps_survive_the_metadata():
    contract = build_contract(steps=steps_with(100.0))
    again = read_steps(read_metadata(write_metadata(contract), "m.onnx").preprocessing)
    samples = np.random.default_rng(1).standard_normal((400, 4))
    some, others = (Chain(steps, build_signal()).process(samples) for steps in (steps_with(100.0), again))
    assert some.tobytes() == others.tobytes()


def test_a_hop_between_two_samples_of_the_stream_is_refused(tmp_path):
    contract = build_contract(steps=[Resample.to_rate(build_signal(), 300.0)], hop=2)
    with pytest.raises(ModelError, match=r"hop of 2 samples, but .* brings 3 \(128 Hz become 300 Hz\)"):
        Decoder(read_model(build_model(tmp_path / "m.onnx", contract)))
