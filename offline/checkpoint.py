"""A fitted decoder between training and export: weights, contract, and some real data to prove it on."""

import base64
import contextlib
import io
import pickle
import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from offline.configuration import TrainingConfiguration
from offline.dataset import Dataset, event_window
from offline.inputs import inputs_of
from offline.models import Network, make_network
from offline.sensors import SensorMoments
from rtdecode.configuration import validate
from rtdecode.contract import (
    Contract,
    Provenance,
    Regression,
    Score,
    Signal,
    State,
    Targets,
    Window,
    read_metadata,
    write_metadata,
)
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.files import write_bytes
from rtdecode.model_file import parse, read_model
from rtdecode.preprocessing import Chain, read_steps
from rtdecode.recording import Positions, Recording

if TYPE_CHECKING:
    from offline.training import Fitted

_PACKAGES = (
    "rtdecode", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "skorch", "scikit-learn", "mne",
    "numpy", "scipy",
)  # fmt: skip
_PROBE_HOPS = 40
_KEY = "rtdecode.weights"
_MOST_HELD = 1 << 26


@dataclass(frozen=True)
class Checkpoint:
    """A network with its contract, and a stretch of a training recording.

    Attributes
    ----------
    contract : Contract
        Without parity figures: those are measured at export.
    network : Network
        In evaluation mode.
    probe : Recording
        Long enough for the warm-up and some predictions; its positions are those the network was built with.
    subjects : tuple of str
        The people it was trained on, in the order of their indices, if they are told apart.
    moments : SensorMoments or None
        What the sensors did in the trials it was trained on; None if that is not kept.
    """

    contract: Contract
    network: Network
    probe: Recording
    subjects: tuple[str, ...] = ()
    moments: SensorMoments | None = None

    @property
    def form(self) -> str:
        """The form that was asked for; a decoder that was trained before there were two tells none."""
        return str(self.contract.provenance.configuration["model"].get("form", "auto"))

    def for_subject(self, subject: str) -> "Checkpoint":
        """Return the decoder of one person; ConfigurationError names those it was trained on."""
        if subject not in self.subjects:
            known = ", ".join(self.subjects) or "none are told apart"
            raise ConfigurationError(f"The decoder was not trained on a subject {subject!r}; known: {known}.")
        provenance = self.contract.provenance.model_copy(update={"subject": subject})
        return replace(
            self,
            contract=self.contract.model_copy(update={"provenance": provenance}),
            network=self.network.for_subject(self.subjects.index(subject)),
        )

    def with_scores(self, scores: list[Score]) -> "Checkpoint":
        """Return it with these scores in its provenance."""
        provenance = self.contract.provenance.model_copy(update={"scores": tuple(scores)})
        return replace(self, contract=self.contract.model_copy(update={"provenance": provenance}))

    def save(self, path: Path) -> None:
        """Write it as one file of tensors and text, which is there whole or not at all."""
        content = io.BytesIO()
        torch.save(
            {
                "weights": self.network.state_dict(),
                "metadata": write_metadata(self.contract),
                "probe_signal": self.probe.signal.model_dump_json(),
                "probe_positions": self.probe.positions,
                "subjects": self.subjects,
                "probe_samples": torch.tensor(self.probe.samples),
                "moments": self.moments and self.moments.document(),
            },
            content,
        )
        write_bytes(path, content.getbuffer())


def read_checkpoint(path: Path, named: str | None = None) -> Checkpoint:
    """Read a checkpoint; `named` as for `network_with`. ModelError if it is none."""
    content, contract = _read(path)
    try:
        subjects, positions = tuple(content["subjects"]), content.get("probe_positions", {})
        network = network_with(content["weights"], contract, path, positions, len(subjects), named)
        samples: Tensor = content["probe_samples"]
        signal = Signal.model_validate_json(content["probe_signal"])
        moments = _moments(content)
    except (RuntimeError, LookupError, TypeError, ValueError):
        raise _damaged(path) from None
    stamps = np.arange(len(samples)) / signal.sfreq
    probe = Recording(signal, samples.numpy(), stamps, path=str(path), positions=positions)
    return Checkpoint(contract, network, probe, subjects, moments)


