"""Proof that a live run did what the decoder file says: what was published is compared with the recorded signal."""

from rtdecode.audit.connection import audit
from rtdecode.audit.evidence import Evidence
from rtdecode.audit.reading import read_evidence
from rtdecode.audit.verdict import WRONG, ConnectionAudit, Item, Verdict

__all__ = ["WRONG", "ConnectionAudit", "Evidence", "Item", "Verdict", "audit", "read_evidence"]
