"""The Lab Streaming Layer: finding streams, reading one, writing ours. The only module that loads pylsl."""

from rtdecode.lsl.discovery import StreamChoice, StreamFound, find_stream, list_streams
from rtdecode.lsl.inlet import SignalInlet
from rtdecode.lsl.loopback import loopback_configuration
from rtdecode.lsl.outlets import DecoderOutlets, EventOutlet, SignalOutlet, local_clock, versions

__all__ = [
    "DecoderOutlets",
    "EventOutlet",
    "SignalInlet",
    "SignalOutlet",
    "StreamChoice",
    "StreamFound",
    "find_stream",
    "list_streams",
    "local_clock",
    "loopback_configuration",
    "versions",
]
