"""Patterns, spectra and relevance: against the published package, and against what is known."""

import inspect
import re
from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.signal import correlate, welch
from scipy.special import softmax
from scipy.stats import sem, spearmanr

from offline.interpretation import (
    Readout,
    by_correlation,
    by_cross_entropy,
    by_elimination,
    by_norm,
    by_permutation,
    by_shapley,
    by_weight,
    by_weighted_correlation,
    class_waveforms,
    combined_patterns,
    combined_relevance,
    component_spectra,
    covariance,
    evoked_patterns,
    filter_patterns,
    frequency_response,
    joint_filters,
    lagged_covariances,
    output_patterns,
    peak_latency,
    ranked,
    recursive_elimination,
    spatial_patterns,
)
from offline.models import LFCNN, VARCNN

SFREQ = 128.0


class TestPublished:
    """MNEflow 0.6.1 on one batch of 24 windows; where it is wrong, what it did is put back here."""

    def test_all_it_gives_is_compared(self, oracle):
        told = ["config", *re.findall(r'oracle\[f?"([\w{}/]+)"', inspect.getsource(TestPublished))]
        rankings = ("weight", "output_corr", "compwise_loss")
        compared = {name.replace("{ranking}", ranking) for name in told for ranking in rankings}
        assert set(oracle) - compared == set()

    def test_one_of_its_patterns_is_nothing_but_rounding(self, oracle):
        # The mean over components is taken out of what is summed over components.
        assert np.abs(oracle["cov_xx"]).max() < 1e-8 * np.abs(oracle["pinv_w"]).max()

    @pytest.fixture
    def oracle(self, shared):
        return np.load(shared / "oracles/LFCNN_patterns.npz")

    @pytest.fixture
    def windows(self, oracle):
        return oracle["x_btc"][:, 0].transpose(0, 2, 1)

    @pytest.fixture
    def classes(self, oracle):
        return oracle["y_onehot"].argmax(axis=1)

    @pytest.fixture
    def network(self, oracle):
        network = LFCNN(8, 64, 4, n_latent=6).eval()
        weights = {
            "demix.weight": oracle["w/dmx_weights"].T[:, :, None],
            "demix.bias": oracle["w/dmx_bias"],
            "temporal.weight": oracle["w/tconv_weights"][0, :, :, 0].T[:, None],
            "temporal.bias": oracle["w/tconv_bias"],
            "fc.weight": oracle["w/fc_weights"].reshape(32, 6, 4).transpose(2, 1, 0).reshape(4, -1),
            "fc.bias": oracle["w/fc_bias"],
        }
        network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        return network

    @pytest.fixture
    def stages(self, network, windows):
        with torch.no_grad():
            return network.stages(torch.tensor(windows))

    @pytest.fixture
    def readout(self, network, stages, classes):
        weights = network.fc.weight.detach().numpy().reshape(4, 6, 32)
        return Readout(stages.pooled.numpy(), weights, network.fc.bias.detach().numpy(), classes)

    def test_covariances_of_all_windows_and_of_each_class(self, oracle, windows, classes):
        assert_close(covariance(windows, demean=False), oracle["dcov_input_spatial"])
        for c in range(4):
            assert_close(covariance(windows[classes == c], demean=False), oracle["dcov_class_conditional"][..., c])
            assert_close(covariance(windows[classes != c], demean=False), oracle["dcov_anti_class"][..., c])

    @pytest.fixture
    def patterns(self, network, windows, classes):
        """By Cov(x) w: of all windows, and of those of each class."""
        filters = network.demix.weight.detach().numpy()[:, :, 0]
        given = [windows, *(windows[classes == c] for c in range(4))]
        common, *own = (spatial_patterns(filters, covariance(part, demean=False), "mneflow") for part in given)
        return common, own

    @pytest.mark.parametrize("ranking", ["weight", "output_corr", "compwise_loss"])
    def test_patterns(self, oracle, patterns, ranking):
        common, own = patterns
        best = oracle[f"rel_diff__{ranking}"][..., 0].argmax(axis=0)
        assert_close(common[best].T, oracle[f"sp__{ranking}__common"][..., 0])
        for c in range(4):
            assert_close(own[c][best[c]], oracle[f"sp__{ranking}__class_conditional"][:, c, 0])

    def test_combined_patterns(self, oracle, network, patterns, readout):
        # There the bias of the temporal filter is taken from the relevance, from each class's alike.
        relevance = combined_relevance(readout) - network.temporal.bias.detach().numpy()[:, None]
        assert_close(relevance, oracle["rel__combined"][..., 0])
        common, own = patterns
        assert_close(combined_patterns(common, relevance).T, oracle["sp__combined__common"][..., 0])
        told = [combined_patterns(own[c], relevance)[c] for c in range(4)]
        assert_close(np.stack(told, axis=1), oracle["sp__combined__class_conditional"][..., 0])

    def test_outputs_and_their_covariances(self, oracle, readout, classes):
        outputs = readout.outputs()
        assert_close(np.stack([outputs[classes == c].mean(axis=0) for c in range(4)], axis=1), oracle["ccm_fc"])
        assert_close(covariance(outputs[:, :, None]), oracle["cov_y_hat"])
        assert_close(covariance(readout.wanted[:, :, None]), oracle["cov_y"])
        assert_close(covariance(readout.features), oracle["cov_components"])

    def test_patterns_by_what_a_class_mean_says_back_through_the_layer(self, oracle, patterns, readout, classes):
        inverse = np.linalg.pinv(readout.weights.reshape(4, -1)).T.reshape(4, 6, 32)
        for c in range(4):
            said = readout.outputs()[classes == c].mean(axis=0)
            relevance = np.einsum("o,okt->k", said, readout.weights)
            assert_close(combined_patterns(patterns[1][c], relevance[:, None])[0], oracle["wfc_mean"][:, c])
            relevance = np.einsum("o,okt->k", said, inverse) / 32
            assert_close(combined_patterns(patterns[1][c], relevance[:, None])[0], oracle["pinv_w"][:, c])

    def test_relevances(self, oracle, readout):
        assert_close(readout.correlations.transpose(2, 1, 0), oracle["corr_to_output"])
        assert_close(by_correlation(readout), oracle["rel_nodiff__output_corr"][..., 0])
        assert_close(by_weight(readout), oracle["rel_nodiff__weight"][..., 0])
        assert_close(readout.weights.transpose(2, 1, 0), oracle["out_weights"])

    def test_differences_of_relevances(self, oracle, readout, classes):
        # There they count as often as the class is there, and from zero on.
        times = np.bincount(classes) / (len(classes) - 1)
        told = np.maximum(times * by_weight(readout.contrasted), 0)
        assert_close(told, oracle["rel_diff__weight"][..., 0])
        # Correlations with a class, and losses by it, tell it from the others already; there they are treated alike.
        told = np.maximum(np.einsum("okt,oc->tkc", readout.correlations, oracle["cov_y"]), 0)
        assert_close(told.max(axis=0), oracle["rel_diff__output_corr"][..., 0])
        told = np.maximum(oracle["compwise_loss"] @ oracle["cov_y"], 0)
        assert_close(told.max(axis=0), oracle["rel_diff__compwise_loss"][..., 0])

    def test_losses_without_a_component(self, oracle, readout):
        # There the penalty on the weights counts as loss, and falls with the weights that are left out.
        penalty = 3e-4 * np.abs(readout.weights).sum(axis=2).T
        assert_close(by_elimination(readout) - penalty, oracle["compwise_loss"][0])
        assert_close(by_elimination(readout) - penalty, oracle["rel_nodiff__compwise_loss"][..., 0])

    @pytest.fixture
    def kernels(self, network):
        # There the mean is taken from each kernel, though not from what the network computes with.
        kernels = network.temporal.weight.detach().numpy()[:, 0]
        return kernels - kernels.mean(axis=1, keepdims=True)

    def test_spectra(self, oracle, kernels, stages):
        told = component_spectra(stages.latent.numpy(), kernels, SFREQ)
        assert_close(told.freqs[1:], oracle["freqs"])
        assert_close(told.latent[:, 1:].T, oracle["psds"])

    def test_frequency_responses(self, oracle, kernels):
        told = frequency_response(kernels, np.arange(128) * SFREQ / 256, SFREQ)
        assert_close(np.abs(told).T, oracle["freq_responses"][..., 0])

    def test_spectra_of_each_class(self, oracle, readout, kernels, stages):
        best = ranked(by_weight(readout))[0]
        told = component_spectra(stages.latent.numpy()[:, best], kernels[best], SFREQ)
        assert_close(told.latent[:, 1:].T, oracle["class_psds"][..., 0])
        # There power is multiplied by |H|, and by that of the frequency before.
        gain = np.abs(frequency_response(kernels[best], told.freqs[:-1], SFREQ))
        assert_close((told.latent[:, 1:] * gain).T, oracle["class_psds_filtered"][..., 0])

    def test_activations_of_each_class(self, oracle, stages, classes):
        shown = (stages.latent, stages.filtered.relu(), stages.pooled)
        latent, filtered, pooled = (
            class_waveforms(stage.numpy(), classes, 4).mean.transpose(2, 1, 0) for stage in shown
        )
        assert_close(latent, oracle["ccm_dmx"][0])
        assert_close(filtered, oracle["ccm_tconv"][0])
        assert_close(pooled, oracle["ccm_pooled"][0])


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())


