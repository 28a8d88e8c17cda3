"""A block of samples as the model answers it before any attack."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks import Victim
from ibrobust.attacks.contract import Samples
from ibrobust.randomness import Draw
from ibrobust.robustness.search import Indices
from ibrobust.types import Images, Labels


class CleanBlock(NamedTuple):
    """A block before any attack: which samples are right, what the model answers, and where a gradient was lost."""

    x: Images
    y: Labels
    ids: Int[Tensor, " batch"]
    correct: Indices
    logits: Tensor
    gradient: Tensor
    lost: Bool[Tensor, " batch"]
    seen: Callable[..., Victim]
    certain: Indices
    """How many radii are proven."""

    def samples(self, draw: Draw, places: Indices, ends: Mapping[str, Images], **known: object) -> Samples:
        """Some of the block's samples, with a victim that draws from their random numbers."""
        of_these = self.x[places], self.y[places], self.ids[places]
        return Samples(self.seen(draw, **known), *of_these, draw, dict(ends))
