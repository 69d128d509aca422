"""What is put together when a decoder file is loaded: linear steps, and the mixing with which its network begins."""

from dataclasses import dataclass
from operator import is_

import numpy as np

from rtdecode.device import DeviceSettings
from rtdecode.model_file import ModelFile
from rtdecode.preprocessing import Chain, Mixed, merge, stops

# Of the graph in multiply-adds of the preprocessing: float32 is half as wide.
_GRAPH = 0.5


@dataclass(frozen=True)
class Fused:
    """How a decoder file is run: it gives the same but for rounding, for less work.

    Attributes
    ----------
    chain : Chain
        What is done to samples; the file's own where nothing is gained.
    model : ModelFile
        Its graph takes what leaves the chain.
    told : tuple of str
        What was put together, and why no more: a sentence each.
    """

    chain: Chain
    model: ModelFile
    told: tuple[str, ...] = ()


def fuse(model: ModelFile, chain: Chain, device: DeviceSettings) -> Fused:
    """Put together what is linear in a file's preprocessing, and the mixing with which its graph begins.

    Parameters
    ----------
    model : ModelFile
        The file; its graph takes what leaves `chain`.
    chain : Chain
        Its preprocessing, step by step.
    device : DeviceSettings
        What the graph is run on. On others than the CPU it stays as it is.
    """
    contract = model.contract
    steps, cost = merge(chain.steps, contract.signal, contract.window.hop)
    rest, why = model, "the graph does not begin with a mixing of the channels of each sample alone"
    if device.name != "cpu":
        why = f"on {device.name!r} the graph is run as it is"
    elif (taken := _taken(model)) is not None:
        mixing, without = taken
        mixed, cost_mixed = merge([*chain.steps, mixing], contract.signal, contract.window.hop)
        # At an event the graph is run once, while samples come all the time.
        n_mixed = 0 if contract.events else model.inputs["x"][2]
        why = f"{mixing.describe()} stays in the graph, where it costs less"
        if cost_mixed < cost + _GRAPH * mixing.matrix.size * n_mixed:
            steps, rest, why = mixed, without, f"{mixing.describe()} is taken out of the graph"
    told = [f"{step.describe()}: nothing that mixes channels moves past this" for step in steps if stops(step)]
    same = len(steps) == len(chain.steps) and all(map(is_, steps, chain.steps))
    return Fused(chain if same else Chain(steps, contract.signal), rest, (why, *told))


def _taken(model: ModelFile) -> tuple[Mixed, ModelFile] | None:
    """Return the mixing with which a graph begins as a step, and the model without; None if there is none."""
    from rtdecode.mixing import without_mixing  # it loads ONNX

    if (found := without_mixing(model)) is None:
        return None
    matrix, rest = found
    told = f"the network's first mixing: {matrix.shape[1]} -> {matrix.shape[0]} channels"
    return Mixed(of=(told,), matrix=matrix, offset=np.zeros(len(matrix))), rest
