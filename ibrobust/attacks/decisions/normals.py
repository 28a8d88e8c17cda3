"""Search along the boundary in L2: decisions about small random changes say which way is uphill (HopSkipJump, Chen,
Jordan & Wainwright 2020), and the next point lies on the half circle between the sample and the boundary's tangent
(after CGBA, Reza et al. 2023), cut with [0, 1]."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.norms import wide
from ibrobust.randomness import Draw
from ibrobust.types import Images, PerSample

FIRST_QUERIES = 30
"""Queries for the first normal; the t-th takes √t times as many."""
CHANGE = 0.02
"""Length of the random changes, as a share of the distance."""
_TURNS, _HALVINGS = 6, 12
"""Queries on the half circle, and on the way from there to the sample."""
_FEWEST = 8
_AT_ONCE = 32
"""Changes of each sample that are asked about at a time."""
_PIXELS_AT_ONCE = 2**23
"""Pixels of the images that are asked about at a time: memory does not grow with the samples."""


def nearest_on_boundary(attempt: Attempt, start: Images, there: Bool[Tensor, " batch"], queries: int) -> Images:
    """From a misclassified image of each sample to the nearest one that so many queries find; samples without one keep
    what they have."""
    found, size = start.clone(), max(1, _PIXELS_AT_ONCE // (_AT_ONCE * start[0].numel()))
    for rows in torch.split(there.nonzero().squeeze(1), size):
        found[rows] = _walked(_Walk(attempt[rows]), start[rows], queries)
    return found


def _walked(walk: "_Walk", start: Images, queries: int) -> Images:
    if not len(start) or queries < _HALVINGS:
        return start
    point = walk.towards_sample(start, _HALVINGS)
    left, turn = queries - _HALVINGS, 0
    while (count := min(int(FIRST_QUERIES * (turn + 1) ** 0.5), left - _TURNS - _HALVINGS)) >= _FEWEST:
        normal = walk.normal(point, count, turn)
        point = walk.towards_sample(walk.turned(point, normal), _HALVINGS)
        left, turn = left - count - _TURNS - _HALVINGS, turn + 1
    return point


@dataclass(frozen=True)
class _Walk:
    """Samples on their way along the boundary."""

    attempt: Attempt

    def wrong(self, images: Images, rows: Tensor | None = None) -> Bool[Tensor, " images"]:
        attempt = self.attempt if rows is None else self.attempt[rows]
        return attempt.victim.logits(images).argmax(1) != attempt.y

    def towards_sample(self, point: Images, halvings: int) -> Images:
        """The misclassified point nearest to the sample that halving the way between finds."""
        x = self.attempt.x
        low, high = torch.zeros_like(self.attempt.eps), torch.ones_like(self.attempt.eps)
        for _ in range(halvings):
            middle = (low + high) / 2
            wrong = self.wrong(x + wide(middle) * (point - x))
            low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
        return torch.where(wide(high < 1), x + wide(high) * (point - x), point)

    def normal(self, point: Images, count: int, turn: int) -> Images:
        """The direction in which random changes around a point of the boundary are misclassified, of length 1."""
        length = CHANGE * _length(point - self.attempt.x)
        sums, votes, moves = torch.zeros_like(point), torch.zeros_like(length), torch.zeros_like(point)
        for first in range(0, count, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, count))
            changes = self._changes(turn, numbers)
            images = point + length.view(-1, 1, 1, 1) * changes
            rows = torch.arange(len(point), device=point.device).repeat(len(numbers))
            wrong = self.wrong(images.clamp(0, 1).flatten(0, 1), rows).view(len(numbers), -1)
            # One after the other, so that the last bits of a sum are the same however many samples there are.
            for change, vote in zip(changes, torch.where(wrong, 1.0, -1.0), strict=True):
                sums, votes, moves = sums + vote.view(-1, 1, 1, 1) * change, votes + vote, moves + change
        mean = votes / count
        # Less the mean: where most votes agree, they say little. Where all do, they are all there is.
        estimate = torch.where(wide(mean.abs() < 1), sums - wide(mean) * moves, sums)
        return estimate / wide(_length(estimate).clamp(min=1e-12))

    def _changes(self, turn: int, numbers: range) -> Float[Tensor, "numbers batch channels height width"]:
        """A random direction for each number and sample, of length 1."""
        keys = self.attempt.draw.fold(f"normal {turn}").keys
        number = torch.tensor(numbers, device=keys.device).repeat_interleave(len(keys))
        uniform = Draw(keys.repeat(len(numbers))).fold(number).uniform(*self.attempt.x.shape[1:])
        change = 2 * uniform - 1
        change = change / wide(_length(change).clamp(min=1e-12))
        return change.view(len(numbers), -1, *change.shape[1:])

    def turned(self, point: Images, normal: Images) -> Images:
        """The nearest misclassified point that is found among the points of [0, 1] nearest to the sample on planes
        through a point of the boundary: from the plane that faces the sample to the tangent, and beyond."""
        x, norm = self.attempt.x, self.attempt.norm
        away = point - x
        facing = away / wide(_length(away).clamp(min=1e-12))
        best, distance = point, norm.distance(point, x)
        good, bad = torch.zeros_like(self.attempt.eps), torch.full_like(self.attempt.eps, torch.inf)
        turn = torch.ones_like(good)
        for _ in range(_TURNS):
            across = (1 - wide(turn)) * facing + wide(turn) * normal
            rise = (across * away).flatten(1).sum(1)
            change = norm.shortest_change(x.flatten(1), across.flatten(1), rise).reshape(x.shape)
            tried = (x + change).clamp(0, 1)
            wrong, reached = self.wrong(tried), norm.distance(tried, x)
            nearer = wrong & (reached < distance)
            best, distance = torch.where(wide(nearer), tried, best), torch.where(nearer, reached, distance)
            good, bad = torch.where(wrong, turn, good), torch.where(wrong, bad, turn)
            turn = torch.where(bad.isinf(), 1.5 * good, (good + bad) / 2)
        return best


def _length(change: Images) -> PerSample:
    length: PerSample = torch.linalg.vector_norm(change.flatten(1), dim=1)
    return length
