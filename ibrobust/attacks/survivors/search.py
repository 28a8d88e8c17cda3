"""The search itself: first points, generations, islands. What a sample's answer is depends on that sample alone."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks.filling import FULL
from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.norms import Norm
from ibrobust.attacks.soft_ascent import (
    Ascent,
    Closest,
    Points,
    climbed,
    joined_points,
    nothing_closer,
    towards,
    without_gates,
    wrong_lead,
)
from ibrobust.attacks.survivors.children import children, random_corners
from ibrobust.attacks.survivors.corners import FirstLayer, corner_starts, first_layer
from ibrobust.attacks.survivors.polish import MOST_PIXELS, vertex
from ibrobust.attacks.survivors.state import PLACES, REMEMBERED, State, first_state, set_aside, together
from ibrobust.errors import BadInput
from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw
from ibrobust.types import Images

SOFT = "soft-t"
CHILDREN = 24
CORNERS = 4
"""Points of a sample that switch a unit of the first layer, and are climbed from."""
RANDOM = 16
NEAREST = 3
"""Classes that random points head for: those whose lead came nearest."""
REACH = 0.1
"""A sample is left alone if nothing brought it nearer to a mistake than this share of the label's lead at the image."""
SLOPE = 0.001
"""What a ReLU that is off lets through: enough for a signed step to leave a plateau, too little to mislead."""
FIRST = Ascent(80, slope=SLOPE, kept=3)
SWITCHED = Ascent(20, width=0.0, slope=SLOPE, kept=2)
FILLING = Ascent(20, slope=SLOPE)
CHILD = Ascent(12, first=0.4, width=0.5, slope=SLOPE)
ACROSS = Ascent(10, first=0.04, width=0.0, slope=SLOPE)
"""The steps across the vertex that a linear programme has found."""
PATIENCE = 12
"""Generations without a rise after which an island is set aside."""
RISE = 0.002
"""What counts as a rise, in units of the label's lead at the image."""
UNION = 3
"""Every so many islands, the search goes on with the best points of all before."""
HOPE_AFTER = REMEMBERED - 1
"""Generations after which a search that is too short for another island asks whether it will get there."""
HOPE = 4.0
"""It goes on where this many times the pace of those generations would make a mistake before the end."""
AGREEING = 0.05
"""Three islands whose ends differ by no more than this share are the end of the search."""
_POOL_PIXELS = 2**24
"""Pixels of all pools that are held at a time."""


