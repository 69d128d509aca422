"""MNE-LSL: feeding a decoder from the callbacks of its `StreamLSL`.

>>> stream = mne_lsl.stream.StreamLSL(2, name="actiCHamp-0").connect()
>>> decoder = rtdecode.load("lfcnn.onnx", source=signal_of(stream.info))
>>> stream.add_callback(DecoderCallback(decoder, on_prediction=print))

Leave the stream's own filters and references off: the decoder file holds the ones it was trained with.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.contract import Signal, canonical_unit
from rtdecode.decoder import Decoder
from rtdecode.errors import ConfigurationError
from rtdecode.prediction import Prediction


def signal_of(info: Any) -> Signal:
    """Return the signal that an `mne.Info` describes, as MNE-LSL fills it: units as powers of ten of SI's."""
    types = tuple(info.get_channel_types())
    powers = [int(ch["unit_mul"]) for ch in info["chs"]]
    units = tuple(canonical_unit(str(p), t) or "none" for p, t in zip(powers, types, strict=True))
    return Signal(ch_names=tuple(info["ch_names"]), ch_types=types, units=units, sfreq=float(info["sfreq"]))


class DecoderCallback:
    """A callback for `StreamLSL.add_callback`; it leaves the stream's data as they are.

    It runs in the stream's acquisition thread.

    Parameters
    ----------
    decoder : Decoder
        Made for `signal_of(stream.info)`.
    on_prediction : callable
        Called with every `Prediction`, abstentions included.

    Raises
    ------
    ConfigurationError
        The decoder predicts at events.
    """

    def __init__(self, decoder: Decoder, on_prediction: Callable[[Prediction], None]) -> None:
        if decoder.contract.events:
            raise ConfigurationError(
                f"Model {decoder.model.name!r} predicts at events, which no callback brings; use `rtdecode run`."
            )
        self._decoder, self._on_prediction = decoder, on_prediction

    def __call__(
        self, data: NDArray[Any], timestamps: NDArray[np.float64], info: Any
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Decode what the stream acquired: data (n_samples, n_channels), timestamps (n_samples,)."""
        for prediction in self._decoder.push(data, timestamps):
            self._on_prediction(prediction)
        return data, timestamps
