"""Which wrong classes a targeted attack goes for."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.losses import classes_by_logit
from ibrobust.types import Logits

LOOKED_AT = 64
"""Wrong classes that are looked at most for some whose logit does not move with the label's."""
_AT_ONCE = 8


def likely_targets(attempt: Attempt, count: int) -> Int[Tensor, "batch targets"]:
    """Each sample's `count` most likely wrong classes, most likely first.

    Where there are more classes than that, one whose logit moves exactly with the label's, as the copy of a class does,
    comes after the others: no step leads to it.
    """
    ranked = classes_by_logit(attempt.victim.clean_logits(attempt.x), attempt.y)
    if ranked.shape[1] <= count:
        return ranked
    ranked = ranked[:, : max(LOOKED_AT, count)]
    sloped = torch.ones_like(ranked, dtype=torch.bool)
    left, first = torch.arange(len(attempt), device=ranked.device), 0
    while len(left) and first < ranked.shape[1]:
        columns = slice(first, min(first + _AT_ONCE, ranked.shape[1]))
        sloped[left, columns] = _sloped(attempt[left], ranked[left, columns])
        first = columns.stop
        left = left[sloped[left, :first].sum(1) < count]
    order = (~sloped).to(torch.int8).argsort(dim=1, stable=True)
    return ranked.gather(1, order)[:, :count]


def _sloped(attempt: Attempt, rivals: Int[Tensor, "batch rivals"]) -> Bool[Tensor, "batch rivals"]:
    """Whether the gap between label and rival has a gradient."""
    width = rivals.shape[1]

    def gaps(logits: Logits, both: Int[Tensor, "batch label_and_rivals"]) -> Float[Tensor, "batch rivals"]:
        return logits.gather(1, both[:, :1]) - logits.gather(1, both[:, 1 : width + 1])

    label_and_rivals = torch.cat([attempt.y[:, None], rivals], dim=1)
    gradients = attempt.victim.output_gradients(attempt.x, label_and_rivals, gaps)[2]
    return (gradients != 0).flatten(2).any(2)
