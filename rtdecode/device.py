"""What a graph is run on."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DeviceName = Literal["cpu", "cuda"]
_CUDA_SLEEPS_S = 0.05


class DeviceSettings(BaseModel):
    """What a decoder's graph is run on, and how.

    Attributes
    ----------
    name : str
        `cpu` or `cuda`. All of the graph runs there, or nothing does.
    tf32 : bool
        Let CUDA multiply with 10 bits after the point instead of float32's 23 (TensorFloat-32).
    keep_warm_s : float or None
        The graph is run for nothing when it had nothing to do for so long: what idles wakes up late. 0: never. None:
        never on CPU, 0.05 on CUDA.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DeviceName = "cpu"
    tf32: bool = False
    keep_warm_s: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "DeviceSettings":
        if self.tf32 and self.name != "cuda":
            raise ValueError("tf32 is a matter of cuda; leave it out, or choose that device")
        return self

    @property
    def idle_s(self) -> float:
        """Seconds without work after which the graph is run for nothing; infinite when it never is."""
        if self.keep_warm_s is None:
            return _CUDA_SLEEPS_S if self.name == "cuda" else math.inf
        return self.keep_warm_s or math.inf

    def __str__(self) -> str:
        return f"{self.name}, TF32 {'allowed' if self.tf32 else 'off'}" if self.name == "cuda" else self.name
