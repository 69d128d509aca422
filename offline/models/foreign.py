"""A torch module of the user's own, by its import path."""

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from offline.models.base import Inputs, Network
from rtdecode.errors import ConfigurationError


class Foreign(Network):
    """Wraps any module that turns windows (batch, channels, times) into logits (batch, n_outputs).

    Of what a network offers (`Network`), it offers what the module has as an attribute of the same name.

    Parameters
    ----------
    path : str
        `package.module:Class`; the current folder is searched too.
    inputs : Inputs
        Of this, the class gets what its signature asks for, under the names n_chans, n_times, n_outputs,
        sfreq, ch_names, ch_types and positions (n_chans, 2).
    settings : dict
        Further keyword arguments.

    A module that has the attribute `causal = True` and the method `sequence` claims what `Network.sequence`
    says.

    Raises
    ------
    ConfigurationError
        It cannot be imported or built, asks for positions that are unknown, does not give logits of the
        right shape, or is called causal and has no `sequence`.
    """

    def __init__(self, path: str, inputs: Inputs, settings: dict[str, Any]) -> None:
        super().__init__(inputs.n_channels, inputs.n_times, inputs.n_outputs)
        self._made_from = (path, inputs, settings)
        offered: dict[str, Any] = {
            "n_chans": inputs.n_channels,
            "n_times": inputs.n_times,
            "n_outputs": inputs.n_outputs,
            "sfreq": inputs.sfreq,
            "ch_names": list(inputs.ch_names),
            "ch_types": inputs.ch_types,
        }
        make, asked = find_module(path)
        if "positions" in asked and "positions" not in settings:
            needed = asked["positions"].default is inspect.Parameter.empty
            offered["positions"] = inputs.placed(path) if needed else inputs.positions
        takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in asked.values())
        arguments = {k: v for k, v in offered.items() if k in asked} | settings
        unknown = [] if takes_all else [key for key in settings if key not in asked]
        if unknown:
            raise ConfigurationError(f"{path} takes no {', '.join(unknown)}; it takes {', '.join(asked)}.")
        try:
            self.module: nn.Module = make(**arguments)
            self.eval()
            with torch.no_grad():
                logits = self.module(torch.zeros(2, inputs.n_channels, inputs.n_times))
        except Exception as error:  # code that is not ours raises whatever it likes
            raise ConfigurationError(f"{path} cannot be used: {type(error).__name__}: {error}.") from None
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, inputs.n_outputs):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigurationError(
                f"{path} gives {got} for 2 windows; logits of shape (2, {inputs.n_outputs}) are needed."
            )
        self.causal = bool(getattr(self.module, "causal", False))
        if self.causal and not callable(getattr(self.module, "sequence", None)):
            raise ConfigurationError(
                f"{path} is called causal (its attribute `causal`), but has no method `sequence` that gives features "
                "(batch, width, n_times') by which that could be tried out."
            )
        self.train()

    def features(self, x: Tensor) -> Tensor:
        """Return the module's own features of windows (batch, n_channels, n_times)."""
        features: Tensor = self._own("features")(x)
        return features

    def sequence(self, x: Tensor) -> Tensor:
        """See Network."""
        sequence: Tensor = self._own("sequence")(x)
        return sequence

    @property
    def receptive_field(self) -> int | None:
        """See Network."""
        return getattr(self.module, "receptive_field", None)

    def penalty(self) -> Tensor | None:
        """See Network."""
        penalty: Tensor | None = self._own("penalty")() if hasattr(self.module, "penalty") else None
        return penalty

    def constrain(self) -> None:
        """See Network."""
        if hasattr(self.module, "constrain"):
            self._own("constrain")()

    def with_head(self, n_outputs: int) -> Self:
        """Return the module made anew for `n_outputs`, with all weights whose shape is still the same."""
        path, inputs, settings = self._made_from
        network = type(self)(path, dataclasses.replace(inputs, n_outputs=n_outputs), settings)
        shapes = {name: weight.shape for name, weight in network.state_dict().items()}
        kept = {name: weight for name, weight in self.state_dict().items() if weight.shape == shapes.get(name)}
        network.load_state_dict(kept, strict=False)
        return network.train(self.training)

    def _own(self, name: str) -> Any:
        if not hasattr(self.module, name):
            raise NotImplementedError(f"{self._made_from[0]} has no {name}")
        return getattr(self.module, name)

    def forward(self, x: Tensor) -> Tensor:
        """Turn windows (batch, n_channels, n_times) into logits (batch, n_outputs)."""
        logits: Tensor = self.module(x)
        return logits

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process it goes as its description and weights: a module with parametrised weights, and one
        # that holds a function without a name, cannot be pickled.
        return _rebuild, (*self._made_from, self.state_dict(), self.training)


def _rebuild(path: str, inputs: Inputs, settings: dict[str, Any], weights: dict[str, Any], training: bool) -> Foreign:
    network = Foreign(path, inputs, settings)
    # What a new network has not, until it is calibrated or told its targets.
    for name in ("target_mean", "target_std", "sharpness"):
        setattr(network, name, weights.get(name))
    network.load_state_dict(weights)
    return network.train(training)


def find_module(path: str) -> tuple[Any, Mapping[str, inspect.Parameter]]:
    """Return what the path names, and its parameters."""
    module_name, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        # A console script does not search the folder it is started in, where a lab's own networks lie.
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module that is not ours raises whatever it likes
        why = f"{error}" if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"Network {path!r} cannot be imported: {why} (now in {Path.cwd()}).") from None
    if not hasattr(module, name):
        raise ConfigurationError(f"Network {path!r}: module {module_name!r} has no {name!r}.")
    try:
        return getattr(module, name), inspect.signature(getattr(module, name)).parameters
    except (TypeError, ValueError):
        raise ConfigurationError(f"Network {path!r} is nothing that makes a torch module.") from None
