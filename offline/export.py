"""Writing the one file: a graph, its contract, and the proof that they do what was trained."""

import contextlib
import io
import logging
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from offline.checkpoint import Checkpoint
from offline.models import Network
from rtdecode.apart import run_apart
from rtdecode.contract import Parity
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine, ModelFile, read_model, write_model
from rtdecode.errors import ConfigurationError, ModelError, refuse_output
from rtdecode.proof import ChunkingProof, prove_chunking

TOLERANCE = 1e-5
_N_RANDOM = 8
_N_REAL = 8
_N_CUTS = 8
_SAME = 1e-6


class _Graph(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return self.network.step_outputs(x, *state)


def export(checkpoint: Checkpoint, path: Path, timeout_s: float = 600.0) -> ModelFile:
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

    Raises
    ------
    ModelError
        A weight is not finite, the exported graph does not give what the network gives, decoding depends on
        chunking, the network is called causal and looks ahead, or it cannot be exported. Nothing is written
        then.
    """
    path = path.with_suffix(".onnx") if path.suffix == "" else path
    refuse_output(path, ".onnx")
    if checkpoint.network.conditioned:
        raise ConfigurationError(
            f"{path} was not written: the network tells people apart, and a decoder is for one. Say whose it is "
            f"(--subject): {', '.join(checkpoint.subjects)}."
        )
    _refuse_weights(checkpoint.network, path)
    proto, parity = run_apart(f"{path} was not written: exporting it", timeout_s, _prove, checkpoint, path)
    write_model(proto, checkpoint.contract.model_copy(update={"parity": parity}), path)
    return read_model(path)


def to_onnx(network: Network) -> Any:
    """Return a graph (onnx.ModelProto) from a window `x` (1, n_channels, n_times) to probabilities or values.

    A network with a state takes it as `state_*` too, and gives the next one as `next_state_*`. ModelError says why
    torch cannot make a graph.
    """
    x = torch.zeros(1, network.n_channels, network.n_times)
    states = [f"state_{name}" for name in network.state_names]
    outputs = "proba" if network.target_std is None else "values"
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
                _Graph(network).eval(),
                (x, *network.initial_state()),
                input_names=["x", *states],
                output_names=[outputs, *(f"next_{name}" for name in states)],
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter, and code that is not ours, raise whatever they like
        why = error.__cause__ or error
        told, _, _ = f"{type(why).__name__}: {why}".partition("\n")
        raise ModelError(f"torch cannot turn the network into an ONNX graph ({told.rstrip('.: ')}).") from None
    assert program is not None
    return program.model_proto


def _prove(checkpoint: Checkpoint, path: Path) -> tuple[Any, Parity]:
    """Return the graph and the figures of its proof; ModelError if it fails."""
    # One thread, as in training: sums are always taken in the same order.
    torch.set_num_threads(1)
    checkpoint.network.eval()
    if checkpoint.network.causal:
        _refuse_lookahead(checkpoint.network, path)
    proto = to_onnx(checkpoint.network.fused())
    with tempfile.TemporaryDirectory() as folder:
        draft_path = Path(folder) / path.name
        write_model(proto, checkpoint.contract, draft_path)
        draft = read_model(draft_path)
        difference, n_windows = _compare(draft, checkpoint)
        _refuse_dependence_within_batch(checkpoint.network, path)
        proof = prove_chunking(checkpoint.probe, lambda: Decoder(draft, checkpoint.probe.signal))
    _refuse_unproven(path, difference, proof)
    parity = Parity(
        torch_onnx_max=difference,
        n_windows=n_windows,
        chunked_identical=True,
        n_chunked_predictions=proof.n_predictions,
    )
    return proto, parity


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
    adapted = decoder.adapted(checkpoint.probe.samples)
    features = decoder.chain.process(adapted).astype(np.float32)
    n_times = checkpoint.network.n_times
    starts = np.linspace(0, max(len(features) - n_times, 0), _N_REAL).astype(int)
    return [np.ascontiguousarray(features[s : s + n_times].T) for s in starts]


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
