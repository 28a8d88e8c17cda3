"""Does another attack break what is claimed to be robust? Each is shown the claim's survivors alone."""

from collections.abc import Mapping
from dataclasses import replace

from ibrobust.attacks import Attack
from ibrobust.attacks.losses import margin
from ibrobust.checks.claimed import registered
from ibrobust.checks.counter_attacks import STRICT_ATTACKS
from ibrobust.checks.interface import Case, Finding
from ibrobust.models.bottleneck import View

_BREAKS = 0.05
"""Share of all samples that another attack may break beyond the claim."""
_GAP = 0.3
"""Share that FGSM may leave beyond strong attacks: the paper's weakest attack is then no guide to what is so."""
_LOSSES = 0.1
"""Share that the same attack may break beyond the claim by climbing another loss."""
_LESS = 0.02
"""Share by which a weaker attack may beat a stronger one: a few samples."""


def fgsm_beats_pgd(case: Case) -> Finding | None:
    """One step that breaks more than many: the gradient further out leads away."""
    iterated = case.claimed.rests_on("bim", "pgd")
    if not iterated or not case.claimed.rests_on("fgsm"):
        return None
    left = [
        case.claimed.robust_N(radius, iterated).mean() - case.claimed.robust_N(radius, ("fgsm",)).mean()
        for radius in case.claimed.radii
    ]
    value = float(max(left))
    sentence = f"at some radius FGSM breaks {max(value, 0):.1%} of the samples more than BIM and PGD together"
    return Finding(value, case.allowed(_LESS), "masked", sentence)


def fgsm_gap(case: Case) -> Finding | None:
    """How far FGSM is above a strong attack: what the paper's weakest attack says and what is so are two things."""
    if case.claimed.settings.label != "paper" or not case.claimed.rests_on("fgsm"):
        return None
    gaps = [
        case.claimed.robust_N(radius, ("fgsm",)).mean()
        - case.claimed.robust_N(radius).mean()
        + (_strict_beyond(case) if radius == case.radius else 0.0)
        for radius in case.claimed.radii
    ]
    value = float(max(gaps))
    sentence = f"at some radius FGSM leaves {value:.1%} of the samples more than strong attacks do"
    return Finding(value, _GAP, "suspect", sentence)


def square(case: Case) -> Finding:
    """A black-box attack that breaks what no attack with gradients could: the gradients are hidden."""
    by_square = case.attacks.strict_breaks[1]
    chosen = by_square.nonzero().squeeze(1)
    value = case.beyond(by_square[chosen], chosen)
    sentence = (
        f"at ε = {case.radius:g} Square, which sees no gradient, breaks {value:.1%} that no attack with gradients does"
    )
    return Finding(value, case.allowed(_LESS), "masked", sentence)


def effort(case: Case) -> Finding | None:
    """Twice the steps and another random start: an attack that had converged finds nothing more."""
    doubled = _doubled({name: attack for name, attack in registered(*case.claim.attacks).items() if not attack.minimal})
    if not doubled:
        return None
    chosen = case.claimed.survivors(case.radius)
    value = case.beyond(case.attacks.newly_broken(doubled, chosen, case.radius), chosen)
    sentence = f"at ε = {case.radius:g} twice the steps, from another start, break another {value:.1%} of the samples"
    return Finding(value, case.allowed(_BREAKS), "suspect", sentence)


def margin_loss(case: Case) -> Finding | None:
    """PGD on the margin instead of the cross-entropy, against what cross-entropy attacks left."""
    by_cross_entropy = case.claimed.by_cross_entropy
    if not by_cross_entropy:
        return None
    chosen = case.claimed.survivors(case.radius, attacks=by_cross_entropy)
    if not len(chosen):
        return None
    x_adv, _ = case.attacks.ascent(chosen, case.radius, margin)
    value = case.beyond(case.attacks.wrong(x_adv, chosen), chosen, by_cross_entropy)
    sentence = (
        f"at ε = {case.radius:g} PGD on the margin breaks another {value:.1%} of the samples that cross-entropy left"
    )
    return Finding(value, case.allowed(_LOSSES), "masked", sentence)


def rescaled_logits(case: Case) -> Finding | None:
    """The cross-entropy attacks once more, the logits divided so that the median margin is 1.

    Not with noise: the average over it is of probabilities already.
    """
    by_cross_entropy = case.claimed.by_cross_entropy
    chosen = (
        case.claimed.survivors(case.radius, attacks=by_cross_entropy) if by_cross_entropy else case.claimed.correct[:0]
    )
    if not len(chosen) or case.claimed.noisy:
        return None
    margins = -margin(case.attacks.victim(chosen, "scale").logits(case.x[chosen]), case.y[chosen])
    if not (margins > 0).any():
        return None
    scale = float(margins[margins > 0].median())
    rescaled = View(lambda x, noise: case.attacks.seen(x, noise) / scale, "rescaled", 0)
    again = registered(by_cross_entropy[-1])
    value = case.beyond(case.attacks.newly_broken(again, chosen, case.radius, seen=rescaled), chosen)
    sentence = (
        f"at ε = {case.radius:g} {by_cross_entropy[-1]} on logits divided by {scale:.3g} breaks another {value:.1%}"
    )
    return Finding(value, case.allowed(_LOSSES), "masked", sentence)


def strict(case: Case) -> Finding | None:
    """The attacks of the strict protocol that the claim does not rest on."""
    if len(case.claimed.rests_on(*STRICT_ATTACKS)) == len(STRICT_ATTACKS):
        return None
    value = _strict_beyond(case)
    sentence = f"at ε = {case.radius:g} strict attacks break another {value:.1%} of the samples"
    return Finding(value, case.allowed(_BREAKS), "suspect", sentence)


def radius_one(case: Case) -> Finding | None:
    """With every image in reach a classifier cannot be robust: what is left are attacks that fail."""
    largest = case.claimed.norm.distance(0 * case.x[:1], 0 * case.x[:1] + 1).item()
    chosen = case.claimed.survivors(case.claimed.settings.radii[-1])
    fixed = {name: attack for name, attack in registered(*case.claim.attacks).items() if not attack.minimal}
    gradient = {name: attack for name, attack in fixed.items() if name in case.claimed.by_cross_entropy}
    if not len(chosen) or not gradient:
        return None
    value = case.share(~case.attacks.newly_broken(gradient, chosen, largest))
    chance = 1 / case.attacks.victim(chosen[:1], "classes").logits(case.x[chosen[:1]]).shape[1]
    sentence = f"with every image in reach, gradient attacks leave {value:.1%} of the samples; chance is {chance:.1%}"
    return Finding(value, chance, "masked", sentence)


def _strict_beyond(case: Case) -> float:
    """What strict attacks break beyond the claim; with noise, those with gradients alone."""
    chosen = case.claimed.survivors(case.radius)
    by_gradients, by_square = case.attacks.strict_breaks
    return case.beyond((by_gradients if case.claimed.noisy else by_gradients | by_square)[chosen], chosen)


def _doubled(attacks: Mapping[str, Attack]) -> dict[str, Attack]:
    """Twice the steps where an attack has any; its random numbers are others than the claim's anyway."""
    return {
        name: replace(attack, settings={**attack.settings, "steps": 2 * attack.settings["steps"]})
        for name, attack in attacks.items()
        if attack.settings.get("steps", 1) > 1
    }
