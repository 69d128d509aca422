"""Controls: what is attributed has to change when what was learned is taken away."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from offline.interpretation.controls import correlated, randomise_layers, shuffle_labels, with_shuffled_labels
from offline.interpretation.gradients import integrated_gradients
from offline.models import LFCNN
from offline.models.recurrent import Recurrent
from offline.training import fit_network
from rtdecode.errors import ConfigurationError, RecordingError
from tests.builders import build_telling_recording
from tests.test_imports import dataset_of


@pytest.fixture
def network():
    torch.manual_seed(0)
    return LFCNN(4, 40, 2, n_latent=3).eval()


def gradients_of(network):
    windows = np.random.default_rng(0).standard_normal((4, 4, 40)).astype(np.float32)
    return integrated_gradients(network, windows, np.arange(4) % 2, 0.1).maps


class TestRandomisedLayers:
    def test_layers_go_from_the_output_backwards_and_the_network_is_left_as_it_is(self, network):
        before = copy.deepcopy(network.state_dict())
        found = randomise_layers(network, gradients_of, n_repeats=2)
        assert found.layers == ("fc", "temporal", "demix") and found.correlation.shape == (3, 2)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    def test_a_memory_comes_before_the_layer_that_reads_it(self, network):
        found = randomise_layers(Recurrent(network, hidden=4).eval(), lambda changed: np.arange(3.0), 1)
        assert found.layers == ("network.fc", "cell", "network.temporal", "network.demix")

    def test_what_depends_on_weights_changes_and_what_does_not_stays(self, network):
        changes = randomise_layers(network, gradients_of, 4)
        stays = randomise_layers(network, lambda changed: np.arange(12.0), 2)
        assert np.abs(changes.correlation.mean(axis=1)).max() < 0.6 and (stays.correlation == 1).all()

    def test_only_layers_up_to_the_row_are_drawn_anew(self, network):
        found = randomise_layers(network, lambda changed: changed.demix.weight.detach().numpy(), 2)
        assert (found.correlation[:2] == 1).all() and (found.correlation[2] < 0.9).all()

    def test_the_same_seed_gives_the_same(self, network):
        some, same, other = (randomise_layers(network, gradients_of, 1, seed).correlation for seed in (1, 1, 2))
        assert np.array_equal(some, same) and not np.array_equal(some, other)


def test_maps_are_compared_by_ranks_where_both_are_numbers():
    assert correlated([1, 2, np.nan, 4], [1, 4, 3, 900]) == pytest.approx(1)
    assert correlated([1, 2, 3], [3, 2, 1]) == pytest.approx(-1) and np.isnan(correlated([1, 1], [1, 2]))


class TestShuffledLabels:
    @pytest.fixture
    def dataset(self, tmp_path):
        for number in (1, 2):
            build_telling_recording(3000, number).save(tmp_path / f"run-{number}.npz")
        return dataset_of(tmp_path)

    def test_each_recording_keeps_its_labels_in_another_order(self, dataset):
        shuffled = with_shuffled_labels(dataset, 1)
        for recording in (0, 1):
            some, other = ([t.truth for t in one.trials if t.recording == recording] for one in (dataset, shuffled))
            assert sorted(some) == sorted(other) and some != other
        assert [t.id for t in shuffled.trials] == [t.id for t in dataset.trials]
        assert with_shuffled_labels(dataset, 1).trials == shuffled.trials

    def test_what_is_learned_from_them_is_another_and_less(self, dataset):
        def weights(fitted):
            rows = fitted.network.fc.weight.detach().numpy()
            return (rows[1] - rows[0]).reshape(4, -1)

        original = fit_network(dataset, dataset.trials[:-2], dataset.trials[-2:])
        told = []
        found = shuffle_labels(dataset, original, weights, 3, tell=lambda *of: told.append(of))
        assert found.maps.shape == (3, *weights(original).shape) and told == [(1, 3), (2, 3), (3, 3)]
        assert np.abs(found.correlation).max() < 0.8 and found.size.max() < 0.6

    def test_recordings_of_one_class_each_are_refused(self, dataset):
        trials = [replace(trial, truth=trial.recording) for trial in dataset.trials]
        with pytest.raises(RecordingError, match="each of the 2 recordings holds trials of one class only"):
            shuffle_labels(replace(dataset, trials=trials), None, None)

    def test_one_recording_of_two_classes_is_enough(self, dataset):
        trials = [replace(trial, truth=trial.truth if trial.recording else 0) for trial in dataset.trials]
        found = shuffle_labels(replace(dataset, trials=trials), None, lambda fitted: np.arange(3.0), 1)
        assert found.maps.shape == (1, 3)

    def test_truths_that_run_on_are_refused(self, dataset):
        dataset.configuration = SimpleNamespace(target_channels=("x",))
        with pytest.raises(ConfigurationError, match="Labels cannot be shuffled where channels tell the truth"):
            shuffle_labels(dataset, None, None)
