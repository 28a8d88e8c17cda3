"""Search over the corners of the L∞ ball: each pixel up or down, all equally far (after RayS, Chen & Gu 2020).

The distance of a direction is a number that decisions alone can find; of two directions, one query at the shorter
distance says which is better. Directions change in squares of pixels, the largest first, and then in rectangles
anywhere.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.norms import wide
from ibrobust.randomness import Draw
from ibrobust.types import Images, PerSample

PATTERNS = 40
"""Random patterns that are tried first, of 1, 2², 4² and 8² squares in turn."""
TOLERANCE = 1e-3
"""Relative precision of a distance, and the least that a new direction has to be nearer."""
_FIRST, _GROWTH = 0.01, 4.0
"""A direction that is nearer is tried 1 % nearer, then 4 %, …: most are hardly nearer than the one before."""
_HALF = 0.5
FREE_SEARCHES = 2
"""From other patterns each, for any mistake, as long as queries last."""
SEARCHES = 12
"""With those behind them, for which the classes that earlier ones came to are no mistake."""
_FRUITLESS = 2
"""Sweeps over all squares' number of directions after which a sample that none brought nearer is finished."""

Indices = Int[Tensor, " some"]


@dataclass
class _Search:
    """Where each sample is: its best direction and distance, the direction in question, and its distance's bracket.

    `reached` is the class there, -1 where there is none; `known` the classes that each of the searches before came to.
    """

    sample: Int[Tensor, " left"]
    search: Int[Tensor, " left"]
    direction: Images
    distance: PerSample
    trial: Images
    low: PerSample
    ratio: PerSample
    tried: Int[Tensor, " left"]
    since: Int[Tensor, " left"]
    halving: Bool[Tensor, " left"]
    reached: Int[Tensor, " left"]
    known: Int[Tensor, "left searches"]

    @property
    def barred(self) -> Int[Tensor, "left searches"]:
        """The classes that are no mistake; -1 is none."""
        return torch.where(self.search[:, None] < FREE_SEARCHES, -1, self.known)

    def __getitem__(self, kept: Bool[Tensor, " left"]) -> "_Search":
        return _Search(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})


def nearest_corner(attempt: Attempt, queries: int) -> tuple[Images, Bool[Tensor, " batch"]]:
    """The nearest misclassified image of the form x ± distance, cut with [0, 1], and where one was found; the samples
    themselves elsewhere.

    A sample that nothing brings nearer begins anew from other patterns, later where the classes that it came to are no
    mistake: the nearest mistake may be of a class that is further away in most directions. The nearest of all counts.
    """
    best = _Best(attempt.x.clone(), torch.full_like(attempt.eps, torch.inf))
    state = _begun(attempt, torch.arange(len(attempt), device=attempt.x.device), 0)
    sweep = sum(_squares(attempt.x)) * attempt.x.shape[1]
    for _ in range(queries):
        _propose(attempt, state)
        _answered(state, _mistaken(attempt, state))
        ended = ~state.halving & ((state.since > _FRUITLESS * sweep) | _nothing_left(state))
        if ended.any():
            best.note(attempt.x, state[ended])
            state = _anew(attempt, state, ended)
            if not len(state.sample):
                break
    best.note(attempt.x, state)
    return best.images, best.distance.isfinite()


@dataclass
class _Best:
    """The nearest image of each sample over its searches, and its distance."""

    images: Images
    distance: PerSample

    def note(self, x: Images, state: _Search) -> None:
        near = state.distance < self.distance[state.sample]
        rows = state.sample[near]
        self.images[rows] = _corner(x[rows], state.distance[near], state.direction[near])
        self.distance[rows] = state.distance[near]


def _begun(attempt: Attempt, sample: Int[Tensor, " left"], search: int | Int[Tensor, " left"]) -> _Search:
    eps, up = attempt.eps[sample], torch.ones_like(attempt.x[sample])
    nothing, unknown = torch.zeros_like(eps), torch.full_like(eps, torch.inf)
    none = torch.zeros_like(sample)
    known = none.new_full((len(sample), SEARCHES), -1)
    return _Search(sample, none + search, up, unknown, up, nothing, nothing, none, none, none > 0, none - 1, known)


def _nothing_left(state: _Search) -> Bool[Tensor, " left"]:
    """Whether none of the patterns came to a class that is not barred."""
    return (state.search >= FREE_SEARCHES) & state.distance.isinf() & (state.tried >= PATTERNS)


def _anew(attempt: Attempt, state: _Search, ended: Bool[Tensor, " left"]) -> _Search:
    """Samples that have ended begin their next search, and those that have had all leave."""
    again = ended & (state.search + 1 < SEARCHES) & ~_nothing_left(state)
    begun = _begun(attempt, state.sample[again], state.search[again] + 1)
    begun.known = state.known[again].scatter(1, state.search[again, None], state.reached[again, None])
    return _Search(
        *(torch.cat([getattr(part, field.name) for part in (state[~ended], begun)]) for field in fields(state))
    )


def _corner(x: Images, distance: PerSample, direction: Images) -> Images:
    return (x + wide(distance) * direction).clamp(0, 1)


