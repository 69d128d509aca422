"""What `rtdecode doctor` finds out: is this machine ready to decode, and what should be changed."""

import configparser
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal
from rtdecode.decoder import Decoder
from rtdecode.engine import ModelFile, read_model, runtime_providers, runtime_version
from rtdecode.errors import ConfigurationError, ModelError, RtdecodeError, StreamError
from rtdecode.latency import hop_times

if TYPE_CHECKING:
    from rtdecode.lsl import StreamFound

_PORTS = "UDP 16571-16604 and TCP 16572-16604"
_FIREWALL = (
    f"Is the amplifier's LSL outlet on? Let Python through the firewall ({_PORTS}). Where the network carries no "
    "multicast, write `[lab]` and `KnownPeers = {ADDRESS}` of the other computer into lsl_api.cfg."
)


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes
    ----------
    subject, text : str
        What it is, and how it is.
    advice : str
        What to change; empty when nothing has to be.
    exit_code : int
        Other than 0 when running is impossible because of it.
    """

    subject: str
    text: str
    advice: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        mark = "STOP" if self.exit_code else "look" if self.advice else "ok"
        told = f"  {mark:<4} {self.subject}: {self.text}"
        return f"{told}\n       -> {self.advice}" if self.advice else told


def _fatal(subject: str, error: RtdecodeError) -> Finding:
    return Finding(subject, str(error), exit_code=error.exit_code)


def examine(
    stream: str | None, seconds: float, model: Path | None, wait_s: float
) -> Iterator[tuple[str, Iterator[Finding]]]:
    """Examine everything; each section is worked out while its findings are taken.

    Parameters
    ----------
    stream : str or None
        Name of the stream to measure; every signal when not given.
    seconds : float
        How long to measure each.
    model : Path or None
        A decoder file to time.
    wait_s : float
        How long to look for streams.
    """
    yield "This machine", examine_machine()
    yield "ONNX Runtime", examine_runtime()
    loaded = None
    if model:
        try:
            loaded = read_model(model)
        except RtdecodeError as error:
            yield "Decoder file", iter([_fatal(str(model), error)])
        else:
            yield "Decoder file", examine_model(loaded)
    yield "LSL", examine_lsl()
    yield "Streams", examine_streams(stream, seconds, loaded, wait_s)


def examine_machine() -> Iterator[Finding]:
    """Tell processors, scheduling, memory locking, frequency governor and timer, as far as the system does."""
    yield Finding("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}")
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    advice = "" if n > 1 else "Give it a second core: one for the decoder, one for everything else."
    yield Finding("cores", f"{n} for this process", advice)
    yield from _scheduling()
    governors = read_governors(Path("/sys/devices/system/cpu"))
    if governors:
        slow = governors - {"performance"}
        advice = "A sleeping core wakes up late: `sudo cpupower frequency-set -g performance`." if slow else ""
        yield Finding("frequency governor", ", ".join(sorted(governors)), advice)
    late = oversleeps()
    p50, p99 = np.percentile(late, [50, 99]) * 1e3
    advice = ""
    if p99 > 2.0:
        advice = (
            "Timers are coarse or the machine is busy. End other programs; choose the energy plan for high "
            "performance. `rtdecode run` waits for data, not for timers; `rtdecode play` is as late as this."
        )
    yield Finding("timer", f"a sleep of 1 ms ends {p50:.2f} ms late (median), {p99:.2f} ms (p99)", advice)


def _scheduling() -> Iterator[Finding]:
    if not hasattr(os, "sched_getscheduler"):
        return
    policies = {os.SCHED_OTHER: "normal", os.SCHED_FIFO: "real-time (FIFO)", os.SCHED_RR: "real-time (RR)"}
    policy = os.sched_getscheduler(0)
    # Not on every system; there, nothing above is reached.
    import resource

    most = resource.getrlimit(resource.RLIMIT_RTPRIO)[0] if hasattr(resource, "RLIMIT_RTPRIO") else 0
    allowed = most == resource.RLIM_INFINITY or most > 0 or os.geteuid() == 0
    how = (
        "allowed: `chrt -f 50 rtdecode run ...`" if allowed else "not allowed (rtprio 0 in /etc/security/limits.conf)"
    )
    yield Finding("scheduling", f"{policies.get(policy, f'policy {policy}')}; real-time priority is {how}")
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    told = "no limit" if limit == resource.RLIM_INFINITY else f"up to {limit / 2**20:.0f} MiB"
    yield Finding("locked memory", told)


def read_governors(folder: Path) -> set[str]:
    """Return the frequency governors in use; empty where the system does not tell."""
    found = set()
    for path in folder.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            found.add(path.read_text(encoding="ascii").strip())
        except OSError:
            continue
    return found


def oversleeps(n: int = 100, sleep_s: float = 1e-3) -> NDArray[np.float64]:
    """Return by how many seconds each of `n` sleeps was too long."""
    late = np.empty(n)
    for i in range(n):
        start = time.perf_counter()
        time.sleep(sleep_s)
        late[i] = time.perf_counter() - start - sleep_s
    return late


def examine_runtime() -> Iterator[Finding]:
    """Tell ONNX Runtime's version and what it could run on."""
    try:
        yield Finding("version", runtime_version())
        yield Finding("providers", f"{', '.join(runtime_providers())} (decoding uses CPUExecutionProvider)")
    except ConfigurationError as error:
        yield _fatal("version", error)


