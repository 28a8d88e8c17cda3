"""The search itself: first points, generations, islands. What a sample's answer is depends on that sample alone."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.filling import FULL
from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.soft_ascent import (
    Ascent,
    Closest,
    Points,
    climbed,
    joined_points,
    nothing_closer,
    towards,
    wrong_lead,
)
from ibrobust.attacks.survivors.children import children, random_corners
from ibrobust.attacks.survivors.corners import FirstLayer, corner_starts, first_layer
from ibrobust.attacks.survivors.polish import MOST_PIXELS, vertex
from ibrobust.attacks.survivors.pool import Pool, empty_pool, pool_of, pools_of_all
from ibrobust.attacks.targets import likely_targets
from ibrobust.errors import BadInput
from ibrobust.randomness import Draw
from ibrobust.types import Images, PerSample

SOFT = "soft-t"
PLACES = 32
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
SWITCHED = Ascent(20, width=0.0, slope=SLOPE)
FILLING = Ascent(20, slope=SLOPE)
CHILD = Ascent(12, first=0.4, width=0.5, slope=SLOPE)
ACROSS = Ascent(10, first=0.04, width=0.0, slope=SLOPE)
"""The steps across the vertex that a linear programme has found."""
PATIENCE = 12
"""Generations without a rise after which an island is set aside."""
RISE = 0.002
"""What counts as a rise, in units of the label's lead at the image."""
KEPT = 12
UNION = 3
"""Every so many islands, the search goes on with the best points of all before."""
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
    state = _first_state(attempt, targets)
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
    return answers.image


@dataclass(frozen=True)
class _State:
    """The samples that still stand.

    Attributes:
        whole: the samples that the search began with.
        place: which of them each is.
        targets: the classes that points may head for, likeliest first.
        gap: by how much the label leads at the image itself.
        pool: its points.
        aside: the best points of the islands before.
        reached: the pool's best lead when it last rose.
        age: generations since.
        ends: the best leads of the last three islands.
        islands: how many there have been.
    """

    whole: Attempt
    place: Int[Tensor, " samples"]
    targets: Int[Tensor, "samples targets"]
    gap: PerSample
    pool: Pool
    aside: Pool
    reached: PerSample
    age: Int[Tensor, " samples"]
    ends: Float[Tensor, "samples 3"]
    islands: Int[Tensor, " samples"]

    def __getitem__(self, kept: Tensor) -> "_State":
        return _State(self.whole, *(getattr(self, name)[kept] for name in _PER_SAMPLE))

    def __len__(self) -> int:
        return len(self.place)

    @property
    def attempt(self) -> Attempt:
        return self.whole[self.place]

    def joined(self, points: Points, *, polished: bool = False) -> "_State":
        """With these points in the pool, as far as they are among the best."""
        more = pool_of(points, len(self), polished=polished)
        return replace(self, pool=self.pool.joined(more, self.whole.x[self.place]))


_PER_SAMPLE = [field.name for field in fields(_State)][1:]


def _first_state(attempt: Attempt, targets: int) -> _State:
    everyone = torch.arange(len(attempt), device=attempt.x.device)
    gap = -wrong_lead(attempt.victim.clean_logits(attempt.x), attempt.y)[0]
    empty, none, zero = empty_pool(attempt.x, PLACES), torch.full_like(gap, -torch.inf), torch.zeros_like(everyone)
    ends = none[:, None].expand(-1, 3)
    return _State(attempt, everyone, likely_targets(attempt, targets), gap, empty, empty, none, zero, ends, zero)


def _climbed(answers: Closest, state: _State, start: Points, ascent: Ascent) -> tuple[_State, Points]:
    """The samples that stand after these points have climbed, and where their points came to."""
    if not len(start):
        return state, start
    ends, standing = climbed(state.attempt, start, ascent)
    answers.note(state.place, ends)
    kept = ends[standing[ends.row]]
    return state[standing], replace(kept, row=(standing.cumsum(0) - 1)[kept.row])


