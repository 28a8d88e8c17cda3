"""The smallest radius of a grid at which an attack succeeds, for all samples at once."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.registry import Registry

Indices = Int[Tensor, " batch"]
BreaksAt = Callable[[Indices, Indices], Bool[Tensor, " batch"]]
"""(samples, one radius index each) → which of them the attack breaks there."""


def bisect(breaks_at: BreaksAt, radii: int, guess: Indices) -> Indices:
    """Per sample the smallest index that breaks, `radii` where none does, if breaking is monotone in the radius.

    Starts at the guess, walks down after a success and up after a failure with doubling strides, and halves once
    the answer is bracketed. The guess (what a cheaper attack needed) changes the order of the probes, nothing else.
    """
    fails, breaks = torch.full_like(guess, -1), torch.full_like(guess, radii)
    probe, stride = guess.clamp(max=radii - 1), torch.ones_like(guess)
    while len(open_samples := (breaks - fails > 1).nonzero().squeeze(1)):
        broke = breaks_at(open_samples, probe[open_samples])
        breaks[open_samples[broke]] = probe[open_samples[broke]]
        fails[open_samples[~broke]] = probe[open_samples[~broke]]
        up, down = (fails + stride).clamp(max=radii - 1), (breaks - stride).clamp(min=0)
        halfway = (fails + breaks) // 2
        probe = torch.where(breaks == radii, up, torch.where(fails == -1, down, halfway))
        stride = stride * 2
    return breaks


def exhaustive(breaks_at: BreaksAt, radii: int, guess: Indices) -> Indices:
    """Per sample the smallest index that breaks, trying every radius upward: the slow truth beside `bisect`."""
    breaks = torch.full_like(guess, radii)
    for index in range(radii):
        open_samples = (breaks == radii).nonzero().squeeze(1)
        broke = breaks_at(open_samples, torch.full_like(open_samples, index))
        breaks[open_samples[broke]] = index
    return breaks


Search = Callable[[BreaksAt, int, Indices], Indices]
"""(breaks_at, number of radii, guess) → the smallest index that breaks."""

SEARCHES: Registry[Search] = Registry("search")
SEARCHES["bisect"] = bisect
SEARCHES["exhaustive"] = exhaustive
