"""What `rtdecode doctor` finds out: is this machine ready to decode, and what should be changed."""

from collections.abc import Iterator
from pathlib import Path

from rtdecode.doctor.finding import Finding, fatal
from rtdecode.doctor.machine import examine_machine, interruptions, read_governors
from rtdecode.doctor.network import examine_lsl, judge_configuration, lsl_configuration
from rtdecode.doctor.runtime import examine_model, examine_runtime, judge_hop
from rtdecode.doctor.streams import examine_streams, judge_stamps, stream_figures
from rtdecode.errors import RtdecodeError
from rtdecode.model_file import read_model

__all__ = [
    "Finding",
    "examine",
    "examine_machine",
    "interruptions",
    "judge_configuration",
    "judge_hop",
    "judge_stamps",
    "lsl_configuration",
    "read_governors",
    "stream_figures",
]


def examine(
    stream: str | None, seconds: float, model: Path | None, wait_s: float
) -> Iterator[tuple[str, Iterator[Finding]]]:
    """Examine everything; each section is worked out while its findings are taken.

    Parameters
    ----------
    stream : str or None
        Name of the stream to measure; every signal when not given.
    seconds : float
        How long to measure each.
    model : Path or None
        A decoder file to time.
    wait_s : float
        How long to look for streams.
    """
    yield "This machine", examine_machine()
    yield "ONNX Runtime", examine_runtime()
    loaded = None
    if model:
        try:
            loaded = read_model(model)
        except RtdecodeError as error:
            yield "Decoder file", iter([fatal(str(model), error)])
        else:
            yield "Decoder file", examine_model(loaded)
    yield "LSL", examine_lsl()
    yield "Streams", examine_streams(stream, seconds, loaded, wait_s)
