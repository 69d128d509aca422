"""The machine: cores, permissions, timers."""

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.doctor.finding import Finding
from rtdecode.realtime import n_processors


def examine_machine() -> Iterator[Finding]:
    """Tell processors, scheduling, memory locking, frequency governor and timer, as far as the system does."""
    yield Finding("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}")
    n = n_processors()
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
    held_up = 1e3 * interruptions()
    at_most = held_up.max(initial=0.0)
    advice = ""
    if at_most > 2.0:
        advice = (
            "Other programs take the processor away or, on a virtual machine, its host does: so late may any "
            "prediction be. End other programs; use a machine of your own."
        )
    told = f"{held_up.sum():.1f} ms of half a second of work, {at_most:.1f} ms at once"
    yield Finding("held up", told, advice)


def _scheduling() -> Iterator[Finding]:
    if not hasattr(os, "sched_getscheduler"):
        return
    policies = {os.SCHED_OTHER: "normal", os.SCHED_FIFO: "real-time (FIFO)", os.SCHED_RR: "real-time (RR)"}
    policy = os.sched_getscheduler(0)
    # Not on every system; there, nothing above is reached.
    import resource

    most = resource.getrlimit(resource.RLIMIT_RTPRIO)[0] if hasattr(resource, "RLIMIT_RTPRIO") else 0
    allowed = most == resource.RLIM_INFINITY or most > 0 or os.geteuid() == 0
    how = "allowed: `rtdecode run --realtime`" if allowed else "not allowed (rtprio 0 in /etc/security/limits.conf)"
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


def interruptions(seconds: float = 0.5, least_s: float = 1e-4) -> NDArray[np.float64]:
    """Return for how many seconds this thread, busy for so long, was not run, each time that it was not."""
    gaps, now = list[float](), time.perf_counter()
    until = now + seconds
    while now < until:
        before, now = now, time.perf_counter()
        if now - before > least_s:
            gaps.append(now - before)
    return np.array(gaps)
