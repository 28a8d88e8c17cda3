"""Into which class each sample is to be turned, where attacks have a target."""

import torch
from jaxtyping import Int
from torch import Tensor

from ibrobust.errors import BadInput
from ibrobust.randomness import sample_draw
from ibrobust.types import Labels, Logits

_PURPOSE = "target class"


def target_classes(target: str, seed: int, logits: Logits, y: Labels, ids: Int[Tensor, " batch"]) -> Labels:
    """The target of each sample: never its label, but where the target is one class for all.

    Args:
        target: as settings hold it. `least-likely` is the wrong class of the smallest logit on the unchanged image,
            `random` one of the wrong classes, by the seed and the sample's id.

    Raises:
        BadInput: the model has no such class.
    """
    classes = logits.shape[1]
    if target == "least-likely":
        return logits.scatter(1, y[:, None], torch.inf).argmin(1)
    if target == "random":
        chance = sample_draw(seed, ids).fold(_PURPOSE).uniform(1)[:, 0]
        other = (chance * (classes - 1)).long().clamp(max=classes - 2)
        return other + (other >= y).long()
    if int(target) >= classes:
        raise BadInput(f"target_class {target}: the model has {classes} classes, from 0")
    return torch.full_like(y, int(target))
