"""Every threshold of the guard, with its reason."""

from pydantic import BaseModel, ConfigDict, Field


class GuardSettings(BaseModel):
    """What the guard lets pass, mends, tells and refuses.

    Attributes
    ----------
    max_gap : int
        Samples in a row that the last value may stand for. Two: a filter hardly notices, and a radio link that
        drops a packet of one or two samples does not cost a warm-up.
    gap_tolerance_ms : float
        How far a stamp may be from the fit at least (never less than half a sample). Zero: the fit measures how
        much the stamps jitter, and takes `gap_sigmas` of that.
    gap_sigmas : float
        Six standard deviations of the jitter: normal noise exceeds them once in 10^9 stamps, which is a month
        at 250 Hz.
    max_step_s : float
        A step forward longer than this is a clock that was set, not samples that were lost.
    max_bad_stamps : float
        Share of stamps in 10 s that may be wrong before time is no longer known.
    warn_rate, max_rate : float
        How far the effective rate may be from the nominal one: beyond the first it is told, beyond the second
        refused. Crystals are within 0.01 %, and filters move with the rate: 1 % moves a 50 Hz notch by 0.5 Hz.
    max_factor : float
        How many times more, or less, a channel may vary than in training. A wrong unit is off by 1000 at least;
        honest recordings of other people and sessions were between 1/4 and 17, half a second at a time.
    max_at_limit : float
        Share of half a second at its largest or smallest value from which a channel is saturated; on honest
        recordings it was 5 % at most.
    max_bad_channels : float
        Share of channels that may be flat, saturated or wild before nothing is decoded. A quarter: one of the
        four of a headband is told, two end the decoding.
    counter : str or None
        A channel of the source that counts its samples: lost ones are then known exactly.
    counter_modulus : int or None
        Where that counter starts anew at 0, as 256 for one byte; None if it never does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_gap: int = Field(default=2, ge=0, le=100)
    gap_tolerance_ms: float = Field(default=0.0, ge=0)
    gap_sigmas: float = Field(default=6.0, ge=3)
    max_step_s: float = Field(default=3600.0, gt=0)
    max_bad_stamps: float = Field(default=0.01, gt=0, le=1)
    warn_rate: float = Field(default=0.002, gt=0)
    max_rate: float = Field(default=0.01, gt=0)
    max_factor: float = Field(default=30.0, gt=1)
    max_at_limit: float = Field(default=0.25, gt=0, le=1)
    max_bad_channels: float = Field(default=0.25, ge=0, le=1)
    counter: str | None = None
    counter_modulus: int | None = Field(default=None, ge=2)
