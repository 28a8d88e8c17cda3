"""Attacks by name, one file per family."""

from ibrobust.attacks.interface import ATTACKS, Attack
from ibrobust.attacks.norms import NORMS, Norm
from ibrobust.attacks.victim import Queries, Victim, victim

__all__ = [
    "ATTACKS",
    "NORMS",
    "Attack",
    "Norm",
    "Queries",
    "Victim",
    "victim",
]
