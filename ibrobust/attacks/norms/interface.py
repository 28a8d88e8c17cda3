"""What a norm is to an attack, and what norms share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ibrobust.randomness import Draw, Noise
from ibrobust.registry import Registry, extension_point
from ibrobust.types import Images, PerSample

BALL_TOLERANCE = 1e-6
"""How far beyond its radius float32 arithmetic may put an image."""

Queried = Int[Tensor, " queried"]
Tried = Float[Tensor, "queried channels height width"]


@dataclass(frozen=True)
class RandomMoves:
    """What a random search tries within a ball.

    Attributes:
        start: (x, eps, draw) → where it begins.
        patch: (x, best so far, eps, share of the image, draw, every) → every sample or those that the patch changes,
            and their next images to try.
    """

    start: Callable[[Images, PerSample, Draw], Images]
    patch: Callable[[Images, Images, PerSample, float, Noise, bool], tuple[Queried, Tried]]


@dataclass(frozen=True)
class Norm:
    """One ball: all that attacks need to know of it.

    Attributes:
        distance: (a, b) → ‖a − b‖ per sample, in float64.
        length: changes, pixels last → the norm of each.
        dual: gradient → its dual norm per sample: a linear loss rises by eps · dual within the ball.
        ascent: gradient → the direction of unit norm that raises a linear loss most.
        step: (x_adv, gradient, lengths) → x_adv moved so far up the gradient; the projection follows.
        project: (x_adv, x, eps) → the point of the ball around x, cut with [0, 1], that x_adv is moved to.
        start: (x, eps, draw) → a random point of the ball, cut with [0, 1].
        shortest_change: (x, gradient, rises), pixels last → the shortest change of x inside [0, 1] by which a linear
            function with this gradient rises by so much (falls, where it is negative); the furthest useful one where
            the range does not allow that much.
        sparse_ascent: (gradient, share of the pixels) → the direction of unit norm that moves those of the steepest
            slopes alike; None where a step moves all pixels.
        moves: of random search; None where the norm has none.
    """

    name: str
    distance: Callable[[Images, Images], PerSample]
    length: Callable[[Tensor], Tensor]
    dual: Callable[[Tensor], Tensor]
    ascent: Callable[[Images], Images]
    step: Callable[[Images, Images, PerSample], Images]
    project: Callable[[Images, Images, PerSample], Images]
    start: Callable[[Images, PerSample, Draw], Images]
    shortest_change: Callable[[Tensor, Tensor, Tensor], Tensor]
    sparse_ascent: Callable[[Images, PerSample], Images] | None = None
    moves: RandomMoves | None = None


NORMS: Registry[Norm] = extension_point("norm", Norm)


def wide(per_sample: Shaped[Tensor, " batch"]) -> Tensor:
    """(B,) → (B, 1, 1, 1), to multiply images with."""
    return per_sample.view(-1, 1, 1, 1)


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


def uphill(
    x: Float[Tensor, "... pixels"], gradient: Float[Tensor, "... pixels"], rise: Float[Tensor, "..."]
) -> tuple[Float[Tensor, "... pixels"], Float[Tensor, "... pixels"], Float[Tensor, "..."]]:
    """The gradient of the way that is wanted, how far each pixel can go up it within [0, 1], and how far to rise; the
    gradient and the rise both multiplied by a power of two, so that they are of ordinary size."""
    scale = ordinary_size(gradient, gradient.abs().amax(-1))
    up = gradient * scale[..., None] * torch.sign(rise)[..., None]
    return up, torch.where(up > 0, 1 - x, x), (rise.abs() * scale).clamp(max=torch.finfo(rise.dtype).max)


def straight_step(ascent: Callable[[Images], Images], x_adv: Images, gradient: Images, length: PerSample) -> Images:
    """A step of this length up the steepest ascent, whatever the range."""
    return x_adv + wide(length) * ascent(gradient)


def change_along(
    profile: Callable[[Tensor], Tensor],
    x: Float[Tensor, "... pixels"],
    gradient: Float[Tensor, "... pixels"],
    rise: Float[Tensor, "..."],
) -> Float[Tensor, "... pixels"]:
    """The shortest change for a linear rise in a norm where that moves all pixels: each so far as the profile of the
    gradient says, relative to the others.

    Pixels move along the profile until each meets its end of the range, so the rise is a concave, piecewise linear
    function of the step, and Newton's method from zero climbs to the answer from below in a few rounds.
    """
    up, room, wanted = uphill(x, gradient, rise)
    slope, shape = up.abs(), profile(up)
    step = torch.zeros_like(rise)
    for _ in range(50):
        moves = step[..., None] * shape
        missing = wanted - (slope * moves.minimum(room)).sum(-1)
        rate = (slope * shape * (moves < room)).sum(-1)
        # A finished sample stands still, so that its answer does not depend on how long the others take.
        further = torch.where((missing > 1e-6 * wanted) & (rate > 0), missing / rate, 0)
        if not further.any():
            break
        step = step + further
    return torch.sign(up) * (step[..., None] * shape).minimum(room)
