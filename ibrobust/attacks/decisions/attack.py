"""The attack: corners of the ball in L∞; in L2 the boundary, from where a short search over corners ends."""

from dataclasses import replace

import torch

from ibrobust.attacks.decisions.normals import nearest_on_boundary
from ibrobust.attacks.decisions.signs import nearest_corner
from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.norms import wide
from ibrobust.errors import BadInput
from ibrobust.types import Images


def by_decisions(attempt: Attempt, *, queries: int, start: int, walks: int) -> Images:
    """The nearest misclassified image that so many decisions find.

    A sample of which none is found comes back as it is.

    Args:
        start: in L2, decisions of each walk that look for a misclassified image to begin with.
        walks: in L2, how many walks share a half of the decisions; the one that came nearest goes on.
    """
    attempt = replace(attempt, x=attempt.x.contiguous())
    if attempt.norm.name == "linf":
        return nearest_corner(attempt, queries)[0]
    if attempt.norm.name != "l2":
        raise BadInput(f"attack 'decision' cannot serve norm {attempt.norm.name!r}: it is for linf and l2")
    best, distance = attempt.x.clone(), torch.full_like(attempt.eps, torch.inf)
    each = queries // (2 * walks) if walks > 1 else min(start, queries)
    for walk in range(walks):
        again = attempt.with_draw(attempt.draw.fold(f"walk {walk}"))
        found, there = nearest_corner(again, min(start, each))
        found = nearest_on_boundary(again, found, there, each - start)
        reached = torch.where(there, attempt.norm.distance(found, attempt.x).to(distance.dtype), torch.inf)
        nearer = reached < distance
        best, distance = torch.where(wide(nearer), found, best), torch.where(nearer, reached, distance)
    return nearest_on_boundary(attempt, best, distance.isfinite(), queries - each * walks)


DECISION = Attack(
    by_decisions,
    minimal=True,
    black_box=True,
    decisions=True,
    noise=False,
    settings={"queries": 5000, "start": 100, "walks": 3},
)
