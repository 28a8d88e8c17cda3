"""What an attack climbs: one number per sample, larger is closer to a mistake."""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from ibrobust.types import Labels, Logits, PerSample

SURE = 12.0
"""Nats by which the label leads from which on float32 rounds 1 − p(y) to less than two digits."""

_LAST_BITS = 2.0**-21
"""Relative to the largest logit, the difference of two logits that are computed from the same weights."""


def cross_entropy(logits: Logits, y: Labels) -> PerSample:
    """−ln p(y): its gradient vanishes where the model is sure, so it measures the scale of the logits too.

    Where the model is so sure that 1 − p(y) would be rounding, the same number is ln(1 + Σ exp(zₖ − z_y)) over the
    wrong classes k, whose gradient keeps its direction down to the smallest numbers: 87 nats in float32.
    """
    plain = F.cross_entropy(logits, y, reduction="none")
    sure = margin(logits.detach(), y) < -SURE
    if not sure.any():
        return plain
    lags = logits.scatter(1, y[:, None], -torch.inf) - logits.gather(1, y[:, None])
    return torch.where(sure, F.softplus(lags.logsumexp(1)), plain)


def margin(logits: Logits, y: Labels) -> PerSample:
    """Best wrong logit minus the true one: positive is a mistake; its direction does not depend on the scale."""
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - _of_class(logits, y)


def dlr(logits: Logits, y: Labels) -> PerSample:
    """Difference of logits ratio (Croce & Hein 2020, eq. 6): the margin over the distance from the largest to the third
    largest logit, so that neither shift nor scale changes it. The plain margin where there are only two classes.

    A class that is tied with the label, as its copy is, is no rival while there is another.
    """
    wrong = logits.scatter(1, y[:, None], -torch.inf)
    apart = wrong.masked_fill(_tied(logits, y), -torch.inf)
    rival = torch.where((apart > -torch.inf).any(1, keepdim=True), apart, wrong).argmax(1)
    return (_of_class(logits, rival) - _of_class(logits, y)) / _spread(logits, y, rival, [2])


def targeted_dlr(logits: Logits, y: Labels, target: Labels) -> PerSample:
    """The same towards one class (Croce & Hein 2020, eq. 7): the target's logit minus the true one, over the distance
    from the largest to the mean of the third and fourth."""
    return (_of_class(logits, target) - _of_class(logits, y)) / _spread(logits, y, target, [2, 3])


def classes_by_logit(logits: Logits, y: Labels) -> torch.Tensor:
    """(B, C − 1): the wrong classes of each sample, most likely first."""
    return logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :-1]


def _of_class(logits: Logits, y: Labels) -> PerSample:
    return logits.gather(1, y[:, None]).squeeze(1)


def _tied(logits: Logits, y: Labels) -> Bool[Tensor, "batch classes"]:
    """The other classes whose logit is that of class y, up to float32's last bits."""
    rounding = _LAST_BITS * logits.detach().abs().amax(1, keepdim=True)
    tied = (logits.detach() - logits.detach().gather(1, y[:, None])).abs() <= rounding
    return tied.scatter(1, y[:, None], False)


def _spread(logits: Logits, y: Labels, rival: Labels, below: list[int]) -> PerSample:
    """The largest logit minus the mean of those with the given ranks, of which at least one exists; 1 where none does.

    Classes that are tied with the label or its rival have no rank: a ratio whose denominator moves with its numerator
    is constant, and has no gradient.
    """
    ranks = [rank for rank in below if rank < logits.shape[1]]
    if not ranks:
        return torch.ones_like(logits[:, 0])
    copies = (_tied(logits, y) | _tied(logits, rival)).scatter(1, torch.stack([y, rival], 1), False)
    if not copies.any():
        ordered = logits.sort(dim=1, descending=True).values
        return (ordered[:, 0] - ordered[:, ranks].mean(1)).clamp(min=1e-12)
    ordered = logits.masked_fill(copies, -torch.inf).sort(dim=1, descending=True).values
    there = ordered[:, ranks] > -torch.inf
    mean = ordered[:, ranks].masked_fill(~there, 0).sum(1) / there.sum(1).clamp(min=1)
    return torch.where(there.any(1), (ordered[:, 0] - mean).clamp(min=1e-12), 1)
