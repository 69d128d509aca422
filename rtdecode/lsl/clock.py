"""How far another host's clock is from ours."""

import ctypes
import socket

import pylsl

_SAME_HOST_CORRECTION_S = 5e-3

_time_correction = pylsl.lib.lib.lsl_time_correction_ex
_time_correction.restype = ctypes.c_double
_time_correction.argtypes = [
    ctypes.c_void_p,
    *[ctypes.POINTER(ctypes.c_double)] * 2,
    ctypes.c_double,
    ctypes.c_void_p,
]


def clock_correction(inlet: pylsl.StreamInlet, host: str, timeout_s: float) -> tuple[float, float]:
    """Return seconds to add to a raw stamp to bring it into this host's clock, and their uncertainty.

    Exactly 0 when the source runs on this host with this host's clock: there the measured value is
    only the noise of the measurement. An inlet's first reading takes 0.6 s.

    Raises
    ------
    pylsl.util.TimeoutError, pylsl.util.LostError
        The outlet does not answer, or went away.
    """
    uncertainty, remote, code = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
    # pylsl's own method gives the correction without its uncertainty.
    measured = _time_correction(
        inlet.obj, ctypes.byref(remote), ctypes.byref(uncertainty), timeout_s, ctypes.byref(code)
    )
    pylsl.util.handle_error(code)
    if host == socket.gethostname() and abs(measured) < _SAME_HOST_CORRECTION_S:
        return 0.0, 0.0
    return measured, uncertainty.value
