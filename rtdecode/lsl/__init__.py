"""The Lab Streaming Layer: finding streams, reading one, writing ours. The only module that loads pylsl."""

from rtdecode.errors import ConfigurationError

try:
    import pylsl  # noqa: F401 - it loads liblsl, and so does all that is imported below
except ImportError as error:
    raise ConfigurationError(f"pylsl cannot be imported ({error}): pip install --force-reinstall pylsl.") from None
except (OSError, RuntimeError) as error:
    # What pylsl says goes on for lines; its first sentence tells what is wrong.
    why = str(error).partition("\n")[0].partition(". ")[0].rstrip(" .")
    # Its wheel has no library for Linux on ARM.
    raise ConfigurationError(
        f"pylsl cannot load the library liblsl ({why}): conda install -c conda-forge liblsl, or set PYLSL_LIB to its "
        "file."
    ) from None

from rtdecode.lsl.discovery import StreamChoice, StreamFound, Wanted, list_streams
from rtdecode.lsl.feed import OutputFeed, OutputRow
from rtdecode.lsl.inlet import MOST_SAMPLES, SignalInlet
from rtdecode.lsl.markers import Marker
from rtdecode.lsl.network import LslNetwork
from rtdecode.lsl.outlets import DecoderOutlets, Outlet, local_clock, versions
from rtdecode.lsl.reader import OutputReader

__all__ = [
    "MOST_SAMPLES",
    "DecoderOutlets",
    "LslNetwork",
    "Marker",
    "Outlet",
    "OutputFeed",
    "OutputReader",
    "OutputRow",
    "SignalInlet",
    "StreamChoice",
    "StreamFound",
    "Wanted",
    "list_streams",
    "local_clock",
    "versions",
]
