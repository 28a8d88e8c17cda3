"""Checks of a robustness claim by name, one file per family."""

from ibrobust.checks.interface import CHECKS, Case, Check, Finding
from ibrobust.checks.verdict import audited, findings_of
from ibrobust.robustness.card import Verdict, verdict_of

__all__ = [
    "CHECKS",
    "Case",
    "Check",
    "Finding",
    "Verdict",
    "audited",
    "findings_of",
    "verdict_of",
]
