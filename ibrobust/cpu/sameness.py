"""Is a model that was changed for speed still the same function?"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ibrobust.models.calls import called
from ibrobust.types import Images


class Answer(NamedTuple):
    """Logits and the gradient of their sum; None where the model passes none on."""

    logits: Tensor
    gradient: Tensor | None


def first_answer(model: nn.Module, x: Images) -> Answer | None:
    """The model's answer, or None where it raises or is no tensor: a layer that it looks into is not there, or a weight
    has another layout than it counts on."""
    x = x.detach().clone().requires_grad_()
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            logits = called(model)(x)
            gradient = torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] if logits.requires_grad else None
    except Exception:
        return None
    return Answer(logits.detach(), gradient)


def agree(plain: Answer | None, other: Answer | None) -> bool:
    """Whether both are there and the same, up to the order of sums."""
    if plain is None or other is None or plain.logits.shape != other.logits.shape:
        return False
    if (plain.gradient is None) != (other.gradient is None):
        return False
    return bool((plain.logits - other.logits).abs().max() <= 1e-4 * plain.logits.abs().max())
