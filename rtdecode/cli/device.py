"""The options that say what a decoder's graph is run on."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtdecode.device import DeviceSettings

Device = Annotated[str | None, typer.Option(help="What the graph is run on: cpu or cuda.", show_default="cpu")]
Tf32 = Annotated[bool, typer.Option("--tf32", help="Let CUDA multiply with 10 bits instead of 23: not so exact.")]


def device_settings(device: str | None, tf32: bool = False) -> "DeviceSettings":
    """Return what these options say; ConfigurationError if that cannot be."""
    from rtdecode.configuration import validate
    from rtdecode.device import DeviceSettings

    return validate(DeviceSettings, {"name": device or "cpu", "tf32": tf32}, "Device")
