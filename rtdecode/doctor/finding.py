"""What is found out about one thing."""

from dataclasses import dataclass

from rtdecode.errors import RtdecodeError


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes
    ----------
    subject, text : str
        What it is, and how it is.
    advice : str
        What to change; empty when nothing has to be.
    exit_code : int
        Other than 0 when running is impossible because of it.
    """

    subject: str
    text: str
    advice: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        mark = "STOP" if self.exit_code else "look" if self.advice else "ok"
        told = f"  {mark:<4} {self.subject}: {self.text}"
        return f"{told}\n       -> {self.advice}" if self.advice else told


def fatal(subject: str, error: RtdecodeError) -> Finding:
    """Return an error as a finding that makes running impossible."""
    return Finding(subject, str(error), exit_code=error.exit_code)
