"""What a hop costs, as a ratio to the bare graph of the same file in the same run.

    python benchmarks/hop.py MODEL.onnx [MODEL.onnx ...]

Prints Markdown. `push` is a whole hop through `Decoder.push`: guard, preprocessing, ring, graph. `graph` is
ONNX Runtime alone on a window that is already there. The two are measured in turn, five times.
"""

import sys
import time
from itertools import islice, pairwise

import numpy as np

from rtdecode.decoder import Decoder
from rtdecode.engine import read_model

_ROUNDS, _HOPS = 5, 300


def main() -> None:
    """Measure every file given."""
    print("| file | channels x window, hop | graph p50 us | push p50 us | push p99 us | push / graph |")
    print("|---|---|---|---|---|---|")
    for path in sys.argv[1:]:
        print(_row(Decoder(read_model(path))))


def _row(decoder: Decoder) -> str:
    contract, window = decoder.contract, decoder.contract.window
    rng = np.random.default_rng(0)
    first = decoder.warm_up // window.hop
    ends = [decoder.end_of(hop) for hop in range(first, first + _ROUNDS * _HOPS + 1)]
    noise = rng.standard_normal((ends[-1], contract.signal.n_channels))
    samples = (noise * contract.amplitude.typical).astype(np.float32)
    stamps = np.arange(len(samples)) / contract.signal.sfreq
    decoder.push(samples[: ends[0]], stamps[: ends[0]])
    x = rng.standard_normal((decoder.chain.output.n_channels, window.n_times)).astype(np.float32)
    graph, push, hops = [], [], pairwise(ends)
    for _ in range(_ROUNDS):
        for _ in range(_HOPS):
            start = time.perf_counter()
            decoder.engine.run(x)
            graph.append(time.perf_counter() - start)
        for begin, end in islice(hops, _HOPS):
            start = time.perf_counter()
            decoder.push(samples[begin:end], stamps[begin:end])
            push.append(time.perf_counter() - start)
    g50, p50, p99 = 1e6 * np.median(graph), 1e6 * np.median(push), 1e6 * np.percentile(push, 99)
    shape = f"{contract.signal.n_channels} x {window.n_times}, {window.hop}"
    return f"| {decoder.model.name} | {shape} | {g50:.0f} | {p50:.0f} | {p99:.0f} | {p50 / g50:.2f} |"


if __name__ == "__main__":
    main()
