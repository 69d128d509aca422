"""Tasks that need nothing of each other: done here, in processes of this machine, or on a Dask cluster."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, as_completed
from functools import partial
from typing import Any, TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from offline.checkpoint import versions
from rtdecode.errors import ConfigurationError

T = TypeVar("T")
R = TypeVar("R")
Workers = int | str
# As often as Dask's schedulers do.
_ATTEMPTS = 4
_CONNECT_S = 10
_LOOK_S = 1.0
_GIVEN_UP = (
    f"Workers ({{workers}}) died {_ATTEMPTS} times and nothing got done: killed, or is there too little memory for "
    "as many at once? Take fewer. What was done is kept."
)
_ALONE = threading.RLock()

# Sums are always taken in the same order.
one_thread = partial(threadpool_limits, 1)


def finished(function: Callable[[T], R], tasks: Sequence[T], workers: Workers) -> Iterator[tuple[T, R]]:
    """Give each task, and what `function` made of it, as soon as it is done.

    Parameters
    ----------
    function : callable
        What it gives must not depend on where it is called, or after what. It is called on one thread, and never
        twice at once in a process: torch and numpy draw from generators that all threads share.
    tasks : sequence
        They and the results are pickled, unless all is done here.
    workers : int or str
        Processes of this machine, 1: this one; or the address of a Dask scheduler, as in `tcp://HOST:8786`. What a
        worker was at when it was killed is done by another one.

    Raises
    ------
    ConfigurationError
        There is no such scheduler, its workers are not like this process, or workers go on dying.
    """
    if workers == 1:
        yield from ((task, _alone(function, task)) for task in tasks)
        return
    left, deaths = dict(enumerate(tasks)), 0
    while left:
        try:
            with _executor(workers) as executor:
                numbers = {executor.submit(_alone, function, task): number for number, task in left.items()}
                for future in as_completed(numbers):
                    result, deaths = future.result(), 0
                    yield left.pop(numbers[future]), result
        except BrokenExecutor:
            # With one of the processes the others end too; what they had not finished is begun again.
            deaths += 1
            if deaths == _ATTEMPTS:
                raise ConfigurationError(_GIVEN_UP.format(workers=workers)) from None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Do what is done inside on one thread, and nothing like it at the same time in this process."""
    with _ALONE, one_thread():
        yield


def _alone(function: Callable[[T], R], task: T) -> R:
    with alone():
        return function(task)


@contextlib.contextmanager
def _executor(workers: Workers) -> Iterator[Executor]:
    if isinstance(workers, str):
        with _cluster(workers) as executor:
            yield executor
        return
    processes = ProcessPoolExecutor(workers, initializer=_end_with, initargs=(os.getpid(),))
    try:
        yield processes
    finally:
        # Whatever is left is not wanted any more.
        processes.shutdown(kill_workers=True)


def _end_with(parent: int) -> None:
    """End this process soon after the one that started it, which may be killed without a chance to say so."""

    def look() -> None:
        while not threading.Event().wait(_LOOK_S):
            if os.getppid() != parent:
                os._exit(1)

    threading.Thread(target=look, daemon=True).start()


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"A Dask cluster needs {error.name!r}, which is not installed. pip install 'rtdecode[cluster]'"
        ) from None
    # How it lost a scheduler it would print; that it did is told below.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"No Dask scheduler answers at {address!r} ({error}). Start one with `dask scheduler`; its address is "
            "like tcp://HOST:8786."
        ) from None
    with client:
        _refuse_unlike(client, address)
        try:
            yield client.get_executor(pure=False)
        except KilledWorker:
            raise ConfigurationError(_GIVEN_UP.format(workers=address)) from None
        except CancelledError:
            raise ConfigurationError(f"The Dask scheduler at {address} went away. What was done is kept.") from None


def _refuse_unlike(client: Any, address: str) -> None:
    """Refuse workers that would have one fit wait for another, or that calculate with other libraries."""
    for worker, n_threads in client.nthreads().items():
        if n_threads > 1:
            raise ConfigurationError(
                f"Dask worker {worker} has {n_threads} threads, but a fit takes a process of its own. Start workers "
                "with --nthreads 1, and as many as there are cores (--nworkers)."
            )
    try:
        found = client.run(versions)
    except Exception as error:  # whatever fails over there, and on the way
        raise ConfigurationError(
            f"Not all workers of {address} have rtdecode[offline] ({type(error).__name__}: {error})."
        ) from None
    ours = versions()
    for worker, theirs in found.items():
        other = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if other:
            told = ", ".join(f"{name} {theirs.get(name)} instead of {ours.get(name)}" for name in other)
            raise ConfigurationError(f"Dask worker {worker} has {told}: results would not be the same. Update it.")
