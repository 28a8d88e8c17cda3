"""DeepFool (Moosavi-Dezfooli et al. 2016), batched, for L∞ and L2: no radius, run once."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ibrobust.attacks.interface import Attack
from ibrobust.attacks.norms import Norm, shortest_change
from ibrobust.attacks.victim import Victim
from ibrobust.randomness import Draw
from ibrobust.types import Images, Labels, Logits


def deepfool(
    victim: Victim,
    x: Images,
    y: Labels,
    _draw: Draw,
    norm: Norm,
    *,
    steps: int,
    overshoot: float,
    candidates: int,
    approach: int,
) -> Images:
    """Step to the nearest linearised boundary until the prediction changes; the sum of the steps, stretched by
    1 + overshoot, is the perturbation.

    Three things differ from the paper, and on digits find distances 2-6 % shorter for a sixth of the gradients:
    a step is the shortest that stays in [0, 1], instead of one that clipping then spoils; of the first steps, each
    covers 1/approach, 1/(approach − 1), … of the way, so that the direction can turn before the boundary is crossed;
    and the nearest boundary is sought among the `candidates` largest rivals at the first step, then the largest's.
    """
    total = torch.zeros_like(x)
    x_adv = x.clone()
    left = torch.arange(len(x), device=x.device)
    for index in range(steps):
        rivals = candidates if index == 0 else 1
        gaps, gradients, standing = _boundaries(victim[left], x_adv[left], y[left], rivals)
        left = left[standing]
        if not len(left):
            break
        step = _step_to_nearest(x_adv[left], gaps[standing], gradients[standing], norm)
        total[left] += step / max(1, approach - index)
        x_adv[left] = (x[left] + (1 + overshoot) * total[left]).clamp(0, 1)
    return x_adv


def _boundaries(
    victim: Victim, x: Images, y: Labels, candidates: int
) -> tuple[Float[Tensor, "batch rivals"], Float[Tensor, "batch rivals c h w"], Bool[Tensor, " batch"]]:
    """True logit minus each rival's, the gradient of that gap, and which predictions still stand."""

    def gaps_to_rivals(logits: Logits, y: Labels) -> Float[Tensor, "batch rivals"]:
        wrong = logits.scatter(1, y[:, None], -torch.inf)
        rivals = wrong.topk(min(candidates, logits.shape[1] - 1), dim=1).indices
        return logits.gather(1, y[:, None]) - logits.gather(1, rivals)

    logits, gaps, gradients = victim.output_gradients(x, y, gaps_to_rivals)
    return gaps, gradients, logits.argmax(1) == y


def _step_to_nearest(
    x: Images, gaps: Float[Tensor, "batch rivals"], gradients: Float[Tensor, "batch rivals c h w"], norm: Norm
) -> Images:
    """The shortest step onto a linearised boundary (a hair beyond, so that a tie is crossed)."""
    beyond = gaps + 1e-6 * norm.dual(gradients)
    steps = shortest_change(norm, x.flatten(1)[:, None], gradients.flatten(2), -beyond)
    nearest = norm.length(steps).argmin(1)
    return steps[torch.arange(len(x), device=x.device), nearest].view_as(x)


DEEPFOOL = Attack(deepfool, minimal=True, settings={"steps": 50, "overshoot": 0.02, "candidates": 3, "approach": 3})
