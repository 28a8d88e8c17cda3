"""Square (Andriushchenko et al. 2020): random search with square patches, from logits alone."""

from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from ibrobust.attacks.interface import Attack
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import Norm
from ibrobust.attacks.restarts import closest_of
from ibrobust.attacks.victim import Victim
from ibrobust.errors import BadInput
from ibrobust.randomness import Draw
from ibrobust.types import Images, Labels, PerSample

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of 10,000 after which the patch's area is halved."""


def square(
    victim: Victim,
    x: Images,
    y: Labels,
    eps: PerSample,
    draw: Draw,
    norm: Norm,
    *,
    queries: int,
    area: float,
    restarts: int,
) -> Images:
    """Random patches, each kept where it raises the margin; they cover a share `area` of the image and shrink."""
    if norm.moves is None:
        raise BadInput(f"attack 'square' cannot serve norm {norm.name!r}: the norm has no moves for random search")
    x = x.contiguous()

    def run(left: Tensor, restart: int) -> tuple[Images, PerSample, Bool[Tensor, " left"]]:
        walk = draw[left].fold(restart)
        return _walked(victim[left], x[left], y[left], eps[left], walk, norm, queries, area)

    return closest_of(x, (partial(run, restart=restart) for restart in range(restarts)))


def _walked(
    victim: Victim, x: Images, y: Labels, eps: PerSample, draw: Draw, norm: Norm, queries: int, area: float
) -> tuple[Images, PerSample, Bool[Tensor, " batch"]]:
    """The image with the largest margin that one walk found, that margin, and which samples still stand."""
    assert norm.moves is not None, "checked above"
    found = norm.moves.start(x, eps, draw.fold("start"))
    x_adv, left = found.clone(), torch.arange(len(x), device=x.device)
    best = margin(victim.logits(x_adv), y)
    reached = best.clone()
    for query in range(1, queries):
        standing = best <= 0
        if not standing.all():
            found[left], reached[left] = x_adv, best
            left, x, y, eps, draw = left[standing], x[standing], y[standing], eps[standing], draw[standing]
            victim, x_adv, best = victim[standing], x_adv[standing], best[standing]
        if not len(left):
            break
        share = area / 2 ** sum(query / queries * 10_000 > halving for halving in _HALVINGS)
        asked, tried = norm.moves.patch(x, x_adv, eps, share, draw.fold(query), victim.view.draws > 0)
        if not len(asked):
            continue
        value = margin(victim[asked].logits(tried), y[asked])
        rose = value > best[asked]
        x_adv[asked[rose]] = tried[rose]
        best[asked[rose]] = value[rose]
    found[left], reached[left] = x_adv, best
    return found, reached, reached <= 0


SQUARE = Attack(square, black_box=True, settings={"queries": 5000, "area": 0.8, "restarts": 1})
