"""What subject and experimenter see while cues are given: one large word on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.align import Align
from rich.box import ASCII
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from rtdecode.cues import REST

# Reverse letters stand out from afar; at rest there is a cross to look at.
_CUE_STYLE, _CROSS = "bold reverse", "+"


class Prompter:
    """Shows cues; use as a context manager.

    A terminal is filled with the cue, what is told stands at its lower edge, and all of it is printed again at the
    end. Elsewhere everything is a line.

    Parameters
    ----------
    console : rich.console.Console
        Where to.
    n_trials : int
        How many there will be.
    """

    def __init__(self, console: Console, n_trials: int) -> None:
        self._console, self._n_trials = console, n_trials
        self._label, self._trial = REST, 0
        self._told: list[str] = []
        self._screen = console.screen(hide_cursor=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._screen:
            self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._screen:
            self._screen.__exit__(kind, error, at)
            for message in self._told:
                self._line(message)

    def show(self, label: str, trial: int) -> None:
        """Show what to do now; `trial` of all have begun."""
        self._label, self._trial = label, trial
        if self._screen:
            self._draw()
        else:
            self._line(f"{trial}/{self._n_trials} {label}")

    def tell(self, message: str) -> None:
        """Tell something."""
        self._told.append(message)
        if self._screen:
            self._draw()
        else:
            self._line(message)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        assert self._screen is not None
        rests = self._label == REST
        word = Text(_CROSS if rests else f"  {' '.join(self._label.upper())}  ", "bold" if rests else _CUE_STYLE)
        told = Text(self._told[-1] if self._told else "", overflow="ellipsis", no_wrap=True)
        middle = Align.center(word, vertical="middle")
        title = f"{self._trial}/{self._n_trials}"
        self._screen.update(Panel(middle, box=ASCII, title=title, subtitle=told))