def examine_model(model: ModelFile) -> Iterator[Finding]:
    """Time a hop of a decoder file against the time between hops."""
    try:
        decoder = Decoder(model)
    except RtdecodeError as error:
        yield _fatal(model.name, error)
        return
    hop_s = model.contract.window.hop / decoder.chain.output.sfreq
    yield judge_hop(model.name, hop_times(decoder), hop_s)


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


def lsl_configuration(environment: Mapping[str, str], here: Path, home: Path, system: Path) -> Path | None:
    """Return the configuration file that liblsl reads: the first of its list that is there.

    Parameters
    ----------
    environment : mapping
        Of the process; `LSLAPICFG` comes first.
    here, home, system : Path
        The working folder, the user's, and the one that stands for `/`.
    """
    places = [here / "lsl_api.cfg", home / "lsl_api" / "lsl_api.cfg", system / "etc" / "lsl_api" / "lsl_api.cfg"]
    if environment.get("LSLAPICFG"):
        places.insert(0, Path(environment["LSLAPICFG"]))
    return next((place for place in places if os.access(place, os.R_OK) and place.is_file()), None)


def examine_lsl() -> Iterator[Finding]:
    """Tell liblsl's version, which configuration file applies, and what it keeps from being found."""
    try:
        from rtdecode.lsl import versions
    except (ImportError, OSError, RuntimeError) as error:
        text = f"cannot be loaded: {' '.join(str(error).split())}"
        yield Finding(
            "liblsl", text, "Install pylsl anew: pip install --force-reinstall pylsl", StreamError.exit_code
        )
        return
    told = versions()
    yield Finding("liblsl", f"{told['liblsl']} (pylsl {told['pylsl']})")
    path = lsl_configuration(os.environ, Path.cwd(), Path.home(), Path("/"))
    wanted = os.environ.get("LSLAPICFG")
    if wanted and path != Path(wanted):
        yield Finding("LSLAPICFG", f"names {wanted}, which cannot be read", "Correct it or unset it.")
    if path is None:
        yield Finding("configuration", "none; liblsl's defaults")
        return
    yield Finding("configuration", str(path))
    yield from judge_configuration(path)


def judge_configuration(path: Path) -> Iterator[Finding]:
    """Tell which settings of an lsl_api.cfg limit what is found."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        yield Finding(path.name, f"is not understood: {' '.join(str(error).split())}", "Correct it or take it away.")
        return
    scope = parser.get("multicast", "ResolveScope", fallback="site")
    advice = "Streams of other computers are not found; write `ResolveScope = site`." if scope == "machine" else ""
    yield Finding("ResolveScope", scope, advice)
    peers = parser.get("lab", "KnownPeers", fallback="{}").strip("{} ")
    yield Finding("KnownPeers", peers or "none: other computers are found by multicast only")
    session = parser.get("lab", "SessionID", fallback="default")
    if session != "default":
        yield Finding("SessionID", f"{session}: only streams with the same one are found")


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
        Samples missing at the nominal rate between the first stamp and the last; below 0: too many came.
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
        n_lost=round(since[-1] * sfreq) + 1 - n,
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
    text = (
        f"{figures.n_samples} samples, {lost} missing"
        if lost >= 0
        else f"{figures.n_samples} samples, {-lost} too many"
    )
    # One sample may be a matter of rounding.
    advice = (
        "Samples are lost: look at radio link or cable, USB hubs, and the load of both machines." if lost > 1 else ""
    )
    yield Finding(f"{name}, count", text, advice)
    text = f"jitter {1e3 * figures.jitter_s:.3f} ms, steps up to {1e3 * figures.worst_step_s:.3f} ms from one sample"
    advice = ""
    if figures.worst_step_s > 0.5 / sfreq and lost <= 1:
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
    except (ImportError, OSError, RuntimeError):
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
    figures = stream_figures(np.concatenate([np.empty(0), *stamps]), stream.sfreq)
    yield from judge_stamps(stream.name, figures, stream.sfreq)
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
