"""Several runs of one attack against the same samples."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks.norms import wide
from ibrobust.types import Images, PerSample

Run = Callable[[Int[Tensor, " left"]], tuple[Images, PerSample, Bool[Tensor, " left"]]]
"""Rows of the samples that are left → an image of each, its margin, and which still stand."""


def closest_of(x: Images, runs: Iterable[Run]) -> Images:
    """One run after the other, each on the samples that all before it left standing; of those that still do, the image
    that came closest to a mistake."""
    x_adv, left = x.clone(), torch.arange(len(x), device=x.device)
    closest = torch.full((len(x),), -torch.inf, device=x.device)
    for run in runs:
        found, reached, standing = run(left)
        closer = ~standing | (reached > closest[left])
        x_adv[left] = torch.where(wide(closer), found, x_adv[left])
        closest[left] = torch.maximum(reached, closest[left])
        left = left[standing]
        if not len(left):
            break
    return x_adv
