"""Checks of a robustness claim by name, one file per family."""

from ibrobust.checks.interface import CHECKS, Case, Check, Finding
from ibrobust.checks.verdict import audited, findings_of
from ibrobust.robustness.verdicts import Evidence, Verdict, evidence_of, verdict_of

__all__ = [
    "CHECKS",
    "Case",
    "Check",
    "Evidence",
    "Finding",
    "Verdict",
    "audited",
    "evidence_of",
    "findings_of",
    "verdict_of",
]
