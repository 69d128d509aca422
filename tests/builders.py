"""Small signals, recordings and decoder files, built without torch."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from rtdecode.contract import (
    Amplitude,
    Classification,
    Contract,
    Provenance,
    Regression,
    Signal,
    State,
    Trials,
    Window,
)
from rtdecode.model_file import write_model
from rtdecode.preprocessing import Chain, Clamp, Decimate, Filter, Linear, Standardize
from rtdecode.recording import Event, Recording

SFREQ = 128.0
N_CHANNELS = 4


def build_signal(n_channels=N_CHANNELS, sfreq=SFREQ):
    return Signal(
        ch_names=tuple(f"E{i}" for i in range(n_channels)),
        ch_types=("eeg",) * n_channels,
        units=("uV",) * n_channels,
        sfreq=sfreq,
    )


def build_steps(signal, decimate=2):
    n = signal.n_channels
    steps = [
        Linear.average_reference(signal),
        Filter.butterworth(signal.sfreq, 4.0, 30.0, order=2),
    ]
    if decimate > 1:
        steps.append(Decimate.design(decimate))
    return [*steps, Standardize(mean=np.arange(n) * 0.1, std=np.full(n, 3.0)), Clamp(limit=5.0)]


CLASSES = {
    "outputs": Classification(class_names=("left", "right")),
    "trials": Trials(tmin_s=0.0, tmax_s=1.0, classes={"left": ("left",), "right": ("right",)}),
}
VALUES = {"outputs": Regression(names=("x", "y"), units=("none", "none"))}


def build_contract(signal=None, steps=None, n_times=32, hop=4, states=(), truth=CLASSES, **more):
    signal = signal or build_signal()
    steps = build_steps(signal) if steps is None else steps
    ones = np.ones(signal.n_channels)
    return Contract(
        name="test",
        signal=signal,
        preprocessing=tuple(step.model_dump() for step in steps),
        window=Window(n_times=n_times, hop=hop),
        **truth,
        states=states,
        amplitude=Amplitude(low=-ones, high=ones, std=ones, spread=10 * ones),
        provenance=Provenance(
            created="2026-01-01T00:00:00+00:00",
            network="linear",
            data_fingerprint="none",
            recordings=(),
            configuration={},
            packages={},
        ),
        **more,
    )


def linear_graph(n_channels, n_times, n_outputs=2, seed=0, weights=None):
    """Probabilities = softmax(weights . window); random weights when none are given."""
    rng = np.random.default_rng(seed)
    if weights is None:
        weights = rng.standard_normal((n_channels * n_times, n_outputs)).astype(np.float32) / 4
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["proba"]),
    ]
    return graph(nodes, {"weights": weights}, {"x": (1, n_channels, n_times)}, {"proba": (1, n_outputs)})


def counting_graph(n_channels, n_times):
    """A graph with a state: how many hops it has seen decides its probabilities."""
    one, zero = np.ones((1, 1), np.float32), np.zeros((1, n_channels, n_times), np.float32)
    nodes = [
        helper.make_node("Add", ["state_count", "one"], ["next_state_count"]),
        helper.make_node("Mul", ["x", "zero"], ["nothing"]),
        helper.make_node("ReduceSum", ["nothing"], ["naught"], keepdims=0),
        helper.make_node("Add", ["next_state_count", "naught"], ["count"]),
        helper.make_node("Concat", ["count", "state_count"], ["proba"], axis=1),
    ]
    return graph(
        nodes,
        {"one": one, "zero": zero},
        {"x": (1, n_channels, n_times), "state_count": (1, 1)},
        {"proba": (1, 2), "next_state_count": (1, 1)},
    )


def graph(nodes, weights, inputs, outputs):
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    proto = helper.make_graph(
        nodes,
        "test",
        [value(*item) for item in inputs.items()],
        [value(*item) for item in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def build_model(path, contract=None, proto=None):
    contract = contract or build_contract()
    if proto is None:
        from rtdecode.preprocessing import read_steps

        n_channels = Chain(read_steps(contract.preprocessing), contract.signal).output.n_channels
        proto = linear_graph(n_channels, contract.window.n_times)
    write_model(proto, contract, path)
    return path


def build_recording(n_samples=1500, signal=None, seed=0):
    signal = signal or build_signal()
    rng = np.random.default_rng(seed)
    samples = (10 * rng.standard_normal((n_samples, signal.n_channels)) + 3).astype(np.float32)
    timestamps = 1000.0 + np.arange(n_samples) / signal.sfreq
    onsets = np.arange(200, n_samples - 200, 200)
    events = tuple(Event(float(timestamps[at]), ("left", "right")[i % 2]) for i, at in enumerate(onsets))
    return Recording(signal, samples, timestamps, events, "recording.npz")


def build_telling_recording(n_samples, seed=0, uv=8):
    """A recording of whose first two channels the difference tells the trials' class."""
    recording = build_recording(n_samples, seed=seed)
    for event in recording.events:
        at = recording.sample_at(event.timestamp)
        recording.samples[at : at + 128, 0] += uv if event.label == "left" else -uv
    return recording


def build_telling_model(path, n_times=32, **more):
    """A decoder of that difference."""
    signs = np.repeat([1.0, -1.0, 0.0, 0.0], n_times) / (4 * n_times)
    weights = np.column_stack([signs, -signs]).astype(np.float32)
    contract = build_contract(steps=[], n_times=n_times, **more)
    return build_model(path, contract, linear_graph(N_CHANNELS, n_times, weights=weights))


def build_state(name="count", warm_up=0):
    return State(name=name, initial=np.zeros((1, 1)), warm_up=warm_up)


def push_in_chunks(decoder, recording, sizes):
    """Push a recording cut into chunks of these sizes, and the rest at once."""
    predictions, at = [], 0
    for size in [*sizes, len(recording.samples)]:
        cut = slice(at, at + size)
        predictions += decoder.push(recording.samples[cut], recording.timestamps[cut])
        at += size
    return predictions


def assert_same(some, others):
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        assert a.same_as(b), (a, b)
