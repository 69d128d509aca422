"""Every error a user can meet, in one tree.

RtdecodeError                exit code 1
├── ConfigurationError       2   an option, a configuration file, a missing extra
├── ModelError               3   a decoder file that cannot be used or proven
├── RecordingError           4   a recording that cannot be read or does not fit
├── StreamError              5   a stream that is absent, ambiguous or does not fit
│   └── StreamLostError          the source went away
└── DeadlineError            6   something did not happen in time

A message says what is wrong with its values, what was needed, and what to do.
"""


class RtdecodeError(Exception):
    """Base of all errors meant for the user; `exit_code` is the process's."""

    exit_code = 1

    def __str__(self) -> str:
        # A name out of a damaged or hostile file may hold line ends, or what a terminal obeys.
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in super().__str__())


class ConfigurationError(RtdecodeError):
    """An option, a configuration file or the installation is wrong."""

    exit_code = 2


class ModelError(RtdecodeError):
    """A decoder file cannot be read, does not hold together, or fails its proof."""

    exit_code = 3


class RecordingError(RtdecodeError):
    """A recording cannot be read or does not fit the decoder."""

    exit_code = 4


class RecordingWarning(UserWarning):
    """A recording is read, but not all of it is there, or not all of it counts."""


class StreamError(RtdecodeError):
    """A stream is absent, ambiguous, taken, or does not fit the decoder."""

    exit_code = 5


class StreamLostError(StreamError):
    """The source of a stream went away."""


class DeadlineError(RtdecodeError):
    """Something that was waited for did not happen in time."""

    exit_code = 6