class TestPatterns:
    def test_filters_that_read_sources_have_the_sources_patterns(self):
        rng = np.random.default_rng(0)
        mixing, noise = rng.standard_normal((12, 3)), rng.standard_normal((12, 12))
        sources = rng.laplace(size=(40, 3, 50))
        windows = (
            5
            + np.einsum("cs,nst->nct", mixing, sources)
            + np.einsum("cd,ndt->nct", noise, rng.standard_normal((40, 12, 50)))
        )
        # The filters that pass one source each with the least noise, which look like no source.
        quiet = mixing.T @ np.linalg.inv(noise @ noise.T)
        filters = np.linalg.solve(quiet @ mixing, quiet)
        patterns = spatial_patterns(filters, covariance(windows))
        alike = [abs(np.corrcoef(patterns[i], mixing[:, i])[0, 1]) for i in range(3)]
        assert min(alike) > 0.99
        assert max(abs(np.corrcoef(filters[i], mixing[:, i])[0, 1]) for i in range(3)) < 0.9

    def test_a_component_shows_itself_in_its_pattern_and_no_other_one(self):
        rng = np.random.default_rng(1)
        filters, windows = rng.standard_normal((4, 9)), rng.standard_normal((20, 9, 30))
        windows[:, 1:] += windows[:, :1]
        assert np.allclose(spatial_patterns(filters, covariance(windows)) @ filters.T, np.eye(4))

    def test_more_components_than_channels_still_add_up_to_the_signal(self):
        rng = np.random.default_rng(2)
        filters, windows = rng.standard_normal((9, 4)), rng.standard_normal((20, 4, 30))
        patterns = spatial_patterns(filters, covariance(windows))
        assert np.allclose(patterns.T @ filters, np.eye(4))

    def test_a_constant_level_changes_no_covariance(self):
        windows = np.random.default_rng(3).standard_normal((20, 4, 30))
        level = np.arange(4.0)[:, None]
        assert np.allclose(covariance(windows), covariance(windows + level))
        assert np.allclose(covariance(windows), np.cov(windows.transpose(1, 0, 2).reshape(4, -1)))
        assert np.allclose(covariance(windows + level, demean=False)[3, 3], covariance(windows)[3, 3] + 9, atol=0.5)

    def test_covariances_at_lags_are_of_channels_and_what_they_were_before(self):
        windows = 3 + np.random.default_rng(4).standard_normal((20, 4, 30))
        windows[:, 2, 5:] += windows[:, 0, :-5]
        told = lagged_covariances(windows, 7)
        assert np.allclose(told[0], covariance(windows))
        assert np.allclose(lagged_covariances(windows, 1, demean=False)[0], covariance(windows, demean=False))
        deviations = windows - windows.mean(axis=(0, 2))[:, None]
        expected = sum(w[2, 5:] @ w[0, :-5] for w in deviations) / (20 * 25 - 1)
        assert np.isclose(told[5, 2, 0], expected) and expected > 0.8

    @pytest.mark.parametrize("n_lags", [0, 31])
    def test_lags_that_no_window_holds_are_named(self, n_lags):
        with pytest.raises(ValueError, match=f"between 1 and the 30 samples of a window; got {n_lags}"):
            lagged_covariances(np.zeros((2, 3, 30)), n_lags)

    @pytest.mark.parametrize("network", [LFCNN, VARCNN])
    def test_filters_over_channels_and_time_give_what_the_layers_of_a_network_give(self, network):
        torch.manual_seed(0)
        network, window = network(5, 20, 2, n_latent=3, filter_length=4, padding="valid"), torch.randn(1, 5, 20)
        kernels = network.temporal.weight.detach().numpy()
        kernels = kernels[:, 0] if network.temporal.groups > 1 else kernels
        joint = joint_filters(network.demix.weight.detach().numpy()[:, :, 0], kernels)
        with torch.no_grad():
            given = network.stages(window).filtered[0] - network.stages(0 * window).filtered[0]
        expected = sum(joint[:, :, t] @ window[0, :, t : t + 17].numpy() for t in range(4))
        assert np.allclose(expected, given, atol=1e-5)

    def test_combined_they_are_added_up_by_their_relevance(self):
        told = combined_patterns([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]], [[2.0, 0.0], [-1.0, 3.0]])
        assert told.tolist() == [[2.0, 3.0, 7.0], [0.0, 3.0, -3.0]]

    def test_an_unknown_form_is_named(self):
        with pytest.raises(ValueError, match="haufe, mneflow; got 'inverse'"):
            spatial_patterns(np.eye(2), np.eye(2), "inverse")