def _moments(content: dict[str, Any]) -> SensorMoments | None:
    """Return what the sensors did, which older files do not tell."""
    document = content.get("moments")
    return SensorMoments.of_document(document) if document else None


def read_weights(path: Path) -> tuple[Contract, dict[str, Tensor]]:
    """Read what a decoder is and the weights of its network, see `read_held`."""
    contract, weights, _ = read_held(path)
    return contract, weights


def read_held(path: Path) -> tuple[Contract, dict[str, Tensor], SensorMoments | None]:
    """Read what a decoder is, the weights of its network and what the sensors did, of its file or checkpoint (.pt).

    Raises
    ------
    ModelError
        It is neither, or the file does not hold the weights.
    """
    if path.suffix == ".pt":
        content, contract = _read(path)
        return contract, content["weights"], _moments(content)
    model = read_model(path)
    held = [entry.value for entry in parse(model.graph, model.path).graph.metadata_props if entry.key == _KEY]
    if not held:
        raise ModelError(
            f"{path} does not hold the weights its network was trained to; give the checkpoint (.pt) of its training."
        )
    try:
        content = torch.load(io.BytesIO(base64.b64decode(held[0])), map_location="cpu", weights_only=True)
        trained, weights = read_metadata(content["metadata"], str(path)), content["weights"]
        moments = _moments(content)
    except (RuntimeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError):
        raise ModelError(f"{path}: the weights its network was trained to are damaged.") from None
    return model.contract.model_copy(update={"preprocessing": trained.preprocessing}), weights, moments


def hold_weights(proto: Any, checkpoint: Checkpoint) -> None:
    """Put the weights, and what they were trained behind, into a graph (onnx.ModelProto) that has them merged only.

    They stand among the graph's own metadata, which runtimes pass over and a decoder file that is written anew keeps.
    Those of a network that told people apart are not put there: what is left for one of them is another network. Nor
    are many: the decoder keeps its file in memory.
    """
    buffer = io.BytesIO()
    held = {
        "weights": checkpoint.network.state_dict(),
        "metadata": write_metadata(checkpoint.contract),
        "moments": checkpoint.moments and checkpoint.moments.document(),
    }
    torch.save(held, buffer)
    if checkpoint.contract.provenance.subject is None and buffer.tell() <= _MOST_HELD:
        proto.graph.metadata_props.add(key=_KEY, value=base64.b64encode(buffer.getvalue()).decode("ascii"))


def configuration_for_files(contract: Contract, path: Path, **changes: Any) -> TrainingConfiguration:
    """Return what a decoder was trained by, as of recordings that are given by themselves.

    They are named by themselves; their arrays are called as those it was trained on. `changes` stand in the place of
    other parts, `training` in that of some of its own. ConfigurationError if this version does not understand it.
    """
    document = dict(contract.provenance.configuration)
    document["recordings"] = {"pattern": "*.npz", "arrays": document["recordings"].get("arrays", {})}
    document["channels"] = {"names": contract.signal.ch_names}
    document["training"] = {**document["training"], "own_weight": 1, "init_from": None, **changes.pop("training", {})}
    return validate(TrainingConfiguration, {**document, **changes}, f"The configuration in {path}")


