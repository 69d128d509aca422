"""What a policy was tuned on: its scores in the provenance tell it, in words."""

from collections.abc import Sequence

from rtdecode.contract import Contract

OF_POLICY = "policy: "
_DIGITS = 16


def told_tuning(n_tried: int, recordings: Sequence[tuple[str, str]]) -> str:
    """Say of the scores of a tuned policy what they rest on: recordings, (name, fingerprint) each."""
    on = ", ".join(f"{name} [{fingerprint[:_DIGITS]}]" for name, fingerprint in recordings)
    return f"on what chose it as the best of {n_tried}, so too good: {on}"


def tuning_of(contract: Contract) -> list[str]:
    """Return what is told of a policy's tuning; nothing if it was not tuned."""
    return sorted({score.split for score in contract.provenance.scores if score.name.startswith(OF_POLICY)})


def tuned_on(contract: Contract, fingerprint: str) -> bool:
    """Say whether a policy was tuned on a recording."""
    return any(f"[{fingerprint[:_DIGITS]}]" in told for told in tuning_of(contract))
