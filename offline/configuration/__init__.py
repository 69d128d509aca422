"""The training configuration: one YAML file says all that a training run depends on."""

from offline.configuration.data import Arrays, Channels, EventTimes, Recordings, Split, TargetSettings, WindowTimes
from offline.configuration.document import TrainingConfiguration
from offline.configuration.files import read_configuration, shipped, shipped_text
from offline.configuration.learning import Form, Metric, Model, Training

__all__ = [
    "Arrays",
    "Channels",
    "EventTimes",
    "Form",
    "Metric",
    "Model",
    "Recordings",
    "Split",
    "TargetSettings",
    "Training",
    "TrainingConfiguration",
    "WindowTimes",
    "read_configuration",
    "shipped",
    "shipped_text",
]
