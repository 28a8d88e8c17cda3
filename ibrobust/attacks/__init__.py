"""Attacks by name, one file per family."""

from ibrobust.attacks.interface import ATTACKS, Attack, Attempt, ask_gradients, protocol_attacks
from ibrobust.attacks.norms import NORMS, Norm
from ibrobust.attacks.victim import Queries, Victim, victim

__all__ = [
    "ATTACKS",
    "NORMS",
    "Attack",
    "Attempt",
    "Norm",
    "Queries",
    "Victim",
    "ask_gradients",
    "protocol_attacks",
    "victim",
]