def _mistaken(attempt: Attempt, state: _Search) -> Bool[Tensor, " left"]:
    """One query for each sample: is the direction in question misclassified at the distance in question?"""
    fresh = torch.where(state.distance.isinf(), 1.0, state.distance * (1 - TOLERANCE))
    nearer = torch.where(state.low > 0, (state.low + state.distance) / 2, state.distance * (1 - state.ratio))
    at = torch.where(state.halving, nearer, fresh)
    state_of = attempt[state.sample]
    found = state_of.victim.logits(_corner(state_of.x, at, state.trial)).argmax(1)
    wrong = (found != state_of.y) & (found[:, None] != state.barred).all(1)
    state.reached = torch.where(wrong, found, state.reached)
    state.low = torch.where(state.halving & ~wrong, at, state.low)
    since = torch.where(wrong | (state.tried <= PATTERNS), 0, state.since + 1)  # Patterns are not counted.
    state.since = torch.where(state.halving, state.since, since)
    began = ~state.halving & wrong
    state.ratio = torch.where(
        began,
        torch.where(state.distance.isinf(), _HALF, _FIRST),
        torch.where(wrong, (state.ratio * _GROWTH).clamp(max=_HALF), state.ratio),
    )
    state.direction = torch.where(wide(began), state.trial, state.direction)
    state.distance = torch.where(wrong, at, state.distance)
    state.low = torch.where(began, 0, state.low)
    return wrong


def _answered(state: _Search, wrong: Bool[Tensor, " left"]) -> None:
    """A distance is halved until it is precise."""
    precise = (state.low > 0) & (state.distance - state.low <= TOLERANCE * state.distance)
    state.halving = (state.halving | wrong) & ~precise


def _propose(attempt: Attempt, state: _Search) -> None:
    """The next direction of every sample whose last one is settled."""
    rows = (~state.halving).nonzero().squeeze(1)
    if not len(rows):
        return
    tried = state.tried[rows]
    draw = attempt.draw[state.sample[rows]].fold(state.search[rows] << 32 | tried)
    trial = state.direction[rows]
    first = tried < PATTERNS
    for level in range(4):
        some = (first & (tried % 4 == level)).nonzero().squeeze(1)
        if len(some):
            trial[some] = _pattern(draw[some], trial.shape[1:], 2**level)
    later = (~first).nonzero().squeeze(1)
    if len(later):
        flipped = _flipped_pixels(draw[later], tried[later] - PATTERNS, trial)
        trial[later] = torch.where(flipped, -trial[later], trial[later])
    state.trial = state.trial.index_copy(0, rows, trial)
    state.tried = state.tried.index_copy(0, rows, tried + 1)


def _pattern(draw: Draw, shape: torch.Size, cells: int) -> Images:
    """Random signs, the same throughout each of cells × cells squares of a channel."""
    channels, height, width = shape
    signs = torch.where(draw.uniform(channels, cells, cells) < _HALF, -1.0, 1.0)
    down = torch.arange(height, device=signs.device) * cells // height
    across = torch.arange(width, device=signs.device) * cells // width
    return signs[:, :, down][:, :, :, across]


def _squares(x: Images) -> list[int]:
    """How many squares there are of each size, the largest first; the last are single pixels."""
    side = max(x.shape[2:])
    return [4**level for level in range(1, math.ceil(math.log2(side)))] + [side * side]


def _flipped_pixels(draw: Draw, index: Indices, images: Images) -> Bool[Tensor, "some channels height width"]:
    """Which pixels change their sign: a square of one channel, the largest ones first and each once; after all of them
    a random rectangle of one channel or of all."""
    _, channels, height, width = images.shape
    counts = torch.tensor(_squares(images), device=images.device) * channels
    ends = counts.cumsum(0)
    level = torch.bucketize(index.clamp(max=int(ends[-1]) - 1), ends, right=True)
    place = index - (ends - counts)[level]
    cells = (counts // channels).to(torch.float64).sqrt().round().to(torch.int64)[level]
    down, across = place // channels // cells, place // channels % cells
    uniform = draw.uniform(6)
    rectangle = index >= ends[-1]
    top, bottom = _sides(height, down, cells, uniform[:, 0:2], rectangle)
    left, right = _sides(width, across, cells, uniform[:, 2:4], rectangle)
    whole = rectangle & (uniform[:, 4] < _HALF)
    channel = torch.where(rectangle, (uniform[:, 5] * channels).long(), place % channels)
    rows = _between(top, bottom, height)[:, None, :, None]
    columns = _between(left, right, width)[:, None, None, :]
    chosen = whole[:, None] | (channel[:, None] == torch.arange(channels, device=images.device))
    return rows & columns & chosen[:, :, None, None]


def _sides(
    size: int, cell: Indices, cells: Indices, uniform: Float[Tensor, "some 2"], free: Bool[Tensor, " some"]
) -> tuple[Indices, Indices]:
    """First and last + 1 of the rows, or columns: those of a cell, or where free, of a length up to half the side."""
    length = (size / 2) ** uniform[:, 0]
    start = (uniform[:, 1] * (size + 1 - length)).long()
    return (
        torch.where(free, start, cell * size // cells),
        torch.where(free, start + length.long(), (cell + 1) * size // cells),
    )


def _between(first: Indices, end: Indices, size: int) -> Bool[Tensor, "some size"]:
    places = torch.arange(size, device=first.device)
    return (places >= first[:, None]) & (places < end[:, None])
