"""The two balls an attack may move in: how far, which way is up, how to come back, where to start."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ibrobust.randomness import Draw
from ibrobust.registry import Registry
from ibrobust.types import Images, PerSample


@dataclass(frozen=True)
class Norm:
    """One ball.

    Attributes:
        distance: (a, b) → ‖a − b‖ per sample.
        project: (x_adv, x, eps) → the point of the ball around x, cut with [0, 1], that x_adv is moved to.
        ascent: gradient → the direction of unit norm that raises a linear loss most.
        start: (x, eps, draw) → a random point of the ball, cut with [0, 1].
        dual: gradient → its dual norm per sample: a linear loss rises by eps · dual within the ball.
    """

    name: str
    distance: Callable[[Images, Images], PerSample]
    project: Callable[[Images, Images, PerSample], Images]
    ascent: Callable[[Images], Images]
    start: Callable[[Images, PerSample, Draw], Images]
    dual: Callable[[Tensor], Tensor]


def wide(per_sample: PerSample) -> Tensor:
    """(B,) → (B, 1, 1, 1), to multiply images with."""
    return per_sample.view(-1, 1, 1, 1)


def _length(images: Images) -> PerSample:
    return torch.linalg.vector_norm(images.flatten(1), dim=1)


def _linf_start(x: Images, eps: PerSample, draw: Draw) -> Images:
    return (x + wide(eps) * (2 * draw.uniform(*x.shape[1:]) - 1)).clamp(0, 1)


def _l2_project(x_adv: Images, x: Images, eps: PerSample) -> Images:
    # Box first, ball second: shrinking towards x, itself in the box, never leaves the box again.
    moved = x_adv.clamp(0, 1) - x
    return x + moved * (wide(eps) / wide(_length(moved)).clamp(min=1e-12)).clamp(max=1)


def _l2_start(x: Images, eps: PerSample, draw: Draw) -> Images:
    direction = draw.fold("direction").normal(*x.shape[1:])
    radius = draw.fold("radius").uniform()
    return _l2_project(x + direction * wide(eps * radius / _length(direction)), x, eps)


NORMS: Registry[Norm] = Registry("norm")
NORMS["linf"] = Norm(
    name="linf",
    distance=lambda a, b: (a - b).flatten(1).abs().amax(1),
    project=lambda x_adv, x, eps: x_adv.clamp(x - wide(eps), x + wide(eps)).clamp(0, 1),
    ascent=torch.sign,
    start=_linf_start,
    dual=lambda gradient: gradient.flatten(-3).abs().sum(-1),
)
NORMS["l2"] = Norm(
    name="l2",
    distance=lambda a, b: _length(a - b),
    project=_l2_project,
    ascent=lambda gradient: gradient / wide(_length(gradient)).clamp(min=1e-12),
    start=_l2_start,
    dual=lambda gradient: torch.linalg.vector_norm(gradient.flatten(-3), dim=-1),
)
