"""What all parts of a configuration have in common."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part in which nothing is unknown, and nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
