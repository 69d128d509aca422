"""The Lab Streaming Layer: finding streams, reading one, writing ours. The only module that loads pylsl."""

from rtdecode.lsl.discovery import StreamChoice, StreamFound, find_stream, list_streams
from rtdecode.lsl.inlet import SignalInlet
from rtdecode.lsl.outlets import DecoderOutlets, EventOutlet, SignalOutlet, local_clock, versions
from rtdecode.lsl.reader import OutputReader

__all__ = [
    "DecoderOutlets",
    "EventOutlet",
    "OutputReader",
    "SignalInlet",
    "SignalOutlet",
    "StreamChoice",
    "StreamFound",
    "find_stream",
    "list_streams",
    "local_clock",
    "versions",
]
