"""A linear programme in a network's linear region: while no ReLU switches, a network is linear, and the point of the
region and the ball where a class leads most is found exactly. The next region lies across its vertex.

Only L∞ balls are boxes, and only ReLUs that torch sees bound a region. Where others or max pooling hide a part of its
boundary, the answer is a guess that counts only if the network agrees.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from ibrobust.attacks.filling import FULL
from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.soft_ascent import class_lead
from ibrobust.attacks.victim import Victim
from ibrobust.models.relus import relu_inputs
from ibrobust.randomness import Noise
from ibrobust.types import Images, Logits

FIRST_UNITS = 200
"""Units nearest to zero, in units of their layer's mean, that bound the first programme."""
MORE_UNITS = 100
"""Units that switched at its answer, against what it counted on, that join the next one at most."""
ROUNDS = 4
MOST_PIXELS = 4096
"""Pixels and channels of an image beyond which a programme would take seconds."""


def vertex(attempt: Attempt, image: Images, target: Tensor) -> Images | None:
    """The point of one sample that the last programme gives, in its ball; None where there is none.

    Args:
        attempt: one sample.
        image: (1, C, H, W), the point whose region is looked at.
        target: (1,), the class that is to lead.
    """
    kinks = _Kinks(attempt.victim)
    values = kinks.values(image)
    if values is None:
        return None
    order = values.abs().argsort(stable=True)
    chosen, other = order[:FIRST_UNITS], image
    box = _Box.around(attempt, image, _rise(attempt, image, target))
    slopes = kinks.slopes(image, chosen)
    for round in range(ROUNDS):
        moved = box.best(values[chosen], slopes)
        if moved is None:
            break
        other = attempt.projected(moved)
        if round == ROUNDS - 1:
            break
        there = kinks.values(other)
        assert there is not None, "there was one at the first point"
        switched = (torch.sign(there) * torch.sign(values) < 0).index_fill(0, chosen, False)
        more = torch.where(switched, -there.abs(), torch.inf).argsort(stable=True)[
            : min(int(switched.sum()), MORE_UNITS)
        ]
        if not len(more):
            break
        chosen, slopes = torch.cat([chosen, more]), torch.cat([slopes, kinks.slopes(image, more)])
    return other if other is not image else None


@dataclass(frozen=True)
class _Kinks:
    """What goes into a network's ReLUs, each layer in units of its mean absolute value."""

    victim: Victim

    def values(self, image: Images) -> Float[Tensor, " units"] | None:
        """At one image; None where torch sees no ReLU."""
        values = self._victim(None).logits(image)[0]
        return values if len(values) > _NOTHING else None

    def slopes(self, image: Images, units: Int[Tensor, " units"]) -> Float[Tensor, "units pixels"]:
        """The gradient of each of these at one image."""
        many = image.expand(len(units), -1, -1, -1)
        every = torch.zeros_like(units)
        victim = self._victim(units)[every]
        return victim.loss_gradient(many, torch.arange(len(units), device=image.device), _own)[1].flatten(1)

    def _victim(self, units: Int[Tensor, " units"] | None) -> Victim:
        view = self.victim.view

        def classify(x: Images, noise: Noise) -> Logits:
            recorded = [pre.flatten(1) for pre in relu_inputs(view, x, noise)[1] if len(pre) == len(x)]
            sized = [pre / pre.detach().abs().mean(1, keepdim=True).clamp(min=_TINY) for pre in recorded]
            values = torch.cat([*sized, x.new_zeros(len(x), _NOTHING)], dim=1).to(torch.float32)
            return values if units is None else torch.cat([values[:, units], values[:, -_NOTHING:]], dim=1)

        return replace(self.victim, view=replace(view, classify=classify), filling=FULL)


_NOTHING = 2
"""Columns of zeros behind the units, so that an answer has the two columns that logits have at least."""
_TINY = 1e-30


def _own(values: Logits, unit: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    return values.gather(1, unit[:, None]).squeeze(1)


def _rise(attempt: Attempt, image: Images, target: Tensor) -> Float[Tensor, " pixels"]:
    pair = torch.stack([attempt.y, target], dim=1)
    return replace(attempt.victim, filling=FULL).loss_gradient(image, pair, class_lead)[1].flatten()


@dataclass(frozen=True)
class _Box:
    """One sample's ball cut with [0, 1], changes of a point counted from the point, and the slope that is to rise."""

    image: Images
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rise: NDArray[np.float64]

    @staticmethod
    def around(attempt: Attempt, image: Images, rise: Float[Tensor, " pixels"]) -> "_Box":
        x, eps, at = (each.double().flatten() for each in (attempt.x, attempt.eps, image))
        low, high = (x - eps).clamp(min=0) - at, (x + eps).clamp(max=1) - at
        slope = rise.double() / rise.double().abs().max().clamp(min=_TINY)
        return _Box(image, *(each.numpy(force=True) for each in (low.clamp(max=0), high.clamp(min=0), slope)))

    def best(self, values: Float[Tensor, " units"], slopes: Float[Tensor, "units pixels"]) -> Images | None:
        """The point where the slope has risen most while each unit keeps its sign; None where HiGHS finds none."""
        sign = torch.where(values > 0, 1.0, -1.0)
        rows = (-sign[:, None] * slopes).double().numpy(force=True)
        slack = (sign * values).double().numpy(force=True)
        answer = linprog(
            -self.rise, A_ub=rows, b_ub=slack, bounds=np.stack([self.low, self.high], axis=1), method="highs-ds"
        )
        if answer.status != 0:
            return None
        change = torch.from_numpy(answer.x).to(self.image.device, self.image.dtype)
        return self.image + change.view_as(self.image)
