"""The smallest radius of a grid at which an attack succeeds, for all samples at once."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.registry import Registry, extension_point

Indices = Int[Tensor, " batch"]
BreaksAt = Callable[[Indices, Indices], Bool[Tensor, " batch"]]
"""(samples, one radius index each) → which of them the attack breaks there."""


def bisect(breaks_at: BreaksAt, limit: Indices, guess: Indices) -> Indices:
    """Per sample the smallest index below its limit that breaks, the limit where none does, if breaking is monotone
    in the radius.

    Starts just below the guess, walks down after a success and up after a failure with growing strides, and halves
    once the answer is bracketed. A failure costs a whole attack, a success only the steps up to it: so strides grow
    sooner upwards, and halves are rounded up. The guess changes the order of the probes, nothing else.
    """
    fails, breaks = torch.full_like(guess, -1), limit
    probe, stride, stride_down = (guess.minimum(limit) - 1).clamp(min=0), 1, 1
    while len(open_samples := (breaks - fails > 1).nonzero().squeeze(1)):
        broke = breaks_at(open_samples, probe[open_samples])
        breaks = breaks.index_put((open_samples[broke],), probe[open_samples[broke]])
        fails[open_samples[~broke]] = probe[open_samples[~broke]]
        up, down = (fails + stride).minimum(limit - 1), (breaks - stride_down).clamp(min=0)
        halfway = (fails + breaks + 1) // 2
        probe = torch.where(breaks == limit, up, torch.where(fails == -1, down, halfway))
        stride, stride_down = 2 * stride, stride
    return breaks


def exhaustive(breaks_at: BreaksAt, limit: Indices, _guess: Indices) -> Indices:
    """Per sample the smallest index below its limit that breaks, trying every radius upward: the slow truth beside
    `bisect`."""
    breaks = limit.clone()
    for index in range(int(limit.max())):
        open_samples = ((breaks == limit) & (index < limit)).nonzero().squeeze(1)
        broke = breaks_at(open_samples, torch.full_like(open_samples, index))
        breaks[open_samples[broke]] = index
    return breaks


Search = Callable[[BreaksAt, Indices, Indices], Indices]
"""(breaks_at, limit, guess) → per sample the smallest index below the limit that breaks."""

SEARCHES: Registry[Search] = extension_point("search", Callable)
