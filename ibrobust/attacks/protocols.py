"""Which attacks a protocol consists of, cheapest first: an answer is where the next attack starts to look."""

from dataclasses import replace

from ibrobust.attacks.interface import ATTACKS, Attack
from ibrobust.registry import Registry, extension_point

PROTOCOLS: Registry[tuple[str, ...]] = extension_point("protocol", tuple)
# Kirsch et al. §4 name these four; a sample counts as robust if it survives all of them.
PAPER = ("fgsm", "deepfool", "bim", "pgd")
# And the four of AutoAttack (Croce & Hein 2020), its answer to overestimated robustness.
STRICT = ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "fab-t", "apgd-t", "square")
# For models with noise, where every query is an average over it: AutoAttack's "rand" beside the paper's four.
STRICT_RAND = ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "apgd-dlr")


def protocol_attacks(protocol: str, *, restarts: int | None = None) -> dict[str, Attack]:
    """The attacks of a protocol by name, those with random starts given so many of them.

    Raises:
        BadInput: there is no such protocol.
    """

    def restarted(attack: Attack) -> Attack:
        if restarts is None or "restarts" not in attack.settings:
            return attack
        return replace(attack, settings=attack.settings | {"restarts": restarts})

    return {name: restarted(ATTACKS[name]) for name in PROTOCOLS[protocol]}
