"""ONNX Runtime, and what a decoder file costs with it here."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtdecode.decoder import Decoder
from rtdecode.doctor.finding import Finding, fatal
from rtdecode.errors import ConfigurationError, ModelError, RtdecodeError
from rtdecode.latency import hop_times
from rtdecode.model_file import ModelFile
from rtdecode.runtime import runtime_devices, runtime_providers, runtime_version


def examine_runtime() -> Iterator[Finding]:
    """Tell ONNX Runtime's version and what it could run on."""
    try:
        yield Finding("version", runtime_version())
        devices = " or ".join(runtime_devices())
        yield Finding("providers", f"{', '.join(runtime_providers())} (--device may be {devices})")
    except ConfigurationError as error:
        yield fatal("version", error)


def examine_model(model: ModelFile) -> Iterator[Finding]:
    """Time a hop of a decoder file against the time between hops; of one with windows at events, an event."""
    try:
        decoder = Decoder(model)
    except RtdecodeError as error:
        yield fatal(model.name, error)
        return
    times = hop_times(decoder)
    if model.contract.events:
        p50, p99 = np.percentile(times, [50, 99]) * 1e3
        yield Finding(model.name, f"an event takes {p50:.3f} ms (median), {p99:.3f} ms (p99)")
    else:
        yield judge_hop(model.name, times, decoder.hop_s)


def judge_hop(name: str, times: NDArray[np.float64], hop_s: float) -> Finding:
    """Compare the times of hops (n_hops,) with the time there is for one, all in seconds."""
    p50, p99 = np.percentile(times, [50, 99])
    text = f"a hop takes {1e3 * p50:.3f} ms (median), {1e3 * p99:.3f} ms (p99) of {1e3 * hop_s:.1f} ms"
    if p50 > hop_s:
        return Finding(
            name, text, "It cannot keep up here: a faster machine, or train with a longer hop.", ModelError.exit_code
        )
    if p99 > hop_s / 2:
        return Finding(name, text, "There is little to spare. End other programs, or train with a longer hop.")
    return Finding(name, text)
