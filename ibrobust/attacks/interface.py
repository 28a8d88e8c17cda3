"""What an attack is: a function, its settings, and whether it needs a radius."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ibrobust.registry import EXTENSION_POINTS, Registry, extension_point
from ibrobust.types import Images


@dataclass(frozen=True)
class Attack:
    """One registered attack.

    Attributes:
        function: for a fixed radius `(victim, x, y, eps, draw, norm, **settings) → x_adv` with one radius per
            sample; for a minimal attack the same without `eps`. Images that the victim already gets wrong may be
            returned at any moment; what is returned is checked and classified again outside.
        minimal: run once, without a radius; the distance it needs is its answer for every radius.
        black_box: asks for logits alone, so that it usually needs a larger radius than attacks with gradients.
        cross_entropy: climbs the cross-entropy's gradient, so that an audit asks whether that gradient misleads.
        settings: the keyword arguments, printed in every result's card.
    """

    function: Callable[..., Images]
    minimal: bool = False
    black_box: bool = False
    cross_entropy: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


ATTACKS: Registry[Attack] = extension_point("attack", Attack)


def protocol_attacks(protocol: str) -> dict[str, Attack]:
    """The attacks of a protocol by name, as `breaking_radii` takes them once some are changed.

    Raises:
        BadInput: there is no such protocol.
    """
    # Protocols are records of what is asked, a floor above; the table of names is below both.
    return {name: ATTACKS[name] for name in EXTENSION_POINTS["protocol"][protocol].attacks}
