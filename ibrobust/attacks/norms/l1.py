"""L1: the sum of all pixels' changes; what is best moves few of them (Croce & Hein 2021, "Mind the box")."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.attacks.norms.interface import Norm, RandomMoves, drawn_in, uphill, wide
from ibrobust.attacks.norms.patches import Budget, bump_grid, bump_patch
from ibrobust.randomness import Draw
from ibrobust.types import Images, PerSample

_HALVINGS = 26
"""Enough for float32; sorting the changes for their exact order takes three times as long."""


def l1_distance(a: Images, b: Images) -> PerSample:
    """The sum of the differences of all pixels."""
    return (a.double() - b.double()).flatten(1).abs().sum(1)


def _ascent(gradient: Images) -> Images:
    """One pixel: that of the steepest slope, the first of several."""
    flat = gradient.flatten(1)
    steepest = flat.abs().argmax(1, keepdim=True)
    return torch.zeros_like(flat).scatter(1, steepest, torch.sign(flat.gather(1, steepest))).reshape(gradient.shape)


def _sparse_ascent(gradient: Images, share: PerSample) -> Images:
    """The signs of the steepest slopes, of equal size, so many that they are this share of the pixels."""
    slope = gradient.flatten(1).abs()
    count = (share * slope.shape[1]).to(torch.int64).clamp(min=1)
    least = slope.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    sign = torch.where(wide(least.squeeze(1)) <= gradient.abs(), torch.sign(gradient), 0)
    return sign / wide(sign.flatten(1).abs().sum(1).clamp(min=1))


def _step(x_adv: Images, gradient: Images, length: PerSample) -> Images:
    """The pixels of the steepest slopes, each as far as [0, 1] allows, until their changes add up to the length: what
    raises a linear loss most."""
    flat, moving = x_adv.flatten(1), gradient.flatten(1)
    room = torch.where(moving > 0, 1 - flat, flat) * (moving != 0)
    moves = _in_turn(moving.abs(), torch.ones_like(moving), room, length)
    return (flat + torch.sign(moving) * moves).clamp(0, 1).reshape(x_adv.shape)


def _shortest_change(
    x: Float[Tensor, "... pixels"], gradient: Float[Tensor, "... pixels"], rise: Float[Tensor, "..."]
) -> Float[Tensor, "... pixels"]:
    up, room, wanted = uphill(x.expand_as(gradient), gradient, rise)
    return torch.sign(up) * _in_turn(up.abs(), up.abs(), room, wanted)


def _in_turn(
    slope: Float[Tensor, "... pixels"],
    price: Float[Tensor, "... pixels"],
    room: Float[Tensor, "... pixels"],
    budget: Float[Tensor, "..."],
) -> Float[Tensor, "... pixels"]:
    """Moves in the order of the slopes, the steepest first, each up to its room, until price · move is the budget."""
    order = slope.argsort(dim=-1, descending=True, stable=True)
    costs = (price * room).gather(-1, order).double()
    left = (budget.double()[..., None] - (costs.cumsum(-1) - costs)).clamp(min=0)
    paid = left.minimum(costs) / price.gather(-1, order).double().clamp(min=1e-300)
    moves = paid.to(room.dtype).minimum(room.gather(-1, order))
    return torch.zeros_like(room).scatter(-1, order, moves)


def _project(x_adv: Images, x: Images, eps: PerSample) -> Images:
    """The nearest point, in L2, of the ball cut with [0, 1]: each change shrinks by the same amount and goes no further
    than its end of the range."""
    change, flat = (x_adv - x).flatten(1), x.flatten(1)
    size, room = change.abs(), torch.where(change > 0, 1 - flat, flat)
    outside = (size.minimum(room).double().sum(1) > eps).nonzero().squeeze(1)
    shrink = torch.zeros_like(eps)
    if len(outside):
        shrink[outside] = _shrinkage(size[outside], room[outside], eps[outside])
    moved = torch.sign(change) * (size - shrink[:, None]).clamp(min=0).minimum(room)
    return drawn_in((flat + moved).clamp(0, 1).reshape(x.shape), x, eps, l1_distance)


def _shrinkage(
    size: Float[Tensor, "batch pixels"], room: Float[Tensor, "batch pixels"], eps: PerSample
) -> Float[Tensor, " batch"]:
    """The smallest amount, to the precision of float32, at which Σ min(max(size − amount, 0), room) is eps or less."""
    low, high = torch.zeros_like(eps), size.amax(1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        left = (size - middle[:, None]).clamp_(min=0).minimum(room).sum(1, dtype=torch.float64)
        low, high = torch.where(left > eps, middle, low), torch.where(left > eps, high, middle)
    return high


def _start(x: Images, eps: PerSample, draw: Draw) -> Images:
    """Gaussian noise brought into the ball, which leaves few pixels of it."""
    return _project(x + draw.normal(*x.shape[1:]), x, eps)


def _within(change: Images, x: Images, eps: PerSample) -> Images:
    length = change.flatten(1).abs().sum(1).clamp(min=1e-12)
    return _project(x + change * wide((eps / length).clamp(min=1)), x, eps)


_BUDGET = Budget(1, _within)
L1 = Norm(
    name="l1",
    distance=l1_distance,
    length=lambda changes: changes.abs().sum(-1),
    dual=lambda gradient: gradient.flatten(-3).abs().amax(-1),
    ascent=_ascent,
    step=_step,
    project=_project,
    start=_start,
    shortest_change=_shortest_change,
    sparse_ascent=_sparse_ascent,
    moves=RandomMoves(partial(bump_grid, budget=_BUDGET), partial(bump_patch, budget=_BUDGET)),
)
