"""Starts that switch a unit of the first layer: where that is linear in the pixels, the point of the ball at which a
unit that is off is largest, or one that is on is smallest."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.attacks.filling import FULL, ROWS
from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.soft_ascent import Points, joined_points, rank_in_sample, wrong_lead
from ibrobust.models.bottleneck import View
from ibrobust.models.relus import relu_inputs
from ibrobust.randomness import Draw, sample_draw
from ibrobust.types import Images

MOST_UNITS = {2: 512, 4: 64}
"""Units that are looked at, by the dimensions of the layer's answer; of one with more, so many spread over it. A
convolution's has thousands, each of which sees little of the image."""
_PIXELS_AT_ONCE = 2**24
"""Pixels of all points in one query."""
_LINEAR = 1e-4
"""How far from linear, relative to its typical size, rounding may make the layer look."""


@dataclass(frozen=True)
class FirstLayer:
    """Slope and offset of units that are linear in the pixels."""

    slope: Float[Tensor, "units pixels"]
    offset: Float[Tensor, " units"]


def first_layer(view: View, x: Images) -> FirstLayer | None:
    """The units that the first ReLU sees; None where torch sees none, or where they are not linear in the pixels.

    This reads the model's weights and is no query about a sample.
    """
    points = sample_draw(0, torch.arange(ROWS, device=x.device)).uniform(*x.shape[1:])
    pre, between = _inputs(view, points), _inputs(view, (points + points.roll(1, 0)) / 2)
    if pre is None or between is None:
        return None
    if not bool(((pre + pre.roll(1, 0)) / 2 - between).abs().max() <= _LINEAR * pre.abs().mean()):
        return None
    count = pre[0].numel()
    most = min(MOST_UNITS.get(pre.ndim, min(MOST_UNITS.values())), count)
    units = torch.linspace(0, count - 1, most, device=x.device).round().to(torch.int64)
    origin = torch.zeros_like(points)
    slope = torch.cat([_slope(view, origin, some) for some in torch.split(units, ROWS)])
    offset = _inputs(view, origin)
    assert offset is not None, "it was there for other images"
    return FirstLayer(slope, offset[0].flatten()[units])


def _inputs(view: View, x: Images) -> Float[Tensor, "batch ..."] | None:
    """What goes into the first ReLU."""
    with torch.no_grad():
        recorded = relu_inputs(view, x, _quiet(x))[1]
    return recorded[0].to(torch.float32) if recorded and len(recorded[0]) == len(x) else None


def _slope(view: View, origin: Images, units: Int[Tensor, " some"]) -> Float[Tensor, "some pixels"]:
    x = origin.clone().requires_grad_()
    with torch.enable_grad():
        pre = relu_inputs(view, x, _quiet(x))[1][0].flatten(1)
        chosen = pre[torch.arange(len(units), device=x.device), units].sum()
        return torch.autograd.grad(chosen, x)[0].flatten(1)[: len(units)]


def _quiet(x: Images) -> Draw:
    return Draw(torch.zeros(len(x), dtype=torch.int64, device=x.device))


def corner_starts(attempt: Attempt, layer: FirstLayer, count: int) -> Points:
    """The points of each sample that switch a unit, at most `count` of them: those from which the lead of some class is
    largest. Samples of which no unit can switch have none."""
    found: list[Points] = []
    at_once = max(1, _PIXELS_AT_ONCE // layer.slope.numel())
    for rows in torch.split(torch.arange(len(attempt), device=attempt.x.device), at_once):
        tried = [_switching(attempt, layer, int(row)) for row in rows]
        row = torch.cat([torch.full((len(images),), int(row)) for row, images in zip(rows, tried, strict=True)])
        if len(row):
            found.append(_best(attempt, row.to(attempt.x.device), torch.cat(tried), count))
    return joined_points(found, attempt.x)


def _switching(attempt: Attempt, layer: FirstLayer, row: int) -> Images:
    """The corners at which a unit has another sign than at the sample."""
    x, eps = attempt.x[row : row + 1], attempt.eps[row : row + 1]
    # Sums along a row, not a product of matrices: its bits would depend on how many samples there are.
    at_x = (layer.slope * x.flatten()).sum(1) + layer.offset
    uphill = torch.where(at_x > 0, -1.0, 1.0)[:, None] * layer.slope
    many, radius = x.expand(len(uphill), -1, -1, -1), eps.expand(len(uphill))
    corner = attempt.norm.project(attempt.norm.step(many, uphill.view_as(many), radius), many, radius)
    at_corner = (layer.slope * corner.flatten(1)).sum(1) + layer.offset
    return corner[(at_x > 0) != (at_corner > 0)]


def _best(attempt: Attempt, row: Int[Tensor, " tried"], images: Images, count: int) -> Points:
    logits = replace(attempt.victim[row], filling=FULL).logits(images)
    lead, target = wrong_lead(logits, attempt.y[row])
    return Points(row, target, images, lead)[rank_in_sample(row, lead) < count]
