"""What `rtdecode run` says to sources that do not fit, and to those that are not quite tidy. Real LSL on loopback."""

import json
import uuid

import numpy as np
import pylsl
import pytest

from rtdecode.lsl import OutputReader
from tests.processes import rtdecode


class TestRefusals:
    """What `run` says, and its exit code, when a stream does not fit."""

    @pytest.fixture
    def outlet(self, names):
        kept = []

        def make(name=names[0], source_id="", n_channels=4, sfreq=128.0, kind="EEG", labels=None, unit="microvolts",
                 channel_format=pylsl.cf_float32):  # fmt: skip
            source_id = source_id or uuid.uuid4().hex
            info = pylsl.StreamInfo(name, kind, n_channels, sfreq, channel_format, source_id)
            channels = info.desc().append_child("channels")
            for label in labels if labels is not None else [f"E{i}" for i in range(n_channels)]:
                channel = channels.append_child("channel")
                channel.append_child_value("label", label)
                channel.append_child_value("unit", unit)
                channel.append_child_value("type", "EEG")
            kept.append(pylsl.StreamOutlet(info))
            return kept[-1]

        yield make
        kept.clear()

    def refused(self, model_path, names, *options):
        with rtdecode("run", "--model", model_path, "--name", names[1], "--wait", "1", *options) as decoder:
            assert decoder.wait() == 5
        assert "Traceback" not in decoder.output
        return decoder.output

    def test_no_stream(self, model_path, names):
        told = self.refused(model_path, names, "--stream", names[0])
        assert "No stream found in 1 s; wanted: a stream with name" in told

    def test_two_streams_of_one_name(self, model_path, names, outlet):
        outlet(source_id="a")
        outlet(source_id="b")
        told = self.refused(model_path, names, "--stream", names[0])
        assert "2 streams could be meant" in told and "'a'" in told and "'b'" in told

    def test_two_streams_told_apart_by_source_id_are_no_ambiguity(self, model_path, names, outlet):
        outlet(source_id="a")
        outlet(source_id="b", n_channels=3)
        told = self.refused(model_path, names, "--stream", names[0], "--source-id", "b")
        assert "lacks 1 of the 4" in told

    def test_a_missing_channel(self, model_path, names, outlet):
        outlet(labels=["E0", "E1", "e2", "E3"])
        assert "E2 (near names: E2 -> e2)" in self.refused(model_path, names, "--stream", names[0])

    def test_another_rate(self, model_path, names, outlet):
        outlet(sfreq=250.0)
        assert "runs at 250 Hz" in self.refused(model_path, names, "--stream", names[0])

    def test_no_labels(self, model_path, names, outlet):
        outlet(labels=[])
        assert "has no channel labels" in self.refused(model_path, names, "--stream", names[0])

    def test_no_units(self, model_path, names, outlet):
        outlet(unit="")
        assert "does not declare the unit" in self.refused(model_path, names, "--stream", names[0])

    def test_tesla_for_volts(self, model_path, names, outlet):
        outlet(unit="fT")
        assert "E0 (fT instead of uV)" in self.refused(model_path, names, "--stream", names[0])

    def test_two_channels_of_one_name(self, model_path, names, outlet):
        outlet(labels=["E0", "E1", "E2", "E3", "AUX", "AUX"], n_channels=6)
        assert "channel names stand twice: AUX" in self.refused(model_path, names, "--stream", names[0])

    def test_a_string_stream(self, model_path, names, outlet):
        outlet(channel_format=pylsl.cf_string)
        assert "is not a signal" in self.refused(model_path, names, "--stream", names[0])

    def test_an_irregular_stream(self, model_path, names, outlet):
        outlet(sfreq=0.0)
        assert "is not a signal" in self.refused(model_path, names, "--stream", names[0])

    def test_our_name_is_taken(self, model_path, names, outlet):
        outlet(name=f"{names[1]}-proba", kind="Predictions")
        assert "is there already" in self.refused(model_path, names, "--stream", names[0])

    def test_our_own_output(self, model_path, names, outlet, eventually):
        other = f"other-{names[1]}"
        outlet()
        with rtdecode("run", "--model", model_path, "--stream", names[0], "--name", other) as decoder:
            eventually(lambda: decoder.saw("WARMING"), what="the other decoder")
            told = self.refused(model_path, names, "--stream", f"{other}-proba")
        # An irregular stream is refused before its description is asked for.
        assert "is not a signal" in told


class TestOddSources:
    """Sources that fit, but are not as tidy as one would like."""

    @pytest.fixture
    def push(self, names):
        """Make an outlet with an accelerometer in g beside the EEG, and push stamps to it."""
        info = pylsl.StreamInfo(names[0], "EEG", 5, 128.0, pylsl.cf_float32, uuid.uuid4().hex)
        channels = info.desc().append_child("channels")
        for label, unit, kind in [*((f"E{i}", "microvolts", "EEG") for i in range(4)), ("ACC", "g", "ACC")]:
            channel = channels.append_child("channel")
            for key, value in (("label", label), ("unit", unit), ("type", kind)):
                channel.append_child_value(key, value)
        outlet = pylsl.StreamOutlet(info)

        def push(stamps):
            assert outlet.wait_for_consumers(20)
            outlet.push_chunk(np.random.default_rng(0).standard_normal((len(stamps), 5)).astype(np.float32), stamps)

        return push

    def test_a_first_stamp_that_is_no_number_ends_nothing(self, model_path, names, push):
        run = ("run", "--model", model_path, "--stream", names[0], "--name", names[1], "--duration", "2")
        with rtdecode(*run) as decoder:
            stamps = pylsl.local_clock() + np.arange(400) / 128
            stamps[0] = np.nan
            push(list(stamps))
            assert decoder.wait() == 0, decoder.output
        assert decoder.saw("400 samples") and decoder.saw("'clock': 1")

    def test_every_gap_is_told_even_one_right_after_another(self, model_path, names, push, eventually):
        run = ("run", "--model", model_path, "--stream", names[0], "--name", names[1], "--duration", "3")
        with rtdecode(*run) as decoder:
            status = OutputReader(f"{names[1]}-status")
            stamps = pylsl.local_clock() + np.arange(400) / 128
            stamps[200:] += 1.0
            stamps[201:] += 1.0
            push(list(stamps))
            told = []
            eventually(lambda: told.extend(json.loads(v[0]) for v in status.pull(0.1)[0]) or decoder.ended)
            status.close()
        assert [d["sample"] for d in told if d["event"] == "gap"] == [200, 201]
        assert decoder.saw("--gap-tolerance-ms")
