"""Configurations as files: those that are shipped, and those of the user."""

from importlib import resources
from pathlib import Path

from offline.configuration.document import TrainingConfiguration
from rtdecode.configuration import read_yaml, validate
from rtdecode.errors import ConfigurationError


def shipped() -> list[str]:
    """Return the names of the configurations that come with the package."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in resources.files("rtdecode_configs").iterdir()
        if path.name.endswith(".yaml")
    )


def shipped_text(name: str) -> str:
    """Return a shipped configuration as it stands in its file."""
    if name not in shipped():
        raise ConfigurationError(f"No shipped configuration {name!r}; there is {', '.join(shipped())}.")
    return resources.files("rtdecode_configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def read_configuration(name_or_path: str) -> TrainingConfiguration:
    """Read a configuration file, or a shipped one by its name."""
    path = Path(name_or_path)
    if not path.exists() and name_or_path in shipped():
        with resources.as_file(resources.files("rtdecode_configs").joinpath(f"{name_or_path}.yaml")) as shipped_path:
            return validate(TrainingConfiguration, read_yaml(shipped_path), f"Configuration {name_or_path}")
    if not path.exists() and path.suffix == "":
        raise ConfigurationError(
            f"No configuration {name_or_path!r}: neither a file (now in {Path.cwd()}) nor one of the "
            f"shipped ones ({', '.join(shipped())})."
        )
    return validate(TrainingConfiguration, read_yaml(path), f"Configuration {path}")
