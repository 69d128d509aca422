"""Work that could bring the interpreter down, in a process of its own."""

import atexit
import contextlib
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from rtdecode.errors import ConfigurationError, ModelError, RtdecodeError

T = TypeVar("T")

# As Python exits where the new process cannot read the script, or that would start one in turn: errors of the work
# itself are handed over.
_NOT_BEGUN = 1


def run_apart(
    what: str, timeout_s: float, function: Callable[..., T], *arguments: Any, memory_bytes: int | None = None
) -> T:
    """Call `function` in another process and return what it returns.

    The process stays for the next call, as it may take seconds to load what it needs; it ends with this one.

    Parameters
    ----------
    what : str
        What is done, to begin a message with: "Exporting m.onnx".
    timeout_s : float
        How long it may take.
    function : callable
        It, its arguments and its result are pickled. Its errors are raised here.
    arguments
        What it is called with.
    memory_bytes : int, optional
        How much memory it may take, where the system can bound that (Linux).

    Raises
    ------
    ConfigurationError
        The process did not begin, for how the script was written that asked for it.
    ModelError
        The process crashed, or needed more time or memory than it was given.
    """
    # Not Connection.send: torch would have it share memory.
    work = pickle.dumps((sys.path, pickle.dumps((function, arguments))))
    if not _child(memory_bytes)[0].is_alive():
        _child.cache_clear()
    process, connection = _child(memory_bytes)
    finished = False
    try:
        connection.send_bytes(work)
        if not connection.poll(timeout_s):
            raise ModelError(f"{what} did not finish within {timeout_s:g} s.")
        result, error = pickle.loads(connection.recv_bytes())
        finished = True
    except (EOFError, ConnectionError):
        process.join()
        if process.exitcode == _NOT_BEGUN:
            raise ConfigurationError(
                f"{what} takes a process of its own, which did not begin. Keep your script in a file, and what it "
                "does there below `if __name__ == '__main__':`."
            ) from None
        raise ModelError(f"{what} crashed the process that did it (exit code {process.exitcode}).") from None
    finally:
        # Also after Ctrl-C: nothing goes on behind the user's back.
        if not finished:
            _child.cache_clear()
            process.kill()
            process.join()
            connection.close()
    if isinstance(error, MemoryError):
        given = f"the {memory_bytes / 2**30:.3g} GiB it was given" if memory_bytes else "there is"
        raise ModelError(f"{what} needs more memory than {given}.")
    if isinstance(error, str):
        raise ModelError(f"{what} failed ({error}).")
    if error is not None:
        raise error
    done: T = result
    return done


@cache
def _child(memory_bytes: int | None) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    # As on every system: a forked torch may hang.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, memory_bytes), daemon=True)
    with _interrupts_wait():
        process.start()
    theirs.close()
    atexit.register(_end, process, ours)
    return process, ours


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait: a process that was only half started would print how it fails.

    The started one inherits that, until it has said for itself that it takes no notice.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # not on Windows
    if mask is None:
        yield
        return
    from multiprocessing import resource_tracker

    # Started with the first process otherwise, it would end the waiting.
    resource_tracker.ensure_running()
    before = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def _end(process: multiprocessing.process.BaseProcess, connection: Connection) -> None:
    """Let the process end by itself, with what it has to tidy up."""
    connection.close()
    process.join(5)


def _bound_memory(n_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # not every system lets itself be bound
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def _serve(connection: Connection, memory_bytes: int | None) -> None:
    # Ctrl-C reaches both processes; the other one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory_bytes:
        _bound_memory(memory_bytes)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            sys.path[:], work = pickle.loads(connection.recv_bytes())
            try:
                function, arguments = pickle.loads(work)
                answer = pickle.dumps((function(*arguments), None))
            except (RtdecodeError, MemoryError) as error:
                answer = pickle.dumps((None, error))
            except Exception as error:  # of code that is not ours: what it raises may not even be pickled
                answer = pickle.dumps((None, f"{type(error).__name__}: {error}".partition("\n")[0]))
            # Before the answer: what was printed here stands before what is printed there.
            sys.stdout.flush()
            connection.send_bytes(answer)
