"""Running standardisation and alignment: what they compute, and what survives a reset."""

import numpy as np
import pytest
from pyriemann.geometry.base import invsqrtm
from pyriemann.geometry.geodesic import geodesic_riemann

from rtdecode.decoder import Decoder
from rtdecode.model_file import read_model
from rtdecode.preprocessing import Chain, Filter, RunningAlign, RunningStandardize
from tests.builders import SFREQ, build_contract, build_model, build_recording, build_signal

SIGNAL = build_signal(4)
both = pytest.mark.parametrize("method", ["euclidean", "riemannian"])


def standardize(time_constant_s=2.0, minimum_s=3.0):
    return RunningStandardize(time_constant_s=time_constant_s, minimum_s=minimum_s, sfreq=SFREQ)


def align(method, **more):
    settings = {"time_constant_s": 20.0, "minimum_s": 1.0, "update_s": 0.25, "shrinkage": 0.001, "sfreq": SFREQ}
    return RunningAlign(method=method, **{**settings, **more})


def run(step, samples):
    return Chain([step], build_signal(samples.shape[1])).process(samples)


def noise(n_samples, n_channels=4, seed=1):
    return np.random.default_rng(seed).standard_normal((n_samples, n_channels))


def mixed(n_samples, seed=2):
    """Correlated channels of different size."""
    return noise(n_samples) @ (noise(4, seed=seed) + 2 * np.eye(4)) * 10


def test_standardisation_is_that_by_fading_weights():
    samples = noise(300) * [1.0, 10.0, 0.1, 1e3] + [0.0, 50.0, 1e4, -3.0]
    for n, out in enumerate(run(standardize(), samples)):
        weights = np.exp(-np.arange(n, -1, -1) / (2.0 * SFREQ))
        mean = np.average(samples[: n + 1], axis=0, weights=weights)
        std = np.average((samples[: n + 1] - mean) ** 2, axis=0, weights=weights) ** 0.5
        expected = (samples[n] - mean) / np.where(std > 0, std, np.inf)
        assert np.allclose(out, expected, rtol=1e-6, atol=1e-9)


def test_standardisation_follows_the_signal():
    samples = noise(8000)
    samples[2000:] = samples[2000:] * 500 + 7000
    late = run(standardize(), samples)[5000:]
    assert np.allclose(late.mean(axis=0), 0, atol=0.1) and np.allclose(late.std(axis=0), 1, atol=0.1)


def test_a_large_offset_is_no_signal():
    samples = noise(2000)
    assert np.allclose(run(standardize(), samples + 2.0**20), run(standardize(), samples), atol=1e-6)


def test_a_million_samples_leave_no_drift():
    samples = np.tile([[-1.0], [1.0]], (2**19, 1))
    assert np.abs(run(standardize(), samples)[-100:]).max() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("value", [0.0, 4e4 / 3, 1e-13])
def test_a_flat_channel_is_standardised_to_zeros(value):
    samples = noise(500)
    samples[:, 2] = value
    out = run(standardize(), samples)
    assert (out[:, 2] == 0).all() and np.abs(out[300:, :2]).max() > 1


@pytest.mark.parametrize("step", [standardize(), align("euclidean"), align("riemannian")])
@pytest.mark.parametrize("flat", [slice(None), slice(0, 400), slice(400, None)])
@pytest.mark.parametrize("channels", [[1], [0, 1, 2, 3]])
def test_what_is_flat_gives_finite_values(step, flat, channels):
    samples = mixed(20_000)
    samples[flat, channels] = 3.0
    assert np.isfinite(run(step, samples)).all()


@both
def test_the_long_run_covariance_becomes_the_identity(method):
    out = run(align(method), mixed(40_000))[10_000:]
    assert np.allclose(np.cov(out, rowvar=False), np.eye(4), atol=0.1)


@both
def test_two_sessions_look_alike_after_alignment(method):
    second = noise(20_000, seed=5) @ np.diag([3.0, 1.0, 0.5, 2.0])
    out = run(align(method, time_constant_s=5.0), np.concatenate([mixed(20_000), second]))[30_000:]
    assert np.allclose(np.cov(out, rowvar=False), np.eye(4), atol=0.25)


