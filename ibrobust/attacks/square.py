"""Square (Andriushchenko et al. 2020): random search with square patches, from logits alone."""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks.interface import Attack
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import Norm, drawn_in, l2_distance, wide
from ibrobust.attacks.restarts import closest_of
from ibrobust.attacks.victim import Victim
from ibrobust.randomness import Draw
from ibrobust.registry import Registry
from ibrobust.types import Images, Labels, PerSample

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of 10,000 after which the patch's area is halved."""

Start = Callable[[Images, PerSample, Draw], Images]
Asked = Int[Tensor, " asked"]
Tried = Float[Tensor, "asked channels height width"]
Patch = Callable[[Images, Images, PerSample, float, Draw, bool], tuple[Asked, Tried]]
"""(x, best so far, eps, share of the image, draw, every) → every sample or those that the patch changes, and their next
images to try."""


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
    x = x.contiguous()

    def run(left: Tensor, restart: int) -> tuple[Images, PerSample, Bool[Tensor, " left"]]:
        walk = draw[left].fold(restart)
        return _walked(victim[left], x[left], y[left], eps[left], walk, norm, queries, area)

    return closest_of(x, (partial(run, restart=restart) for restart in range(restarts)))


def _walked(
    victim: Victim, x: Images, y: Labels, eps: PerSample, draw: Draw, norm: Norm, queries: int, area: float
) -> tuple[Images, PerSample, Bool[Tensor, " batch"]]:
    """The image with the largest margin that one walk found, that margin, and which samples still stand."""
    found = START[norm.name](x, eps, draw.fold("start"))
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
        asked, tried = PATCH[norm.name](x, x_adv, eps, share, draw.fold(query), victim.view.draws > 0)
        if not len(asked):
            continue
        value = margin(victim[asked].logits(tried), y[asked])
        rose = value > best[asked]
        x_adv[asked[rose]] = tried[rose]
        best[asked[rose]] = value[rose]
    found[left], reached[left] = x_adv, best
    return found, reached, reached <= 0


def _worth_asking(old: Tensor, new: Tensor, every: bool) -> Asked:
    """Every sample, or those whose pixels differ: a patch that changes nothing has a known answer of a model without
    noise. On digits every other patch of one pixel is one, and a quarter of all."""
    return ((old != new).flatten(1).any(1) | every).nonzero().squeeze(1)


def _signs(draw: Draw, *shape: int) -> Tensor:
    return 2 * (draw.uniform(*shape) < 0.5).to(torch.float32) - 1


def _corner(draw: Draw, height: int, width: int, side: int) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Row and column of a patch's upper left corner."""
    place = draw.uniform(2)
    room = place.new_tensor([height - side + 1, width - side + 1])
    row, column = (place * room).floor().minimum(room - 1).to(torch.int64).unbind(1)
    return row, column


def _linf_start(x: Images, eps: PerSample, draw: Draw) -> Images:
    """Vertical stripes of ±eps."""
    return (x + wide(eps) * _signs(draw, x.shape[1], 1, x.shape[3])).clamp(0, 1)


def _linf_patch(x: Images, x_adv: Images, eps: PerSample, share: float, draw: Draw, every: bool) -> tuple[Asked, Tried]:
    """One square at x ± eps, the sign drawn per channel."""
    _, channels, height, width = x.shape
    side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
    window = _window(_corner(draw.fold("corner"), height, width, side), side, width)[:, None].expand(-1, channels, -1)
    new = x.flatten(2).gather(2, window) + eps[:, None, None] * _signs(draw.fold("sign"), channels, 1)
    new = new.clamp(0, 1)
    asked = _worth_asking(x_adv.flatten(2).gather(2, window), new, every)
    tried = x_adv[asked]
    return asked, tried.flatten(2).scatter(2, window[asked], new[asked]).reshape(tried.shape)


def _l2_start(x: Images, eps: PerSample, draw: Draw) -> Images:
    """A grid of bumps, a fifth of the image's height each, with random signs."""
    _, channels, height, width = x.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    signs = _signs(draw.fold("sign"), channels, down, across)
    upright = draw.fold("turn").uniform(1, down, across) < 0.5
    bump = _bump(side, x.device)
    tiles = torch.where(upright[..., None, None], bump, bump.T) * signs[..., None, None]
    grid = torch.zeros_like(x)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    placed = tiles.permute(0, 1, 2, 4, 3, 5).reshape(len(x), channels, down * side, across * side)
    grid[:, :, top : top + down * side, left : left + across * side] = placed
    return _onto_sphere(x, grid, eps)


