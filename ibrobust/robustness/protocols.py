"""Which attacks a protocol consists of, cheapest first: an answer is where the next attack starts to look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ibrobust.registry import Registry, extension_point


@dataclass(frozen=True)
class Protocol:
    """Attacks that are run together.

    Attributes:
        attacks: names of registered attacks, cheapest first.
        ranks: whether they are strong enough to rank models by; what weaker ones leave is a loose upper bound.
        noise: whether the protocol is for models that are scored with their noise on.
        settings: what attacks are given instead of their usual settings, by name.
    """

    attacks: tuple[str, ...]
    ranks: bool = False
    noise: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


PROTOCOLS: Registry[Protocol] = extension_point("protocol", Protocol)
# Kirsch et al. §4 name these four; a sample counts as robust if it survives all of them.
PAPER = Protocol(("fgsm", "deepfool", "bim", "pgd"))
# And the four of AutoAttack (Croce & Hein 2020), its answer to overestimated robustness.
STRICT = Protocol(("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "fab-t", "apgd-t", "square"), ranks=True)
# Whatever breaks most for its time, and a search for what still stands.
STRONGEST = Protocol(
    ("fgsm", "deepfool", "bim", "pgd", "soft-t", "apgd-ce", "apgd-t", "survivors"),
    ranks=True,
    settings={"apgd-t": {"targets": 2}},  # what soft-t leaves falls to further targets as rarely as it costs much
)
# For models with noise, where every query is an average over it: AutoAttack's "rand" beside the paper's four.
STRICT_RAND = Protocol(("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "apgd-dlr"), ranks=True, noise=True)


def strong_enough(attacks: Sequence[str], *, noise: bool) -> bool:
    """Whether these attacks can rank models: they include all those of a protocol that does; one that is for noise
    only counts where noise is on."""
    known = [protocol for protocol in PROTOCOLS.values() if protocol.ranks and (noise or not protocol.noise)]
    return any(set(protocol.attacks) <= set(attacks) for protocol in known)
