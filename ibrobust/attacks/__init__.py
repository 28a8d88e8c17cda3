"""Attacks by name. One file per family; importing this package registers them all."""

from ibrobust.attacks import apgd, deepfool, fab, gradient_ascent, square
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
    "apgd",
    "deepfool",
    "fab",
    "gradient_ascent",
    "protocol_attacks",
    "square",
    "victim",
]
