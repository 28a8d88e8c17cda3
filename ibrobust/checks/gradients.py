"""Notes on gradients: zero, wrong, or of another model than the one that is scored. They say why an attack may fail;
that one did, only something that breaks more can say."""

import torch

from ibrobust.attacks.losses import cross_entropy, margin
from ibrobust.attacks.norms import wide
from ibrobust.checks.interface import Case, Finding
from ibrobust.robustness.results import NAN_GRADIENT

_SHARE = 0.05
"""Share of samples that may fail a check of gradients by chance."""
_BENT = 0.2
"""Share of samples that may lie near a kink of a piecewise-linear network, where no slope describes the margin."""


def zero_gradient(case: Case) -> Finding | None:
    """The share of samples whose clean cross-entropy gradient is exactly zero: no step of FGSM, BIM or PGD moves. A
    gradient that is not finite leads nowhere either."""
    if not case.claimed.gradients:
        return None
    samples = case.claim.sample_N
    value, lost = float((samples["zero_gradient"] | samples[NAN_GRADIENT]).mean()), bool(samples[NAN_GRADIENT].any())
    what = "zero, NaN or infinite" if lost else "exactly zero"
    sentence = f"the cross-entropy's gradient is {what} on {value:.1%} of the samples"
    return Finding(value, case.allowed(_SHARE), "masked", sentence, kind="note")


def same_answer(case: Case) -> Finding | None:
    """The share of samples that get other logits when their gradient is asked for: a model that notices attacks."""
    if case.claimed.noisy or not case.claimed.gradients:
        return None
    x, y = case.x, case.y
    victim = case.attacks.victim(torch.arange(len(y), device=y.device), "same answer")
    plain, again = victim.logits(x), victim.logits(x)
    with_gradient, _ = victim.loss_gradient(x, y, cross_entropy)
    tolerance = 1e-3 * plain.abs().amax() + 2 * (again - plain).abs().amax()
    value = case.share((with_gradient - plain).abs().amax(1) > tolerance)
    sentence = f"{value:.1%} of the samples get other logits when their gradient is asked for"
    return Finding(value, case.allowed(_SHARE), "masked", sentence, kind="note")


def slope(case: Case) -> Finding | None:
    """The share of samples on which the margin does not move as its gradient says, over a tenth of the radius both
    ways along the steepest direction: a gradient that is not of what is scored."""
    if case.claimed.noisy or not case.claimed.gradients or not len(case.claimed.correct):
        return None
    x, y = case.x[case.claimed.correct], case.y[case.claimed.correct]
    victim = case.attacks.victim(case.claimed.correct, "slope")
    _, gradient = victim.loss_gradient(x, y, margin)
    # Where a step moves few pixels, none further than a tenth of its range.
    reach = case.radius / 10 if case.claimed.norm.sparse_ascent is None else min(case.radius / 10, 0.1)
    step = wide(torch.full_like(y, reach, dtype=x.dtype)) * case.claimed.norm.ascent(gradient)
    measured = (margin(victim.logits(x + step), y) - margin(victim.logits(x - step), y)) / 2
    predicted = reach * case.claimed.norm.dual(gradient)
    noise = 2 * (margin(victim.logits(x), y) - margin(victim.logits(x), y)).abs().amax()
    value = case.share((measured - predicted).abs() > 0.5 * torch.maximum(measured.abs(), predicted) + noise)
    sentence = (
        f"on {value:.1%} of the samples a small step up the margin's gradient moves the margin by less than half, "
    )
    sentence += "or more than twice, of what the gradient says"
    return Finding(value, _BENT, "suspect", sentence, kind="note")


def rising_loss(case: Case) -> Finding | None:
    """The share of claimed survivors on which 40 steps up the cross-entropy did not raise it."""
    chosen = case.claimed.survivors(case.radius)
    if not len(chosen) or not case.claimed.gradients:
        return None
    _, losses = case.attacks.ascent(chosen, case.radius, cross_entropy)
    value = float((losses[-10:].mean(0) <= losses[0]).float().mean())
    sentence = (
        f"PGD's loss at ε = {case.radius:g} is no higher after 40 steps than before on {value:.1%} of the survivors"
    )
    threshold = case.allowed(0.1, of=len(chosen))
    return Finding(value, threshold, "masked", sentence, kind="note")
