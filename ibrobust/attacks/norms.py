"""The two balls an attack may move in: how far, which way is up, how to come back, where to start."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ibrobust.randomness import Draw
from ibrobust.registry import Registry, extension_point
from ibrobust.types import Images, PerSample

BALL_TOLERANCE = 1e-6
"""How far beyond its radius float32 arithmetic may put an image."""


@dataclass(frozen=True)
class Norm:
    """One ball.

    Attributes:
        distance: (a, b) → ‖a − b‖ per sample, in float64.
        project: (x_adv, x, eps) → the point of the ball around x, cut with [0, 1], that x_adv is moved to.
        ascent: gradient → the direction of unit norm that raises a linear loss most.
        start: (x, eps, draw) → a random point of the ball, cut with [0, 1].
        dual: gradient → its dual norm per sample: a linear loss rises by eps · dual within the ball.
        profile: gradient → how far each pixel moves, relative to the others, where a step is shortest.
        length: changes, pixels last → the norm of each.
    """

    name: str
    distance: Callable[[Images, Images], PerSample]
    project: Callable[[Images, Images, PerSample], Images]
    ascent: Callable[[Images], Images]
    start: Callable[[Images, PerSample, Draw], Images]
    dual: Callable[[Tensor], Tensor]
    profile: Callable[[Tensor], Tensor]
    length: Callable[[Tensor], Tensor]


def wide(per_sample: Shaped[Tensor, " batch"]) -> Tensor:
    """(B,) → (B, 1, 1, 1), to multiply images with."""
    return per_sample.view(-1, 1, 1, 1)


def shortest_change(
    norm: Norm, x: Float[Tensor, "... pixels"], gradient: Float[Tensor, "... pixels"], rise: Float[Tensor, "..."]
) -> Float[Tensor, "... pixels"]:
    """The shortest change of x inside [0, 1] by which a linear function with this gradient rises by `rise` (falls,
    where it is negative); the furthest useful one where the range does not allow that much.

    Pixels move along the profile until each meets its end of the range, so the rise is a concave, piecewise linear
    function of the step, and Newton's method from zero climbs to the answer from below in a few rounds.
    """
    scale = ordinary_size(gradient, gradient.abs().amax(-1))
    uphill = gradient * scale[..., None] * torch.sign(rise)[..., None]
    slope, profile = uphill.abs(), norm.profile(uphill)
    room = torch.where(uphill > 0, 1 - x, x)
    step, wanted = torch.zeros_like(rise), (rise.abs() * scale).clamp(max=torch.finfo(rise.dtype).max)
    for _ in range(50):
        moves = step[..., None] * profile
        missing = wanted - (slope * moves.minimum(room)).sum(-1)
        rate = (slope * profile * (moves < room)).sum(-1)
        # A finished sample stands still, so that its answer does not depend on how long the others take.
        further = torch.where((missing > 1e-6 * wanted) & (rate > 0), missing / rate, 0)
        if not further.any():
            break
        step = step + further
    return torch.sign(uphill) * (step[..., None] * profile).minimum(room)


def drawn_in(x_adv: Images, x: Images, eps: PerSample, distance: Callable[[Images, Images], PerSample]) -> Images:
    """The same images, each that rounding put beyond its radius drawn back to it.

    They are shrunk towards x in float64, and each pixel is then rounded towards x, so that the distance holds whatever
    the number of pixels. Images that lie within half of the tolerance keep their bits.
    """
    reached = distance(x_adv, x)
    outside = (reached > eps + BALL_TOLERANCE / 2).nonzero().squeeze(1)
    if not len(outside):
        return x_adv
    centre, share = x[outside].double(), wide(eps[outside] / reached[outside])
    change = (x_adv[outside].double() - centre) * share
    rounded = (centre + change).to(x.dtype)
    further = (rounded.double() - centre).abs() > change.abs()
    return x_adv.index_copy(0, outside, torch.where(further, rounded.nextafter(x[outside]), rounded))


def ordinary_size(tensor: Float[Tensor, "..."], largest: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The power of two that brings each largest absolute value close to 1: multiplying by it costs no bit, and squares
    then neither underflow nor overflow."""
    exponent = torch.frexp(largest).exponent.clamp(-126, 126)
    return ((127 - exponent) << 23).to(torch.int32).view(torch.float32).to(tensor.dtype)


def _length(changes: Tensor) -> Tensor:
    """Euclidean length over the last dimension, of any size down to the smallest numbers."""
    scale = ordinary_size(changes, changes.abs().amax(-1))
    length: Tensor = torch.linalg.vector_norm(changes * scale[..., None], dim=-1) / scale
    return length


def _l2_ascent(gradient: Images) -> Images:
    flat = gradient.flatten(1)
    scaled = gradient * wide(ordinary_size(flat, flat.abs().amax(1)))
    return scaled / wide(_length(scaled.flatten(1))).clamp(min=torch.finfo(gradient.dtype).tiny)


def linf_distance(a: Images, b: Images) -> PerSample:
    return (a.double() - b.double()).flatten(1).abs().amax(1)


def l2_distance(a: Images, b: Images) -> PerSample:
    length: PerSample = torch.linalg.vector_norm((a.double() - b.double()).flatten(1), dim=1)
    return length


def _linf_start(x: Images, eps: PerSample, draw: Draw) -> Images:
    return (x + wide(eps) * (2 * draw.uniform(*x.shape[1:]) - 1)).clamp(0, 1)


def _l2_project(x_adv: Images, x: Images, eps: PerSample) -> Images:
    # Box first, ball second: shrinking towards x, itself in the box, never leaves the box again.
    moved = x_adv.clamp(0, 1) - x
    shrunk = x + moved * (wide(eps) / wide(_length(moved.flatten(1))).clamp(min=1e-12)).clamp(max=1)
    return drawn_in(shrunk, x, eps, l2_distance)


def _l2_start(x: Images, eps: PerSample, draw: Draw) -> Images:
    direction = draw.fold("direction").normal(*x.shape[1:])
    radius = draw.fold("radius").uniform()
    return _l2_project(x + direction * wide(eps * radius / _length(direction.flatten(1))), x, eps)


NORMS: Registry[Norm] = extension_point("norm", Norm)
LINF = Norm(
    name="linf",
    distance=linf_distance,
    project=lambda x_adv, x, eps: x_adv.clamp(x - wide(eps), x + wide(eps)).clamp(0, 1),
    ascent=torch.sign,
    start=_linf_start,
    dual=lambda gradient: gradient.flatten(-3).abs().sum(-1),
    profile=torch.ones_like,
    length=lambda changes: changes.abs().amax(-1),
)
L2 = Norm(
    name="l2",
    distance=l2_distance,
    project=_l2_project,
    ascent=_l2_ascent,
    start=_l2_start,
    dual=lambda gradient: _length(gradient.flatten(-3)),
    profile=torch.abs,
    length=_length,
)
