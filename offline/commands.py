"""What the commands of the same names do."""

import sys
from pathlib import Path

from rich.console import Console

from offline.checkpoint import read_checkpoint
from offline.configuration import read_configuration
from offline.dataset import data_folder
from offline.export import export as write_decoder
from offline.workflow import table
from offline.workflow import train as train_all


def train(
    configuration: str, data: str | None, output: Path | None, only: list[str], final: list[str], jobs: int
) -> None:
    """Train, print the table, export what was asked for."""
    # Not a terminal: wide enough for the table.
    console = Console(width=None if sys.stdout.isatty() else 100)
    settings = read_configuration(configuration)
    run = train_all(settings, data_folder(data), output, only, final, jobs, console)
    console.print(table(run, settings))
    console.print(f"kept in {run.folder}", soft_wrap=True, highlight=False)
    for group, checkpoint in run.finals.items():
        export(checkpoint, run.folder / f"{settings.name}-{group}.onnx")


def export(checkpoint: Path, output: Path) -> None:
    """Write a decoder file and tell what was proven."""
    model = write_decoder(read_checkpoint(checkpoint), output)
    parity = model.contract.parity
    assert parity is not None
    print(
        f"{model.path}: torch = ONNX Runtime within {parity.torch_onnx_max:.1g} on {parity.n_windows} windows, "
        f"chunked = one-shot on {parity.n_chunked_predictions} predictions. SHA-256 {model.sha256[:16]}..."
    )
