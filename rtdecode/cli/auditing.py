"""The command that holds a recorded session to its decoder file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.cli.device import Device, device_settings
from rtdecode.errors import RecordingError
from rtdecode.files import refuse_output, write_rows

if TYPE_CHECKING:
    from rtdecode.audit import ConnectionAudit

_COLUMNS = ("stream", "verdict", "timestamp", "sample", "due", "found", "message")


def audit(
    session: Annotated[Path, typer.Argument(help="XDF of LabRecorder, or .npz of `run --save`.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="The decoder file (.onnx) that ran.")],
    name: Annotated[str | None, typer.Option(help="NAME of the decoder, if several were recorded.")] = None,
    output: Annotated[
        Path | None, typer.Option("--csv", help="Write every decision with its verdict here (.csv).")
    ] = None,
    show: Annotated[int, typer.Option(help="How many differences to print.", min=0)] = 10,
    device: Device = None,
) -> None:
    """Prove that a live run did what the decoder file says, decision by decision.

    The recorded signal is decoded again from the sample on at which the decoder began, with the settings that it
    told, and compared with all it published. Ends with exit code 0 when everything that can be audited is as it must
    be, and 4 when something is not, or nothing can be audited. docs/audit.md says how to record.
    """
    from rtdecode.audit import audit as audit_session
    from rtdecode.audit import read_evidence
    from rtdecode.model_file import read_model

    if output:
        refuse_output(output, ".csv")
    model_file = read_model(model)
    evidence = read_evidence(session, name, model_file.contract.outputs.column)
    audits = audit_session(evidence, model_file, device_settings(device).name)
    _tell(audits, show)
    if output:
        write_rows(output, _rows(audits))
        print(f"written to {output}")
    _conclude(session, audits)


def _tell(audits: "list[ConnectionAudit]", show: int) -> None:
    from rtdecode.audit import Verdict

    for one in audits:
        for stream in ("predictions", "markers"):
            counts = one.count(stream)
            told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
            print(f"connection {one.number}, {counts.total()} {stream}: {told or 'none'}")
    for one in audits:
        if one.problem:
            print(f"connection {one.number} cannot be audited: {one.problem}.")
        if one.versions:
            told = ", ".join(f"{key} {then} then, {now} now" for key, (then, now) in one.versions.items())
            print(f"connection {one.number} is compared within 1e-5, not to the last bit: {told}.")
    wrong = [(one.number, item) for one in audits for item in one.wrong]
    for number, item in wrong[:show]:
        print(f"connection {number}, {item}")
    if len(wrong) > show:
        print(f"... and {len(wrong) - show} more (--csv writes all)")


def _rows(audits: "list[ConnectionAudit]") -> Iterator[list[Any]]:
    yield ["connection", *_COLUMNS]
    for one in audits:
        for item in one.items:
            values = (getattr(item, column) for column in _COLUMNS)
            yield [one.number, *("" if v is None else repr(v) if isinstance(v, float) else v for v in values)]


def _conclude(session: Path, audits: "list[ConnectionAudit]") -> None:
    from rtdecode.audit import Verdict

    wrong = sum(len(one.wrong) for one in audits)
    if wrong:
        raise RecordingError(f"{session} is not what the decoder file makes of its signal: {wrong} differences.")
    counts = [one.count("predictions") for one in audits]
    compared = sum(one[Verdict.IDENTICAL] + one[Verdict.CLOSE] for one in counts)
    if not compared:
        raise RecordingError(f"Nothing is proven: no decision of {session} can be audited.")
    print(f"{compared} decisions and abstentions are what the decoder file makes of the recorded signal.")