@pytest.fixture(scope="module")
def moving():
    """Two sources with rhythms of their own, and white noise: topographies, filters on both, windows."""
    rng = np.random.default_rng(0)
    topographies, times = rng.standard_normal((2, 9)), np.arange(200) / SFREQ
    phases = rng.uniform(0, 2 * np.pi, (2, 100, 1))
    slow, fast = (np.sin(2 * np.pi * hz * times + phase) for hz, phase in zip((8, 30), phases, strict=True))
    windows = np.einsum("c,nt->nct", topographies[0], slow) + 3 * np.einsum("c,nt->nct", topographies[1], fast)
    windows += rng.standard_normal(windows.shape)
    taps = np.sin(2 * np.pi * 8 * np.arange(32) / SFREQ) * np.hanning(32)
    # It hears both; behind the kernel, one of them.
    filters, kernels = topographies.sum(axis=0)[None], taps[None]
    return topographies, filters, kernels, windows


class TestFilterPatterns:
    def test_a_stronger_source_outside_the_band_does_not_show(self, moving):
        topographies, filters, kernels, windows = moving
        told = filter_patterns(joint_filters(filters, kernels), lagged_covariances(windows, 32))
        assert abs(np.corrcoef(told.spatial[0], topographies[0])[0, 1]) > 0.99
        by_itself = spatial_patterns(filters, covariance(windows), "mneflow")
        assert abs(np.corrcoef(by_itself[0], topographies[0])[0, 1]) < 0.5

    def test_they_are_the_covariance_of_channels_at_each_tap_with_the_output(self):
        rng = np.random.default_rng(1)
        windows, filters = rng.standard_normal((1, 4, 20_000)), rng.standard_normal((6, 4, 3))
        windows[:, 1:, 1:] += windows[:, :1, :-1]
        told = filter_patterns(filters, lagged_covariances(windows, 3))
        given = sum(filters[:, :, t] @ windows[0, :, t : 19_998 + t] for t in range(3))
        given = (given - given.mean(axis=1, keepdims=True)) / given.std(axis=1, keepdims=True)
        whole = np.stack([given @ windows[0, :, t : 19_998 + t].T / 19_998 for t in range(3)], axis=2)
        left, singular, right = np.linalg.svd(whole)
        assert np.allclose(told.share, singular[:, 0] ** 2 / (singular**2).sum(axis=1), atol=3e-3)
        assert np.allclose(told.temporal.max(axis=1), 1) and told.temporal.min() > -1
        nearest = np.einsum("oc,o,ot->oct", left[:, :, 0], singular[:, 0], right[:, 0])
        assert np.allclose(np.einsum("oc,ot->oct", told.spatial, told.temporal), nearest, atol=3e-3)

    def test_of_one_tap_they_are_those_of_the_covariance(self):
        rng = np.random.default_rng(2)
        filters, windows = rng.standard_normal((4, 9)), rng.standard_normal((20, 9, 30)) + 2
        told = filter_patterns(filters[:, :, None], lagged_covariances(windows, 1))
        by_itself = spatial_patterns(filters, covariance(windows), "mneflow")
        spread = np.sqrt(np.einsum("kc,kc->k", by_itself, filters))
        assert np.allclose(told.spatial, by_itself / spread[:, None])
        assert np.allclose(told.temporal, 1) and np.allclose(told.share, 1)

    def test_they_do_not_depend_on_how_large_a_filter_is_but_on_the_unit(self, moving):
        _, filters, kernels, windows = moving
        joint, lagged = joint_filters(filters, kernels), lagged_covariances(windows, 32)
        told = filter_patterns(joint, lagged)
        assert np.allclose(filter_patterns(5 * joint, lagged).spatial, told.spatial)
        assert np.allclose(filter_patterns(joint, 4 * lagged).spatial, 2 * told.spatial)

    def test_the_course_is_one_where_it_is_farthest_from_zero(self, moving):
        _, filters, kernels, windows = moving
        course = filter_patterns(joint_filters(filters, kernels), lagged_covariances(windows, 32)).temporal[0]
        assert course.max() == 1 and np.abs(course).max() == 1
        # A rhythm of 8 Hz is 16 samples long.
        assert np.abs(course[:-8] + course[8:]).max() < 0.2

    def test_a_filter_of_zeros_has_a_pattern_of_zeros(self):
        told = filter_patterns(np.zeros((1, 3, 2)), lagged_covariances(np.ones((2, 3, 9)) * np.arange(9), 2))
        assert not told.spatial.any() and told.share.tolist() == [0]

    def test_too_few_lags_are_named(self):
        with pytest.raises(ValueError, match="5 taps need covariances at 5 lags; got 4"):
            filter_patterns(np.ones((1, 3, 5)), np.ones((4, 3, 3)))