def survivors(attempt: Attempt, *, targets: int, generations: int) -> Images:
    """A population search: of each sample a pool of points; their children, each after a short ascent through softened
    ReLUs, take the places of the worst; where the network is piecewise linear, a linear programme polishes the best.

    Raises:
        BadInput: the model's answer depends on noise.
    """
    if attempt.victim.view.draws:
        raise BadInput("attack 'survivors' cannot serve a view with noise; leave it out, or take view 'mean'")
    if not len(attempt):
        return attempt.x
    layer = first_layer(attempt.victim.view, attempt.x[:1])
    at_once = max(1, _POOL_PIXELS // (PLACES * attempt.x[0].numel()))
    groups = torch.split(torch.arange(len(attempt), device=attempt.x.device), at_once)
    return torch.cat([_searched(attempt[rows], layer, targets, generations) for rows in groups])


def _searched(attempt: Attempt, layer: FirstLayer | None, targets: int, generations: int) -> Images:
    answers = nothing_closer(attempt)
    state = first_state(attempt, targets)
    state = _within_reach(answers, state, layer)
    state = _filled(answers, state, attempt.draw.fold("first")[state.place])
    for index in range(generations):
        if not len(state):
            break
        draw = attempt.draw.fold("generation").fold(index)[state.place]
        state, ends = _climbed(answers, state, children(state.attempt, state.pool, draw, CHILDREN), CHILD)
        state = state.joined(ends)
        if index % 2:
            state = _polished(answers, state)
        state = _renewed(answers, state, attempt.draw.fold("island").fold(index))
        state = _hopeful(state, generations - 1 - index)
    return answers.image


def _climbed(answers: Closest, state: State, start: Points, ascent: Ascent) -> tuple[State, Points]:
    """The samples that stand after these points have climbed, and where their points came to."""
    if not len(start):
        return state, start
    ends, standing = climbed(state.attempt, start, ascent)
    answers.note(state.place, ends)
    kept = ends[standing[ends.row]]
    return state[standing], replace(kept, row=(standing.cumsum(0) - 1)[kept.row])


def _within_reach(answers: Closest, state: State, layer: FirstLayer | None) -> State:
    """The samples that something brought near to a mistake: corners that switch a unit of the first layer, ascents
    towards each target, the ends of attacks before this one. Where soft ascents have been among those, new ones are
    made only for what they brought near."""
    if layer is not None:
        state, ends = _climbed(answers, state, corner_starts(state.attempt, layer, CORNERS), SWITCHED)
        state = state.joined(ends)
    if not len(state):
        return state
    before = _ends(state)
    answers.note(state.place, before)
    state = state.joined(before)
    if SOFT in state.whole.ends:
        state = state[_near(answers, state)]
    start = towards(state.attempt, state.targets, state.attempt.random_start())
    state, ends = _climbed(answers, state, start, FIRST)
    state = state.joined(ends)
    return state[_near(answers, state)]


def _near(answers: Closest, state: State) -> Bool[Tensor, " samples"]:
    """Samples that still stand, and that something brought near to a mistake."""
    lead = answers.lead[state.place]
    return (lead >= -REACH * state.gap) & (lead <= 0)


def _ends(state: State) -> Points:
    """Where attacks before this one came to, drawn into the ball."""
    attempt = state.attempt
    found = []
    for images in attempt.ends.values():
        image = attempt.projected(images)
        lead, target = wrong_lead(replace(attempt.victim, filling=FULL).logits(image), attempt.y)
        found.append(Points(torch.arange(len(state), device=image.device), target, image, lead))
    return joined_points(found, attempt.x)


def _filled(answers: Closest, state: State, draw: Draw) -> State:
    """With random points in the pool, which head for the classes that came nearest."""
    if not len(state):
        return state
    nearest = _nearest_targets(state)
    row = torch.arange(len(state), device=nearest.device).repeat_interleave(RANDOM)
    chosen = (draw.fold("target").uniform(RANDOM).square() * nearest.shape[1]).to(torch.int64)
    image = random_corners(state.attempt, draw.fold("corner"), RANDOM)
    start = Points(row, nearest.gather(1, chosen).flatten(), image, torch.full_like(image[:, 0, 0, 0], -torch.inf))
    state, ends = _climbed(answers, state, start, FILLING)
    return state.joined(ends)


def _nearest_targets(state: State) -> Int[Tensor, "samples nearest"]:
    """The targets whose points lead most; those that no point heads for come last."""
    heads = state.pool.target[:, :, None] == state.targets[:, None, :]
    lead = torch.where(heads, state.pool.lead[:, :, None], -torch.inf).amax(1)
    order = lead.argsort(dim=1, descending=True, stable=True)[:, :NEAREST]
    return state.targets.gather(1, order)


def _polished(answers: Closest, state: State) -> State:
    """With the linear programme's answer from the best point of each sample that it has not been tried from."""
    if _not_polished(state.whole.norm, state.whole.x):
        return state
    fresh = ~state.pool.polished & (state.pool.lead > -torch.inf)
    rows, found = fresh.any(1).nonzero().squeeze(1), []
    place = fresh[rows].to(torch.int8).argmax(1)
    for row, at in zip(rows[:, None], place, strict=True):
        image, target = state.pool.image[row, at], state.pool.target[row, at]
        best = vertex(state.attempt[row], image, target)
        if best is not None:
            found.append(Points(row, target, best, torch.full_like(best[:, 0, 0, 0], -torch.inf)))
    tried = state.pool.polished.index_put((rows, place), torch.ones_like(rows, dtype=torch.bool))
    state = replace(state, pool=replace(state.pool, polished=tried))
    state, ends = _climbed(answers, state, joined_points(found, state.attempt.x), ACROSS)
    return state.joined(ends, polished=True)


def _not_polished(norm: Norm, x: Images) -> str | None:
    """Why there is no linear programme for these images."""
    if norm.name != "linf":
        return f"its balls are boxes in norm 'linf' alone, and this is {norm.name!r}"
    size = x[0].numel()
    return f"an image has {size} values, and it takes {MOST_PIXELS} at most" if size > MOST_PIXELS else None


def _without(view: View, x: Images, norm: Norm) -> list[str]:
    if plainly := without_gates(view, x, norm):
        return [*plainly, "runs without its linear programme and without starts that switch units for the same reason"]
    reason = _not_polished(norm, x)
    return [f"runs without its linear programme: {reason}"] if reason else []


def _hopeful(state: State, left: int) -> State:
    """Without the samples that so many generations will hardly break: they are too few for another island, and the best
    lead rises too slowly. What is looked at is the sample's own pool alone."""
    lead = state.pool.lead[:, :1]
    state = replace(state, leads=torch.cat([state.leads[:, 1:], lead], dim=1))
    if left >= PATIENCE:
        return state
    before, now = state.leads[:, 0], state.leads[:, -1]
    pace = (now - before) / HOPE_AFTER  # Infinite before there are so many generations.
    return state[now + HOPE * left * pace > 0]


def _renewed(answers: Closest, state: State, draw: Draw) -> State:
    """Where the best lead has not risen for a while, the pool's best points are put aside and it begins anew; samples
    whose last three islands ended alike are given up."""
    if not len(state):
        return state
    lead = state.pool.lead[:, 0]
    rose = lead > state.reached + RISE * state.gap
    age = torch.where(rose, 0, state.age + 1)
    state = replace(state, reached=torch.where(rose, lead, state.reached), age=age)
    old = age >= PATIENCE
    if not old.any():
        return state
    ended = set_aside(state[old])
    agree = (ended.ends.amax(1) - ended.ends.amin(1)) <= AGREEING * ended.ends.amax(1).abs()
    ended = ended[~agree]
    united = ended.islands % UNION == 0
    fresh = _filled(answers, ended[~united], draw.fold("anew")[ended[~united].place])
    going_on = replace(ended[united], pool=ended[united].aside)
    return together([state[~old], fresh, going_on])


SURVIVORS = Attack(
    survivors,
    standing=True,
    noise=False,
    targets=False,
    left_out=_without,
    settings={"targets": 9, "generations": 12},
)
