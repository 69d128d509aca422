"""Recordings of every kind as one type: the float32 samples, stamps and events that a stream would carry."""

from rtdecode.contract import Event
from rtdecode.recording.positions import Positions
from rtdecode.recording.readers import read_recording, read_session, recording_of
from rtdecode.recording.recording import Recording, event_arrays
from rtdecode.recording.session import Layout, Session, Stream

__all__ = [
    "Event",
    "Layout",
    "Positions",
    "Recording",
    "Session",
    "Stream",
    "event_arrays",
    "read_recording",
    "read_session",
    "recording_of",
]