class TestOutputPatterns:
    def test_of_a_linear_layer_they_are_haufes(self):
        rng = np.random.default_rng(0)
        weights, features = rng.standard_normal((2, 6)), rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
        told = output_patterns(features.reshape(400, 2, 3) + 3, features @ weights.T - 1)
        assert np.allclose(told.reshape(2, 6), spatial_patterns(weights, np.cov(features.T)))

    def test_outputs_that_add_up_to_the_same_share_what_goes_along(self):
        rng = np.random.default_rng(1)
        one, values = rng.standard_normal(50), rng.standard_normal((50, 4))
        told = output_patterns(values, np.stack([one, -one], axis=1))
        assert np.allclose(told[0], -told[1])
        assert np.allclose(told[0] - told[1], output_patterns(values, one[:, None])[0])

    def test_a_response_shows_in_the_filter_that_a_stronger_rhythm_leaks_into(self, moving):
        _, filters, _, windows = moving
        rng = np.random.default_rng(2)
        response, outputs = np.exp(-(((np.arange(200) - 90) / 8) ** 2)), rng.standard_normal((100, 2))
        topography = rng.standard_normal(9)
        told = evoked_patterns(
            joint_filters(topography[None] + filters, np.ones((1, 5))),
            windows + np.einsum("n,c,t->nct", outputs[:, 1], topography, response),
            outputs,
        )
        assert told.spatial.shape == (2, 1, 9) and told.temporal.shape == (2, 1, 5) and told.share.shape == (2, 1)
        assert np.corrcoef(told.spatial[1, 0], topography)[0, 1] > 0.95