def _l2_patch(x: Images, x_adv: Images, eps: PerSample, share: float, draw: Draw, every: bool) -> tuple[Asked, Tried]:
    """Move the perturbation of one window, and what the budget leaves, into another as a bump of random sign."""
    _, channels, height, width = x.shape
    side = max(round(math.sqrt(share * height * width)), 3)
    side = min(side + (side % 2 == 0), height, width)
    change = x_adv - x
    target = _window(_corner(draw.fold("to"), height, width, side), side, width)
    source = _window(_corner(draw.fold("from"), height, width, side), side, width)
    flat = change.flatten(2)
    old = flat.gather(2, target[:, None].expand(-1, channels, -1))
    both = torch.zeros_like(flat[:, 0], dtype=torch.bool).scatter(1, target, True).scatter(1, source, True)
    in_windows = (flat.square() * both[:, None]).sum((1, 2))
    unused = (eps.square() - flat.square().sum((1, 2))).clamp(min=0)
    bump = _bump(side, x.device)
    upright = draw.fold("turn").uniform(1, 1) < 0.5
    new = torch.where(upright, bump.flatten(), bump.T.flatten()) * _signs(draw.fold("sign"), channels, 1)
    new = new.view(len(x), channels, -1) + old / _norm(old)
    length = (unused / channels + in_windows).sqrt()
    new = new / _norm(new) * length[:, None, None]
    flat = flat.scatter(2, source[:, None].expand(-1, channels, -1), 0.0)
    flat = flat.scatter(2, target[:, None].expand(-1, channels, -1), new)
    tried = _onto_sphere(x, flat.reshape(x.shape), eps)
    asked = _worth_asking(x_adv, tried, every)
    return asked, tried[asked]


def _window(corner: tuple[Tensor, Tensor], side: int, width: int) -> Int[Tensor, "batch window"]:
    """Positions of a square in the flattened image."""
    row, column = corner
    offsets = torch.arange(side, device=row.device)
    return ((row[:, None, None] + offsets[:, None]) * width + column[:, None, None] + offsets).flatten(1)


def _norm(pixels: Float[Tensor, "batch channels pixels"]) -> Float[Tensor, "batch channels 1"]:
    norms: Tensor = torch.linalg.vector_norm(pixels, dim=2, keepdim=True).clamp(min=1e-12)
    return norms


def _onto_sphere(x: Images, change: Images, eps: PerSample) -> Images:
    length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp(min=1e-12)
    return drawn_in((x + change * wide(eps / length)).clamp(0, 1), x, eps, l2_distance)


def _bump(side: int, device: torch.device) -> Float[Tensor, "side side"]:
    """Two pyramids of unit norm side by side, one up and one down."""
    first = side // 2
    halves = [sign * _pyramid(rows, side) for sign, rows in ((1, first), (-1, side - first)) if rows]
    bump: Tensor = torch.cat(halves)
    return bump.div(torch.linalg.vector_norm(bump)).to(device)


def _pyramid(height: int, width: int) -> Float[Tensor, "height width"]:
    """Rings around the middle: the k-th adds 1/k² to all that it encloses."""
    pyramid = torch.zeros(height, width)
    row, column = height // 2, width // 2
    for ring in range(max(height, width) // 2 + 1):
        top, left = max(row - ring, 0), max(column - ring, 0)
        pyramid[top : row + ring + 1, left : column + ring + 1] += 1 / (ring + 1) ** 2
    return pyramid.div(torch.linalg.vector_norm(pyramid))


START: Registry[Start] = Registry("norm")
START["linf"], START["l2"] = _linf_start, _l2_start
PATCH: Registry[Patch] = Registry("norm")
PATCH["linf"], PATCH["l2"] = _linf_patch, _l2_patch

SQUARE = Attack(square, black_box=True, settings={"queries": 5000, "area": 0.8, "restarts": 1})
