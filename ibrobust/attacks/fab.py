"""FAB-T (Croce & Hein 2020, "Minimally distorted adversarial examples"): no radius, run once."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.norms import wide
from ibrobust.attacks.restarts import together
from ibrobust.attacks.targets import likely_targets
from ibrobust.types import Images, Logits, PerSample

LARGEST_PULL = 0.1
"""Most that a step is drawn towards the projection of the image itself."""
OVERSHOOT = 1.05
"""How far beyond the linearised boundary a step goes."""
BACKWARD = 0.9
"""A misclassified point comes back to this share of its distance."""


def fab_targeted(attempt: Attempt, *, targets: int, steps: int) -> Images:
    """From each image towards each of its most likely wrong classes: steps onto the linearised boundary, a little
    drawn to the point of it nearest to the image; the nearest misclassified point seen is the answer."""
    rivals = likely_targets(attempt, targets)
    nearest = _Nearest(attempt.x.clone(), torch.full_like(attempt.eps, torch.inf))
    # Of few samples several targets share a batch. Noise is drawn in the order of the queries.
    count = 1 if attempt.victim.view.draws else together(len(attempt))
    for some in torch.split(rivals, count, dim=1):
        rows = torch.arange(len(attempt), device=rivals.device).repeat(some.shape[1])
        found = _towards(attempt[rows], some.T.flatten(), steps)
        for one in torch.split(torch.arange(len(rows), device=rows.device), max(1, len(attempt))):
            nearest = nearest.updated(found.point[one], found.distance[one])
    return nearest.point


def _towards(attempt: Attempt, target: Int[Tensor, " batch"], steps: int) -> "_Nearest":
    """The nearest misclassified point on the way of each sample to its target."""
    x, y = attempt.x, attempt.y
    pair, point = torch.stack([y, target], dim=1), x
    nearest = _Nearest(x.clone(), torch.full_like(attempt.eps, torch.inf))
    for _ in range(steps):
        point = _stepped(attempt, point, pair)
        broken = attempt.victim.logits(point).argmax(1) != y
        nearest = nearest.updated(point, torch.where(broken, attempt.norm.distance(point, x), torch.inf))
        point = torch.where(wide(broken), x + BACKWARD * (point - x), point)
    return nearest


@dataclass(frozen=True)
class _Nearest:
    """The nearest misclassified point so far, and how far it is."""

    point: Images
    distance: PerSample

    def updated(self, point: Images, distance: PerSample) -> "_Nearest":
        nearer = distance < self.distance
        return _Nearest(torch.where(wide(nearer), point, self.point), torch.where(nearer, distance, self.distance))


def _stepped(attempt: Attempt, point: Images, pair: Tensor) -> Images:
    x, norm = attempt.x, attempt.norm
    logits, gradient = attempt.victim.loss_gradient(point, pair, _gap)
    gap, slope = _gap(logits, pair), gradient.flatten(1)
    gap_at_x = gap + (slope * (x - point).flatten(1)).sum(1)
    change = norm.shortest_change(point.flatten(1), slope, -gap).reshape(x.shape)
    change_of_x = norm.shortest_change(x.flatten(1), slope, -gap_at_x).reshape(x.shape)
    near, far = norm.length(change.flatten(1)), norm.length(change_of_x.flatten(1))
    pull = wide((near / (near + far).clamp(min=1e-8)).clamp(max=LARGEST_PULL))
    return ((1 - pull) * (point + OVERSHOOT * change) + pull * (x + OVERSHOOT * change_of_x)).clamp(0, 1)


def _gap(logits: Logits, pair: Tensor) -> Float[Tensor, " batch"]:
    """The label's logit minus the target's."""
    both = logits.gather(1, pair)
    return both[:, 0] - both[:, 1]


FAB_T = Attack(fab_targeted, minimal=True, settings={"targets": 9, "steps": 20})
