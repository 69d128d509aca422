"""Whether a decoder that reads eyes or muscles is warned of, and one that reads the brain is not."""

import numpy as np
import pytest

from offline.interpretation.sanity import FEWEST_TRIALS, find_regions, look_for_artifacts
from offline.interpretation.topographies import shared_with
from rtdecode.contract import Signal
from rtdecode.errors import RecordingError
from tests.heads import (
    CENTRAL,
    PLACES,
    SFREQ,
    blinks,
    by_amplitude,
    by_power,
    muscles,
    rhythm,
    signal_of,
    signals_of,
    slow_wave,
    trials,
)

CZ, FCZ, PZ = (0.0, 0.0), (0.0, 0.22), (0.0, -0.45)
CONTAMINATED = {
    "blinks": ("eyes", PLACES, by_amplitude, [(blinks,)]),
    "blinks, and one frontal electrode": ("eyes", CENTRAL, by_amplitude, [(blinks,)]),
    "blinks beside a wave of the brain": ("eyes", PLACES, by_amplitude, [(blinks,), (slow_wave, PZ, 6.0)]),
    "power of blinks": ("eyes", PLACES, by_power, [(blinks, 250.0)]),
    "muscles": ("muscles", PLACES, by_power, [(muscles,)]),
    "muscles beside a rhythm": ("muscles", PLACES, by_power, [(muscles,), (rhythm, 3.0)]),
}
CLEAN = {
    "a slow wave at Cz": (PLACES, by_amplitude, [(slow_wave, CZ)]),
    "a slow wave at FCz": (PLACES, by_amplitude, [(slow_wave, FCZ)]),
    # Not at FCz: Fz alone in front has as much of that as its neighbours.
    "a slow wave at Cz, and one frontal electrode": (CENTRAL, by_amplitude, [(slow_wave, CZ)]),
    "a slow wave at Pz": (PLACES, by_amplitude, [(slow_wave, PZ)]),
    "a rhythm": (PLACES, by_power, [(rhythm,)]),
    "a rhythm, and one frontal electrode": (CENTRAL, by_power, [(rhythm,)]),
}


def looked_at(ch_names, decoder, sources, seed, n_test=48):
    predict = decoder(*trials(ch_names, sources, [seed, 0], 120))
    signals = signals_of(*trials(ch_names, sources, [seed, 1], n_test), predict)
    return look_for_artifacts(signals, find_regions(signal_of(ch_names), {}), 3)


def assert_warned(case, seed, n_test=48):
    what, ch_names, decoder, sources = CONTAMINATED[case]
    found = looked_at(list(ch_names), decoder, sources, seed, n_test)
    assert len(found.warnings) == 1 and found.warnings[0].startswith(f"It looks as if it read {what}:")


def assert_not_warned(case, seed):
    found = looked_at(list(CLEAN[case][0]), *CLEAN[case][1:], seed)
    assert found.accuracy.low > 0.6 and found.warnings == ()
    # It is a verdict: nothing else is in doubt than what the channels do not tell.
    assert not any("No verdict" in sentence for sentence in found.unknown)


class TestWarnings:
    @pytest.mark.parametrize("case", ["blinks", "blinks, and one frontal electrode", "muscles"])
    def test_a_contaminated_decoder_is_warned_of(self, case):
        assert_warned(case, 0)

    def test_a_clean_one_is_not(self):
        assert_not_warned("a slow wave at FCz", 0)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(1, 6))
    @pytest.mark.parametrize("case", CONTAMINATED)
    def test_every_contaminated_one_is_warned_of(self, case, seed):
        assert_warned(case, seed, 100)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(1, 6))
    @pytest.mark.parametrize("case", CLEAN)
    def test_no_clean_one_is(self, case, seed):
        assert_not_warned(case, seed)

    def test_of_few_trials_no_verdict_is_given(self):
        found = looked_at(list(PLACES), by_amplitude, [(blinks,)], 0, n_test=FEWEST_TRIALS - 2)
        assert found.warnings == () and found.n_trials == FEWEST_TRIALS - 2
        assert "No verdict on eyes and muscles: there are 10 trials, of the rarest class 5; 12" in found.unknown[0]

    def test_of_a_decoder_at_chance_no_verdict_is_given(self):
        found = looked_at(list(PLACES), by_amplitude, [], 0)
        assert found.warnings == () and "not surely better than chance" in found.unknown[0]

    def test_values_that_are_read_from_the_eyes_are_warned_of_too(self):
        ch_names = list(PLACES)

        def simulated(seed, n=60):
            x, _ = trials(ch_names, [], seed, n)
            value = np.random.default_rng(seed).standard_normal(n)
            lids = blinks(ch_names, np.random.default_rng(seed), np.zeros(n, int), 80.0, (1.0, 1.0))
            return (x + value[:, None, None] * lids).astype(np.float32), value[:, None]

        signals = signals_of(*simulated(1), lambda x: x[:, :2, 60:120].mean(axis=(1, 2))[:, None] / 40)
        found = look_for_artifacts(signals, find_regions(signal_of(ch_names), {}))
        assert len(found.warnings) == 1 and "eyes" in found.warnings[0] and found.accuracy is None

    def test_what_it_rests_on_is_told_part_by_part(self):
        found = looked_at(list(PLACES), by_amplitude, [(slow_wave, PZ)], 0)
        rests = {rest.part.name: rest for rest in found.rests}
        assert [*rests] == [
            "frontal channels",
            "temporal channels",
            "below 4 Hz",
            "above 30 Hz",
            "strongest frontal signals below 4 Hz",
            "signals of the head's rim above 30 Hz",
        ]
        assert rests["below 4 Hz"].share.value > 0.9 and rests["below 4 Hz"].above_chance > 0.7
        assert abs(rests["above 30 Hz"].share.value) < 0.05 and rests["above 30 Hz"].without.value > 0.7
        assert rests["below 4 Hz"].alone.value > rests["below 4 Hz"].without.value

    def test_trials_of_one_class_are_refused_in_a_sentence(self):
        x, classes = trials(list(PLACES), [], 0, 20)
        signals = signals_of(x, 0 * classes, lambda windows: np.full((len(windows), 2), 0.5))
        with pytest.raises(RecordingError, match="All 20 trials that can be exchanged are of one class"):
            look_for_artifacts(signals, find_regions(signal_of(list(PLACES)), {}))


