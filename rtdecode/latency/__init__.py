"""How long it takes from a sample to a prediction in other hands, stage by stage, on this machine."""

from rtdecode.latency.hops import hop_times

__all__ = ["hop_times"]