class TestWaveforms:
    def test_each_class_has_its_mean_and_its_standard_error(self):
        rng = np.random.default_rng(0)
        activations, classes = rng.standard_normal((30, 2, 9)), np.repeat([0, 1, 3], 10)
        told = class_waveforms(activations, classes, 5)
        assert told.n_windows.tolist() == [10, 10, 0, 10, 0]
        assert np.allclose(told.mean[3], activations[20:].mean(axis=0))
        assert np.allclose(told.sem[1], sem(activations[10:20], axis=0))
        assert np.isnan(told.mean[[2, 4]]).all() and np.isnan(told.sem[[2, 4]]).all()

    def test_one_window_tells_no_standard_error(self):
        told = class_waveforms(np.ones((1, 2, 9)), [0], 1)
        assert (told.mean == 1).all() and np.isnan(told.sem).all()

    @pytest.fixture
    def responses(self):
        """Component 0 is highest at 0.4 s, component 1 lowest at 0.7 s."""
        times = np.arange(100) / 100
        shape = [np.exp(-(((times - 0.4) / 0.1) ** 2)), -np.exp(-(((times - 0.7) / 0.1) ** 2))]
        return shape + 2 * np.random.default_rng(0).standard_normal((200, 2, 100)), times

    def test_the_peak_lies_where_the_average_is_farthest_from_zero(self, responses):
        waves, times = responses
        told = peak_latency(waves, times, np.arange(200), 300, np.random.default_rng(1))
        assert np.abs(told.peak - [0.4, 0.7]).max() < 0.05
        assert np.array_equal(told.peak, times[np.abs(waves.mean(axis=0)).argmax(axis=1)])
        assert (told.low <= told.peak).all() and (told.peak <= told.high).all()
        assert (told.high - told.low < 0.2).all() and (told.high > told.low).all()

    def test_the_interval_holds_95_of_100_peaks_of_drawn_trials(self, responses):
        waves, times = responses
        told = peak_latency(waves, times, np.arange(200), 1000, np.random.default_rng(1))
        rng = np.random.default_rng(2)
        drawn = [waves[rng.integers(200, size=200)].mean(axis=0) for _ in range(1000)]
        peaks = times[np.abs(drawn).argmax(axis=2)]
        assert np.abs(np.percentile(peaks, [2.5, 97.5], axis=0) - [told.low, told.high]).max() <= 0.02

    def test_windows_of_one_trial_are_drawn_together(self, responses):
        waves, times = responses
        told = peak_latency(waves, times, np.zeros(200), 50, np.random.default_rng(1))
        assert np.array_equal(told.peak, times[np.abs(waves.mean(axis=0)).argmax(axis=1)])
        assert np.array_equal(told.low, told.peak) and np.array_equal(told.high, told.peak)


