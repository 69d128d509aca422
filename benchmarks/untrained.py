"""A decoder file with an LF-CNN that was trained on nothing: what it costs does not depend on what it learned."""

from pathlib import Path

import numpy as np
import torch

from offline.export import to_onnx
from offline.models import Inputs, make_network
from rtdecode.contract import Amplitude, Classification, Contract, Provenance, Signal, Window
from rtdecode.model_file import write_model
from rtdecode.preprocessing import Filter

_CLASSES = ("left", "right")


def write_untrained(
    path: Path,
    ch_type: str,
    n_channels: int,
    sfreq: float,
    window: int,
    hop: int,
    band: tuple[float, float],
    order: int,
) -> None:
    """Write an LF-CNN behind a Butterworth band-pass; channels vary by one unit."""
    names = tuple(f"{ch_type}{i}" for i in range(n_channels))
    unit = "fT" if ch_type == "mag" else "uV"
    signal = Signal(ch_names=names, ch_types=(ch_type,) * n_channels, units=(unit,) * n_channels, sfreq=sfreq)
    places = tuple((i / n_channels, i / n_channels) for i in range(n_channels))
    torch.manual_seed(0)
    network = make_network("lfcnn", Inputs(n_channels, window, len(_CLASSES), sfreq, names, places), {}).eval()
    ones = np.ones(n_channels)
    contract = Contract(
        name="untrained",
        signal=signal,
        preprocessing=(Filter.butterworth(sfreq, *band, order).model_dump(),),
        window=Window(n_times=window, hop=hop),
        outputs=Classification(class_names=_CLASSES),
        amplitude=Amplitude(low=-ones, high=ones, std=ones),
        provenance=Provenance(
            created="", network="lfcnn", data_fingerprint="", recordings=(), configuration={}, packages={}
        ),
    )
    write_model(to_onnx(network.fused()), contract, path)
