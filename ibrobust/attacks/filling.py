"""How many rows a batch needs, so that a sample's bits do not depend on how many others are left."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw, sample_draw
from ibrobust.types import Images

ROWS = 16
"""Below this many rows matrix kernels may sum in another order; from it on, multiples of it agree."""

_ENOUGH = 3 * ROWS
_LEVELS = {8: (15, 12, 9, 8), 4: (7, 6, 5, 4), 2: (3, 2), 1: (1,)}
"""Fewest rows → the numbers of rows that have to agree, beside those of the levels before."""


@dataclass(frozen=True)
class Filling:
    """Batches are filled up to `least` rows at least, and to a multiple of `step`."""

    least: int = ROWS
    step: int = ROWS

    def rows(self, count: int) -> int:
        """Rows of a batch of so many samples."""
        return max(self.least, -(-count // self.step) * self.step)


FULL = Filling()
"""Right for most models on most machines."""


def needed_filling(
    view: View, shape: tuple[int, ...], batch_size: int, device: torch.device, gradient: bool = True
) -> Filling:
    """The least filling with which a model's logits and gradients have the same bits in batches of every size.

    It is measured on random images: a wide linear layer needs 16 rows on many CPUs, a small convolutional network 4.
    What a GPU does is not looked into: its kernels are chosen by the batch's size anyway. Nor is a model that runs out
    of memory meanwhile.

    Args:
        gradient: whether the model is asked for gradients.
    """
    if device.type != "cpu":
        return FULL
    try:
        return _measured(view, shape, batch_size, gradient)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return FULL


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out; the CPU's allocator has no exception class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _measured(view: View, shape: tuple[int, ...], batch_size: int, sloped: bool) -> Filling:
    most = min(_ENOUGH, -(-batch_size // ROWS) * ROWS)
    draw = sample_draw(0, torch.arange(most))
    x, noise = draw.fold("images").uniform(*shape), draw.fold("noise")
    logits, gradient = _answer(view, x, noise, sloped)

    def agree(count: int) -> bool:
        few, slope = _answer(view, x[:count], noise[:count], sloped)
        return torch.equal(few, logits[:count]) and torch.equal(slope, gradient[:count])

    if not all(agree(count) for count in (ROWS, ROWS + 1, 2 * ROWS + 1) if count < most):
        return FULL
    least = ROWS
    for level, counts in _LEVELS.items():
        if not all(agree(count) for count in counts):
            break
        least = level
    return Filling(least, 1)


def _answer(view: View, x: Images, noise: Draw, sloped: bool) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of a weighted sum of them; zero where there is none."""
    x = x.clone().requires_grad_(sloped)
    with torch.set_grad_enabled(sloped):
        logits = view(x, noise)
        weighted = (logits * torch.arange(1, logits.shape[1] + 1)).sum()
        gradient = torch.autograd.grad(weighted, x, allow_unused=True)[0] if weighted.requires_grad else None
    return logits.detach(), torch.zeros_like(x) if gradient is None else gradient
