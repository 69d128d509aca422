"""What a decoder rests on, where it is known: occlusion and integrated gradients."""

import copy

import numpy as np
import pytest
import torch

from offline.interpretation.gradients import integrated_gradients
from offline.interpretation.occlusion import (
    Signals,
    band_parts,
    channel_parts,
    donors,
    group_parts,
    occlude,
    time_parts,
)
from offline.interpretation.parts import Part, in_band, mixed
from offline.models import LFCNN, ShallowFBCSPNet
from offline.models.base import Network
from offline.models.recurrent import Recurrent
from rtdecode.errors import ModelError, RecordingError

SFREQ, N_CHANNELS, N_TIMES = 100.0, 5, 100


def softmax(logits):
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def linear(weights):
    """Probabilities of two classes from the sum of weights (n_channels, n_times) times window."""

    def predict(x, numbers):
        logit = np.einsum("nct,ct->n", x, weights)
        return softmax(np.stack([-logit, logit], axis=1))

    return predict


def signals(x, truth, predict, **more):
    numbers = np.arange(len(x))
    given = {"trial": numbers, "block": numbers // max(len(x) // 2, 1), "window": numbers, **more}
    names = tuple(f"E{i}" for i in range(x.shape[1]))
    return Signals(x=x, truth=truth, sfreq=SFREQ, ch_names=names, predict=predict, **given)


@pytest.fixture
def telling():
    """Windows in whose channel 2, from 0.4 to 0.6 s, the class shows as 20 Hz; and a network that reads just that."""
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.arange(60) % 2)
    x = rng.standard_normal((60, N_CHANNELS, N_TIMES)).astype(np.float32)
    weights = np.zeros((N_CHANNELS, N_TIMES))
    weights[2, 40:60] = np.sin(2 * np.pi * 20 * np.arange(20) / SFREQ) / 4
    x += (2 * classes - 1)[:, None, None] * 4 * weights
    return signals(x.astype(np.float32), classes, linear(weights))


