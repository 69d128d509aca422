"""What a signal inlet hands out is what was pushed, whatever the type of its values."""

from dataclasses import replace

import numpy as np
import pytest

from rtdecode.lsl import LslNetwork, Outlet, SignalInlet, StreamChoice, list_streams
from rtdecode.recording import Layout
from rtdecode.recording.session import NUMBERS
from tests.builders import build_signal


@pytest.mark.parametrize("channel_format", NUMBERS)
def test_all_samples_come_in_order_in_float32_however_many_wait(names, eventually, channel_format):
    layout = replace(Layout.of_signal(names[0], build_signal()), channel_format=channel_format)
    outlet = Outlet(layout, names[0])
    choice = StreamChoice(name=names[0])
    inlet = SignalInlet(eventually(lambda: choice.among(list_streams(0.5)), what="the stream"))
    inlet.open()
    assert outlet.wait_for_consumers(5.0)
    # More than one pull hands out.
    values = np.random.default_rng(0).integers(-100, 100, (5000, 4)).astype(NUMBERS[channel_format])
    stamps = 1.0 + np.arange(5000) / 128
    outlet.push(values, stamps)
    got = [inlet.pull(0.0)]

    def all_came():
        got.append(inlet.pull())
        return sum(len(t) for _, t in got) == 5000

    eventually(all_came, what="the last sample")
    samples, timestamps = (np.concatenate(part) for part in zip(*got, strict=True))
    assert samples.dtype == np.float32 and samples.tobytes() == values.astype(np.float32).tobytes()
    assert timestamps.tobytes() == stamps.tobytes()
    assert max(len(t) for _, t in got) <= 512
    inlet.close()


def test_the_stream_that_is_wanted_is_met_while_others_are_listened_for(names, eventually):
    outlet = Outlet(Layout.of_signal(names[0], build_signal()), names[0])
    network, choice = LslNetwork(), StreamChoice(name=names[0])
    found = eventually(lambda: choice.among(network.streams(1.0, choice.among)), what="the stream")
    del outlet
    # Its outlet could not tell any more.
    assert network.connect(found, None, None).signal == build_signal()


def test_a_stream_is_connected_to_whether_it_was_wanted_before_or_another_was(names, eventually):
    outlets = [Outlet(Layout.of_signal(name, build_signal()), name) for name in names]
    network = LslNetwork()
    wanted, other = (StreamChoice(name=name) for name in names)
    found = eventually(lambda: other.among(network.streams(0.5, wanted.among)), what="the other stream")
    assert network.connect(found, None, None).stream.name == names[1]
    del outlets
