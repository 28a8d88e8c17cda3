"""New points out of old ones: two parents mixed along a smooth line, or a rectangle of one painted anew."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.norms.patches import signs
from ibrobust.attacks.soft_ascent import Points
from ibrobust.attacks.survivors.pool import Pool
from ibrobust.randomness import Draw
from ibrobust.types import Images

_ANY_MATE = 0.2
"""Share of the mixtures whose second parent may head for another class than the first."""
_COARSE = 4
"""Cells a side of the random grid whose smooth surface parts two parents."""
_SMALLEST, _LARGEST = 2, 0.5
"""A rectangle's sides: two pixels to half of the image."""


def children(attempt: Attempt, pool: Pool, draw: Draw, count: int) -> Points:
    """So many of each sample, their leads unknown: the first half mixtures, the others with a rectangle painted anew.
    They head where their first parent heads."""
    samples, (height, width) = len(attempt), attempt.x.shape[2:]
    rows = torch.arange(samples, device=attempt.x.device)[:, None]
    parent = _by_rank(pool, draw.fold("parent").uniform(count))
    image, target = pool.image[rows, parent], pool.target[rows, parent]
    mixed = count // 2
    mate = _mate(pool, target[:, :mixed], draw.fold("mate"))
    mask = _smooth(draw.fold("mask"), mixed, height, width)[:, :, None]
    mixtures = torch.where(mask, image[:, :mixed], pool.image[rows, mate])
    painted = _painted(attempt, image[:, mixed:], draw.fold("paint"))
    made = torch.cat([mixtures, painted], dim=1).flatten(0, 1)
    row = rows.expand(-1, count).flatten()
    within = attempt.norm.project(made, attempt.x[row], attempt.eps[row])
    return Points(row, target.flatten(), within, within.new_full((len(row),), -torch.inf))


def _by_rank(pool: Pool, uniform: Float[Tensor, "samples count"]) -> Int[Tensor, "samples count"]:
    """Places of which the better ones are likelier: n u² for a uniform u."""
    filled = pool.filled[:, None]
    return (filled * uniform.square()).to(torch.int64).minimum(filled - 1).clamp(min=0)


def _mate(pool: Pool, target: Int[Tensor, "samples count"], draw: Draw) -> Int[Tensor, "samples count"]:
    """A random point of the pool for each, most often one that heads for the same class."""
    count, places = target.shape[1], pool.lead.shape[1]
    order = draw.fold("order").uniform(count, places)
    alike = pool.target[:, None, :] == target[:, :, None]
    free = (draw.fold("any").uniform(count) < _ANY_MATE)[:, :, None]
    there = (pool.lead > -torch.inf)[:, None, :]
    return torch.where((alike | free) & there, order, -1.0).argmax(2)


def _smooth(draw: Draw, count: int, height: int, width: int) -> Bool[Tensor, "samples count height width"]:
    """Where a random surface is above its middle height: linear between the points of a coarse grid."""
    grid = draw.uniform(count, _COARSE + 1, _COARSE + 1)
    down, across = (torch.linspace(0, _COARSE, size, device=grid.device) for size in (height, width))
    above, before = (line.floor().clamp(max=_COARSE - 1).to(torch.int64) for line in (down, across))
    lower, right = (down - above)[:, None], (across - before)[None, :]
    edges = [
        grid[:, :, above][..., before] * (1 - lower) * (1 - right),
        grid[:, :, above][..., before + 1] * (1 - lower) * right,
        grid[:, :, above + 1][..., before] * lower * (1 - right),
        grid[:, :, above + 1][..., before + 1] * lower * right,
    ]
    return edges[0] + edges[1] + edges[2] + edges[3] > 0.5


def _painted(
    attempt: Attempt, image: Float[Tensor, "samples count channels height width"], draw: Draw
) -> Float[Tensor, "samples count channels height width"]:
    """The same images, of each a random rectangle moved by the radius up or down, or to a grey value, per channel."""
    count, channels, height, width = image.shape[1:]
    inside = _rectangle(draw, count, height, width)[:, :, None]
    sign = signs(draw.fold("sign"), count, channels)[..., None, None]
    corner = attempt.x[:, None] + attempt.eps[:, None, None, None, None] * sign
    grey = draw.fold("grey").uniform(count, channels)[..., None, None].expand_as(image)
    to_corner = (draw.fold("kind").uniform(count) < 0.5)[..., None, None, None]
    return torch.where(inside, torch.where(to_corner, corner, grey), image)


def _rectangle(draw: Draw, count: int, height: int, width: int) -> Bool[Tensor, "samples count height width"]:
    low, size = _interval(draw.fold("rows"), count, height)
    left, breadth = _interval(draw.fold("columns"), count, width)
    row, column = (torch.arange(length, device=low.device) for length in (height, width))
    down = (row >= low[..., None]) & (row < (low + size)[..., None])
    across = (column >= left[..., None]) & (column < (left + breadth)[..., None])
    return down[..., :, None] & across[..., None, :]


def _interval(draw: Draw, count: int, length: int) -> tuple[Int[Tensor, "samples count"], Int[Tensor, "samples count"]]:
    """First place and length of a random interval."""
    smallest = min(_SMALLEST, length)
    largest = max(smallest, int(_LARGEST * length))
    uniform = draw.uniform(2, count)
    size = smallest + (uniform[:, 0] * (largest - smallest + 1)).to(torch.int64)
    return (uniform[:, 1] * (length - size + 1)).to(torch.int64), size


def random_corners(attempt: Attempt, draw: Draw, count: int) -> Images:
    """So many of each sample: every patch of a random grid moved up or down by the radius, sample by sample."""
    height, width = attempt.x.shape[2:]
    channels = attempt.x.shape[1]
    up = _smooth(draw, count * channels, height, width).view(-1, count, channels, height, width)
    moved = attempt.x[:, None] + attempt.eps[:, None, None, None, None] * (2 * up.to(attempt.x.dtype) - 1)
    row = torch.arange(len(attempt), device=attempt.x.device).repeat_interleave(count)
    return attempt.norm.project(moved.flatten(0, 1), attempt.x[row], attempt.eps[row])
