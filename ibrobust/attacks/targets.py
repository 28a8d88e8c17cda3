"""Which wrong classes a targeted attack goes for."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.losses import classes_by_logit
from ibrobust.attacks.victim import Victim
from ibrobust.types import Images, Labels, Logits

LOOKED_AT = 64
"""Wrong classes that are looked at most for some whose logit does not move with the label's."""
_AT_ONCE = 8


def likely_targets(victim: Victim, x: Images, y: Labels, count: int) -> Int[Tensor, "batch targets"]:
    """Each sample's `count` most likely wrong classes, most likely first.

    Where there are more classes than that, one whose logit moves exactly with the label's, as the copy of a class does,
    comes after the others: no step leads to it.
    """
    ranked = classes_by_logit(victim.clean_logits(x), y)
    if ranked.shape[1] <= count:
        return ranked
    ranked = ranked[:, : max(LOOKED_AT, count)]
    sloped = torch.ones_like(ranked, dtype=torch.bool)
    left, first = torch.arange(len(x), device=x.device), 0
    while len(left) and first < ranked.shape[1]:
        columns = slice(first, min(first + _AT_ONCE, ranked.shape[1]))
        sloped[left, columns] = _sloped(victim[left], x[left], y[left], ranked[left, columns])
        first = columns.stop
        left = left[sloped[left, :first].sum(1) < count]
    order = (~sloped).to(torch.int8).argsort(dim=1, stable=True)
    return ranked.gather(1, order)[:, :count]


def _sloped(victim: Victim, x: Images, y: Labels, rivals: Int[Tensor, "batch rivals"]) -> Bool[Tensor, "batch rivals"]:
    """Whether the gap between label and rival has a gradient."""
    width = rivals.shape[1]

    def gaps(logits: Logits, both: Int[Tensor, "batch label_and_rivals"]) -> Float[Tensor, "batch rivals"]:
        return logits.gather(1, both[:, :1]) - logits.gather(1, both[:, 1 : width + 1])

    gradients = victim.output_gradients(x, torch.cat([y[:, None], rivals], dim=1), gaps)[2]
    return (gradients != 0).flatten(2).any(2)
