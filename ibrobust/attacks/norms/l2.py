"""L2: the Euclidean distance over all pixels."""

from functools import partial

import torch
from torch import Tensor

from ibrobust.attacks.norms.interface import (
    Norm,
    RandomMoves,
    change_along,
    drawn_in,
    ordinary_size,
    straight_step,
    wide,
)
from ibrobust.attacks.norms.patches import Budget, bump_grid, bump_patch
from ibrobust.randomness import Draw
from ibrobust.types import Images, PerSample


def l2_distance(a: Images, b: Images) -> PerSample:
    """The Euclidean distance."""
    length: PerSample = torch.linalg.vector_norm((a.double() - b.double()).flatten(1), dim=1)
    return length


def _length(changes: Tensor) -> Tensor:
    """Euclidean length over the last dimension, of any size down to the smallest numbers."""
    scale = ordinary_size(changes, changes.abs().amax(-1))
    length: Tensor = torch.linalg.vector_norm(changes * scale[..., None], dim=-1) / scale
    return length


def _ascent(gradient: Images) -> Images:
    flat = gradient.flatten(1)
    scaled = gradient * wide(ordinary_size(flat, flat.abs().amax(1)))
    return scaled / wide(_length(scaled.flatten(1))).clamp(min=torch.finfo(gradient.dtype).tiny)


def _project(x_adv: Images, x: Images, eps: PerSample) -> Images:
    # Box first, ball second: shrinking towards x, itself in the box, never leaves the box again.
    moved = x_adv.clamp(0, 1) - x
    shrunk = x + moved * (wide(eps) / wide(_length(moved.flatten(1))).clamp(min=1e-12)).clamp(max=1)
    return drawn_in(shrunk, x, eps, l2_distance)


def _start(x: Images, eps: PerSample, draw: Draw) -> Images:
    direction = draw.fold("direction").normal(*x.shape[1:])
    radius = draw.fold("radius").uniform()
    return _project(x + direction * wide(eps * radius / _length(direction.flatten(1))), x, eps)


def _onto_sphere(change: Images, x: Images, eps: PerSample) -> Images:
    length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp(min=1e-12)
    return drawn_in((x + change * wide(eps / length)).clamp(0, 1), x, eps, l2_distance)


_BUDGET = Budget(2, _onto_sphere)
L2 = Norm(
    name="l2",
    distance=l2_distance,
    length=_length,
    dual=lambda gradient: _length(gradient.flatten(-3)),
    ascent=_ascent,
    step=partial(straight_step, _ascent),
    project=_project,
    start=_start,
    shortest_change=partial(change_along, torch.abs),
    moves=RandomMoves(partial(bump_grid, budget=_BUDGET), partial(bump_patch, budget=_BUDGET)),
)
