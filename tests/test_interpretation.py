"""Patterns, spectra and relevance: against the published package, and against what is known."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate, welch
from scipy.stats import spearmanr

from offline.interpretation import (
    Readout,
    by_correlation,
    by_cross_entropy,
    by_elimination,
    by_norm,
    by_permutation,
    by_weight,
    by_weighted_correlation,
    combined_patterns,
    combined_relevance,
    component_spectra,
    covariance,
    frequency_response,
    ranked,
    recursive_elimination,
    spatial_patterns,
)
from offline.models import LFCNN

SFREQ = 128.0


class TestPublished:
    """MNEflow 0.6.1 on one batch of 24 windows; where it is wrong, what it did is put back here."""

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

    @pytest.mark.parametrize("ranking", ["weight", "output_corr", "compwise_loss"])
    def test_patterns(self, oracle, network, windows, classes, ranking):
        filters = network.demix.weight.detach().numpy()[:, :, 0]
        best = oracle[f"rel_diff__{ranking}"][..., 0].argmax(axis=0)
        common = spatial_patterns(filters, covariance(windows, demean=False), "mneflow")
        assert_close(common[best].T, oracle[f"sp__{ranking}__common"][..., 0])
        for c in range(4):
            own = spatial_patterns(filters, covariance(windows[classes == c], demean=False), "mneflow")
            assert_close(own[best[c]], oracle[f"sp__{ranking}__class_conditional"][:, c, 0])

    def test_combined_patterns(self, oracle, network, windows, readout):
        # There the bias of the temporal filter is taken from the relevance, from each class's alike.
        relevance = combined_relevance(readout) - network.temporal.bias.detach().numpy()[:, None]
        assert_close(relevance, oracle["rel__combined"][..., 0])
        filters = network.demix.weight.detach().numpy()[:, :, 0]
        patterns = spatial_patterns(filters, covariance(windows, demean=False), "mneflow")
        assert_close(combined_patterns(patterns, relevance).T, oracle["sp__combined__common"][..., 0])

    def test_relevances(self, oracle, readout):
        assert_close(readout.correlations.transpose(2, 1, 0), oracle["corr_to_output"])
        assert_close(by_correlation(readout), oracle["rel_nodiff__output_corr"][..., 0])
        assert_close(by_weight(readout), oracle["rel_nodiff__weight"][..., 0])

    def test_losses_without_a_component(self, oracle, readout):
        # There the penalty on the weights counts as loss, and falls with the weights that are left out.
        penalty = 3e-4 * np.abs(readout.weights).sum(axis=2).T
        assert_close(by_elimination(readout) - penalty, oracle["compwise_loss"][0])

    def test_spectra(self, oracle, network, stages):
        kernels = network.temporal.weight.detach().numpy()[:, 0]
        told = component_spectra(stages.latent.numpy(), kernels, SFREQ)
        assert_close(told.freqs[1:], oracle["freqs"])
        assert_close(told.latent[:, 1:].T, oracle["psds"])

    def test_frequency_responses(self, oracle, network):
        kernels = network.temporal.weight.detach().numpy()[:, 0]
        # There the mean is taken from each kernel, though not from what the network computes with.
        kernels = kernels - kernels.mean(axis=1, keepdims=True)
        told = frequency_response(kernels, np.arange(128) * SFREQ / 256, SFREQ)
        assert_close(np.abs(told).T, oracle["freq_responses"][..., 0])

    def test_activations_of_each_class(self, oracle, stages, classes):
        shown = {"ccm_dmx": stages.latent, "ccm_tconv": stages.filtered.relu(), "ccm_pooled": stages.pooled}
        for name, stage in shown.items():
            means = np.stack([stage.numpy()[classes == c].mean(axis=0) for c in range(4)])
            assert_close(means.transpose(2, 1, 0), oracle[name][0])


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

    def test_an_unknown_form_is_named(self):
        with pytest.raises(ValueError, match="haufe, mneflow; got 'inverse'"):
            spatial_patterns(np.eye(2), np.eye(2), "inverse")


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

    def test_with_values_correlations_are_of_ranks_and_the_loss_is_squared(self):
        rng = np.random.default_rng(0)
        features, values = rng.standard_normal((50, 2, 3)), rng.standard_normal((50, 1))
        features[:, 1, 2] += np.exp(values[:, 0])
        weights, bias = rng.standard_normal((1, 2, 3)), np.array([0.3])
        told = Readout(features, weights, bias, values)
        assert np.isclose(told.correlations[0, 1, 2], spearmanr(features[:, 1, 2], values[:, 0]).statistic)
        given = np.einsum("nkt,okt->no", features, weights) + bias
        assert np.isclose(told.loss(), ((given - values) ** 2).mean())

    def test_nothing_of_the_layer_is_changed(self, readout):
        before = [array.tobytes() for array in (readout.features, readout.weights, readout.bias)]
        by_elimination(readout), recursive_elimination(readout), by_permutation(readout, 2, np.random.default_rng(0))
        assert [array.tobytes() for array in (readout.features, readout.weights, readout.bias)] == before