class TestSpectra:
    @pytest.mark.parametrize(("n_times", "n_fft"), [(64, 256), (300, 128), (257, 64)])
    def test_components_have_the_spectra_of_welch(self, n_times, n_fft):
        latent = np.random.default_rng(0).standard_normal((5, 3, n_times))
        told = component_spectra(latent, np.ones((3, 7)), SFREQ, n_fft)
        freqs, power = welch(latent, fs=SFREQ, nperseg=min(n_fft, n_times), nfft=n_fft, axis=-1)
        assert np.allclose(told.freqs, freqs) and np.allclose(told.latent, power.mean(axis=0))

    @pytest.mark.parametrize("over_all", [False, True])
    def test_behind_a_filter_they_are_those_of_what_it_gives(self, over_all):
        rng = np.random.default_rng(1)
        latent = rng.standard_normal((1, 3, 60_000))
        latent[:, 1] += latent[:, 0]
        kernels = rng.standard_normal((2, 3, 7) if over_all else (3, 7))
        told = component_spectra(latent, kernels, SFREQ, 128)
        taps = kernels if over_all else kernels[:, None] * np.eye(3)[:, :, None]
        given = np.stack([sum(correlate(latent[0, i], k[i], "valid") for i in range(3)) for k in taps])
        power = welch(given, fs=SFREQ, nperseg=128, axis=-1)[1]
        # The first frequencies lose the mean of each segment, before the filter or behind it.
        assert (np.abs(told.filtered - power)[:, 2:].max(axis=1) < 0.02 * power.max(axis=1)).all()

    def test_a_mean_is_passed_by_the_sum_of_the_taps(self):
        kernels = np.array([[1.0, 2.0, 4.0], [1.0, -2.0, 1.0]])
        assert np.allclose(frequency_response(kernels, [0.0], SFREQ)[:, 0], [7.0, 0.0])

    def test_the_phase_is_that_of_correlation(self):
        # The tap on the newest sample alone passes a wave as it is.
        assert np.allclose(frequency_response([0.0, 0.0, 1.0], [10.0], SFREQ), 1.0)


