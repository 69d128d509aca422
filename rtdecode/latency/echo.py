"""The bare echo: the decoder's inlet and outlets with nothing between them, the least that LSL costs here."""

import signal
from contextlib import suppress

import numpy as np

from rtdecode.contract import Classification, Regression
from rtdecode.errors import StreamError
from rtdecode.lsl import LslNetwork, StreamChoice, StreamFound, local_clock
from rtdecode.prediction import Prediction
from rtdecode.realtime import quiet_collector

_ROUND_S = 1.0
_WAIT_S = 30.0
_PULL_S = 0.2


def echo(source: str, name: str, outputs: Classification | Regression, ends: list[int], duration_s: float) -> None:
    """Publish what says nothing where the decoder would predict, until the source ends or the time is over.

    It waits for data as `rtdecode run` does, and publishes as much.

    Parameters
    ----------
    source, name : str
        Of the stream to read, and of our streams.
    outputs : Classification or Regression
        What the decoder publishes.
    ends : list of int
        Samples from the start of the stream to the end of each hop that is answered.
    duration_s : float
        From the first connection on.
    """
    # Ctrl-C reaches every process; the one that measures decides, and tells when nothing came.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(StreamError), quiet_collector():
        _answer(source, name, outputs, ends, duration_s)


def _answer(source: str, name: str, outputs: Classification | Regression, ends: list[int], duration_s: float) -> None:
    network = LslNetwork()
    sink = network.outlets(name, outputs, "label")
    inlet = network.connect(_found(network, source), None, None)
    correction_s = inlet.correction()[0]
    inlet.open()
    nothing = np.full(len(outputs.names), 1 / len(outputs.names), np.float32)
    proba, values = (nothing, None) if isinstance(outputs, Classification) else (None, nothing)
    label = -1 if proba is None else 0
    seen, hop, deadline = 0, 0, local_clock() + duration_s
    while local_clock() < deadline:
        _, stamps = inlet.pull(_PULL_S)
        seen += len(stamps)
        while hop < len(ends) and ends[hop] <= seen:
            stamp = float(stamps[ends[hop] - 1 - seen])
            sink.publish(Prediction(stamp, ends[hop] - 1, proba, label, None, values), stamp + correction_s)
            hop += 1
    inlet.close()


def _found(network: LslNetwork, source: str) -> StreamFound:
    choice, until = StreamChoice(name=source), local_clock() + _WAIT_S
    while (found := choice.among(network.streams(_ROUND_S))) is None:
        if local_clock() > until:
            raise StreamError(f"No stream {source!r} in {_WAIT_S:g} s.")
    return found