class TestRegions:
    def regions(self, names, types=None, positions=None):
        n = len(names)
        types = types or ("eeg",) * n
        signal = Signal(ch_names=tuple(names), ch_types=types, units=("none",) * n, sfreq=SFREQ)
        found = find_regions(signal, positions or {})
        return [[names[i] for i in part] for part in (found.frontal, found.temporal, found.rim)], found

    def test_names_of_the_10_20_system_tell(self):
        names = ["Fp1", "AF8", "F3", "Fz", "F8", "FC5", "FT9", "T7", "TP10", "C3", "P9", "Oz", "EOG"]
        (frontal, temporal, rim), found = self.regions(names)
        assert frontal == ["Fp1", "AF8", "F3", "Fz", "F8"] and temporal == ["FT9", "T7", "TP10"]
        assert rim == ["Fp1", "AF8", "F8", "FT9", "T7", "TP10", "P9"] and found.by == "name" and found.known == 12

    def test_in_other_spelling_too(self):
        (frontal, temporal, _), _ = self.regions(["EEG FP1-REF", "EEG T3", "fz", "CZ"])
        assert frontal == ["EEG FP1-REF", "fz"] and temporal == ["EEG T3"]

    @pytest.mark.parametrize("names", [["A1", "A5", "B3", "C3", "F7"], ["E1", "E128"], ["EEG 001", "EEG 002"]])
    def test_names_of_another_system_are_not_guessed_at(self, names):
        parts, found = self.regions(names)
        assert parts == [[], [], []] and found.known == 0

    def test_places_tell_where_names_do_not(self):
        names = [f"MEG {i:03d}" for i in range(24)]
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        places = {n: (0.5 + 0.48 * np.sin(a), 0.5 + 0.48 * np.cos(a)) for n, a in zip(names, angles, strict=True)}
        (frontal, temporal, rim), found = self.regions(names, ("mag",) * 24, places)
        assert "MEG 000" in frontal and "MEG 006" in temporal and "MEG 012" not in rim and found.by == "place"
        assert set(frontal) | set(temporal) == set(rim)
        few = {name: places[name] for name in names[:15]}
        assert self.regions(names, ("mag",) * 24, few)[1].known == 0

    def test_what_they_do_not_tell_is_said(self):
        names = ["E1", "E2", "E3"]
        x, classes = trials(list(PLACES), [(slow_wave, PZ)], 0, 30)
        signals = signals_of(x[:, -3:], classes, lambda part: np.tile([0.4, 0.6], (len(part), 1)))
        found = look_for_artifacts(signals, self.regions(names)[1])
        assert [rest.part.name for rest in found.rests] == ["below 4 Hz", "above 30 Hz"]
        assert any("Where the channels are is not known" in sentence for sentence in found.unknown)


class TestSharedSignals:
    def test_they_are_what_a_frontal_source_gives_to_every_channel(self):
        rng = np.random.default_rng(0)
        pattern, source = np.array([3.0, 2.0, 1.0, 0.5]), rng.standard_normal((20, 1, 400)).cumsum(axis=2)
        x = pattern[:, None] * source + 1e-3 * rng.standard_normal((20, 4, 400))
        signals = signals_of(x, np.arange(20) % 2, None)
        spread = shared_with(signals, ("eeg",) * 4, (0, 1), (0.0, 4.0), 1)
        assert np.allclose(spread @ pattern, pattern, rtol=1e-2) and not spread[:, 2:].any()

    def test_of_all_channels_they_are_everything(self):
        x = np.random.default_rng(0).standard_normal((20, 3, 200))
        signals = signals_of(x, np.arange(20) % 2, lambda part: np.tile([0.4, 0.6], (len(part), 1)))
        assert np.allclose(shared_with(signals, ("eeg",) * 3, (0, 1, 2), (30.0, np.inf), 3), np.eye(3), atol=1e-8)

    def test_types_of_channels_are_not_compared_in_size(self):
        x = np.random.default_rng(0).standard_normal((20, 3, 200))
        given = [
            shared_with(signals_of(x * scale, np.arange(20) % 2, None), ("eeg", "mag", "mag"), (0, 1), (0.0, 4.0), 1)
            for scale in (1.0, np.array([1e3, 1.0, 1.0])[:, None])
        ]
        assert given[0][2, 0] == pytest.approx(1e3 * given[1][2, 0]) and given[0][2, 1] == pytest.approx(
            given[1][2, 1]
        )