def _within_reach(answers: Closest, state: _State, layer: FirstLayer | None) -> _State:
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


def _near(answers: Closest, state: _State) -> Bool[Tensor, " samples"]:
    """Samples that still stand, and that something brought near to a mistake."""
    lead = answers.lead[state.place]
    return (lead >= -REACH * state.gap) & (lead <= 0)


def _ends(state: _State) -> Points:
    """Where attacks before this one came to, drawn into the ball."""
    attempt = state.attempt
    found = []
    for images in attempt.ends.values():
        image = attempt.projected(images)
        lead, target = wrong_lead(replace(attempt.victim, filling=FULL).logits(image), attempt.y)
        found.append(Points(torch.arange(len(state), device=image.device), target, image, lead))
    return joined_points(found, attempt.x)


def _filled(answers: Closest, state: _State, draw: Draw) -> _State:
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


def _nearest_targets(state: _State) -> Int[Tensor, "samples nearest"]:
    """The targets whose points lead most; those that no point heads for come last."""
    heads = state.pool.target[:, :, None] == state.targets[:, None, :]
    lead = torch.where(heads, state.pool.lead[:, :, None], -torch.inf).amax(1)
    order = lead.argsort(dim=1, descending=True, stable=True)[:, :NEAREST]
    return state.targets.gather(1, order)


def _polished(answers: Closest, state: _State) -> _State:
    """With the linear programme's answer from the best point of each sample that it has not been tried from."""
    if state.attempt.norm.name != "linf" or state.attempt.x[0].numel() > MOST_PIXELS:
        return state
    fresh = ~state.pool.polished & (state.pool.lead > -torch.inf)
    rows, found = fresh.any(1).nonzero().squeeze(1), []
    place = fresh[rows].to(torch.int8).argmax(1)
    for row, at in zip(torch.split(rows, 1), place, strict=True):
        image, target = state.pool.image[row, at], state.pool.target[row, at]
        best = vertex(state.attempt[row], image, target)
        if best is not None:
            found.append(Points(row, target, best, torch.full_like(best[:, 0, 0, 0], -torch.inf)))
    tried = state.pool.polished.index_put((rows, place), torch.ones_like(rows, dtype=torch.bool))
    state = replace(state, pool=replace(state.pool, polished=tried))
    state, ends = _climbed(answers, state, joined_points(found, state.attempt.x), ACROSS)
    return state.joined(ends, polished=True)


def _renewed(answers: Closest, state: _State, draw: Draw) -> _State:
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
    ended = _set_aside(state[old])
    agree = (ended.ends.amax(1) - ended.ends.amin(1)) <= AGREEING * ended.ends.amax(1).abs()
    ended = ended[~agree]
    united = ended.islands % UNION == 0
    fresh = _filled(answers, ended[~united], draw.fold("anew")[ended[~united].place])
    going_on = replace(ended[united], pool=ended[united].aside)
    return _together([state[~old], fresh, going_on])


def _set_aside(state: _State) -> _State:
    """With the best points of the pool put aside, and nothing in it."""
    kept = state.pool.first(KEPT)
    x = state.whole.x[state.place]
    return replace(
        state,
        aside=state.aside.joined(kept, x),
        pool=empty_pool(x, PLACES),
        ends=torch.cat([state.ends[:, 1:], state.pool.lead[:, :1]], dim=1),
        islands=state.islands + 1,
        reached=torch.full_like(state.reached, -torch.inf),
        age=torch.zeros_like(state.age),
    )


def _together(states: Sequence[_State]) -> _State:
    """All samples of these, in the order in which they were at first."""
    merged: dict[str, Any] = {}
    for name in _PER_SAMPLE:
        values = [getattr(state, name) for state in states]
        merged[name] = pools_of_all(values) if isinstance(values[0], Pool) else torch.cat(values)
    whole = replace(states[0], **merged)
    return whole[whole.place.argsort()]


SURVIVORS = Attack(survivors, standing=True, noise=False, settings={"targets": 9, "generations": 12})
