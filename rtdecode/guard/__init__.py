"""Watches what arrives, so that nothing unsound is decoded: time, samples, channels."""

from rtdecode.guard.guard import Guard, Incident, Segment, unbroken
from rtdecode.guard.health import Health, block_size, spreads
from rtdecode.guard.settings import GuardSettings

__all__ = ["Guard", "GuardSettings", "Health", "Incident", "Segment", "block_size", "spreads", "unbroken"]
