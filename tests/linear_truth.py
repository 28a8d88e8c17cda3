"""A model whose breaking radii are known exactly, and what can be done to it without changing them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

SIGNS = torch.tensor([1.0, -1.0] * 8)
EXACT = torch.tensor([0.03, 0.05, 0.07, 0.11] * 5)
Y = torch.arange(20) % 2
X = (0.5 + (EXACT * (1 - 2 * Y))[:, None] * SIGNS).view(-1, 1, 4, 4)
RADII = [0.02, 0.04, 0.06, 0.08, 0.1, 0.12]
BROKEN_AT = [0.04, 0.06, 0.08, 0.12] * 5
"""The first of `RADII` beyond each exact radius."""


class Linear(nn.Module):
    """Logits (f, −f, −5) with f = Σ ± (x − ½): an image ½ ± r has the breaking radius r in L∞.

    Args:
        before: what happens to the images first; after: to the logits last.
    """

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = lambda x: x - 0.5,
        after: Callable[[Tensor], object] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.weight, self.before, self.after = nn.Parameter(SIGNS.clone()), before, after

    def forward(self, x: Tensor) -> object:
        f = (self.before(x).flatten(1) * self.weight).sum(1)
        return self.after(torch.stack([f, -f, 0 * f - 5], 1))
