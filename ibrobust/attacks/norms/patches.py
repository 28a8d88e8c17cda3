"""The patches of Square (Andriushchenko et al. 2020): squares for L∞, bumps that move about for L2 and L1."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.attacks.norms.interface import Queried, Tried
from ibrobust.randomness import Draw, Noise
from ibrobust.types import Images, PerSample


@dataclass(frozen=True)
class Budget:
    """How the lengths of changes add up in a norm.

    Attributes:
        power: lengths of changes of separate pixels add up as this power of them: squares in L2.
        within: (change, x, eps) → x changed so, the change's length brought to eps, cut with [0, 1].
    """

    power: int
    within: Callable[[Images, Images, PerSample], Images]

    def size(self, pixels: Float[Tensor, "batch channels pixels"]) -> Float[Tensor, "batch channels 1"]:
        """The length of each channel's pixels."""
        size: Tensor = torch.linalg.vector_norm(pixels, self.power, dim=2, keepdim=True).clamp(min=1e-12)
        return size

    def spent(self, lengths: Tensor) -> Tensor:
        """Lengths in the form in which they add up."""
        return lengths.square() if self.power == 2 else lengths.abs()

    def length(self, spent: Tensor) -> Tensor:
        """The length that so much makes."""
        return spent.sqrt() if self.power == 2 else spent


def worth_asking(old: Tensor, new: Tensor, every: bool) -> Queried:
    """Samples whose pixels the patch changes: the margin of the others is known already, and rises no more in a model
    without noise. On digits every other patch of one pixel is one, and a quarter of all."""
    return ((old != new).flatten(1).any(1) | every).nonzero().squeeze(1)


def signs(draw: Noise, *shape: int) -> Tensor:
    """±1."""
    return 2 * (draw.uniform(*shape) < 0.5).to(torch.float32) - 1


def corner(draw: Noise, height: int, width: int, side: int) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Row and column of a patch's upper left corner."""
    place = draw.uniform(2)
    room = place.new_tensor([height - side + 1, width - side + 1])
    row, column = (place * room).floor().minimum(room - 1).to(torch.int64).unbind(1)
    return row, column


def window(corner: tuple[Tensor, Tensor], side: int, width: int) -> Int[Tensor, "batch window"]:
    """Positions of a square in the flattened image."""
    row, column = corner
    offsets = torch.arange(side, device=row.device)
    return ((row[:, None, None] + offsets[:, None]) * width + column[:, None, None] + offsets).flatten(1)


def bump_grid(x: Images, eps: PerSample, draw: Draw, *, budget: Budget) -> Images:
    """A grid of bumps, a fifth of the image's height each, with random signs."""
    _, channels, height, width = x.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    sign = signs(draw.fold("sign"), channels, down, across)
    upright = draw.fold("turn").uniform(1, down, across) < 0.5
    bump = _bump(side, x.device)
    tiles = torch.where(upright[..., None, None], bump, bump.T) * sign[..., None, None]
    grid = torch.zeros_like(x)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    placed = tiles.permute(0, 1, 2, 4, 3, 5).reshape(len(x), channels, down * side, across * side)
    grid[:, :, top : top + down * side, left : left + across * side] = placed
    return budget.within(grid, x, eps)


def bump_patch(
    x: Images, x_adv: Images, eps: PerSample, share: float, draw: Noise, every: bool, *, budget: Budget
) -> tuple[Queried, Tried]:
    """Move the perturbation of one window, and what the budget leaves, into another as a bump of random sign."""
    _, channels, height, width = x.shape
    side = max(round(math.sqrt(share * height * width)), 3 if budget.power == 2 else 1)
    side = min(side + (side % 2 == 0), height, width)
    flat = (x_adv - x).flatten(2)
    target = window(corner(draw.fold("to"), height, width, side), side, width)
    source = window(corner(draw.fold("from"), height, width, side), side, width)
    old = flat.gather(2, target[:, None].expand(-1, channels, -1))
    both = torch.zeros_like(flat[:, 0], dtype=torch.bool).scatter(1, target, True).scatter(1, source, True)
    spent = budget.spent(flat)
    in_windows = (spent * both[:, None]).sum((1, 2))
    unused = (budget.spent(eps) - spent.sum((1, 2))).clamp(min=0)
    bump = _bump(side, x.device)
    upright = draw.fold("turn").uniform(1, 1) < 0.5
    new = torch.where(upright, bump.flatten(), bump.T.flatten()) * signs(draw.fold("sign"), channels, 1)
    new = new.view(len(x), channels, -1) + old / budget.size(old)
    new = new / budget.size(new) * budget.length(unused / channels + in_windows)[:, None, None]
    flat = flat.scatter(2, source[:, None].expand(-1, channels, -1), 0.0)
    flat = flat.scatter(2, target[:, None].expand(-1, channels, -1), new)
    tried = budget.within(flat.reshape(x.shape), x, eps)
    queried = worth_asking(x_adv, tried, every)
    return queried, tried[queried]


def _bump(side: int, device: torch.device) -> Float[Tensor, "side side"]:
    """Two pyramids of unit norm side by side, one up and one down."""
    first = side // 2
    halves = [sign * _pyramid(rows, side) for sign, rows in ((1, first), (-1, side - first)) if rows]
    bump: Tensor = torch.cat(halves)
    return bump.div(torch.linalg.vector_norm(bump)).to(device)


def _pyramid(height: int, width: int) -> Float[Tensor, "height width"]:
    """Rings around the middle: the k-th adds 1/k² to all that it encloses."""
    pyramid = torch.zeros(height, width)
    row, column = height // 2, width // 2
    for ring in range(max(height, width) // 2 + 1):
        top, left = max(row - ring, 0), max(column - ring, 0)
        pyramid[top : row + ring + 1, left : column + ring + 1] += 1 / (ring + 1) ** 2
    return pyramid.div(torch.linalg.vector_norm(pyramid))
