"""The Lab Streaming Layer: finding streams, reading one, writing ours. The only module that loads pylsl."""

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
