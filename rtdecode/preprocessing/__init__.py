"""Causal, stateful preprocessing: one implementation for training, replay and the live run."""

from rtdecode.preprocessing.base import Step
from rtdecode.preprocessing.chain import Chain, read_steps
from rtdecode.preprocessing.filters import Decimate, Filter, FilterBank
from rtdecode.preprocessing.merging import Mixed, merge, stops
from rtdecode.preprocessing.resampling import Resample
from rtdecode.preprocessing.running import RunningAlign, RunningStandardize
from rtdecode.preprocessing.scaling import Clamp, Scale, Standardize
from rtdecode.preprocessing.spatial import Linear, Pick

__all__ = [
    "Chain",
    "Clamp",
    "Decimate",
    "Filter",
    "FilterBank",
    "Linear",
    "Mixed",
    "Pick",
    "Resample",
    "RunningAlign",
    "RunningStandardize",
    "Scale",
    "Standardize",
    "Step",
    "merge",
    "read_steps",
    "stops",
]
