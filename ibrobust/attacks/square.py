"""Square (Andriushchenko et al. 2020): random search with square patches, from logits alone."""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import RandomMoves
from ibrobust.attacks.restarts import closest_of
from ibrobust.errors import BadInput
from ibrobust.types import Images, PerSample

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of 10,000 after which the patch's area is halved."""


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
    for query in range(1, queries):
        standing = best <= 0
        if not standing.all():
            found[left], reached[left] = x_adv, best
            attempt, left, x_adv, best = attempt[standing], left[standing], x_adv[standing], best[standing]
        if not len(left):
            break
        share = area / 2 ** sum(query / queries * 10_000 > halving for halving in _HALVINGS)
        every, draw = attempt.victim.view.draws > 0, attempt.draw.fold(query)
        asked, tried = moves.patch(attempt.x, x_adv, attempt.eps, share, draw, every)
        if not len(asked):
            continue
        value = margin(attempt.victim[asked].logits(tried), attempt.y[asked])
        rose = value > best[asked]
        x_adv[asked[rose]] = tried[rose]
        best[asked[rose]] = value[rose]
    found[left], reached[left] = x_adv, best
    return found, reached, reached <= 0


SQUARE = Attack(square, black_box=True, settings={"queries": 5000, "area": 0.8, "restarts": 1})
