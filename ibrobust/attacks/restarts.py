"""Several runs of one attack against the same samples."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks.norms import wide
from ibrobust.types import Images, PerSample

ROWS_TOGETHER = 64
"""Rows of several runs that share a batch where few samples are left: one that is filled up takes as long."""

Run = Callable[[Int[Tensor, " left"]], tuple[Images, PerSample, Bool[Tensor, " left"]]]
"""Rows of the samples that are left → an image of each, its margin, and which still stand."""


def closest_of(x: Images, runs: Iterable[Run]) -> Images:
    """One run after the other, each on the samples that all before it left standing; of those that still do, the image
    that came closest to a mistake."""
    answers = Answers(x)
    for run in runs:
        answers.note(*run(answers.left))
        if not len(answers.left):
            break
    return answers.x_adv


class Answers:
    """What runs have found so far: of each sample the image that came closest, and which samples are `left`."""

    def __init__(self, x: Images) -> None:
        self.x_adv, self.left = x.clone(), torch.arange(len(x), device=x.device)
        self._closest = torch.full((len(x),), -torch.inf, device=x.device)

    def note(self, found: Images, reached: PerSample, standing: Bool[Tensor, " left"]) -> None:
        """An image of each sample that was left, its margin, and which of them still stand."""
        left = self.left
        closer = ~standing | (reached > self._closest[left])
        self.x_adv[left] = torch.where(wide(closer), found, self.x_adv[left])
        self._closest[left] = torch.maximum(reached, self._closest[left])
        self.left = left[standing]


def together(samples: int) -> int:
    """How many runs of so many samples share a batch."""
    return max(1, ROWS_TOGETHER // max(1, samples))
