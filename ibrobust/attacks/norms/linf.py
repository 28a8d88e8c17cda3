"""L∞: every pixel may move by the radius."""

import math
from functools import partial

import torch
from torch import Tensor

from ibrobust.attacks.norms.interface import Norm, Queried, RandomMoves, Tried, change_along, straight_step, wide
from ibrobust.attacks.norms.patches import corner, signs, window, worth_asking
from ibrobust.randomness import Draw, Noise
from ibrobust.types import Images, PerSample


def linf_distance(a: Images, b: Images) -> PerSample:
    """The largest difference of a pixel."""
    return (a.double() - b.double()).flatten(1).abs().amax(1)


def _start(x: Images, eps: PerSample, draw: Draw) -> Images:
    return (x + wide(eps) * (2 * draw.uniform(*x.shape[1:]) - 1)).clamp(0, 1)


def _stripes(x: Images, eps: PerSample, draw: Draw) -> Images:
    """Vertical stripes of ±eps."""
    return (x + wide(eps) * signs(draw, x.shape[1], 1, x.shape[3])).clamp(0, 1)


def _patch(x: Images, x_adv: Images, eps: PerSample, share: float, draw: Noise, every: bool) -> tuple[Queried, Tried]:
    """One square at x ± eps, the sign drawn per channel."""
    _, channels, height, width = x.shape
    side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
    place = window(corner(draw.fold("corner"), height, width, side), side, width)[:, None].expand(-1, channels, -1)
    new = x.flatten(2).gather(2, place) + eps[:, None, None] * signs(draw.fold("sign"), channels, 1)
    new = new.clamp(0, 1)
    queried = worth_asking(x_adv.flatten(2).gather(2, place), new, every)
    tried = x_adv.index_select(0, queried)
    return queried, tried.flatten(2).scatter(2, place[queried], new[queried]).reshape(tried.shape)


def _dual(gradient: Tensor) -> Tensor:
    return gradient.flatten(-3).abs().sum(-1)


LINF = Norm(
    name="linf",
    distance=linf_distance,
    length=lambda changes: changes.abs().amax(-1),
    dual=_dual,
    ascent=torch.sign,
    step=partial(straight_step, torch.sign),
    project=lambda x_adv, x, eps: x_adv.clamp(x - wide(eps), x + wide(eps)).clamp(0, 1),
    start=_start,
    shortest_change=partial(change_along, torch.ones_like),
    moves=RandomMoves(_stripes, _patch),
)
