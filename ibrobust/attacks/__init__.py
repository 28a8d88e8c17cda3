"""Attacks by name, one file per family."""

from ibrobust.attacks.interface import ATTACKS, Attack
from ibrobust.attacks.norms import NORMS, Norm
from ibrobust.attacks.protocols import PROTOCOLS, protocol_attacks
from ibrobust.attacks.victim import Queries, Victim, victim

__all__ = [
    "ATTACKS",
    "NORMS",
    "PROTOCOLS",
    "Attack",
    "Norm",
    "Queries",
    "Victim",
    "protocol_attacks",
    "victim",
]
