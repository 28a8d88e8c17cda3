"""Which attacks a protocol consists of, cheapest first: an answer is where the next attack starts to look."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ibrobust.attacks.interface import ATTACKS, Attack
from ibrobust.errors import BadInput
from ibrobust.registry import Registry, extension_point

Chosen = Mapping[str, Attack] | Sequence[str] | str | None
"""Attacks as callers choose them: by name with their settings, names, names in one text with commas, or none."""

PROTOCOLS: Registry[tuple[str, ...]] = extension_point("protocol", tuple)
# Kirsch et al. §4 name these four; a sample counts as robust if it survives all of them.
PAPER = ("fgsm", "deepfool", "bim", "pgd")
# And the four of AutoAttack (Croce & Hein 2020), its answer to overestimated robustness.
STRICT = ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "fab-t", "apgd-t", "square")
# For models with noise, where every query is an average over it: AutoAttack's "rand" beside the paper's four.
STRICT_RAND = ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "apgd-dlr")


_SPELLINGS = {"autoattack": "strict", "aa": "strict", "standard": "strict", "rand": "strict-rand"}
"""What the field calls them: `strict` runs AutoAttack's four attacks, and the paper's beside them."""


def protocol_name(protocol: str) -> str:
    """The registered name of a protocol as people write it: `Strict`, `strict_rand`, `AutoAttack`, …

    Raises:
        BadInput: there is no such protocol.
    """
    plain = _plain(protocol)
    for name in (protocol, plain, _SPELLINGS.get(plain)):
        if name in PROTOCOLS:
            return str(name)
    raise BadInput(f"no protocol {protocol!r}; choose from {PROTOCOLS.choices}")


def chosen_attacks(attacks: Chosen, protocol: str) -> dict[str, Attack]:
    """Attacks by name, from a mapping, from names (a list of them, or one text with commas), or the protocol's.

    Raises:
        BadInput: none is chosen, one is not registered, or a mapping holds something else than attacks.
    """
    if attacks is None:
        return protocol_attacks(protocol)
    if isinstance(attacks, Mapping):
        chosen = dict(attacks)
        for name, attack in chosen.items():
            if not isinstance(attack, Attack):
                raise BadInput(f"attacks[{name!r}] is a {type(attack).__name__}, not an Attack")
    else:
        names = attacks.split(",") if isinstance(attacks, str) else list(attacks)
        chosen = {name: ATTACKS[name] for name in (_attack_name(name) for name in names)}
    if not chosen:
        raise BadInput(f"attacks is empty; choose from {ATTACKS.choices}")
    return chosen


def _attack_name(name: str) -> str:
    """The registered name as people write it: `PGD`, `apgd_ce`, `FAB`, …"""
    plain = _plain(name)
    return next((known for known in (name, plain, f"{plain}-t") if known in ATTACKS), plain)


def _plain(name: str) -> str:
    return str(name).strip().lower().replace("_", "-").replace(" ", "-")


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
