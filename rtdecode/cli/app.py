"""The one table of commands."""

from collections.abc import Callable
from typing import Annotated

import typer

from rtdecode.cli import auditing, consumers, evaluating, explaining, files, live, timing, training

app = typer.Typer(
    name="rtdecode",
    help="Real-time decoder for brain signals: train offline, write one ONNX file, decode live from LSL.",
    epilog="Exit codes: 2 configuration, 3 model, 4 recording, 5 stream, 6 deadline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from rtdecode import __version__

        print(f"rtdecode {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Offline": {
        "train": training.train,
        "adapt": training.adapt,
        "export": training.export,
        "runs": training.runs,
        "tune": training.tune,
        "config": training.config,
        "models": training.models,
        "store": training.store,
    },
    "Decoder files and recordings": {
        "inspect": files.inspect,
        "bench": timing.bench,
        "verify": files.verify,
        "replay": files.replay,
        "evaluate": evaluating.evaluate,
        "explain": explaining.explain,
        "audit": auditing.audit,
    },
    "Online": {
        "doctor": live.doctor,
        "latency": timing.latency,
        "streams": live.streams,
        "collect": training.collect,
        "run": live.run,
        "play": live.play,
        "listen": consumers.listen,
        "demo": training.demo,
    },
}
for _panel, _commands in _COMMANDS.items():
    for _name, _function in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_function)
