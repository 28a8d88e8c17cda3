"""What an attack climbs: one number per sample, larger is closer to a mistake."""

import torch
from torch.nn import functional as F

from ibrobust.types import Labels, Logits, PerSample


def cross_entropy(logits: Logits, y: Labels) -> PerSample:
    """−ln p(y): its gradient vanishes where the model is sure, so it measures the scale of the logits too."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Logits, y: Labels) -> PerSample:
    """Best wrong logit minus the true one: positive is a mistake; its direction does not depend on the scale."""
    true = logits.gather(1, y[:, None]).squeeze(1)
    wrong = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return wrong - true