@pytest.fixture
def readout():
    """Class 0 shows in component 2, class 1 in component 0; component 1 is noise, and the layer hears all of them."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 60)
    features, weights = rng.standard_normal((180, 4, 5)), 0.05 * rng.standard_normal((3, 4, 5))
    features[classes == 0, 2, 3] += 3
    features[classes == 1, 0, 1] += 2
    weights[0, 2, 3], weights[1, 0, 1] = 2.0, 1.0
    return Readout(features, weights, np.array([-2.0, 0.0, 0.5]), classes)


class TestRelevance:
    @pytest.mark.parametrize(
        "measure",
        [by_norm, by_weight, by_correlation, by_weighted_correlation, by_elimination, combined_relevance],
    )
    def test_every_measure_finds_the_component_of_a_class(self, readout, measure):
        relevance = measure(readout)
        assert relevance.shape == (4, 3)
        assert ranked(relevance)[0, :2].tolist() == [2, 0]

    def test_each_measure_is_its_formula(self, readout):
        told = {
            measure: measure(readout)
            for measure in (by_norm, by_weight, by_correlation, by_weighted_correlation, combined_relevance)
        }
        for k, o in np.ndindex(4, 3):
            weights, features, of_class = readout.weights[o, k], readout.features[:, k], readout.targets == o
            correlations = np.array([np.corrcoef(feature, of_class)[0, 1] for feature in features.T])
            expected = {
                by_norm: np.sqrt((weights**2).sum()),
                by_weight: weights.max(),
                by_correlation: correlations.max(),
                by_weighted_correlation: np.abs(weights * correlations).max(),
                combined_relevance: (weights * features[of_class].mean(axis=0)).max(),
            }
            assert all(np.isclose(told[measure][k, o], value) for measure, value in expected.items())

    def test_elimination_tells_what_the_loss_is_without_a_component_in_an_output(self, readout):
        told = by_elimination(readout)
        for k, o in np.ndindex(4, 3):
            weights = readout.weights.copy()
            weights[o, k] = 0
            assert np.isclose(told[k, o], replace(readout, weights=weights).loss() - readout.loss())

    def test_a_feature_that_never_changes_has_no_correlation(self, readout):
        features = readout.features.copy()
        features[:, 1] = 5
        assert not replace(readout, features=features).correlations[:, 1].any()

    def test_the_cross_entropy_of_a_feature_that_is_far_off_is_how_far(self, readout):
        told = by_cross_entropy(replace(readout, features=np.full((180, 4, 5), -1500.0)))
        assert np.allclose(told, -500)

    def test_the_cross_entropy_is_for_classes(self):
        with pytest.raises(ValueError, match="for classes"):
            by_cross_entropy(Readout(np.ones((2, 1, 1)), np.ones((1, 1, 1)), np.zeros(1), np.zeros((2, 1))))

    def test_the_cross_entropy_is_least_for_the_component_of_a_class(self, readout):
        shifted = Readout(readout.features - 1.5, readout.weights, readout.bias, readout.targets)
        assert ranked(by_cross_entropy(shifted))[0, :2].tolist() == [2, 0]

    def test_the_cross_entropy_is_that_of_the_feature_as_log_odds(self, readout):
        one = Readout(readout.features[:, :1, :1], readout.weights[:, :1, :1], readout.bias, readout.targets)
        odds, is_0 = torch.tensor(one.features[:, 0, 0]), torch.tensor(one.wanted[:, 0])
        expected = torch.nn.functional.binary_cross_entropy_with_logits(odds, is_0)
        assert np.isclose(by_cross_entropy(one)[0, 0], -float(expected))

    def test_the_loss_is_that_of_training(self, readout):
        raw = torch.tensor(readout.features).flatten(1) @ torch.tensor(readout.weights).flatten(1).T
        logits = raw + torch.tensor(readout.bias)
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(readout.targets))
        assert np.isclose(readout.loss(), float(expected))

    def test_elimination_goes_from_noise_to_what_matters(self, readout):
        told = recursive_elimination(readout)
        assert told.order[-2:].tolist() == [0, 2]
        assert told.losses[0] == readout.loss() and len(told.losses) == 5
        nothing = Readout(0 * readout.features, readout.weights, readout.bias, readout.targets)
        assert np.isclose(told.losses[-1], nothing.loss())

    def test_of_components_that_say_the_same_one_is_spared_and_the_other_matters(self, readout):
        features, weights = readout.features.copy(), readout.weights.copy()
        features[:, 3] = features[:, 2]
        weights[:, 2] /= 2
        weights[:, 3] = weights[:, 2]
        told = recursive_elimination(Readout(features, weights, readout.bias, readout.targets))
        assert {told.order[-1], *told.order[:3]} >= {0, 1} and told.order[-1] in (2, 3)

    def test_permuted_features_cost_where_they_matter(self, readout):
        grown = by_permutation(readout, 20, np.random.default_rng(0))
        assert grown.shape == (20, 4)
        assert grown.mean(axis=0).argsort()[::-1][:2].tolist() == [2, 0]
        assert (grown[:, [2, 0]].min(axis=0) > grown[:, [1, 3]].max(axis=0)).all()

    def test_features_that_are_the_same_in_all_windows_may_come_from_any(self, readout):
        features = readout.features.copy()
        features[:, 3] = 5
        constant = replace(readout, features=features, weights=readout.weights + np.arange(3)[:, None, None])
        grown = by_permutation(constant, 3, np.random.default_rng(0))
        assert np.allclose(grown[:, 3], 0) and (grown[:, 2] > 0.01).all()

    def test_with_values_correlations_are_of_ranks_and_the_loss_is_squared(self):
        rng = np.random.default_rng(0)
        features, values = rng.standard_normal((50, 2, 3)), rng.standard_normal((50, 1))
        features[:, 1, 2] += np.exp(values[:, 0])
        weights, bias = rng.standard_normal((1, 2, 3)), np.array([0.3])
        told = Readout(features, weights, bias, values)
        assert np.isclose(told.correlations[0, 1, 2], spearmanr(features[:, 1, 2], values[:, 0]).statistic)
        given = np.einsum("nkt,okt->no", features, weights) + bias
        assert np.isclose(told.loss(), ((given - values) ** 2).mean())

    def test_contrasted_the_layer_gives_the_same_probabilities(self, readout):
        shifted = replace(readout, weights=readout.weights + 1, bias=readout.bias - 2)
        assert np.allclose(softmax(shifted.contrasted.outputs(), axis=1), softmax(readout.outputs(), axis=1))
        # What all classes have in common is no relevance.
        assert np.allclose(by_norm(shifted.contrasted), by_norm(readout.contrasted))
        assert np.allclose(shifted.contrasted.bias, readout.contrasted.bias)

    def test_contrasts_count_a_class_as_often_as_it_is_there(self, readout):
        few = replace(readout, features=readout.features[:90], targets=readout.targets[:90])
        assert np.allclose(few.contrasted.weights[1], few.weights[1] - (2 * few.weights[0] + few.weights[1]) / 3)

    def test_values_are_not_contrasted(self):
        with pytest.raises(ValueError, match="only classes"):
            Readout(np.ones((2, 1, 1)), np.ones((1, 1, 1)), np.zeros(1), np.zeros((2, 1))).contrasted  # noqa: B018

    def test_centred_the_layer_says_the_same(self, readout):
        assert np.allclose(readout.centred.outputs(), readout.outputs())
        assert np.allclose(readout.centred.features.mean(axis=0), 0)

    def test_centred_a_component_that_never_changes_is_worth_nothing(self, readout):
        features = readout.features.copy()
        features[:, 3] = 5
        constant = replace(readout, features=features, weights=readout.weights + 0.2 * np.eye(3, 4)[:, :, None])
        assert np.allclose(by_elimination(constant.centred)[3], 0)
        assert np.abs(by_elimination(replace(constant, weights=constant.weights + 1))[3]).min() > 0.01

    def test_worths_add_up_to_that_of_all_components(self, readout):
        told = by_shapley(readout, 10, np.random.default_rng(0))
        nothing = replace(readout, features=0 * readout.features)
        assert told.shape == (10, 4) and np.allclose(told.sum(axis=1), nothing.loss() - readout.loss())

    def test_the_mean_worth_is_shapleys(self, readout):
        @cache
        def worth(there):
            kept = replace(readout, features=readout.features * np.isin(range(4), list(there))[:, None])
            return -kept.loss()

        orders = list(permutations(range(4)))
        exact = np.zeros(4)
        for order in orders:
            for i, k in enumerate(order):
                exact[k] += (worth(frozenset(order[: i + 1])) - worth(frozenset(order[:i]))) / len(orders)
        told = by_shapley(readout, 300, np.random.default_rng(0))
        assert np.abs(told.mean(axis=0) - exact).max() < 4 * told.std(axis=0).max() / np.sqrt(300)
        assert exact.argsort()[::-1][:2].tolist() == told.mean(axis=0).argsort()[::-1][:2].tolist() == [2, 0]

    def test_nothing_of_the_layer_is_changed(self, readout):
        before = [array.tobytes() for array in (readout.features, readout.weights, readout.bias)]
        by_elimination(readout), recursive_elimination(readout), by_permutation(readout, 2, np.random.default_rng(0))
        by_shapley(readout, 2, np.random.default_rng(0)), readout.centred.loss(), readout.contrasted.loss()
        assert [array.tobytes() for array in (readout.features, readout.weights, readout.bias)] == before
