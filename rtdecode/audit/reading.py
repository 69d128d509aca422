"""Reading what is known of a live run, from either kind of session."""

from pathlib import Path

from rtdecode.audit.evidence import Evidence
from rtdecode.audit.recorded import read_recorded
from rtdecode.audit.saved import read_saved


def read_evidence(path: Path, name: str | None = None, column: str = "proba") -> list[Evidence]:
    """Read a session, connection by connection.

    Parameters
    ----------
    path : Path
        An XDF file with the signal and the three streams of a decoder, or what `run --save` wrote.
    name : str, optional
        Of the decoder (NAME), if several were recorded.
    column : str
        `proba` or `values`: what it gives.

    Raises
    ------
    RecordingError
        It cannot be read, or something that an audit needs is not in it.
    """
    return [read_saved(path, column)] if path.suffix == ".npz" else read_recorded(path, name, column)
