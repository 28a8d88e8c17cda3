"""Attacks on models whose gradients lead nowhere: through steps, averaged over neighbours, or from answers alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from ibrobust.attacks import Attack, Attempt
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import wide
from ibrobust.checks.interface import Case, Finding
from ibrobust.models.straight_through import straight_through
from ibrobust.types import Images

Uphill = Callable[[Attempt, Images, int, float], Images]
"""Which way the margin rises from some images, by the step's number and the share of the steps that is left."""

_NEIGHBOURS = 12
"""Points around an image whose gradients are averaged."""
_PAIRS = 25
"""Pairs of opposite points around an image from whose margins a gradient is estimated."""
_NEAR, _WIDE = 0.5, 4.0
"""Size of the neighbourhood, in radii, at the first step, for gradients and for answers; it shrinks to a tenth of that.
Answers that go in steps differ only between points that are far apart: of a vote of five networks 4 radii broke .34 of
the samples beyond the claim, 1 radius .18 and half a radius .09 (`benchmarks.audits`, "hard votes")."""


def margin_ascent(attempt: Attempt, uphill: Uphill, *, steps: int) -> Images:
    """Shrinking steps up the margin, from a random point of the ball; of each sample the image that came closest to a
    mistake. A sample leaves the batch at its first mistake."""
    closest, highest = attempt.x.clone(), torch.full_like(attempt.eps, -torch.inf)
    left, x_adv = torch.arange(len(attempt), device=attempt.x.device), attempt.random_start()
    for index in range(steps + 1):
        reached = margin(attempt.victim.logits(x_adv), attempt.y)
        better = reached > highest[left]
        closest[left[better]], highest[left[better]] = x_adv[better], reached[better]
        on = reached <= 0
        attempt, left, x_adv = attempt[on], left[on], x_adv[on]
        if index == steps or not len(left):
            break
        share = 1 - index / steps
        x_adv = attempt.projected(attempt.norm.step(x_adv, uphill(attempt, x_adv, index, share), share * attempt.eps))
    return closest


def _through_steps(attempt: Attempt, x_adv: Images, _index: int, _left: float) -> Images:
    through = replace(attempt.victim, view=straight_through(attempt.victim.view))
    return through.loss_gradient(x_adv, attempt.y, margin)[1]


def _of_neighbours(attempt: Attempt, x_adv: Images, index: int, left: float) -> Images:
    """The sum of unit gradients at points around the image: no steep one drowns the others."""
    total = torch.zeros_like(x_adv)
    for neighbour in range(_NEIGHBOURS):
        at = attempt.norm.start(x_adv, _NEAR * max(0.1, left) * attempt.eps, attempt.draw.fold(f"{index} {neighbour}"))
        gradient = attempt.victim.loss_gradient(at, attempt.y, margin)[1]
        largest = gradient.abs().flatten(1).amax(1)
        total += gradient / wide(torch.where(largest > 0, largest, 1))
    return total


def _estimated(attempt: Attempt, x_adv: Images, index: int, left: float) -> Images:
    """Differences of margins between opposite points (natural evolution strategies: Ilyas et al. 2018)."""
    total = torch.zeros_like(x_adv)
    for pair in range(_PAIRS):
        width = _WIDE * max(0.1, left) * attempt.eps
        to = attempt.norm.start(x_adv, width, attempt.draw.fold(f"{index} {pair}")) - x_adv
        ahead, behind = (attempt.victim.logits((x_adv + sign * to).clamp(0, 1)) for sign in (1, -1))
        total += wide(margin(ahead, attempt.y) - margin(behind, attempt.y)) * to
    return total


def _climb(uphill: Uphill, attempt: Attempt, *, steps: int) -> Images:
    return margin_ascent(attempt, uphill, steps=steps)


STAND_INS = {
    "straight-through": Attack(partial(_climb, _through_steps), settings={"steps": 60}),
    "neighbourhood": Attack(partial(_climb, _of_neighbours), settings={"steps": 30}),
    "answers": Attack(partial(_climb, _estimated), settings={"steps": 40}),
}
"""What a control tries where the claim's attacks fail."""
_FROM_ANSWERS = "answers"


def stand_ins_for(case: Case) -> dict[str, Attack]:
    """Those that serve a claim: none with noise, and where it rests on no gradient the one that asks for none."""
    if case.claimed.noisy:
        return {}
    return {name: attack for name, attack in STAND_INS.items() if case.claimed.gradients or name == _FROM_ANSWERS}


def through_steps(case: Case) -> Finding | None:
    """PGD on the margin whose gradients pass through roundings, comparisons, saturation and `detach`."""
    return _broken(case, "straight-through", "with gradients passed through every step that torch sees")


def neighbourhood(case: Case) -> Finding | None:
    """PGD on the margin by gradients that are averaged over points around the image. Not with noise, which averages."""
    return None if case.claimed.noisy else _broken(case, "neighbourhood", "with gradients averaged over neighbours")


def answers(case: Case) -> Finding | None:
    """PGD on the margin by a gradient that is estimated from answers. Not with noise, where each costs many passes."""
    return None if case.claimed.noisy else _broken(case, "answers", "with gradients estimated from answers alone")


def _broken(case: Case, name: str, how: str) -> Finding | None:
    chosen = case.claimed.survivors(case.radius)
    if not len(chosen) or not (case.claimed.gradients or name == _FROM_ANSWERS):
        return None
    broke = case.attacks.newly_broken({name: STAND_INS[name]}, chosen, case.radius)
    sentence = f"at ε = {case.radius:g} PGD on the margin {how} breaks another {{}} of the samples"
    return case.undercut(broke, chosen, "masked", sentence)