@both
def test_alignment_rests_on_the_running_mean_of_the_blocks_before(method):
    samples, every, fading = mixed(320), 32, np.exp(-0.25 / 20.0)
    out = run(align(method), samples)
    assert (out[:every] == 0).all()
    weight, mean = 0.0, np.zeros((4, 4))
    for begin in range(0, 320 - every, every):
        block = samples[begin : begin + every]
        covariance = block.T @ block / every
        covariance = 0.999 * covariance + 0.001 * np.trace(covariance) / 4 * np.eye(4)
        weight = fading * weight + 1 - fading
        share = (1 - fading) / weight
        if begin == 0 or method == "euclidean":
            mean = (1 - share) * mean + share * covariance
        else:
            mean = geodesic_riemann(mean, covariance, share)
        following = slice(begin + every, begin + 2 * every)
        assert np.allclose(out[following], samples[following] @ invsqrtm(mean), atol=1e-6)


@both
def test_alignment_stands_an_average_reference(method):
    samples = mixed(20_000)
    samples -= samples.mean(axis=1, keepdims=True)
    out = run(align(method, shrinkage=0.01), samples)[5000:]
    values = np.linalg.eigvalsh(np.cov(out, rowvar=False))
    assert values[0] < 1e-9 and np.allclose(values[1:], 1, atol=0.15)


@both
def test_a_dead_stretch_teaches_nothing(method):
    samples = mixed(4000)
    dead = np.insert(samples, 2048, np.zeros((640, 4)), axis=0)
    out = run(align(method), dead)
    assert np.array_equal(np.delete(out, slice(2048, 2688), axis=0), run(align(method), samples))


@pytest.mark.parametrize("step", [standardize(), align("euclidean"), align("riemannian")])
def test_a_reset_keeps_the_statistics(step):
    samples, chain = mixed(900), Chain([step], SIGNAL)
    first = chain.process(samples[:437])
    chain.reset()
    assert np.array_equal(np.concatenate([first, chain.process(samples[437:])]), run(step, samples))


def test_no_units_are_left():
    assert set(standardize().output(SIGNAL).units) == set(align("euclidean").output(SIGNAL).units) == {"none"}


@pytest.mark.parametrize("step", [standardize(), align("riemannian")])
def test_a_step_made_for_another_rate_is_refused(step):
    with pytest.raises(ValueError, match="designed for 128 Hz, not 256 Hz"):
        step.output(build_signal(4, 256.0))


def test_what_was_learned_counts_after_a_reset():
    lowpass = Filter.butterworth(SFREQ, None, 20.0)
    chain, settling = Chain([lowpass, standardize(minimum_s=1.0), align("euclidean")], SIGNAL), lowpass.settling()
    # One after the other: what is aligned is standardised by statistics that are trusted already.
    assert chain.warm_up == settling + 128 + 128
    for more, left in ((100, 156), (100, 56), (100, 0)):
        chain.process(noise(settling + more))
        chain.reset()
        assert chain.warm_up == settling + left
    chain.process(noise(settling // 2))
    chain.reset()
    assert chain.warm_up == settling


def test_the_minimum_of_an_alignment_is_whole_blocks():
    assert align("euclidean", minimum_s=0.3).minimum() == 64
    assert align("euclidean", minimum_s=0.0).minimum() == 32


def test_after_a_gap_the_decoder_need_not_learn_anew(tmp_path):
    model = read_model(build_model(tmp_path / "m.onnx", build_contract(steps=[standardize()])))
    recording = build_recording()
    recording.timestamps[1000:] += 5.0
    reasons = [p.reason for p in Decoder(model).push(recording.samples, recording.timestamps)]
    # Hops of 4: first 3 s and the window of 32, then the window only.
    assert reasons.index(None) == (3 * 128 + 32) // 4 - 1
    assert reasons[reasons.index("gap") + 1 :].index(None) == 32 // 4 - 1
