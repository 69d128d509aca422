"""What a loop needs to keep its time."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SPIN_S = 5e-4


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


def sleep_until(deadline: float, clock: Callable[[], float]) -> None:
    """Return when `clock` has reached `deadline`: sleep to just before it, then spin."""
    while (left := deadline - clock()) > 0:
        if left > _SPIN_S:
            time.sleep(left - _SPIN_S)
