"""FGSM, BIM and PGD: the same loop, other numbers."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.losses import cross_entropy, margin
from ibrobust.attacks.restarts import closest_of
from ibrobust.randomness import Draw
from ibrobust.types import Images, PerSample


def gradient_ascent(attempt: Attempt, *, steps: int, step: float, shrinking: bool, random_start: bool) -> Images:
    """Steps up the cross-entropy's gradient, each pulled back into the ball (Goodfellow et al. 2015; Kurakin et al.
    2017; Madry et al. 2018). A sample leaves the batch at the first mistake.

    The first step is `step` · eps long. Where steps are `shrinking`, the i-th of n is 1 − i/n of that: far first, exact
    at the end. For as many gradients more samples fall than to steps of any constant length (docs/attacks.md).
    """
    found, left = attempt.x.clone(), torch.arange(len(attempt), device=attempt.x.device)
    x_adv = attempt.random_start() if random_start else attempt.x
    for index in range(steps):
        if index == 0 and not random_start:
            logits, gradient = attempt.victim.clean_gradient(attempt.x, attempt.y)
        else:
            logits, gradient = attempt.victim.loss_gradient(x_adv, attempt.y, cross_entropy)
        standing = logits.argmax(1) == attempt.y
        if not standing.all():
            found[left] = x_adv
            attempt, gradient, left, x_adv = attempt[standing], gradient[standing], left[standing], x_adv[standing]
        if not len(left):
            return found
        length = step * (1 - index / steps if shrinking else 1) * attempt.eps
        x_adv = attempt.projected(attempt.norm.step(x_adv, gradient, length))
    found[left] = x_adv
    return found


def restarted_ascent(attempt: Attempt, *, restarts: int, **settings: Any) -> Images:
    """`gradient_ascent` from `restarts` random starts, each on the samples that still stand."""
    if restarts == 1:  # Whether its image is a mistake is looked at outside, once.
        return gradient_ascent(attempt, **settings)

    def run(left: Tensor, start: Draw) -> tuple[Images, PerSample, Bool[Tensor, " left"]]:
        again = attempt.with_draw(start)[left]
        x_adv = gradient_ascent(again, **settings)
        logits = again.victim.logits(x_adv)
        return x_adv, margin(logits, again.y), logits.argmax(1) == again.y

    starts = [attempt.draw, *(attempt.draw.fold(restart) for restart in range(1, restarts))]
    return closest_of(attempt.x, (partial(run, start=start) for start in starts))


_STEP = {"step": 1.0, "shrinking": True}
FGSM = Attack(gradient_ascent, cross_entropy=True, settings={"steps": 1, **_STEP, "random_start": False})
BIM = Attack(gradient_ascent, cross_entropy=True, settings={"steps": 10, **_STEP, "random_start": False})
PGD = Attack(restarted_ascent, cross_entropy=True, settings={"steps": 40, **_STEP, "random_start": True, "restarts": 1})
