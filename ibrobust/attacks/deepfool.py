"""DeepFool (Moosavi-Dezfooli et al. 2016), batched, for L∞ and L2: no radius, run once."""

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.attacks.interface import ATTACKS, Attack
from ibrobust.attacks.norms import Norm, wide
from ibrobust.attacks.victim import Victim
from ibrobust.randomness import Draw
from ibrobust.types import Images, Labels, Logits


def deepfool(
    victim: Victim,
    x: Images,
    y: Labels,
    draw: Draw,
    norm: Norm,
    *,
    steps: int,
    overshoot: float,
    candidates: int,
) -> Images:
    """Step to the nearest linearised boundary until the prediction changes; the sum of the steps, stretched by
    1 + overshoot, is the perturbation.

    Boundaries are tried to the `candidates` classes with the largest logits at each point: with 3 of 10 classes
    the distances agree with all 9 to the grid, at a third of the gradients.
    """
    total = torch.zeros_like(x)
    x_adv = x.clone()
    left = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        gaps, gradients, standing = _boundaries(victim[left], x_adv[left], y[left], candidates)
        left = left[standing]
        if not len(left):
            break
        total[left] += _step_to_nearest(gaps[standing], gradients[standing], norm)
        x_adv[left] = (x[left] + (1 + overshoot) * total[left]).clamp(0, 1)
    return x_adv


def _boundaries(
    victim: Victim, x: Images, y: Labels, candidates: int
) -> tuple[Float[Tensor, "batch rivals"], Float[Tensor, "batch rivals c h w"], Tensor]:
    """True logit minus each rival's, the gradient of that gap, and which predictions still stand."""

    def gaps_to_rivals(logits: Logits, y: Labels) -> Float[Tensor, "batch rivals"]:
        wrong = logits.scatter(1, y[:, None], -torch.inf)
        rivals = wrong.topk(min(candidates, logits.shape[1] - 1), dim=1).indices
        return logits.gather(1, y[:, None]) - logits.gather(1, rivals)

    logits, gaps, gradients = victim.output_gradients(x, y, gaps_to_rivals)
    return gaps, gradients, logits.argmax(1) == y


def _step_to_nearest(
    gaps: Float[Tensor, "batch rivals"], gradients: Float[Tensor, "batch rivals c h w"], norm: Norm
) -> Images:
    """The shortest step onto a linearised boundary (a hair beyond, so that a tie is crossed)."""
    slopes = norm.dual(gradients).clamp(min=1e-12)
    distances = gaps / slopes
    nearest = distances.argmin(1, keepdim=True)
    distance = distances.gather(1, nearest).squeeze(1) + 1e-6
    gradient = gradients[torch.arange(len(gaps), device=gaps.device), nearest.squeeze(1)]
    return -wide(distance) * norm.ascent(gradient)


ATTACKS["deepfool"] = Attack(deepfool, minimal=True, settings={"steps": 50, "overshoot": 0.02, "candidates": 3})
