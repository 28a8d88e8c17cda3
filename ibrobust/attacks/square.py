"""Square (Andriushchenko et al. 2020): random search with square patches, from logits alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import RandomMoves
from ibrobust.attacks.restarts import closest_of
from ibrobust.errors import BadInput
from ibrobust.randomness import DrawsAhead, Noise
from ibrobust.types import Images, PerSample

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of 10,000 after which the patch's area is halved."""

_ROWS = 128
"""Rows of a batch, if so many queries can share one: fewer take almost as long."""

_AHEAD = 1 << 14
"""Queries of all samples whose random numbers are made together."""


def square(attempt: Attempt, *, queries: int, area: float, restarts: int) -> Images:
    """Random patches, each kept where it raises the margin; they cover a share `area` of the image and shrink."""
    moves, name = attempt.norm.moves, attempt.norm.name
    if moves is None:
        raise BadInput(f"attack 'square' cannot serve norm {name!r}: the norm has no moves for random search")
    attempt = replace(attempt, x=attempt.x.contiguous())

    def run(left: Tensor, restart: int) -> tuple[Images, PerSample, Bool[Tensor, " left"]]:
        return _walked(attempt.with_draw(attempt.draw.fold(restart))[left], moves, queries, area)

    return closest_of(attempt.x, (partial(run, restart=restart) for restart in range(restarts)))


def _walked(
    attempt: Attempt, moves: RandomMoves, queries: int, area: float
) -> tuple[Images, PerSample, Bool[Tensor, " batch"]]:
    """The image with the largest margin that one walk found, that margin, and which samples still stand."""
    x_adv = moves.start(attempt.x, attempt.eps, attempt.draw.fold("start"))
    best = margin(attempt.victim.logits(x_adv), attempt.y)
    walks = _Walks(attempt, moves, x_adv, best, torch.ones_like(attempt.y))
    for stretch in _stretches(queries, len(attempt)):
        walks.go(stretch, area / _shrunk(stretch.start / queries))
    return x_adv, best, best <= 0


def _stretches(queries: int, samples: int) -> Iterator[range]:
    """All queries behind the first, cut where the patch shrinks and where too many random numbers would be made."""
    start = 1
    while start < queries:
        stop = start + 1
        while stop < min(queries, start + _AHEAD // samples) and _shrunk(stop / queries) == _shrunk(start / queries):
            stop += 1
        yield range(start, stop)
        start = stop


def _shrunk(done: float) -> int:
    """By what the patch's area is divided after this share of the queries."""
    halvings: int = 2 ** sum(done * 10_000 > halving for halving in _HALVINGS)
    return halvings


@dataclass
class _Walks:
    """A walk of each sample. They need not be at the same query, as each has random numbers of its own: a walk's next
    queries share a batch as if none of them were kept, and those behind one that is kept are asked again.

    Attributes:
        x_adv, best: the image with the largest margin so far, and that margin; written in place.
        ahead: how many of a walk's queries may share a batch.
    """

    attempt: Attempt
    moves: RandomMoves
    x_adv: Images
    best: PerSample
    ahead: Int[Tensor, " batch"]

    def go(self, stretch: range, share: float) -> None:
        """Take every walk that has not ended through queries whose patches cover this share of the image."""
        standing = (self.best <= 0).nonzero().squeeze(1)
        draws = DrawsAhead(self.attempt.draw[standing], stretch)
        column = torch.zeros_like(self.ahead).scatter(0, standing, torch.arange(len(standing), device=standing.device))
        done = torch.where(self.best <= 0, 0, len(stretch))
        while len(rows := (done < len(stretch)).nonzero().squeeze(1)):
            count = self._at_once(rows, len(stretch) - done[rows])
            walk = rows.repeat_interleave(count)
            place = torch.arange(len(walk), device=rows.device) - (count.cumsum(0) - count).repeat_interleave(count)
            first = self._first_kept(walk, place, share, draws[done[walk] + place, column[walk]])[rows]
            asked = count.minimum(first + 1)
            done[rows], self.ahead[rows] = done[rows] + asked, 2 * asked
            done[self.best > 0] = len(stretch)

    def _at_once(self, rows: Tensor, left: Tensor) -> Int[Tensor, " rows"]:
        """How many of each walk's queries share a batch: one where noise is drawn, which goes by their order."""
        if self.attempt.victim.view.draws:
            return torch.ones_like(left)
        return self.ahead[rows].minimum(left).clamp(max=max(1, _ROWS // len(rows)))

    def _first_kept(self, walk: Tensor, place: Tensor, share: float, noise: Noise) -> Int[Tensor, " batch"]:
        """Ask the queries at these places of walks, and keep of each walk the first patch that raises its margin.

        Returns:
            that query's place, or one behind all; those behind it count as filling.
        """
        attempt, every = self.attempt, self.attempt.victim.view.draws > 0
        x, x_adv = attempt.x.index_select(0, walk), self.x_adv.index_select(0, walk)
        queried, tried = self.moves.patch(x, x_adv, attempt.eps[walk], share, noise, every)
        walk, place = walk[queried], place[queried]
        first = torch.full_like(self.ahead, _AHEAD)
        if not len(walk):
            return first
        value = margin(attempt.victim[walk].logits(tried), attempt.y[walk])
        rose = value > self.best[walk]
        first.scatter_reduce_(0, walk[rose], place[rose], "amin")
        attempt.victim.queries.not_needed(forward=int((place > first[walk]).sum()))
        kept = rose & (place == first[walk])
        self.x_adv[walk[kept]], self.best[walk[kept]] = tried[kept], value[kept]
        return first


SQUARE = Attack(square, black_box=True, settings={"queries": 5000, "area": 0.8, "restarts": 1})
