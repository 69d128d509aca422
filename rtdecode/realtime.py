"""What a loop needs to keep its time: from Python, and from the system if that gives it."""

import ctypes
import errno
import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

_SPIN_S = 5e-4
# Of Linux on x86 and ARM: pages that are there, those to come, and these only when they are touched.
_CURRENT, _FUTURE, _WHEN_TOUCHED = 1, 2, 4


class RealtimeSettings(BaseModel):
    """What is asked of the system for the loop; what it does not give is told, and the loop runs without.

    Attributes
    ----------
    raise_priority : bool
        Run the loop's thread, and all that are started after it, those of liblsl among them, before every program of
        usual priority: SCHED_FIFO on Linux, the priority class `high` of the whole process on Windows.
    priority : int
        Of SCHED_FIFO. Interrupts that have threads of their own run at 50.
    lock_memory : bool
        Keep the program in memory, so that no page of it must be fetched from a disk.
    cpu : int or None
        The processor on which the loop's thread stays; liblsl's threads may run on any.
    spin : bool
        Wait for a chunk busily when it is due.
    rehearse : bool
        Decode noise for nothing just before a hop is due, so that the true one finds code and data at hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    raise_priority: bool = False
    priority: int = Field(default=20, ge=1, le=49)
    lock_memory: bool = False
    cpu: int | None = Field(default=None, ge=0)
    spin: bool = False
    rehearse: bool = False


class Obtained(NamedTuple):
    """What became of one thing that was asked for: whether it was obtained, and what it is, or why it was not."""

    asked: str
    obtained: bool
    told: str


@contextmanager
def realtime(settings: RealtimeSettings) -> Iterator[tuple[Obtained, ...]]:
    """Ask the system for what is set, and give it back at the end.

    `cpu` and `spin` are only looked into: the loop itself uses `on_cpu`, and waits. `rehearse` asks nothing of it.
    """
    with ExitStack() as undo:

        def raise_priority() -> str:
            return _raise_priority(settings.priority, undo)

        def lock_memory() -> str:
            return _lock_memory(undo)

        def keep_to_cpu() -> str:
            with on_cpu(settings.cpu):
                return f"processor {settings.cpu} for the loop's thread, any for liblsl's"

        wanted = (
            ("raise_priority", settings.raise_priority, raise_priority),
            ("lock_memory", settings.lock_memory, lock_memory),
            ("cpu", settings.cpu is not None, keep_to_cpu),
            ("spin", settings.spin, _may_spin),
        )
        yield tuple(_ask(name, ask) for name, asked, ask in wanted if asked)


def _ask(name: str, ask: Callable[[], str]) -> Obtained:
    try:
        return Obtained(name, True, ask())
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.EPERM, errno.ENOMEM):
            why += ": allow it to your user in /etc/security/limits.conf (rtprio 49, memlock unlimited)"
        return Obtained(name, False, why)


def _unavailable(what: str) -> OSError:
    return OSError(errno.ENOTSUP, f"{what} is not available on {platform.system()}")


def _raise_priority(priority: int, undo: ExitStack) -> str:
    if sys.platform == "win32":
        kernel, high = ctypes.windll.kernel32, 0x80
        process = ctypes.c_void_p(kernel.GetCurrentProcess())
        before = kernel.GetPriorityClass(process)
        if not kernel.SetPriorityClass(process, high):
            raise ctypes.WinError()
        undo.callback(kernel.SetPriorityClass, process, before)
        return "priority class high, of all threads"
    if not hasattr(os, "sched_setscheduler"):
        raise _unavailable("real-time priority")
    scheduler, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    undo.callback(os.sched_setscheduler, 0, scheduler, parameters)
    return f"SCHED_FIFO {priority} for the loop's thread and all that it starts, liblsl's among them"


def _lock_memory(undo: ExitStack) -> str:
    if not sys.platform.startswith("linux"):
        raise _unavailable("locking memory")
    import resource

    library = ctypes.CDLL(None, use_errno=True)
    n_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _lock(library, _CURRENT)
    undo.callback(library.munlockall)
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY and limit >= n_bytes:
        # Who may lock more than the limit has no limit; everybody else would be refused memory there, and end.
        return f"{n_bytes >> 20} MiB, all there is; not what comes later, as {limit >> 20} MiB are the limit"
    _lock(library, _FUTURE | _WHEN_TOUCHED)
    return f"{n_bytes >> 20} MiB, all there is, and what comes later"


def _lock(library: ctypes.CDLL, what: int) -> None:
    if library.mlockall(what):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _may_spin() -> str:
    if n_processors() < 2:
        raise OSError(errno.EBUSY, "there is one processor only, and liblsl needs it to receive what is waited for")
    return "busy around the time at which a chunk is due, at most half of the time"


def n_processors() -> int:
    """Return on how many processors this thread may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """Keep this thread on one processor meanwhile; threads that exist already stay where they may be.

    Raises
    ------
    OSError
        The system has no such call, or this thread may not run there.
    """
    if cpu is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise _unavailable("choosing a processor")
    before = os.sched_getaffinity(0)
    if cpu not in before:
        told = ", ".join(map(str, sorted(before)))
        raise OSError(errno.EINVAL, f"processor {cpu} is not one on which this program may run ({told})")
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector out of the loop: what exists is frozen, collection is off."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def tidy() -> None:
    """Collect what piled up while the collector was off, and hand free memory back to the system.

    Between connections, where nothing can be late: what the allocator keeps of one is seldom of use for the next.
    """
    gc.collect()
    # Of glibc; other systems and libraries decide for themselves.
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def sleep_until(deadline: float, clock: Callable[[], float]) -> None:
    """Return when `clock` has reached `deadline`: sleep to just before it, then spin."""
    while (left := deadline - clock()) > 0:
        if left > _SPIN_S:
            time.sleep(left - _SPIN_S)
