"""What the server's own statistics say should be looked at, each finding with its numbers and a remedy."""

from database_handler.operations.advice.advising import advise
from database_handler.operations.advice.findings import Advice, AdviceLimits, Finding, FindingKind

__all__ = ["Advice", "AdviceLimits", "Finding", "FindingKind", "advise"]
