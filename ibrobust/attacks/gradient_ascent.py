"""FGSM, BIM and PGD: the same loop, other numbers."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ibrobust.attacks.interface import Attack
from ibrobust.attacks.losses import cross_entropy, margin
from ibrobust.attacks.norms import Norm
from ibrobust.attacks.restarts import closest_of
from ibrobust.attacks.victim import Victim
from ibrobust.randomness import Draw
from ibrobust.types import Images, Labels, PerSample


def gradient_ascent(
    victim: Victim,
    x: Images,
    y: Labels,
    eps: PerSample,
    draw: Draw,
    norm: Norm,
    *,
    steps: int,
    step: float,
    shrinking: bool,
    random_start: bool,
) -> Images:
    """Steps up the cross-entropy's gradient, each pulled back into the ball (Goodfellow et al. 2015; Kurakin et al.
    2017; Madry et al. 2018). A sample leaves the batch at the first mistake.

    The first step is `step` · eps long. Where steps are `shrinking`, the i-th of n is 1 − i/n of that: far first, exact
    at the end. For as many gradients more samples fall than to steps of any constant length (docs/attacks.md).
    """
    found, left = x.clone(), torch.arange(len(x), device=x.device)
    x_adv = norm.start(x, eps, draw) if random_start else x
    for index in range(steps):
        if index == 0 and not random_start:
            logits, gradient = victim.clean_gradient(x, y)
        else:
            logits, gradient = victim.loss_gradient(x_adv, y, cross_entropy)
        standing = logits.argmax(1) == y
        if not standing.all():
            found[left] = x_adv
            victim, gradient = victim[standing], gradient[standing]
            left, x, y, eps, x_adv = (each[standing] for each in (left, x, y, eps, x_adv))
        if not len(left):
            return found
        length = step * (1 - index / steps if shrinking else 1) * eps
        x_adv = norm.project(norm.step(x_adv, gradient, length), x, eps)
    found[left] = x_adv
    return found


def restarted_ascent(
    victim: Victim, x: Images, y: Labels, eps: PerSample, draw: Draw, norm: Norm, *, restarts: int, **settings: Any
) -> Images:
    """`gradient_ascent` from `restarts` random starts, each on the samples that still stand."""
    if restarts == 1:  # Whether its image is a mistake is asked outside, once.
        return gradient_ascent(victim, x, y, eps, draw, norm, **settings)

    def run(left: Tensor, start: Draw) -> tuple[Images, PerSample, Bool[Tensor, " left"]]:
        asked, label = victim[left], y[left]
        x_adv = gradient_ascent(asked, x[left], label, eps[left], start[left], norm, **settings)
        logits = asked.logits(x_adv)
        return x_adv, margin(logits, label), logits.argmax(1) == label

    starts = [draw, *(draw.fold(restart) for restart in range(1, restarts))]
    return closest_of(x, (partial(run, start=start) for start in starts))


_STEP = {"step": 1.0, "shrinking": True}
FGSM = Attack(gradient_ascent, cross_entropy=True, settings={"steps": 1, **_STEP, "random_start": False})
BIM = Attack(gradient_ascent, cross_entropy=True, settings={"steps": 10, **_STEP, "random_start": False})
PGD = Attack(restarted_ascent, cross_entropy=True, settings={"steps": 40, **_STEP, "random_start": True, "restarts": 1})
