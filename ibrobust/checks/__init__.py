"""Checks of a robustness claim by name. One file per family; importing this package registers them all."""

from ibrobust.checks import gradients, planted, stronger, transfer
from ibrobust.checks.interface import CHECKS, Case, Check, Finding
from ibrobust.checks.verdict import Verdict, audited, verdict_of

__all__ = [
    "CHECKS",
    "Case",
    "Check",
    "Finding",
    "Verdict",
    "audited",
    "gradients",
    "planted",
    "stronger",
    "transfer",
    "verdict_of",
]
