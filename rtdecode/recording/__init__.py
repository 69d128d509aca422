"""Recordings of every kind as one type: the float32 samples, stamps and events that a stream would carry."""

from rtdecode.contract import Event
from rtdecode.recording.positions import Positions
from rtdecode.recording.readers import read_recording
from rtdecode.recording.recording import Recording

__all__ = ["Event", "Positions", "Recording", "read_recording"]
