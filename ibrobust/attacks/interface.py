"""What an attack is: a function, its settings, and whether it needs a radius. And what it is given."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ibrobust.attacks.norms import Norm
from ibrobust.attacks.victim import Victim
from ibrobust.errors import BadInput
from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw
from ibrobust.registry import EXTENSION_POINTS, Registry, extension_point
from ibrobust.types import Images, Labels, PerSample


@dataclass(frozen=True)
class Attempt:
    """The samples that an attack works on, and how far it may move each.

    Attributes:
        victim: the model, bound to these samples: every query goes through it.
        x: the images, in [0, 1].
        y: their labels.
        eps: one radius per sample; inf for a minimal attack.
        draw: the random numbers of each sample.
        norm: the norm in which radii are measured.
        ends: by the name of an attack that came before, its image of each sample at the largest radius that it
            failed at; the sample itself where it failed at none. They may lie outside of the radius.
    """

    victim: Victim
    x: Images
    y: Labels
    eps: PerSample
    draw: Draw
    norm: Norm
    ends: Mapping[str, Images] = field(default_factory=dict)

    def __getitem__(self, kept: Tensor) -> "Attempt":
        """The same for some of the samples (a mask or indices)."""
        ends = {name: images[kept] for name, images in self.ends.items()}
        return Attempt(self.victim[kept], self.x[kept], self.y[kept], self.eps[kept], self.draw[kept], self.norm, ends)

    def __len__(self) -> int:
        return len(self.x)

    def projected(self, x_adv: Images) -> Images:
        """Each image moved to a point of [0, 1] within the radius around its sample."""
        return self.norm.project(x_adv, self.x, self.eps)

    def random_start(self) -> Images:
        """A random point of [0, 1] within the radius around each sample."""
        return self.norm.start(self.x, self.eps, self.draw)

    def with_draw(self, draw: Draw) -> "Attempt":
        """The same samples with other random numbers."""
        return replace(self, draw=draw)


@dataclass(frozen=True)
class Attack:
    """One registered attack.

    Attributes:
        function: `(attempt, **settings) → x_adv`. Images that the victim already gets wrong may be returned at any
            moment; what is returned is checked and classified again outside.
        minimal: run once, without a radius; the distance it needs is its answer for every radius.
        black_box: asks for logits alone, so that it usually needs a larger radius than attacks with gradients.
        decisions: asks for predicted classes alone, so that any logits will do whose largest is the prediction's.
        cross_entropy: climbs the cross-entropy's gradient, so that an audit asks whether that gradient misleads.
        standing: too dear to repeat what others have shown, so that it is tried only below the radius at which those
            before it broke a sample: its column holds the answer of all attacks so far.
        noise: whether it can serve a model whose answer depends on noise.
        targets: whether it can turn samples into a class that is chosen beforehand.
        left_out: (view, one image, norm) → what it does without for this model and norm, each as the rest of a sentence
            that begins with the attack's name.
        settings: the keyword arguments, printed in every result's card.

    Raises:
        BadInput: the function cannot be called with an attempt and these settings.
    """

    function: Callable[..., Images]
    minimal: bool = False
    black_box: bool = False
    decisions: bool = False
    cross_entropy: bool = False
    standing: bool = False
    noise: bool = True
    targets: bool = True
    left_out: Callable[[View, Images, Norm], list[str]] = lambda _view, _x, _norm: []
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            inspect.signature(self.function).bind("attempt", **self.settings)
        except TypeError as error:
            name, words = getattr(self.function, "__name__", "of an attack"), ", ".join(["attempt", *self.settings])
            raise BadInput(f"function {name!r}: an attack is called with ({words}): {error}") from error

    def with_settings(self, settings: Mapping[str, Any]) -> "Attack":
        """The same attack, some of its settings changed."""
        return replace(self, settings={**self.settings, **settings}) if settings else self

    def images(self, attempt: Attempt) -> Images:
        """What the attack makes of the samples."""
        return self.function(attempt, **self.settings)


ATTACKS: Registry[Attack] = extension_point("attack", Attack)


def ask_gradients(attacks: Iterable[Attack]) -> bool:
    """Whether any of the attacks asks for gradients."""
    return any(not attack.black_box for attack in attacks)


def protocol_attacks(protocol: str) -> dict[str, Attack]:
    """The attacks of a protocol by name, as `breaking_radii` takes them once some are changed.

    Raises:
        BadInput: there is no such protocol.
    """
    # Protocols are records, a floor above; the table of names is below both.
    chosen = EXTENSION_POINTS["protocol"][protocol]
    return {name: ATTACKS[name].with_settings(chosen.settings.get(name, {})) for name in chosen.attacks}
