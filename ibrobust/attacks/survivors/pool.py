"""The points that a search keeps of each sample: the best ones, no two of them nearly the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.soft_ascent import Points
from ibrobust.types import Images

SAME = 0.98
"""Two points are nearly the same where this share of the pixels that one has moved was moved the same way by the
other, and the reverse."""


@dataclass(frozen=True)
class Pool:
    """The best points of each sample, the best first; a place that is empty has a lead of −inf.

    Attributes:
        image, target, lead: as `Points` has them.
        polished: whether the linear programme has been tried from there.
    """

    image: Float[Tensor, "samples places channels height width"]
    target: Int[Tensor, "samples places"]
    lead: Float[Tensor, "samples places"]
    polished: Bool[Tensor, "samples places"]

    def __getitem__(self, kept: Tensor) -> "Pool":
        return Pool(self.image[kept], self.target[kept], self.lead[kept], self.polished[kept])

    @property
    def filled(self) -> Int[Tensor, " samples"]:
        """How many places are not empty."""
        return (self.lead > -torch.inf).sum(1)

    @property
    def best(self) -> Images:
        """The point of each sample whose lead is largest."""
        return self.image[:, 0]

    def first(self, places: int) -> "Pool":
        """The best of its points, so many of each sample."""
        return Pool(*(getattr(self, name)[:, :places] for name in _FIELDS))

    def joined(self, other: "Pool", x: Images) -> "Pool":
        """The best points of both, in as many places as this one has.

        Args:
            x: the samples.
        """
        places = self.lead.shape[1]
        both = Pool(*(torch.cat([getattr(pool, name) for pool in (self, other)], dim=1) for name in _FIELDS))
        ordered = _taken(both, both.lead.argsort(dim=1, descending=True, stable=True))
        repeated = _repeated(ordered, x)
        distinct = repeated.to(torch.int8).argsort(dim=1, stable=True)[:, :places]
        return _taken(replace(ordered, lead=ordered.lead.masked_fill(repeated, -torch.inf)), distinct)


_FIELDS = ("image", "target", "lead", "polished")


def empty_pool(x: Images, places: int) -> Pool:
    """No point of any sample."""
    lead = x.new_full((len(x), places), -torch.inf)
    nothing = torch.zeros_like(lead, dtype=torch.int64)
    return Pool(x[:, None].expand(-1, places, -1, -1, -1), nothing, lead, nothing > 0)


def pool_of(points: Points, samples: int, *, polished: bool = False) -> Pool:
    """These points by sample, in their order; where one has fewer than another, its last places are empty."""
    count = torch.bincount(points.row, minlength=samples)
    order = points.row.argsort(stable=True)
    row = points.row[order]
    place = torch.arange(len(points), device=order.device) - (count.cumsum(0) - count)[row]
    places = int(count.max()) if samples else 0
    image = points.image.new_zeros(samples, places, *points.image.shape[1:])
    target, lead = points.target.new_zeros(samples, places), points.lead.new_full((samples, places), -torch.inf)
    image[row, place], target[row, place], lead[row, place] = (
        points.image[order],
        points.target[order],
        points.lead[order],
    )
    return Pool(image, target, lead, torch.full_like(target, polished, dtype=torch.bool))


def pools_of_all(pools: Sequence[Pool]) -> Pool:
    """The pools of several groups of samples as one."""
    return Pool(*(torch.cat([getattr(pool, name) for pool in pools]) for name in _FIELDS))


def _taken(pool: Pool, order: Tensor) -> Pool:
    rows = torch.arange(len(order), device=order.device)[:, None]
    return Pool(*(getattr(pool, name)[rows, order] for name in _FIELDS))


def _repeated(pool: Pool, x: Images) -> Bool[Tensor, "samples places"]:
    """Points that a better one of the same sample and target nearly repeats. Directions are compared: sums of −1, 0 and
    1 are exact in any order."""
    moved = torch.sign(pool.image - x[:, None]).flatten(2)
    alike = torch.bmm(moved, moved.transpose(1, 2))
    size = moved.abs().sum(2)
    near = alike >= SAME * torch.maximum(size[:, :, None], size[:, None, :])
    near &= pool.target[:, :, None] == pool.target[:, None, :]
    return torch.tril(near, diagonal=-1).any(2)
