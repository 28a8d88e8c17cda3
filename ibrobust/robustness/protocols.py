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
        beyond: names of protocols that find no more than this one: its results stand above theirs in a leaderboard.
        settings: what attacks are given instead of their usual settings, by name.
        corruptions: whether images are corrupted instead of attacked.
        black_box: whether no attack asks for gradients: its ranks stand below those of the others, which know more.
    """

    attacks: tuple[str, ...]
    ranks: bool = False
    noise: bool = False
    beyond: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    corruptions: bool = False
    black_box: bool = False


PROTOCOLS: Registry[Protocol] = extension_point("protocol", Protocol)
# Kirsch et al. §4 name these four; a sample counts as robust if it survives all of them.
PAPER = Protocol(("fgsm", "deepfool", "bim", "pgd"))
# And the four of AutoAttack (Croce & Hein 2020), its answer to overestimated robustness.
STRICT = Protocol(("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "fab-t", "apgd-t", "square"), ranks=True)
# Whatever breaks most for its time, and a search for what still stands.
STRONGEST = Protocol(
    ("fgsm", "deepfool", "bim", "pgd", "soft-t", "apgd-ce", "apgd-t", "survivors"),
    ranks=True,
    beyond=("strict",),
    settings={"apgd-t": {"targets": 2}},  # what soft-t leaves falls to further targets as rarely as it costs much
)
# For models with noise, where every query is an average over it: AutoAttack's "rand" beside the paper's four.
STRICT_RAND = Protocol(("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "apgd-dlr"), ranks=True, noise=True)
# Without gradients: from decisions alone, and from logits. For models that have no gradients, and ranked apart.
BLACK_BOX = Protocol(("decision", "square"), ranks=True, black_box=True)
# No attack: accuracy by corruption and severity (Hendrycks & Dietterich 2019), ranked apart.
CORRUPTIONS = Protocol((), corruptions=True)


def strong_enough(attacks: Sequence[str], *, noise: bool) -> bool:
    """Whether these attacks can rank models: they include all those of a protocol that does; one that is for noise
    only counts where noise is on."""
    return bool(_included(attacks, noise=noise))


def without_gradients(attacks: Sequence[str]) -> bool:
    """Whether these attacks are all of a protocol that asks for no gradients."""
    return any(set(attacks) <= set(protocol.attacks) for protocol in PROTOCOLS.values() if protocol.black_box)


def strength(attacks: Sequence[str], *, noise: bool) -> int:
    """How many ranking protocols with gradients these attacks include or go beyond: the more, the further up their
    results stand."""
    found = [name for name in _included(attacks, noise=noise) if not PROTOCOLS[name].black_box]
    return len({*found, *(name for protocol in found for name in PROTOCOLS[protocol].beyond)})


def _included(attacks: Sequence[str], *, noise: bool) -> list[str]:
    known = {name: protocol for name, protocol in PROTOCOLS.items() if protocol.ranks and (noise or not protocol.noise)}
    return [name for name, protocol in known.items() if set(protocol.attacks) <= set(attacks)]
