"""Writing the one file: a graph, its contract, and the proof that they do what was trained."""

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offline.checkpoint import Checkpoint
from rtdecode.contract import Parity
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine, ModelFile, read_model, write_model
from rtdecode.errors import ModelError, refuse_output
from rtdecode.proof import ChunkingProof, prove_chunking

TOLERANCE = 1e-5
_N_RANDOM = 8
_N_REAL = 8


class _Probabilities(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.network(x), dim=1)


def export(checkpoint: Checkpoint, path: Path) -> ModelFile:
    """Write a decoder file and return it as read back.

    Raises
    ------
    ModelError
        The exported graph does not give what the network gives, or decoding depends on chunking. Nothing
        is written then.
    """
    path = path.with_suffix(".onnx") if path.suffix == "" else path
    refuse_output(path, ".onnx")
    module = _Probabilities(checkpoint.network).eval()
    proto = _to_onnx(_Probabilities(checkpoint.network.fused()).eval(), checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        draft_path = Path(folder) / path.name
        write_model(proto, checkpoint.contract, draft_path)
        draft = read_model(draft_path)
        difference, n_windows = _compare(module, draft, checkpoint)
        _refuse_dependence_within_batch(module, checkpoint, path)
        proof = prove_chunking(checkpoint.probe, lambda: Decoder(draft, checkpoint.probe.signal))
    _refuse_unproven(path, difference, proof)
    parity = Parity(
        torch_onnx_max=difference,
        n_windows=n_windows,
        chunked_identical=True,
        n_chunked_predictions=proof.n_predictions,
    )
    write_model(proto, checkpoint.contract.model_copy(update={"parity": parity}), path)
    return read_model(path)


def _refuse_dependence_within_batch(module: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Refuse a network in which one window's output depends on the others: online, a window is alone."""
    network = checkpoint.network
    x = torch.randn((4, network.n_channels, network.n_times), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, alone = module(x), torch.cat([module(window[None]) for window in x])
    difference = float((together - alone).abs().max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{path} was not written: a window's probabilities change by {difference:.2g} with the other windows "
            "of its batch. Online it is alone; normalise with statistics of the training data instead."
        )


def _to_onnx(module: nn.Module, checkpoint: Checkpoint) -> Any:
    network = checkpoint.network
    x = torch.zeros(1, network.n_channels, network.n_times)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The exporter warns of deprecations inside torch itself.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (x,), input_names=["x"], output_names=["proba"], dynamo=True, verbose=False
        )
    if program is None:
        raise ModelError("torch could not turn the network into an ONNX graph.")
    return program.model_proto


def _compare(module: nn.Module, draft: ModelFile, checkpoint: Checkpoint) -> tuple[float, int]:
    """Return the largest difference between torch and ONNX Runtime over random and real windows."""
    network, decoder = checkpoint.network, Decoder(draft, checkpoint.probe.signal)
    rng = np.random.default_rng(0)
    shape = (_N_RANDOM, network.n_channels, network.n_times)
    windows = [*rng.standard_normal(shape).astype(np.float32), *_real_windows(decoder, checkpoint)]
    engine = Engine(draft)
    differences = []
    for window in windows:
        with torch.no_grad():
            expected = module(torch.from_numpy(window[None]))[0].numpy()
        differences.append(np.abs(engine.run(window) - expected).max())
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
            f"{path} was not written: ONNX Runtime and torch differ by {difference:.2g} in a probability, "
            f"at most {TOLERANCE:g} is allowed."
        )
    if proof.differing or not proof.n_predictions:
        why = "decoding in chunks is not decoding in one shot: " + "; ".join(proof.differing)
        if not proof.n_predictions:
            why = "no training recording is long enough for one prediction, so nothing could be proven"
        raise ModelError(f"{path} was not written: {why}.")
