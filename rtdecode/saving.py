"""The files that a run is kept in: one, and a further one each time the stream came back."""

from itertools import count
from pathlib import Path

from rtdecode.contract import Contract, Signal
from rtdecode.errors import ConfigurationError
from rtdecode.interrupts import Interrupts
from rtdecode.session import SessionWriter, is_taken, refuse_unwritable


class Saving:
    """Opens a file for each connection; an ended one is written while the next is decoded.

    Parameters
    ----------
    path : Path
        Of the first; those after it are numbered.
    contract : Contract
        Of the decoder.
    interrupts : Interrupts
        Who asks for the end while files are written.

    Raises
    ------
    ConfigurationError
        It is there already, or cannot be written.
    """

    def __init__(self, path: Path, contract: Contract, interrupts: Interrupts) -> None:
        refuse_unwritable(path)
        self._path, self._contract, self._interrupts = path, contract, interrupts
        self._writers: list[SessionWriter] = []
        self._unopened: list[str] = []

    def open(self, signal: Signal, speed: float) -> SessionWriter:
        """Open a file for a connection; ConfigurationError if it cannot be written."""
        path = self._path
        if self._writers:
            # Whatever is there of another run stays.
            numbered = (path.with_stem(f"{path.stem}-{n}") for n in count(len(self._writers) + 1))
            path = next(path for path in numbered if not is_taken(path))
        try:
            writer = SessionWriter(path, signal, self._contract, speed, self._interrupts)
        except ConfigurationError as error:
            self._unopened.append(str(error).rstrip("."))
            raise
        self._writers.append(writer)
        return writer

    def wait(self) -> list[str]:
        """Wait until all that were ended are written; return what is yet to be told of what could not be."""
        asked = self._interrupts.n
        for writer in self._writers:
            writer.wait(asked)
        return [problem for writer in self._writers if (problem := writer.news())]

    @property
    def saved(self) -> list[Path]:
        """The files that were written."""
        return [writer.path for writer in self._writers if writer.n_samples]

    @property
    def problems(self) -> list[str]:
        """Why not everything could be kept."""
        return [*self._unopened, *(writer.problem for writer in self._writers if writer.problem)]
