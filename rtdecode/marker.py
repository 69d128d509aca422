"""What a marker says of a prediction."""

import json
from typing import Any, Literal

from rtdecode.contract import Classification, Regression
from rtdecode.prediction import Prediction

MarkerFormat = Literal["label", "json", "int32"]


def marker_of(
    prediction: Prediction,
    timestamp: float,
    outputs: Classification | Regression,
    decision_names: tuple[str, ...],
    marker_format: MarkerFormat,
) -> str | int | None:
    """Return what is published for a prediction; None if nothing is decided.

    Parameters
    ----------
    prediction : Prediction
        With its raw stamp.
    timestamp : float
        With which it is published.
    outputs : Classification or Regression
        What the decoder gives.
    decision_names : tuple of str
        What it decides, by index: classes, or items of repeated events.
    marker_format : str
        `label` (the name of what is decided; of a regression its values as text), `json`, or `int32` (its index).
    """
    given, classifies = prediction.outputs, isinstance(outputs, Classification)
    if given is None or (classifies and prediction.decision is None):
        return None
    if marker_format == "int32":
        return prediction.decision
    if marker_format == "label":
        if prediction.decision is None:
            return " ".join(f"{value:.6g}" for value in given)
        return decision_names[prediction.decision]
    told: dict[str, Any] = {outputs.column: dict(zip(outputs.names, map(float, given), strict=True))}
    if prediction.decision is not None:
        told = {"label": decision_names[prediction.decision], "index": prediction.decision, **told}
    told["sample"] = prediction.sample
    if prediction.event:
        local = prediction.event.timestamp + (timestamp - prediction.timestamp)
        told["event"] = {"label": prediction.event.label, "timestamp": local}
    if prediction.evidence is not None:
        told |= {"evidence": prediction.evidence, "used_s": prediction.used_s}
    return json.dumps(told)
