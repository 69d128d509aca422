"""The networks, one file each."""

import difflib
import inspect
from typing import Any

from offline.models.base import Inputs, Network
from offline.models.brainmodule import BrainModule
from offline.models.csplda import CSPLDA
from offline.models.deep4 import Deep4Net
from offline.models.eegnet import EEGNet
from offline.models.fblightconvnet import FBLightConvNet
from offline.models.foreign import Foreign, find_module
from offline.models.lda import ShrinkageLDA
from offline.models.lfcnn import LFCNN
from offline.models.recurrent import Recurrent
from offline.models.shallow import ShallowFBCSPNet
from offline.models.tangent import TangentSpace
from offline.models.varcnn import VARCNN
from rtdecode.errors import ConfigurationError

NETWORKS: dict[str, type[Network]] = {
    "lfcnn": LFCNN,
    "varcnn": VARCNN,
    "eegnet": EEGNet,
    "shallow": ShallowFBCSPNet,
    "deep4": Deep4Net,
    "fblightconvnet": FBLightConvNet,
    "brainmodule": BrainModule,
    "csp-lda": CSPLDA,
    "tangent-space": TangentSpace,
    "lda": ShrinkageLDA,
}

__all__ = [
    "CSPLDA",
    "LFCNN",
    "NETWORKS",
    "VARCNN",
    "BrainModule",
    "Deep4Net",
    "EEGNet",
    "FBLightConvNet",
    "Inputs",
    "Network",
    "Recurrent",
    "ShallowFBCSPNet",
    "ShrinkageLDA",
    "TangentSpace",
    "describe",
    "find_module",
    "make_network",
    "refuse_unknown",
]


def make_network(
    name: str, inputs: Inputs, settings: dict[str, Any], recurrent: dict[str, Any] | None = None
) -> Network:
    """Build a network by its name here, or any torch module by its import path (`my_lab.nets:MyNet`).

    `recurrent` are settings of `Recurrent`, if its features feed a recurrent cell. ConfigurationError names an
    unknown network or setting and the nearest one.
    """
    network = _make(name, inputs, settings)
    if recurrent is None:
        return network
    try:
        return Recurrent(network, **recurrent)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(f"Network {name!r} cannot be made recurrent: {error}.") from None


def describe(name: str) -> str:
    """Return what a network is, its settings with their defaults, and what these mean."""
    make = find_module(name)[0] if ":" in name else NETWORKS[name]
    given = (*list(inspect.signature(Inputs).parameters), "n_chans")
    settings = {key: p.default for key, p in inspect.signature(make).parameters.items() if key not in given}
    defaults = ", ".join(f"{key}: {value}" for key, value in settings.items())
    return f"{inspect.cleandoc(make.__doc__ or '')}\n\nDefaults\n--------\n{defaults}"


def refuse_unknown(name: str) -> None:
    """Raise ConfigurationError, which names the nearest one, unless there is a network of this name."""
    if name not in NETWORKS and ":" not in name:
        raise ConfigurationError(
            f"Unknown network {name!r}{_near(name, NETWORKS)}; there is {', '.join(NETWORKS)}, and any torch "
            "module by its import path (my_lab.nets:MyNet)."
        )


def _make(name: str, inputs: Inputs, settings: dict[str, Any]) -> Network:
    if ":" in name:
        return Foreign(name, inputs, settings)
    refuse_unknown(name)
    takes = list(inspect.signature(NETWORKS[name]).parameters)[3:]
    offered: dict[str, Any] = {
        "positions": inputs.placed(name) if settings.get("spatial_attention") else None,
        "ch_types": inputs.ch_types,
        "n_subjects": inputs.n_subjects,
    }
    known = [key for key in takes if key not in offered]
    for key in settings:
        if key not in known:
            raise ConfigurationError(f"Network {name!r} has no setting {key!r}{_near(key, known)}.")
    asked = {key: value for key, value in offered.items() if key in takes}
    try:
        return NETWORKS[name](inputs.n_channels, inputs.n_times, inputs.n_outputs, **settings, **asked)
    except (ValueError, TypeError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise ConfigurationError(f"Network {name!r} cannot be built: {error}.") from None


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
