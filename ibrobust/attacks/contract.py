"""One attack against one group of samples, its answer checked and classified outside of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.norms import BALL_TOLERANCE, Norm
from ibrobust.attacks.victim import Victim
from ibrobust.errors import BadInput, RunFailed
from ibrobust.randomness import Draw
from ibrobust.types import Images, Labels, Logits, PerSample


@dataclass(frozen=True)
class Samples:
    """Samples that are attacked together, the victim bound to them, and the names that errors call them by; `ends` are
    those of an `Attempt`. `source` is the victim that attacks see, where it is another one."""

    victim: Victim
    x: Images
    y: Labels
    ids: Int[Tensor, " batch"]
    draw: Draw
    ends: Mapping[str, Images] = field(default_factory=dict)
    source: Victim | None = None

    @property
    def attacked(self) -> Victim:
        """The victim that attacks see."""
        return self.victim if self.source is None else self.source

    def __getitem__(self, kept: Tensor) -> "Samples":
        ends = {name: images[kept] for name, images in self.ends.items()}
        source = None if self.source is None else self.source[kept]
        return Samples(self.victim[kept], self.x[kept], self.y[kept], self.ids[kept], self.draw[kept], ends, source)

    def __len__(self) -> int:
        return len(self.x)

    def logits(self, x: Images) -> Logits:
        """Finite logits at x.

        Raises:
            BadInput: they are not finite; names the samples.
        """
        logits = self.victim.logits(x)
        check_finite(logits, self.ids)
        return logits


def broken_at(
    name: str, attack: Attack, samples: Samples, eps: PerSample, norm: Norm
) -> tuple[Bool[Tensor, " batch"], Images]:
    """Which samples the attack breaks within one radius each, and the images that it made.

    Raises:
        RunFailed: as `image_within`.
    """
    x_adv = image_within(name, attack, samples, eps, norm)
    return samples.logits(x_adv).argmax(1) != samples.y, x_adv


def image_within(name: str, attack: Attack, samples: Samples, eps: PerSample, norm: Norm) -> Images:
    """What an attack makes of each sample within its radius.

    Raises:
        RunFailed: the attack raised, or returned an image that is invalid or outside the ball.
    """
    x_adv = _attacked(name, attack, samples, eps, norm)
    outside = norm.distance(x_adv, samples.x) > eps + BALL_TOLERANCE
    if outside.any():
        raise RunFailed(f"attack {name!r} left the ball on samples {named(samples.ids[outside])}")
    return x_adv


def breaking_distance(name: str, attack: Attack, samples: Samples, norm: Norm) -> tuple[PerSample, Images]:
    """How far a minimal attack had to go for each sample, inf where it found no mistake, and the images that it made.

    Raises:
        RunFailed: as `image_found`.
    """
    x_adv = image_found(name, attack, samples, norm)
    fooled = samples.logits(x_adv).argmax(1) != samples.y
    return torch.where(fooled, norm.distance(x_adv, samples.x), torch.inf), x_adv


def image_found(name: str, attack: Attack, samples: Samples, norm: Norm) -> Images:
    """What a minimal attack makes of each sample.

    Raises:
        RunFailed: the attack raised, or returned an invalid image.
    """
    return _attacked(name, attack, samples, samples.x.new_full((len(samples),), torch.inf), norm)


def check_finite(logits: Logits, ids: Int[Tensor, " batch"]) -> None:
    """Raises:
    BadInput: some logits are not finite.
    """
    finite = logits.isfinite().all(1)
    if not finite.all():
        raise BadInput(f"the model's logits are not finite on samples {named(ids[~finite])}")


def named(ids: Int[Tensor, " some"]) -> str:
    """The first few ids, for an error's one line."""
    shown = ", ".join(str(int(i)) for i in ids[:5])
    return f"[{shown}{', …' if len(ids) > 5 else ''}]"


def _attacked(name: str, attack: Attack, samples: Samples, eps: PerSample, norm: Norm) -> Images:
    attempt = Attempt(samples.attacked, samples.x, samples.y, eps, samples.draw, norm, samples.ends)
    try:
        x_adv = attack.images(attempt)
    except (BadInput, RunFailed):
        raise
    except Exception as error:
        reason = " ".join(repr(error).split())
        raise RunFailed(f"attack {name!r} raised on samples {named(samples.ids)}: {reason}") from error
    if x_adv.shape != samples.x.shape or x_adv.dtype != samples.x.dtype:
        returned = f"shape {tuple(x_adv.shape)} and dtype {x_adv.dtype}"
        raise RunFailed(f"attack {name!r} returned {returned} on samples {named(samples.ids)}")
    pixels = x_adv.flatten(1)
    invalid = ~((pixels.amin(1) >= 0) & (pixels.amax(1) <= 1))  # Both are NaN where a pixel is.
    if invalid.any():
        raise RunFailed(f"attack {name!r} left [0, 1] or is not finite on samples {named(samples.ids[invalid])}")
    return x_adv
