"""The streams that can be reached: what their stamps tell, and how their clocks stand to ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.doctor.finding import Finding
from rtdecode.doctor.losses import count_lost
from rtdecode.errors import ConfigurationError, StreamError
from rtdecode.model_file import ModelFile

if TYPE_CHECKING:
    from rtdecode.lsl import StreamFound

_PORTS = "UDP 16571-16604 and TCP 16572-16604"
_FIREWALL = (
    f"Is the amplifier's LSL outlet on? Let Python through the firewall ({_PORTS}). Where the network carries no "
    "multicast, write `[lab]` and `KnownPeers = {ADDRESS}` of the other computer into lsl_api.cfg."
)


@dataclass(frozen=True)
class StreamFigures:
    """What a stream's stamps tell.

    Attributes
    ----------
    n_samples : int
        How many were received.
    sfreq : float
        Effective rate in Hz, by their stamps; NaN when it cannot be told.
    jitter_s : float
        Standard deviation of the stamps about a straight line.
    worst_step_s : float
        The step between stamps that is furthest from one sample: how far.
    n_lost : int
        Samples missing among them, by steps that no jitter and no other rate explains (`count_lost`).
    n_backward, n_bad : int
        Steps back, and stamps that are no numbers.
    """

    n_samples: int
    sfreq: float
    jitter_s: float
    worst_step_s: float
    n_lost: int
    n_backward: int
    n_bad: int


def stream_figures(timestamps: NDArray[np.float64], sfreq: float) -> StreamFigures:
    """Judge raw stamps (n_samples,) of a stream of `sfreq` Hz; needs three of them that are numbers."""
    good = timestamps[np.isfinite(timestamps)]
    n, n_bad = len(timestamps), len(timestamps) - len(good)
    if len(good) < 3 or good[-1] <= good[0]:
        return StreamFigures(n, np.nan, np.nan, np.nan, 0, int(np.sum(np.diff(good) < 0)), n_bad)
    count = np.arange(len(good))
    since = good - good[0]
    slope, offset = np.polyfit(count, since, 1)
    steps = np.diff(good)
    return StreamFigures(
        n_samples=n,
        sfreq=float((len(good) - 1) / since[-1]),
        jitter_s=float(np.std(since - slope * count - offset)),
        worst_step_s=float(np.max(np.abs(steps - 1 / sfreq))),
        n_lost=count_lost(timestamps, sfreq),
        n_backward=int(np.sum(steps < 0)),
        n_bad=n_bad,
    )


def judge_stamps(name: str, figures: StreamFigures, sfreq: float) -> Iterator[Finding]:
    """Tell what a stream's figures mean at its nominal rate."""
    if np.isnan(figures.sfreq):
        text = f"{figures.n_samples} samples came, of which no rate can be told"
        yield Finding(name, text, "Is the source running? A `rtdecode play` begins with its first consumer.")
        return
    off = figures.sfreq / sfreq - 1
    advice = "" if abs(off) < 0.002 else "Set the source's rate, or correct the rate that it declares."
    yield Finding(f"{name}, rate", f"{figures.sfreq:.3f} Hz, declared {sfreq:g} ({100 * off:+.3f} %)", advice)
    lost = figures.n_lost
    text = f"{figures.n_samples} samples, {lost} missing"
    advice = "Samples are lost: look at radio link or cable, USB hubs, and the load of both machines." if lost else ""
    yield Finding(f"{name}, count", text, advice)
    text = f"jitter {1e3 * figures.jitter_s:.3f} ms, steps up to {1e3 * figures.worst_step_s:.3f} ms from one sample"
    advice = ""
    if figures.worst_step_s > 0.5 / sfreq and not lost:
        ms = 1e3 * figures.worst_step_s
        advice = f"Nothing is lost, yet the decoder would see gaps: rtdecode run --gap-tolerance-ms {1.5 * ms:.3g}"
    if figures.n_backward or figures.n_bad:
        text += f"; {figures.n_backward} steps back, {figures.n_bad} stamps that are no numbers"
        advice = advice or "Let the source stamp its samples in order, or leave the stamps to LSL."
    yield Finding(f"{name}, stamps", text, advice)


def examine_streams(name: str | None, seconds: float, model: ModelFile | None, wait_s: float) -> Iterator[Finding]:
    """Measure the streams that can be reached, one after the other."""
    try:
        from rtdecode.lsl import list_streams
    except ConfigurationError:
        return
    streams = [s for s in list_streams(wait_s) if name in (None, s.name)]
    if not streams:
        wanted = f"no stream {name!r}" if name else "none answered"
        yield Finding("reachable", f"{wanted} within {wait_s:g} s", _FIREWALL, StreamError.exit_code if name else 0)
    for stream in streams:
        if name is None and (stream.sfreq <= 0 or stream.channel_format == "string"):
            yield Finding(stream.name, f"{stream.type or 'no type'}, {stream.channel_format}; not a signal")
            continue
        try:
            yield from _examine_stream(stream, seconds, model)
        except StreamError as error:
            yield Finding(stream.name, str(error), "It cannot be decoded as it is.", error.exit_code if name else 0)


def _examine_stream(stream: "StreamFound", seconds: float, model: ModelFile | None) -> Iterator[Finding]:
    from rtdecode.lsl import SignalInlet, local_clock

    yield Finding(stream.name, str(stream))
    inlet = SignalInlet(stream)
    try:
        inlet.open()
        stamps, ages, corrections = [], [], [inlet.correction()]
        end, corrected = local_clock() + seconds, local_clock()
        while (now := local_clock()) < end:
            _, timestamps = inlet.pull()
            stamps.append(timestamps)
            if len(timestamps) and np.isfinite(timestamps[-1]):
                ages.append(local_clock() - timestamps[-1] - corrections[-1])
            if now - corrected > 1.0:
                corrections.append(inlet.correction())
                corrected = now
    finally:
        inlet.close()
    if inlet.speed != 1:
        yield Finding(f"{stream.name}, speed", f"a replay, {inlet.speed:g} times as fast as its rate says")
    sfreq = stream.sfreq * inlet.speed
    figures = stream_figures(np.concatenate([np.empty(0), *stamps]), sfreq)
    yield from judge_stamps(stream.name, figures, sfreq)
    yield _judge_clock(stream.name, np.array(corrections))
    if ages:
        p50, worst = np.percentile(ages, [50, 100]) * 1e3
        text = f"the newest sample is {p50:.2f} ms old on arrival (median), {worst:.2f} ms at most"
        yield Finding(f"{stream.name}, age", text)
    if model:
        yield _judge_fit(stream.name, inlet.signal, model)


def _judge_clock(name: str, corrections: NDArray[np.float64]) -> Finding:
    if not corrections.any():
        return Finding(f"{name}, clock", "this machine's")
    spread = np.ptp(corrections)
    text = f"{np.median(corrections):+.6f} s to ours, {len(corrections)} readings within {1e3 * spread:.3f} ms"
    advice = "The network delays unevenly: use a cable rather than radio." if spread > 2e-3 else ""
    return Finding(f"{name}, clock", text, advice)


def _judge_fit(name: str, signal: Signal, model: ModelFile) -> Finding:
    # Raises StreamError, which tells what differs.
    model.contract.signal.adapt(signal, f"Stream {name!r}", f"model {model.name!r}", StreamError)
    return Finding(f"{name}, model", f"fits {model.name}: channels, types, units and rate")
