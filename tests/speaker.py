"""The outputs of decoders in a process of their own, without the decoders: NAME MARKER_FORMAT KIND, and again."""

import sys
from itertools import count

import numpy as np

from rtdecode.contract import Classification, Regression
from rtdecode.lsl import DecoderOutlets, local_clock
from rtdecode.prediction import Prediction
from rtdecode.realtime import sleep_until

HOP_S = 0.01
ABSTAINS_EVERY = 7
OUTPUTS = {
    "classification": Classification(class_names=("left", "right")),
    "regression": Regression(names=("x", "y"), units=("none", "none")),
}


def say(kind, number):
    """Return prediction `number`: its outputs are (number % 4 + 0.5) / 4, and what is left to 1."""
    if number % ABSTAINS_EVERY == 0:
        return Prediction(0.0, number, None, -1, "filling")
    first = (number % 4 + 0.5) / 4
    outputs = np.array([first, 1 - first], np.float32)
    if kind == "regression":
        return Prediction(0.0, number, None, -1, None, values=outputs)
    label = int(outputs.argmax())
    return Prediction(0.0, number, outputs, label, None, decision=label)


def main(*arguments):
    decoders = list(zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True))
    sinks = [(DecoderOutlets(name, OUTPUTS[kind], spoken), kind) for name, spoken, kind in decoders]
    print("publishing", flush=True)
    start = local_clock()
    for number in count():
        sleep_until(start + number * HOP_S, local_clock)
        for sink, kind in sinks:
            sink.publish(say(kind, number), start + number * HOP_S)
            if number % ABSTAINS_EVERY == 0:
                sink.status({"version": 1, "event": "abstain", "reason": "filling", "sample": number}, local_clock())


if __name__ == "__main__":
    main(*sys.argv[1:])
