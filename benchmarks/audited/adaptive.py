"""What somebody who knows a defence leaves of it: the truth that an audit is held against, from above."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.audited.defence import Defence
from ibrobust.attacks.losses import margin

_RESTARTS, _STEPS, _TARGETS = 4, 60, 3
_PASSES = 64
"""Draws of the noise that a noisy model's answer is scored by, and the 12 that each step averages."""


def adaptive_robustness(defence: Defence, x: Tensor, y: Tensor, eps: float, *, seed: int = 0) -> Tensor:
    """For each sample how robust it is at the radius: 0 or 1, or where the model has noise the share of passes that are
    right on the worst image found. It is exact where the defence says so, else an upper bound by search."""
    if defence.exact is not None:
        return defence.exact(x, y, eps).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        worst, left = x.clone(), _right(defence, x, y)
        for images in _tried(defence, x, y, eps):
            now = _right(defence, images, y)
            worst, left = torch.where((now < left)[:, None, None, None], images, worst), torch.minimum(now, left)
        # An image that was chosen by draws of the noise is scored by others.
        return _right(defence, worst, y) if defence.noisy else left


def _tried(defence: Defence, x: Tensor, y: Tensor, eps: float) -> Iterator[Tensor]:
    if defence.moves is not None:
        yield from defence.moves(x, y, eps)
    for climbed in [defence.model, *defence.stand_ins]:
        likely = _logits(climbed, x, defence).scatter(1, y[:, None], -torch.inf).topk(_TARGETS, dim=1).indices
        for restart in range(_RESTARTS):
            yield from _ascent(climbed, defence, x, y, eps, restart, None)
        for target in likely.T:
            yield from _ascent(climbed, defence, x, y, eps, 0, target)


def _ascent(
    climbed: Callable[[Tensor], Tensor],
    defence: Defence,
    x: Tensor,
    y: Tensor,
    eps: float,
    restart: int,
    target: Tensor | None,
) -> Iterator[Tensor]:
    """Signed steps up the margin, or towards a class; every fifth image, from 0 or a random start."""
    x_adv = (x + (eps * (2 * torch.rand_like(x) - 1) if restart else 0)).clamp(0, 1)
    for index in range(_STEPS):
        at = x_adv.detach().requires_grad_()
        with torch.enable_grad():
            logits = _logits(climbed, at, defence)
            loss = (
                margin(logits, y)
                if target is None
                else (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)
            )
            gradient = torch.autograd.grad(loss.sum(), at, allow_unused=True)[0] if loss.requires_grad else None
        if gradient is None:
            return
        x_adv = x_adv + (1 - index / _STEPS) * eps * gradient.nan_to_num(0).sign()
        x_adv = x_adv.clamp(x - eps, x + eps).clamp(0, 1)
        if index == _STEPS - 1 or (not defence.noisy and index % 5 == 4):
            yield x_adv


def _logits(climbed: Callable[[Tensor], Tensor], x: Tensor, defence: Defence) -> Tensor:
    if not defence.noisy:
        return climbed(x)
    return torch.stack([climbed(x).softmax(1) for _ in range(12)]).mean(0).clamp(min=1e-30).log()


@torch.no_grad()
def _right(defence: Defence, x: Tensor, y: Tensor) -> Tensor:
    passes = _PASSES if defence.noisy else 1
    return torch.stack([(defence.model(x).argmax(1) == y).float() for _ in range(passes)]).mean(0)
