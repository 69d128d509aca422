"""Writing the one file: a graph, its contract, and the proof that they do what was trained."""

import contextlib
import copy
import io
import logging
import tempfile
import threading
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from offline.checkpoint import Checkpoint, hold_weights
from offline.configuration import Form
from offline.images import as_images
from offline.models import Network
from offline.models.layers import Single
from offline.models.stepping import Stepping
from rtdecode.apart import run_apart
from rtdecode.contract import Contract, Incremental, Parity, Windowed
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import ConfigurationError, ModelError
from rtdecode.files import refuse_output
from rtdecode.model_file import ModelFile, read_model, rewrite, write_model
from rtdecode.proof import ChunkingProof, prove_chunking

TOLERANCE = 1e-5
_N_RANDOM = 8
_N_REAL = 8
_N_CUTS = 8
_N_STEPS = 20
# A form that saves less than this is not worth its second graph.
_WORTH_IT = 0.8
_SAME = 1e-6


class _Windowed(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        if isinstance(getattr(network, "fc", None), nn.Linear):
            self.network.fc = Single(self.network.fc)

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return self.network.step_outputs(x, *state)


class _Incremental(nn.Module):
    def __init__(self, network: Network, parts: Stepping) -> None:
        super().__init__()
        self.network, self.front, self.head = network, parts.front, parts.head

    def forward(self, x: Tensor, features: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        return self.network.told(self.head(features)), *self.front(x, *past)


@dataclass(frozen=True)
class _Draft:
    """A decoder file that is not proven yet, with what was found so far."""

    proto: Any
    model: ModelFile
    difference: float
    n_windows: int


def export(checkpoint: Checkpoint, path: Path, timeout_s: float = 600.0, form: str = "auto") -> ModelFile:
    """Write a decoder file and return it as read back.

    The exporter and the runtime could crash the interpreter on a network, so they work in another process.

    Parameters
    ----------
    checkpoint : Checkpoint
        What is written.
    path : Path
        Where; `.onnx` is added to a name without an ending.
    timeout_s : float
        How long it may take.
    form : str
        `windowed`, `incremental`, or `auto`: the latter where there is one and it is faster here.

    Raises
    ------
    ModelError
        A weight is not finite, the exported graph does not give what the network gives, decoding depends on
        chunking, the network is called causal and looks ahead, or it cannot be exported. Nothing is written
        then.
    """
    path = path.with_suffix(".onnx") if path.suffix == "" else path
    if form not in get_args(Form):
        raise ConfigurationError(f"There is no form {form!r} of a decoder; there is {', '.join(get_args(Form))}.")
    refuse_output(path, ".onnx")
    if checkpoint.network.conditioned:
        raise ConfigurationError(
            f"{path} was not written: the network tells people apart, and a decoder is for one. Say whose it is "
            f"(--subject): {', '.join(checkpoint.subjects)}."
        )
    _refuse_weights(checkpoint.network, path)
    proto, contract = run_apart(f"{path} was not written: exporting it", timeout_s, _prove, checkpoint, path, form)
    hold_weights(proto, checkpoint)
    write_model(proto, contract, path)
    return read_model(path)


def to_onnx(network: Network, parts: Stepping | None = None, n_new: int = 1) -> Any:
    """Return a graph (onnx.ModelProto) from a window `x` (1, n_channels, n_times) to probabilities or values.

    A network with a state takes it as `state_*` too, and gives the next one as `next_state_*`. With `parts` of it the
    graph is an incremental one (see `rtdecode.contract.Incremental`), for `n_new` samples at a time. ModelError says
    why torch cannot make a graph.
    """
    outputs = ["proba" if network.target_std is None else "values"]
    graph: nn.Module
    given: tuple[Tensor, ...]
    if parts is None:
        graph, x = _Windowed(network), torch.zeros(1, network.n_channels, network.n_times)
        names, carried = [f"state_{name}" for name in network.state_names], network.initial_state()
        given, inputs = (x,), ["x"]
    else:
        graph, x = _Incremental(network, parts), torch.zeros(1, network.n_channels, n_new)
        names, carried = [f"past_{i}" for i in range(len(parts.front.past))], parts.front.past
        given, inputs = (x, torch.zeros(1, parts.n_features, parts.front.width)), ["x", "features"]
        outputs.append("next_features")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # torch counts its steps in a hidden bar of tqdm, whose lock between processes would outlive a crash.
    tqdm.set_lock(threading.RLock())
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            # The exporter warns of deprecations inside torch itself.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.eval(),
                (*given, *carried),
                input_names=[*inputs, *names],
                output_names=[*outputs, *(f"next_{name}" for name in names)],
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter, and code that is not ours, raise whatever they like
        why = error.__cause__ or error
        told, _, _ = f"{type(why).__name__}: {why}".partition("\n")
        raise ModelError(f"torch cannot turn the network into an ONNX graph ({told.rstrip('.: ')}).") from None
    assert program is not None
    if parts is None:
        as_images(program.model)
    return program.model_proto


def _prove(checkpoint: Checkpoint, path: Path, form: str) -> tuple[Any, Contract]:
    """Return the graph and its contract with the figures of its proof; ModelError if it fails."""
    # One thread, as in training: sums are always taken in the same order.
    torch.set_num_threads(1)
    network = checkpoint.network.eval()
    if network.causal:
        _refuse_lookahead(network, path)
    with tempfile.TemporaryDirectory() as folder:
        draft = _draft(checkpoint, form, Path(folder) / path.name)
        _refuse_dependence_within_batch(network, path)
        proof = prove_chunking(checkpoint.probe, lambda: Decoder(draft.model, checkpoint.probe.signal))
    _refuse_unproven(path, draft.difference, proof)
    parity = Parity(
        torch_onnx_max=draft.difference,
        n_windows=draft.n_windows,
        chunked_identical=True,
        n_chunked_predictions=proof.n_predictions,
    )
    return draft.proto, draft.model.contract.model_copy(update={"parity": parity})


def _draft(checkpoint: Checkpoint, form: str, path: Path) -> _Draft:
    """Write the graph in the form that is asked for, or in the faster one."""
    network, asked = checkpoint.network.fused(), f"{form} was asked for"
    if form == "windowed":
        return _windowed(checkpoint, network, asked, path)
    try:
        parts = _parts(network, checkpoint.contract)
    except ValueError as error:
        if form == "incremental":
            raise ConfigurationError(f"There is no incremental form: {error}. Take another form.") from None
        return _windowed(checkpoint, network, str(error), path)
    stepping = _incremental(checkpoint, network, parts, asked, path)
    if form == "incremental":
        return stepping
    windowed = _windowed(checkpoint, network, "", path)
    new_s, whole_s = Engine(stepping.model).run_s, Engine(windowed.model).run_s
    faster, other, told = stepping, "windowed", (new_s, whole_s)
    if new_s > _WORTH_IT * whole_s:
        faster, other, told = windowed, "incremental", (whole_s, new_s)
    why = f"{1e3 * told[0]:.2g} ms a hop where it was exported; {other}, {1e3 * told[1]:.2g} ms"
    chosen = faster.model.contract
    contract = chosen.model_copy(update={"form": chosen.form.model_copy(update={"why": why})})
    return replace(faster, model=rewrite(faster.model, contract, path))


def _parts(network: Network, contract: Contract) -> Stepping:
    if contract.events:
        raise ValueError("windows stand at events")
    return network.stepping()


def _windowed(checkpoint: Checkpoint, network: Network, why: str, path: Path) -> _Draft:
    proto, contract = to_onnx(network), checkpoint.contract.model_copy(update={"form": Windowed(why=why)})
    write_model(proto, contract, path)
    model = read_model(path)
    return _Draft(proto, model, *_compare(model, checkpoint))


def _incremental(checkpoint: Checkpoint, network: Network, parts: Stepping, why: str, path: Path) -> _Draft:
    form = Incremental(why=why, n_features=parts.n_features, stride=parts.stride, behind=parts.behind)
    proto = to_onnx(network, parts, checkpoint.contract.window.hop)
    write_model(proto, checkpoint.contract.model_copy(update={"form": form}), path)
    model = read_model(path)
    return _Draft(proto, model, *_compare_steps(model, network, parts, checkpoint))


def _refuse_weights(network: Network, path: Path) -> None:
    bad = [name for name, weight in network.state_dict().items() if not torch.isfinite(weight).all()]
    if bad:
        raise ModelError(
            f"{path} was not written: the network's weights {', '.join(bad[:4])} hold values that are not finite."
        )


def _refuse_dependence_within_batch(network: Network, path: Path) -> None:
    """Refuse a network in which one window's output depends on the others: online, a window is alone."""
    x = torch.randn((4, network.n_channels, network.n_times), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = network.step_outputs(x, *network.initial_state(len(x)))[0]
        alone = torch.cat([network.step_outputs(window[None], *network.initial_state())[0] for window in x])
    difference = float(((together - alone) / network.output_scale).abs().max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{path} was not written: a window's outputs change by {difference:.2g} with the other windows "
            "of its batch. Online it is alone; normalise with statistics of the training data instead."
        )


def _refuse_lookahead(network: Network, path: Path) -> None:
    """Refuse a network that is called causal if what comes after a sample changes the features up to it."""
    x, other = torch.randn((2, 1, network.n_channels, network.n_times), generator=torch.Generator().manual_seed(0))
    called = f"{path} was not written: its network is called causal, but "
    with torch.no_grad():
        features = network.sequence(x)
        if features.ndim != 3 or not 1 <= features.shape[2] <= network.n_times:
            raise ModelError(
                f"{called}its sequence gives {tuple(features.shape)} for a window; (1, width, n_times') with at most "
                f"{network.n_times} times is needed."
            )
        first = network.n_times - features.shape[2]
        for last in sorted({int(t) for t in np.linspace(first, network.n_times - 1, _N_CUTS, endpoint=False)}):
            changed = torch.cat([x[:, :, : last + 1], other[:, :, last + 1 :]], dim=2)
            kept = slice(0, last + 1 - first)
            before, after = features[0, :, kept], network.sequence(changed)[0, :, kept]
            differ = ~((before - after).abs().amax(dim=0) <= _SAME * features.abs().max())
            if differ.any():
                sample = first + int(differ.nonzero()[0])
                raise ModelError(
                    f"{called}its features at sample {sample} of the window depend on samples after {last}. Pad on "
                    "the left only, or do not call it causal."
                )


def _compare(draft: ModelFile, checkpoint: Checkpoint) -> tuple[float, int]:
    """Return the largest difference between torch and ONNX Runtime over random and real windows."""
    network, decoder = checkpoint.network, Decoder(draft, checkpoint.probe.signal)
    rng = np.random.default_rng(0)
    shape = (_N_RANDOM, network.n_channels, network.n_times)
    windows = [*rng.standard_normal(shape).astype(np.float32), *_real_windows(decoder, checkpoint)]
    engine, scale = Engine(draft), network.output_scale.numpy()
    differences, state = [], list(network.initial_state())
    for window in windows:
        with torch.no_grad():
            expected, *state = network.step_outputs(torch.from_numpy(window[None]), *state)
        differences.append(np.abs((engine.run(window) - expected[0].numpy()) / scale).max())
    # Not Python's max: it passes over NaN.
    return float(np.max(differences)), len(windows)


def _real_windows(decoder: Decoder, checkpoint: Checkpoint) -> list[np.ndarray]:
    features, n_times = _real_signal(decoder, checkpoint), checkpoint.network.n_times
    starts = np.linspace(0, max(features.shape[1] - n_times, 0), _N_REAL).astype(int)
    return [np.ascontiguousarray(features[:, s : s + n_times]) for s in starts]


def _real_signal(decoder: Decoder, checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Return a stretch of training data (n_channels, n) as the graph sees it."""
    return decoder.chain.process(decoder.adapted(checkpoint.probe.samples)).astype(np.float32).T


def _compare_steps(draft: ModelFile, fused: Network, parts: Stepping, checkpoint: Checkpoint) -> tuple[float, int]:
    """Return the largest difference to the network along random and real signals, each with a reset in it.

    Of the file, and in torch of the same parts a sample at a time.
    """
    network, n_times, hop = checkpoint.network, checkpoint.network.n_times, checkpoint.contract.window.hop
    random = np.random.default_rng(0).standard_normal((network.n_channels, n_times + _N_STEPS * hop))
    real = _real_signal(Decoder(draft, checkpoint.probe.signal), checkpoint)[:, : random.shape[1]]
    engine, differences = Engine(draft), []
    for signal in (random.astype(np.float32), real, random[:, ::-1].astype(np.float32)):
        engine.reset()
        given = {end: engine.run(signal[:, end - hop : end]) for end in range(hop, signal.shape[1] + 1, hop)}
        compared = [end for end in given if end >= n_times]
        differences += _differences(signal, {end: given[end] for end in compared[-_N_STEPS:]}, network)
        differences += _differences(signal, _single_steps(signal, fused, parts), network)
    # Not Python's max: it passes over NaN.
    return float(np.max(differences)), len(differences)


def _differences(signal: NDArray[np.float32], given: dict[int, NDArray[np.float32]], network: Network) -> list[float]:
    """Compare what was given at these ends of windows with what the network gives for the windows."""
    if not given:
        return []
    windows = np.stack([signal[:, end - network.n_times : end] for end in given])
    with torch.no_grad():
        expected = network.outputs(torch.from_numpy(windows))
        differences = (torch.from_numpy(np.stack(list(given.values()))) - expected) / network.output_scale
    return [float(value) for value in differences.abs().amax(dim=1)]


@torch.no_grad()
def _single_steps(signal: NDArray[np.float32], network: Network, parts: Stepping) -> dict[int, NDArray[np.float32]]:
    """Run the parts a sample at a time; return what they give at the last ends of windows."""
    past, features = parts.front.past, []
    for sample in torch.from_numpy(signal.T.copy()):
        new, *past = parts.front(sample[None, :, None], *past)
        features.append(new[0, 0])
    kept, given = torch.stack(features), {}
    for end in range(max(network.n_times, len(kept) - _N_STEPS), len(kept) + 1):
        newest = end - 1 - parts.behind
        taken = kept[newest - (parts.n_features - 1) * parts.stride : newest + 1 : parts.stride]
        given[end] = network.told(parts.head(taken[None]))[0].numpy()
    return given


def _refuse_unproven(path: Path, difference: float, proof: ChunkingProof) -> None:
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{path} was not written: ONNX Runtime and torch differ by {difference:.2g} in an output, "
            f"at most {TOLERANCE:g} is allowed."
        )
    if proof.differing or not proof.n_predictions:
        why = "decoding in chunks is not decoding in one shot: " + "; ".join(proof.differing)
        if not proof.n_predictions:
            why = "no training recording is long enough for one prediction, so nothing could be proven"
        raise ModelError(f"{path} was not written: {why}.")
