"""What a network is built for, from the signal and the steps before it."""

from offline.models import Inputs
from rtdecode.contract import Signal
from rtdecode.preprocessing import FilterBank, Step
from rtdecode.recording import Positions


def inputs_of(
    steps: tuple[Step, ...],
    signal: Signal,
    n_times: int,
    n_outputs: int,
    positions: Positions,
    n_subjects: int = 0,
) -> Inputs:
    """Say what a network is built for: what leaves the steps when `signal` enters, its sensors at `positions`.

    A channel keeps its position as long as it keeps its name, and through a filter bank.
    """
    for step in steps:
        entering, signal = signal, step.output(signal)
        if isinstance(step, FilterBank):
            origins = entering.ch_names * len(step.bands_hz)  # band-major
            positions = {
                name: positions[origin]
                for name, origin in zip(signal.ch_names, origins, strict=True)
                if origin in positions
            }
    names = signal.ch_names
    unplaced = tuple(name for name in names if name not in positions)
    places = None if unplaced else tuple(positions[name] for name in names)
    return Inputs(
        signal.n_channels,
        n_times,
        n_outputs,
        signal.sfreq,
        names,
        positions=places,
        ch_types=signal.ch_types,
        unplaced=unplaced,
        n_subjects=n_subjects,
    )
