"""Adversarial images made on another model, scored on this one: noise off, noise fixed, or an unregularised twin."""

import torch

from ibrobust.attacks.losses import margin
from ibrobust.checks.interface import Case, Finding
from ibrobust.models.bottleneck import View, view

_FLIPS = 0.05
"""Share of samples that may change class from pass to pass where one pass decides."""
_GUESSES = 0.5
"""The same where images are chosen on one stream of noise and scored on another."""


def repeatable(case: Case) -> Finding:
    """The share of samples whose prediction changes between passes: an attack's success may be the noise's. Where the
    score accounts for noise, only a model that mostly guesses is a reason for doubt."""
    everyone = torch.arange(len(case.y), device=case.y.device)
    passes = [case.attacks.victim(everyone, f"pass {index}").logits(case.x).argmax(1) for index in range(4)]
    value = case.share((torch.stack(passes) != passes[0]).any(0))
    threshold = case.allowed(_GUESSES if case.claimed.noisy else _FLIPS)
    sentence = f"without any attack, {value:.1%} of the samples are not given the same class in four passes"
    return Finding(value, threshold, "suspect", sentence)


def noise_off(case: Case) -> Finding | None:
    """Images made on the mean path, which has gradients without noise."""
    if not case.claimed.noisy or case.attacks.repeatable_view is None:
        return None
    return _transferred(case, view(case.model, "mean"), "made with the noise off")


def fixed_noise(case: Case) -> Finding | None:
    """Images made on one draw of the noise that stays the same for all steps."""
    if not case.claimed.noisy or case.attacks.repeatable_view is None:
        return None
    return _transferred(case, case.attacks.repeatable_view, "made on one fixed draw of the noise")


def twin(case: Case) -> Finding | None:
    """Images made on the same model trained without a regulariser: gradients of a model that hides none."""
    if case.twin is None:
        return None
    return _transferred(case, view(case.twin, "mean"), "made on the unregularised twin")


def _transferred(case: Case, source: View, made: str) -> Finding | None:
    chosen = case.claimed.survivors(case.radius)
    if not len(chosen):
        return None
    x_adv, _ = case.attacks.ascent(chosen, case.radius, margin, seen=source)
    sentence = f"at ε = {case.radius:g} images {made} break another {{}} of the samples"
    return case.undercut(case.attacks.wrong(x_adv, chosen), chosen, "masked", sentence)
