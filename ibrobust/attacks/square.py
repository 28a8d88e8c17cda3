"""Square (Andriushchenko et al. 2020): random search with square patches, from logits alone."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import RandomMoves
from ibrobust.attacks.restarts import closest_of, together
from ibrobust.errors import BadInput
from ibrobust.randomness import Draw, DrawsAhead, OneAhead
from ibrobust.types import Images, PerSample

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of 10,000 after which the patch's area is halved."""

_AT_ONCE = 64
"""Queries whose random numbers are made together."""


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
    found = moves.start(attempt.x, attempt.eps, attempt.draw.fold("start"))
    x_adv, left = found.clone(), torch.arange(len(attempt), device=attempt.x.device)
    best = margin(attempt.victim.logits(x_adv), attempt.y)
    reached = best.clone()
    query = ahead = 1
    draws, every = _Foreseen(attempt.draw, queries), attempt.victim.view.draws > 0
    while query < queries:
        standing = best <= 0
        if not standing.all():
            draws = _Foreseen(attempt.draw[standing], queries)
            found[left], reached[left] = x_adv, best
            attempt, left, x_adv, best = attempt[standing], left[standing], x_adv[standing], best[standing]
        if not len(left):
            break
        # Of few samples several patches share a batch, as if none were kept. Noise is drawn in the order of queries.
        count = 1 if every else min(together(len(left)), ahead, queries - query)
        patches = [
            moves.patch(attempt.x, x_adv, attempt.eps, area / _shrunk(index / queries), draws[index], every)
            for index in range(query, query + count)
        ]
        done, rows, tried, value = _first_kept(attempt, patches, best)
        x_adv[rows], best[rows] = tried, value
        query, ahead = query + done, 2 * done
    found[left], reached[left] = x_adv, best
    return found, reached, reached <= 0


_Patch = tuple[Tensor, Tensor]
"""The samples of which something changes, and their images with it: as many as there are, patch by patch."""


def _shrunk(done: float) -> int:
    """By what the patch's area is divided after this share of the queries."""
    halvings: int = 2 ** sum(done * 10_000 > halving for halving in _HALVINGS)
    return halvings


class _Foreseen:
    """The random numbers of each query, made for many queries at a time."""

    def __init__(self, draw: Draw, queries: int) -> None:
        self._draw, self._queries, self._some = draw, queries, range(0)

    def __getitem__(self, query: int) -> OneAhead:
        if query not in self._some:
            self._some = range(query, min(query + _AT_ONCE, self._queries))
            self._ahead = DrawsAhead(self._draw, self._some)
        return self._ahead[query - self._some.start]


def _first_kept(attempt: Attempt, patches: Sequence[_Patch], best: PerSample) -> tuple[int, Tensor, Tensor, Tensor]:
    """How many patches are done with: all up to the first that raises a margin. Of that one the samples whose margin
    rises, their images and margins. The queries of those behind it count as filling."""
    rows, tried = torch.cat([rows for rows, _ in patches]), torch.cat([tried for _, tried in patches])
    if not len(rows):
        return len(patches), rows, tried, best[rows]
    value = margin(attempt.victim[rows].logits(tried), attempt.y[rows])
    rose = value > best[rows]
    if len(patches) == 1:
        return 1, rows[rose], tried[rose], value[rose]
    index = torch.arange(len(patches), device=rows.device).repeat_interleave(
        torch.tensor([len(some) for some, _ in patches], device=rows.device)
    )
    last = int(index[rose].min()) if rose.any() else len(patches) - 1
    attempt.victim.queries.not_needed(forward=int((index > last).sum()))
    kept = rose & (index == last)
    return last + 1, rows[kept], tried[kept], value[kept]


SQUARE = Attack(square, black_box=True, settings={"queries": 5000, "area": 0.8, "restarts": 1})
