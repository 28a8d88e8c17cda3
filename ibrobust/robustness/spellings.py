"""Names as people and other libraries write them, to the registered ones. Text that nothing is like stays as it is:
look-up lists the choices."""

from ibrobust.errors import BadInput
from ibrobust.registry import EXTENSION_POINTS

_NORMS = {
    "linf": ("inf", "infinity", "linfty", "linfinity", "l∞", "∞", "max", "chebyshev"),
    "l2": ("2", "2.0", "euclidean"),
    "l1": ("1", "1.0", "manhattan"),
}
"""Capitals, spaces, hyphens and underscores do not matter."""
_PROTOCOLS = {"autoattack": "strict", "aa": "strict", "standard": "strict", "rand": "strict-rand"}
"""What the field calls them: `strict` runs AutoAttack's four attacks, and the paper's beside them."""


def norm_name(norm: object) -> str:
    """The registered name of `Linf`, `l_inf`, `inf`, `np.inf`, `L2`, `2`, …"""
    plain = str(norm).lower().translate({ord(mark): None for mark in " -_"})
    meant = next((name for name, others in _NORMS.items() if plain in others), plain)
    return _known("norm", norm, plain, meant)


def protocol_name(protocol: object) -> str:
    """The registered name of `Strict`, `strict_rand`, `AutoAttack`, …"""
    plain = _plain(protocol)
    return _known("protocol", protocol, plain, _PROTOCOLS.get(plain, plain))


def attack_name(name: object) -> str:
    """The registered name of `PGD`, `apgd_ce`, `FAB`, …"""
    plain = _plain(name)
    return _known("attack", name, plain, f"{plain}-t")


def _known(kind: str, given: object, *meant: str) -> str:
    found = next((name for name in (str(given), *meant) if name in EXTENSION_POINTS[kind]), None)
    if found is None and not isinstance(given, str):
        raise BadInput(f"no {kind} {given!r}; choose from {EXTENSION_POINTS[kind].choices}")
    return found or str(given)


def _plain(name: object) -> str:
    return str(name).strip().lower().replace("_", "-").replace(" ", "-")