def network_with(
    weights: dict[str, Tensor],
    contract: Contract,
    path: Path,
    positions: Positions,
    n_subjects: int = 0,
    named: str | None = None,
) -> Network:
    """Build the network that the contract in a file tells of, to be evaluated.

    Raises
    ------
    ConfigurationError
        It is a module by its import path, which would be run, and not the one that was `named`.
    ModelError
        The weights are not its.
    """
    n_outputs, model = len(contract.outputs.names), contract.provenance.configuration["model"]
    if ":" in model["network"] and model["network"] != named:
        raise ConfigurationError(
            f"{path} has a network of somebody's own, {model['network']}, whose code would be run: if you trust what "
            f"goes by that name here, give --network {model['network']}."
        )
    inputs = inputs_of(
        read_steps(contract.preprocessing), contract.signal, contract.window.n_times, n_outputs, positions, n_subjects
    )
    network = make_network(model["network"], inputs, model["settings"], model.get("recurrent"))
    if isinstance(contract.outputs, Regression):
        # What was trained before there was a choice tells of none.
        log = contract.provenance.configuration["targets"].get("transform") == "log"
        network.set_targets(torch.zeros(n_outputs), torch.ones(n_outputs), log)
    if contract.calibration:
        network.set_temperature(contract.calibration.temperature)
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise ModelError(
            f"{path}: its weights are not those of {model['network']}; was the network changed?"
        ) from None
    return network.eval()


def _read(path: Path) -> tuple[dict[str, Any], Contract]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content, read_metadata(content["metadata"], str(path))
    except FileNotFoundError:
        raise ModelError(f"Checkpoint {path} does not exist (now in {Path.cwd()}).") from None
    except (RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError, pickle.UnpicklingError):
        raise _damaged(path) from None


def _damaged(path: Path) -> ModelError:
    return ModelError(f"{path} is not a checkpoint of `rtdecode train`, or is damaged.")


def make_checkpoint(dataset: Dataset, fitted: "Fitted", trained_on: set[int], scores: list[Score]) -> Checkpoint:
    """Describe a fitted decoder; `trained_on` are the indices of the recordings it saw.

    What its weights began with had seen others, which its provenance tells first.
    """
    configuration, targets = dataset.configuration, dataset.configuration.targets
    sources = sorted({dataset.source_of[i] for i in trained_on})
    fingerprints, names = [dataset.fingerprints[i][:16] for i in sources], [dataset.sources[i].name for i in sources]
    if fitted.before:
        fingerprints = [*fitted.before.data_fingerprint.split("+"), *fingerprints]
        names = [*fitted.before.recordings, *names]
    chain = Chain(fitted.steps, dataset.signal)
    events = event_window(configuration, chain, dataset.signal.sfreq)
    contract = Contract(
        name=configuration.name,
        signal=dataset.signal,
        preprocessing=tuple(step.model_dump() for step in fitted.steps),
        window=Window(n_times=fitted.n_times, hop=fitted.hop),
        events=events,
        outputs=dataset.outputs,
        states=tuple(
            State(name=name, initial=initial.numpy().astype(np.float64))
            for name, initial in zip(fitted.network.state_names, fitted.network.initial_state(), strict=True)
        ),
        trials=configuration.trials,
        policy=configuration.policy,
        calibration=fitted.calibration,
        targets=None if targets is None else Targets(**targets.model_dump(include=set(Targets.model_fields))),
        amplitude=dataset.amplitude(trained_on),
        provenance=Provenance(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            network=configuration.model.network,
            data_fingerprint="+".join(dict.fromkeys(fingerprints)),
            recordings=tuple(dict.fromkeys(names)),
            configuration=configuration.model_dump(mode="json"),
            packages={**versions(), "python": platform.python_version()},
            scores=tuple(scores),
        ),
    )
    reach = fitted.n_times + (events.before if events else 0)
    needed = chain.warm_up + chain.newest_input(reach + _PROBE_HOPS * fitted.hop)
    longest = max(sorted(trained_on), key=dataset.length)
    probe = replace(dataset.recording(longest).crop(0, needed), positions=dataset.positions)
    return Checkpoint(contract, fitted.network, probe, dataset.subjects, fitted.moments)


def versions() -> dict[str, str]:
    """Return the versions of what a decoder rests on, as far as it is installed."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