class TestOcclusion:
    def test_of_channels_it_finds_the_one_that_is_read(self, telling):
        found = occlude(telling, channel_parts(telling.ch_names))
        grown, lost = found.grown, found.lost
        assert found.accuracy.value > 0.95 and found.loss_unit == "nats"
        assert lost[2].low > 0.3 and grown[2].low > 0.3
        assert all(lost[i].value == 0 and grown[i].value == pytest.approx(0, abs=1e-12) for i in (0, 1, 3, 4))
        assert {figure.n for figure in grown} == {60}

    def test_of_groups_it_finds_the_one_that_holds_it(self, telling):
        found = occlude(telling, group_parts({"without": (0, 1), "with": (2, 3, 4)}))
        assert found.lost[0].value == 0 < 0.3 < found.lost[1].low

    def test_of_times_it_finds_those_that_are_read(self, telling):
        parts = time_parts(N_TIMES, 5, SFREQ, first_s=-0.2)
        grown = [figure.value for figure in occlude(telling, parts).grown]
        assert [part.name for part in parts][:2] == ["-0.2 to 0 s", "0 to 0.2 s"]
        assert int(np.argmax(grown)) == 2 and grown[2] > 0.5 and np.abs(np.delete(grown, 2)).max() < 1e-9

    @pytest.mark.parametrize("removed", [False, True])
    def test_of_bands_it_finds_the_one_that_is_read(self, telling, removed):
        parts = band_parts(SFREQ)
        found = occlude(telling, parts, removed=removed)
        grown = {part.name: figure for part, figure in zip(parts, found.grown, strict=True)}
        assert [*grown] == ["below 4 Hz", "4-8 Hz", "8-13 Hz", "13-30 Hz", "above 30 Hz"]
        assert max(grown, key=lambda name: grown[name].value) == "13-30 Hz" and grown["13-30 Hz"].low > 0.1
        assert found.n_repeats == (1 if removed else 5)

    def test_alone_a_part_gives_its_share_and_of_a_linear_network_the_shares_add_up(self, telling):
        found = occlude(telling, group_parts({"some": (0, 1), "one": (2,), "rest": (3, 4)}), alone=True)
        shares = [figure.value for figure in found.shares]
        assert shares == pytest.approx([0, 1, 0], abs=1e-6)
        assert found.accuracy_of(found.alone[1]).value == found.accuracy.value
        assert abs(found.accuracy_of(found.alone[0]).value - found.chance) < 0.15

    def test_of_a_decoder_at_chance_no_shares_are_told(self, telling):
        guessing = signals(telling.x, np.arange(60) // 2 % 2, telling.predict)
        shares = occlude(guessing, [Part("one", (2,)), Part("other", (3,))], 2, alone=True).shares
        assert len(shares) == 2 and all(np.isnan([share.value, share.low, share.high]).all() for share in shares)

    def test_what_is_needed_to_cancel_noise_is_missed_but_gives_nothing_alone(self):
        rng = np.random.default_rng(1)
        classes, noise = np.arange(60) % 2, 10 * rng.standard_normal((60, N_TIMES))
        x = np.stack([noise + 0.3 * (2 * classes - 1)[:, None], noise], axis=1).astype(np.float32)
        weights = np.stack([np.full(N_TIMES, 0.1), np.full(N_TIMES, -0.1)])
        found = occlude(signals(x, classes, linear(weights)), [Part("the other", (1,))], 40, alone=True)
        assert found.lost[0].low > 0.2 and abs(found.shares[0].value) < 0.1

    def test_the_same_seed_gives_the_same_to_the_last_bit_and_another_does_not(self, telling):
        some, same, other = (occlude(telling, channel_parts("abcde"), 2, seed).grown[2] for seed in (3, 3, 4))
        assert some == same and some != other

    def test_nothing_is_changed_and_progress_is_told(self, telling):
        before, told = telling.x.tobytes(), []
        occlude(telling, channel_parts("abcde"), 2, alone=True, tell=lambda done, of: told.append((done, of)))
        assert telling.x.tobytes() == before and told == [(i + 1, 23) for i in range(23)]

    def test_in_batches_it_gives_what_it_gives_at_once(self, telling, monkeypatch):
        whole = occlude(telling, band_parts(SFREQ), 2)
        monkeypatch.setattr("offline.interpretation.occlusion._AT_ONCE", 7 * N_CHANNELS * N_TIMES)
        assert [f.value for f in occlude(telling, band_parts(SFREQ), 2).grown] == pytest.approx(
            [f.value for f in whole.grown]
        )

    def test_of_values_losses_are_in_variances_of_the_truth(self):
        rng = np.random.default_rng(0)
        values = 1000 * rng.standard_normal((40, 1))
        x = rng.standard_normal((40, 2, 10)).astype(np.float32)
        x[:, 1] = values
        read = signals(x, values, lambda windows, numbers: windows[:, 1].mean(axis=1, keepdims=True))
        found = occlude(read, channel_parts("ab"), 20)
        assert found.lost == [] and found.accuracy is None and found.loss_unit == "variances of the truth"
        # Of two values that have nothing to do with each other the mean squared difference is twice the variance.
        assert abs(found.grown[0].value) < 1e-12 and found.grown[1].value == pytest.approx(2, abs=0.25)

    def test_windows_of_a_trial_count_once(self, telling):
        twice = {"x": np.repeat(telling.x, 2, axis=0), "truth": np.repeat(telling.truth, 2)}
        trial = np.repeat(np.arange(60), 2)
        found = occlude(
            signals(**twice, predict=telling.predict, trial=trial, block=trial // 30), channel_parts("abcde")
        )
        assert found.n_trials == 60 and found.grown == occlude(telling, channel_parts("abcde")).grown


class TestDonors:
    @pytest.mark.parametrize("seed", range(20))
    def test_no_trial_stands_in_for_itself_nor_for_one_of_another_recording(self, seed):
        trial = np.repeat([4, 5, 6, 9, 11, 12], [1, 3, 2, 2, 1, 3])
        block = np.repeat([0, 1], [6, 6])
        chosen = donors(trial, block, np.random.default_rng(seed))
        assert (trial[chosen] != trial).all() and (block[chosen] == block).all()
        # Windows of one trial go to one trial.
        assert all(len(set(trial[chosen[trial == number]])) == 1 for number in trial)

    def test_every_other_trial_does_so_equally_often(self):
        numbers = np.arange(4)
        orders = [donors(numbers, 0 * numbers, np.random.default_rng(seed)) for seed in range(600)]
        counts = np.bincount([order[0] for order in orders], minlength=4)
        assert counts[0] == 0 and counts[1:].min() > 160

    def test_a_trial_that_is_alone_in_its_recording_is_left_out_and_that_is_told(self, telling):
        block = np.where(np.arange(60) == 7, 1, 0)
        found = occlude(signals(telling.x, telling.truth, telling.predict, block=block), channel_parts("abcde"))
        assert found.n_left_out == 1 and found.n_trials == 59

    def test_of_more_trials_than_minutes_are_enough_for_every_nth_is_looked_at(self, telling, monkeypatch):
        monkeypatch.setattr("offline.interpretation.occlusion._MOST", 2 * telling.x.size)
        found = occlude(telling, channel_parts("abcde"), 1)
        # All of it would be looked at six times.
        assert found.n_trials == 20 and found.n_left_out == 40 and np.bincount(found.truth).tolist() == [10, 10]
        assert int(np.argmax([figure.value for figure in found.grown])) == 2

    def test_trials_that_are_all_alone_are_refused_in_a_sentence(self, telling):
        alone = signals(telling.x[:3], telling.truth[:3], telling.predict, block=np.arange(3))
        with pytest.raises(RecordingError, match="3 trials in 3 recordings: none has another one"):
            occlude(alone, channel_parts("abcde"))

    def test_recordings_of_one_class_are_left_out_and_that_is_told(self, telling):
        # The first half holds both classes, the others one each.
        half = np.arange(60) < 30
        block = np.where(half, 0, 1 + telling.truth)
        found = occlude(signals(telling.x, telling.truth, telling.predict, block=block), channel_parts("abcde"), 1)
        assert found.n_trials == found.n_left_out == 30 and (found.truth == telling.truth[half]).all()

    def test_recordings_of_one_class_each_are_refused_in_a_sentence(self, telling):
        apart = signals(telling.x, telling.truth, telling.predict, block=telling.truth)
        with pytest.raises(RecordingError, match=r"In each recording all trials are of one class \(60 trials, 2 rec"):
            occlude(apart, channel_parts("abcde"))

    def test_a_target_that_stays_within_each_recording_is_refused_too(self, telling):
        values = np.stack([np.arange(60.0), np.arange(60) // 30], axis=1)
        read = signals(telling.x, values, lambda windows, numbers: windows[:, :2, 0])
        with pytest.raises(RecordingError, match="In each recording a target has the same value throughout"):
            occlude(read, channel_parts("abcde"))

    def test_trials_of_one_class_are_refused_in_a_sentence(self, telling):
        left = signals(telling.x, np.zeros(60, int), telling.predict)
        with pytest.raises(RecordingError, match=r"All 60 trials .* are of one class: nothing tells"):
            occlude(left, channel_parts("abcde"))

    def test_a_class_without_a_trial_does_no_harm(self, telling):
        def three(x, numbers):
            return np.hstack([telling.predict(x, numbers), np.full((len(x), 1), 1e-9)])

        found = occlude(signals(telling.x, telling.truth, three), channel_parts("abcde"))
        assert found.lost[2].low > 0.3 and np.isfinite([f.value for f in found.grown]).all()


class TestBands:
    def test_bands_and_what_is_left_make_up_the_signal(self):
        x = np.cumsum(np.random.default_rng(0).standard_normal((3, 2, 400)), axis=2)
        for band in ((0.0, 4.0), (8.0, 13.0), (30.0, np.inf)):
            assert np.allclose(mixed(x, 0.0, Part("", band_hz=band), SFREQ) + in_band(x, band, SFREQ), x)

    def test_a_wave_passes_in_its_band_alone_and_is_not_delayed(self):
        wave = np.sin(2 * np.pi * 20 * np.arange(400) / SFREQ)
        inside = in_band(wave, (13.0, 30.0), SFREQ)[100:300]
        assert np.abs(inside - wave[100:300]).max() < 0.02
        assert (
            max(np.abs(in_band(wave, band, SFREQ)[100:300]).max() for band in ((0, 4), (4, 8), (30, np.inf))) < 0.02
        )

    def test_beyond_half_the_rate_there_is_none(self):
        assert [part.name for part in band_parts(50.0)][-1] == "13-30 Hz"
        assert not in_band(np.ones((1, 50)), (30.0, np.inf), 50.0).any()


class Linear(Network):
    """Logits that are linear in the window."""

    def __init__(self, n_channels, n_times, n_outputs):
        super().__init__(n_channels, n_times, n_outputs)
        self.fc = torch.nn.Linear(n_channels * n_times, n_outputs)

    def features(self, x):
        return x


class Logarithm(Linear):
    """Of the zeros it starts from there is none, or one that is far from that of any window."""

    least = 0.0

    def features(self, x):
        return torch.log(x.square().clamp(min=self.least))


def windows_for(network, n=6):
    return np.random.default_rng(0).standard_normal((n, network.n_channels, network.n_times)).astype(np.float32)


NETWORKS = {
    "lfcnn": lambda: LFCNN(4, 60, 3, n_latent=4),
    "lfcnn-square": lambda: LFCNN(4, 60, 3, n_latent=4, nonlinearity="square"),
    "shallow": lambda: ShallowFBCSPNet(4, 120, 3),
    "recurrent": lambda: Recurrent(LFCNN(4, 60, 3, n_latent=4), hidden=4),
}


class TestIntegratedGradients:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_they_add_up_to_the_difference_of_the_outputs(self, name):
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        windows, truth, chosen = windows_for(network, 3), np.array([0, 1, 2]), np.arange(3)
        found = integrated_gradients(network, windows, truth, 0.02)
        with torch.no_grad():
            ends = [network.step(torch.tensor(x), *network.initial_state(3))[0] for x in (windows, 0 * windows)]
        centred = [raw.numpy() - raw.numpy().mean(axis=1, keepdims=True) for raw in ends]
        expected = (centred[0] - centred[1])[chosen, truth]
        assert found.difference[chosen, truth] == pytest.approx(expected, rel=1e-4, abs=1e-5)
        sums = found.by_channel[chosen, truth].sum(axis=1)
        assert np.abs(sums - expected).max() < 0.03 * np.abs(expected).max() and found.incomplete < 0.03
        assert sums == pytest.approx(found.by_time[chosen, truth].sum(axis=1))

    def test_of_a_linear_network_they_are_weights_times_windows(self):
        network = Linear(3, 20, 2).eval()
        windows, truth = windows_for(network), np.array([0, 0, 0, 1, 1, 1])
        found = integrated_gradients(network, windows, truth)
        weights = network.fc.weight.detach().numpy().reshape(2, 3, 20)
        expected = (weights - weights.mean(axis=0)) * np.stack([windows[:3].mean(axis=0), windows[3:].mean(axis=0)])
        assert np.allclose(found.maps, expected, atol=1e-5)
        assert np.isnan(found.by_channel[:3, 1]).all() and not np.isnan(found.by_channel[:3, 0]).any()

    def test_of_values_every_window_counts_for_every_target(self):
        network = Linear(3, 20, 2).eval()
        network.set_targets(torch.tensor([5.0, 6.0]), torch.tensor([2.0, 3.0]))
        windows = windows_for(network)
        found = integrated_gradients(network, windows, np.zeros((6, 2)))
        weights = network.fc.weight.detach().numpy().reshape(2, 3, 20)
        assert np.allclose(found.maps, weights * windows.mean(axis=0), atol=1e-5)

    def test_what_is_not_read_has_none_and_nothing_is_changed(self):
        network = Linear(3, 20, 2).eval()
        with torch.no_grad():
            network.fc.weight.view(2, 3, 20)[:, 1] = 0
        before, windows = copy.deepcopy(network.state_dict()), windows_for(network)
        found = integrated_gradients(network, windows, np.arange(6) % 2)
        assert not found.maps[:, 1].any() and found.maps[:, 0].any()
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert windows.tobytes() == windows_for(network).tobytes()

    def test_a_class_without_windows_has_no_map_and_progress_is_told(self):
        told = []
        network = Linear(3, 20, 3).eval()
        found = integrated_gradients(
            network, windows_for(network), np.arange(6) % 2, tell=lambda *of: told.append(of)
        )
        assert np.isnan(found.maps[2]).all() and not np.isnan(found.maps[:2]).any() and told[-1] == (6, 6)

    @pytest.mark.parametrize(("least", "missing"), [(0.0, "nan"), (1e-30, r"\d\d")])
    def test_a_network_whose_gradients_cannot_be_integrated_is_told(self, least, missing):
        network = Logarithm(2, 5, 2).eval()
        network.least = least
        with pytest.raises(
            ModelError, match=f"gradients of Logarithm cannot be integrated .* {missing} % is missing"
        ):
            integrated_gradients(network, windows_for(network), np.arange(6) % 2)
