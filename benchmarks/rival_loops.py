"""The job of `rtdecode run` as a good user of other libraries writes it: filter, window, ONNX Runtime, outlet.

    python benchmarks/rival_loops.py pylsl MODEL.onnx --source S --name N --band 4 30 --order 4 --hop 25

Nothing of rtdecode is in here. Nothing is checked, and no lost stream comes back: the least that does the job.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pylsl

_WAIT_S = 60.0
_KEPT = 4


class Predictor:
    """ONNX Runtime on one thread, and the outlet of what it gives, stamped as the newest sample it rests on."""

    def __init__(self, model: Path, name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.shape = self._session.get_inputs()[0].shape[1:]
        self._x = np.zeros((1, *self.shape), np.float32)
        for _ in range(50):
            (proba,) = self._session.run(None, {"x": self._x})
        n_columns = proba.shape[1]
        info = pylsl.StreamInfo(name, "Predictions", n_columns, pylsl.IRREGULAR_RATE, pylsl.cf_float32, name)
        self._outlet = pylsl.StreamOutlet(info)

    def predict(self, window: np.ndarray, timestamp: float) -> None:
        """Publish what a window (n_channels, n_times) gives."""
        self._x[0] = window
        (proba,) = self._session.run(None, {"x": self._x})
        self._outlet.push_sample(proba[0], timestamp)


class Windows:
    """The newest samples, several windows of room, and a prediction at every hop."""

    def __init__(self, predictor: Predictor, hop: int) -> None:
        self._predictor, self._hop = predictor, hop
        n_channels, self._n_times = predictor.shape
        self._kept = np.zeros((n_channels, _KEPT * self._n_times), np.float32)
        self._end, self._seen = self._n_times, 0

    def take(self, filtered: np.ndarray, timestamps: np.ndarray) -> None:
        """Take samples (n_samples, n_channels) as they come."""
        at = 0
        while at < len(timestamps):
            n = min(self._hop - self._seen % self._hop, len(timestamps) - at)
            if self._end + n > self._kept.shape[1]:
                self._kept[:, : self._n_times] = self._kept[:, self._end - self._n_times : self._end]
                self._end = self._n_times
            self._kept[:, self._end : self._end + n] = filtered[at : at + n].T
            self._end, self._seen, at = self._end + n, self._seen + n, at + n
            if self._seen % self._hop == 0 and self._seen >= self._n_times:
                window = self._kept[:, self._end - self._n_times : self._end]
                self._predictor.predict(window, float(timestamps[at - 1]))


def by_pylsl(given: argparse.Namespace, whole_hops: bool = False, wait_s: float = 1.0) -> None:
    """Pull as soon as a sample is there, or a hop at a time; filter with scipy, the state kept from pull to pull."""
    from scipy.signal import butter, sosfilt, sosfilt_zi

    (info,) = pylsl.resolve_byprop("name", given.source, timeout=_WAIT_S)
    inlet = pylsl.StreamInlet(info, recover=False)
    sos = butter(given.order, given.band, "bandpass", fs=info.nominal_srate(), output="sos")
    windows, zi = Windows(Predictor(given.model, given.name), given.hop), None
    room, least = (given.hop, given.hop) if whole_hops else (4096, 1)
    while True:
        samples, timestamps = inlet.pull_chunk(wait_s, room, min_samples=least, as_numpy=True)
        if len(timestamps):
            if zi is None:
                zi = sosfilt_zi(sos)[..., None] * samples[0]
            filtered, zi = sosfilt(sos, samples, axis=0, zi=zi)
            windows.take(filtered, timestamps)


def by_pylsl_hops(given: argparse.Namespace) -> None:
    """Do it a hop at a time."""
    by_pylsl(given, whole_hops=True)


def by_pylsl_spinning(given: argparse.Namespace) -> None:
    """Do it as soon as a sample is there, and ask for it without a pause, which keeps a core busy."""
    by_pylsl(given, wait_s=0.0)


def by_mne_lsl_callback(given: argparse.Namespace) -> None:
    """Let the thread of mne-lsl acquire, every millisecond as is its default, and decode in a callback of it."""
    import threading

    stream = _connected(given, 0.001)
    windows = Windows(Predictor(given.model, given.name), given.hop)

    def decode(data: np.ndarray, timestamps: np.ndarray, _: object) -> tuple[np.ndarray, np.ndarray]:
        windows.take(data, timestamps)
        return data, timestamps

    stream.add_callback(decode)
    threading.Event().wait()


def by_mne_lsl_spinning(given: argparse.Namespace) -> None:
    """Acquire without a pause, which keeps a core busy, and take the window out of the stream at every hop."""
    stream = _connected(given, None)
    predictor = Predictor(given.model, given.name)
    n_channels, n_times = predictor.shape
    # Given as indices: looking them up would take longer than all the rest.
    seen, due, picks = 0, n_times, np.arange(n_channels)
    while True:
        stream.acquire()
        if seen + stream.n_new_samples >= due:
            seen += stream.n_new_samples
            due = (seen // given.hop + 1) * given.hop
            window, timestamps = stream.get_data(n_times / stream.info["sfreq"], picks)
            predictor.predict(window, float(timestamps[-1]))


def _connected(given: argparse.Namespace, acquisition_delay: float | None) -> Any:
    from mne_lsl.stream import StreamLSL

    stream = StreamLSL(bufsize=2.0, name=given.source).connect(acquisition_delay, timeout=_WAIT_S)
    return stream.filter(*given.band, iir_params={"order": given.order, "ftype": "butter", "output": "sos"})


LOOPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "pylsl": by_pylsl,
    "pylsl-hops": by_pylsl_hops,
    "pylsl-spinning": by_pylsl_spinning,
    "mne-lsl-callback": by_mne_lsl_callback,
    "mne-lsl-spinning": by_mne_lsl_spinning,
}


def main() -> None:
    """Run one loop until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("model", type=Path)
    parser.add_argument("--source", required=True, help="name of the stream to decode")
    parser.add_argument("--name", required=True, help="name of the stream to publish")
    parser.add_argument("--band", type=float, nargs=2, required=True, help="edges of the band-pass in Hz")
    parser.add_argument("--order", type=int, required=True, help="of the Butterworth filter")
    parser.add_argument("--hop", type=int, required=True, help="samples from one prediction to the next")
    given = parser.parse_args()
    LOOPS[given.loop](given)


if __name__ == "__main__":
    main()
