"""Recordings of every kind as one type: the float32 samples, stamps and events that a stream would carry."""

from rtdecode.recording.positions import Positions
from rtdecode.recording.readers import read_recording
from rtdecode.recording.recording import Event, Recording, event_arrays

__all__ = ["Event", "Positions", "Recording", "event_arrays", "read_recording"]
