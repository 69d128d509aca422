"""What a decoder file promises: the signal it needs, what is done to it, what comes out."""

from rtdecode.contract.document import (
    SCHEMA_VERSION,
    Amplitude,
    Calibration,
    Classification,
    Contract,
    Names,
    Parity,
    Provenance,
    Regression,
    Score,
    State,
    Targets,
    Trials,
    Window,
    read_metadata,
    write_metadata,
)
from rtdecode.contract.events import Event, EventWindow
from rtdecode.contract.policy import Accumulated, Exponential, Mean, Policy, Repeated
from rtdecode.contract.signal import DEFAULT_UNITS, Adapter, Signal, canonical_unit

__all__ = [
    "DEFAULT_UNITS",
    "SCHEMA_VERSION",
    "Accumulated",
    "Adapter",
    "Amplitude",
    "Calibration",
    "Classification",
    "Contract",
    "Event",
    "EventWindow",
    "Exponential",
    "Mean",
    "Names",
    "Parity",
    "Policy",
    "Provenance",
    "Regression",
    "Repeated",
    "Score",
    "Signal",
    "State",
    "Targets",
    "Trials",
    "Window",
    "canonical_unit",
    "read_metadata",
    "write_metadata",
]
