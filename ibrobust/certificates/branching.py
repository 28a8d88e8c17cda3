"""Certificates by branch and bound: a ball is cut at ReLUs until every part is certain, a counterexample turns up, or
the budget is used.

Cheap bounds come first: linear ones, optimised slopes, intervals of undecided ReLUs by optimised slopes of their own,
and only then cuts, of the parts with the lowest bounds first, several at a time.
"""

import heapq
from collections.abc import Callable, Iterable
from itertools import count

import torch
from torch import Tensor

from ibrobust.certificates.domains import Ball, Bounded, Domain, better_cuts, bounded
from ibrobust.certificates.effort import Budget
from ibrobust.certificates.linear_bounds import Network, linear_bounds
from ibrobust.certificates.refined import refined

_ROOT_STEPS, _STEPS, _LAST_STEPS = 20, 8, 60
"""Steps on a whole ball, on a part of it, and on one in which every ReLU is decided."""

_TOGETHER = 8
"""Domains cut at a time."""

Mistakes = Callable[[Tensor], bool]
"""Whether the model takes one of these images for another class than the label."""


def margins_proven(
    network: Network, ball: tuple[Tensor, Tensor], label: int, rounding: float, budget: Budget, mistakes: Mistakes
) -> bool:
    """Whether the label's margin over every other class is positive on all of a ball.

    Args:
        ball: lower and upper ends, (1, C, H, W) float64.
        rounding: by which share of the largest logit a margin must be above 0.
        mistakes: says which corners of the ball are misclassified: one of them ends the search.
    """
    with torch.no_grad():
        whole = Ball(linear_bounds(network, *ball), label)
    low, high = whole.bounds.box[-1]
    enough, classes = rounding * float(torch.maximum(low.abs(), high.abs()).max()), low.shape[1]
    open_domains = [Domain(target) for target in range(classes) if target != label]
    for refine in (False, True):
        if refine:
            whole = Ball(refined(whole, budget), label)
        answer = bounded(whole, open_domains, steps=_ROOT_STEPS, enough=_with_room(enough))
        open_domains = _open(answer, enough)
        if not open_domains:
            return True
        if mistakes(answer.corners) or not budget.left:
            return False
    return _branched(whole, open_domains, enough, budget, mistakes)


def _branched(ball: Ball, domains: Iterable[Domain], enough: float, budget: Budget, mistakes: Mistakes) -> bool:
    numbers = count()
    heap = [(domain.lower, next(numbers), domain) for domain in domains]
    heapq.heapify(heap)
    while heap:
        allowed = budget.take(2 * min(_TOGETHER, len(heap))) // 2
        if not allowed or not budget.left:
            return False
        worst = [heapq.heappop(heap)[2] for _ in range(allowed)]
        decided = [domain for domain in worst if not domain.candidates]
        if decided:
            # Nothing is left to cut, and the bound is that of a linear programme, if only it is optimised long enough.
            answer = bounded(ball, decided, steps=_LAST_STEPS, enough=_with_room(enough))
            if _open(answer, enough):
                return False
        pairs = (
            better_cuts(ball, [domain for domain in worst if domain.candidates]) if len(decided) < len(worst) else []
        )
        if not pairs:
            continue
        answer = bounded(ball, [side for pair in pairs for side in pair], steps=_STEPS, enough=_with_room(enough))
        for domain in _open(answer, enough):
            heapq.heappush(heap, (domain.lower, next(numbers), domain))
        if mistakes(answer.corners):
            return False
    return True


def _open(answer: Bounded, enough: float) -> list[Domain]:
    """Domains that are not certain."""
    return [domain for domain in answer.domains if not domain.lower > enough]


def _with_room(enough: float) -> float:
    """Where the search in float32 may stop: its bounds lack what roundings take."""
    return enough + 1e-4
