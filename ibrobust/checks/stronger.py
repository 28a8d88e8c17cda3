"""Does another attack break what is claimed to be robust? Each is shown the claim's survivors alone."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from ibrobust.attacks import Attack
from ibrobust.attacks.losses import margin
from ibrobust.checks.claimed import registered
from ibrobust.checks.counter_attacks import STRICT_ATTACKS
from ibrobust.checks.interface import Case, Finding
from ibrobust.checks.stand_ins import stand_ins_for
from ibrobust.models.bottleneck import View

_GAP = 0.3
"""Share that FGSM may leave beyond strong attacks: the paper's weakest attack is then no guide to what is so."""
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
    return Finding(value, case.allowed(_LESS), "masked", sentence, kind="note")


def fgsm_gap(case: Case) -> Finding | None:
    """How far FGSM is above a strong attack: what the paper's weakest attack says and what is so are two things."""
    if case.claimed.settings.label != "paper" or not case.claimed.rests_on("fgsm"):
        return None
    strict_beyond = _by_strict(case, "").value
    gaps = [
        case.claimed.robust_N(radius, ("fgsm",)).mean()
        - case.claimed.robust_N(radius).mean()
        + (strict_beyond if radius == case.radius else 0.0)
        for radius in case.claimed.radii
    ]
    value = float(max(gaps))
    sentence = f"at some radius FGSM leaves {value:.1%} of the samples more than strong attacks do"
    return Finding(value, _GAP, "suspect", sentence, kind="note")


def square(case: Case) -> Finding | None:
    """A black-box attack that breaks what no attack with gradients could: the gradients are hidden. Where the claim
    rests on it, too, nothing is broken beyond the claim, and it is a note."""
    if not case.claimed.gradients:
        return None
    by_square = case.attacks.strict_breaks[1]
    chosen = by_square.nonzero().squeeze(1)
    words = f"at ε = {case.radius:g} Square, which sees no gradient, breaks {{}} that no attack with gradients does"
    if case.claimed.noisy:
        chosen = torch.arange(len(by_square), device=by_square.device)
    if not case.claimed.rests_on("square"):
        return case.undercut(by_square[chosen], chosen, "masked", words)
    right = by_square[chosen] & ~case.attacks.wrong(case.x[chosen], chosen)
    value = case.share(right)
    return Finding(value, case.allowed(_LESS), "masked", words.format(f"{value:.1%}"), kind="note")


def effort(case: Case) -> Finding | None:
    """Twice the steps and another random start: an attack that had converged finds nothing more. Where a claim rests on
    no gradient, twice the queries."""
    own, gradients = registered(*case.claim.attacks), case.claimed.gradients
    kept = {name: attack for name, attack in own.items() if not (gradients and attack.minimal)}
    what = "steps" if gradients else "queries"
    doubled = _doubled(kept, what)
    if not doubled:
        return None
    chosen = case.claimed.survivors(case.radius)
    broke = case.attacks.newly_broken(doubled, chosen, case.radius)
    words = f"at ε = {case.radius:g} twice the {what}, from another start, break another {{}} of the samples"
    return case.undercut(broke, chosen, "suspect", words)


def margin_loss(case: Case) -> Finding | None:
    """PGD on the margin instead of the cross-entropy."""
    chosen = case.claimed.survivors(case.radius)
    if not case.claimed.by_cross_entropy or not len(chosen):
        return None
    x_adv, _ = case.attacks.ascent(chosen, case.radius, margin)
    words = f"at ε = {case.radius:g} PGD on the margin breaks another {{}} of the samples"
    return case.undercut(case.attacks.wrong(x_adv, chosen), chosen, "masked", words)


def rescaled_logits(case: Case) -> Finding | None:
    """The last of the claim's cross-entropy attacks once more, the logits divided so that the median margin is 1.

    Not with noise: the average over it is of probabilities already.
    """
    by_cross_entropy, chosen = case.claimed.by_cross_entropy, case.claimed.survivors(case.radius)
    if not by_cross_entropy or not len(chosen) or case.claimed.noisy:
        return None
    margins = -margin(case.attacks.victim(chosen, "scale").logits(case.x[chosen]), case.y[chosen])
    if not (margins > 0).any():
        return None
    scale = float(margins[margins > 0].median())
    rescaled = View(lambda x, noise: case.attacks.seen(x, noise) / scale, "rescaled", 0)
    again = registered(by_cross_entropy[-1])
    broke = case.attacks.newly_broken(again, chosen, case.radius, seen=rescaled)
    words = f"at ε = {case.radius:g} {by_cross_entropy[-1]} on logits divided by {scale:.3g} breaks another {{}}"
    return case.undercut(broke, chosen, "masked", words)


def soft_gates(case: Case) -> Finding | None:
    """Soft-T, an ascent towards each class through ReLUs that let a gradient through where they are off: what a network
    hides behind units that are off, attacks on its own gradient do not find."""
    chosen = case.claimed.survivors(case.radius)
    if not case.claimed.gradients or case.claimed.rests_on("soft-t") or not len(chosen):
        return None
    broke = case.attacks.newly_broken(registered("soft-t"), chosen, case.radius)
    words = f"at ε = {case.radius:g} an ascent towards each class through softened ReLUs breaks another {{}}"
    return case.undercut(broke, chosen, "masked", words)


def strict(case: Case) -> Finding | None:
    """The attacks of the strict protocol that the claim does not rest on."""
    if not case.claimed.gradients or len(case.claimed.rests_on(*STRICT_ATTACKS)) == len(STRICT_ATTACKS):
        return None
    return _by_strict(case, f"at ε = {case.radius:g} strict attacks break another {{}} of the samples")


def radius_one(case: Case) -> Finding | None:
    """With every image in reach a classifier cannot be robust: what is left are attacks that fail. The claim's attacks
    with gradients are tried, and what they leave is shown to the audit's own, so that a model fails of which none of
    them finds anything."""
    largest = case.claimed.norm.distance(0 * case.x[:1], 0 * case.x[:1] + 1).item()
    chosen = case.claimed.survivors(case.claimed.settings.radii[-1])
    gradient = {
        name: attack for name, attack in registered(*case.claimed.by_cross_entropy).items() if not attack.minimal
    }
    if not len(chosen) or not gradient:
        return None
    value = case.share(~case.attacks.newly_broken({**gradient, **stand_ins_for(case)}, chosen, largest))
    chance = 1 / case.attacks.victim(chosen[:1], "classes").logits(case.x[chosen[:1]]).shape[1]
    sentence = f"with every image in reach, no attack breaks {value:.1%} of the samples; chance is {chance:.1%}"
    return Finding(value, chance, "masked", sentence, kind="control")


def _by_strict(case: Case, words: str) -> Finding:
    """What strict attacks break beyond the claim; with noise, those with gradients alone."""
    chosen = case.claimed.survivors(case.radius)
    by_gradients, by_square = case.attacks.strict_breaks
    return case.undercut(
        (by_gradients if case.claimed.noisy else by_gradients | by_square)[chosen], chosen, "suspect", words
    )


def _doubled(attacks: Mapping[str, Attack], what: str) -> dict[str, Attack]:
    """Twice the steps, or queries, where an attack has any; its random numbers are others than the claim's anyway."""
    return {
        name: replace(attack, settings={**attack.settings, what: 2 * attack.settings[what]})
        for name, attack in attacks.items()
        if attack.settings.get(what, 1) > 1
    }
