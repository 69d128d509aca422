"""Evaluation as it will live: recordings decoded through `Decoder.push`, and every figure with its interval."""

from rtdecode.evaluation.decoded import PERSON, Decoded
from rtdecode.evaluation.evaluation import Evaluation, OverPeople, evaluate
from rtdecode.evaluation.report import report

__all__ = ["PERSON", "Decoded", "Evaluation", "OverPeople", "evaluate", "report"]
