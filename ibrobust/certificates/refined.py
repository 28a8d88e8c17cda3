"""Intervals of undecided ReLUs by linear bounds whose slopes are optimised for each of them."""

from dataclasses import replace

import torch
from torch import Tensor

from ibrobust.certificates.domains import Ball, raise_bounds
from ibrobust.certificates.effort import Budget
from ibrobust.certificates.forms import Form
from ibrobust.certificates.linear_bounds import Bounds, Choice

_STEPS, _SLOPE_STEP, _DECAY = 6, 0.4, 0.7
"""Adam's steps for each end of an interval."""

_MOST = 256
"""Entries of a layer that are refined, the widest first."""

_TOGETHER = 64


def refined(ball: Ball, budget: Budget) -> Bounds:
    """The ball's bounds with narrower boxes of what enters ReLUs behind the first layer, from the first to the last.

    Where only time limits the budget and it ends, the rest stays as it is.
    """
    bounds = replace(ball.bounds, box=list(ball.bounds.box))
    for source in sorted(set(ball.relus.values())):
        earlier = [relu for relu in ball.relus if relu < source]
        if not earlier or source == 0:
            continue
        now = Ball(bounds, ball.label)
        low, high = (bound.flatten().clone() for bound in bounds.box[source])
        areas = torch.where(now.undecided(source), -low * high, torch.zeros_like(low))
        entries = areas.topk(min(_MOST, len(areas))).indices
        entries = entries[areas[entries] > 0].sort().values
        for chosen in torch.split(entries, _TOGETHER):
            if not len(chosen) or not budget.left:
                break
            low[chosen] = torch.maximum(low[chosen], _least(now, source, chosen, 1.0))
            high[chosen] = torch.minimum(high[chosen], -_least(now, source, chosen, -1.0))
        shape = bounds.box[source][0].shape
        bounds.box[source] = low.view(shape), high.view(shape)
    return bounds


def _least(ball: Ball, source: int, entries: Tensor, sign: float) -> Tensor:
    """Lower bounds of sign · value for some entries of a value, in float64."""
    rough = ball.rough
    relus = [relu for relu in ball.relus if relu < source]
    slopes = {relu: ball.usual_slopes(relu).repeat(len(entries), 1).requires_grad_() for relu in relus}
    best = {relu: slope.detach().clone() for relu, slope in slopes.items()}
    best_lower = torch.full((len(entries),), -torch.inf, device=entries.device)
    optimizer = torch.optim.Adam(list(slopes.values()), lr=_SLOPE_STEP)
    form = _entries(ball, source, entries, sign, torch.float32)
    for step in range(_STEPS + 1):
        with torch.enable_grad():
            lower = _bounds(rough, slopes, torch.float32, len(entries)).back(form, source)[:, 0]
        better = lower.detach() > best_lower
        best_lower = torch.where(better, lower.detach(), best_lower)
        best = {relu: torch.where(better[:, None], slopes[relu].detach(), best[relu]) for relu in relus}
        if step == _STEPS or not lower.requires_grad:
            break
        raise_bounds(optimizer, lower, slopes, _DECAY)
    with torch.no_grad():
        whole = _bounds(ball.bounds, best, torch.float64, len(entries))
        lower = whole.back(_entries(ball, source, entries, sign, torch.float64), source)[:, 0]
    return lower.nan_to_num(-torch.inf, torch.inf, -torch.inf)


def _bounds(bounds: Bounds, slopes: dict[int, Tensor], dtype: torch.dtype, count: int) -> Bounds:
    box = [(low.expand(count, *low.shape[1:]), high.expand(count, *high.shape[1:])) for low, high in bounds.box]
    shaped = {relu: slope.to(dtype).view(count, *box[relu][0].shape[1:]) for relu, slope in slopes.items()}
    return replace(bounds, box=box, choice=Choice(shaped))


def _entries(ball: Ball, source: int, entries: Tensor, sign: float, dtype: torch.dtype) -> Form:
    """Each entry as a form of its value, a row each."""
    shape = ball.bounds.box[source][0].shape[1:]
    flat = torch.zeros(len(entries), shape.numel(), dtype=dtype, device=entries.device)
    flat[torch.arange(len(entries), device=entries.device), entries] = sign
    return Form(flat.view(len(entries), 1, *shape), flat.new_zeros(len(entries), 1), None)
