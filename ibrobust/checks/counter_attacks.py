"""Attacks on what is claimed: by other random numbers than the claim's, scored as the claim is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ibrobust.attacks import ATTACKS, Attack, Victim, victim
from ibrobust.attacks.contract import Samples, image_found, image_within
from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.attacks.victim import Loss
from ibrobust.checks.claimed import ClaimedSamples, Indices
from ibrobust.models.bottleneck import Bottleneck, View, attacked_view, view
from ibrobust.randomness import Draw, Noise, sample_draw
from ibrobust.robustness.noisy_readings import readings_under_noise, score_draw
from ibrobust.robustness.question import Execution, make_question
from ibrobust.robustness.samples import usable_samples
from ibrobust.types import Images, PerSample

STRICT_ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""What a strict claim rests on beside the paper's attacks; the last one sees no gradient."""

_QUERIES = 1000
"""Queries that Square may ask, a fifth of the protocol's: hidden gradients show in the first of them."""

Broken = Bool[Tensor, " some"]


@dataclass(frozen=True)
class CounterAttacks:
    """Attacks on the samples of a claim."""

    claimed: ClaimedSamples

    @cached_property
    def seen(self) -> View:
        """The model as it is scored."""
        return view(self.claimed.model, self.claimed.settings.view)

    @cached_property
    def attacked(self) -> View:
        """The model as attacks see it: averaged over the noise."""
        return attacked_view(self.claimed.model, self.claimed.settings.view)

    @cached_property
    def repeatable_view(self) -> View | None:
        """The model as it is scored, with one draw of the noise that never changes; None where the model keeps its
        noise to itself."""
        if not self.claimed.noisy:
            return self.seen
        if not isinstance(self.claimed.model, Bottleneck):
            return None

        def classify(x: Tensor, _noise: Noise) -> Tensor:
            return self.seen(x, Draw(torch.zeros(len(x), dtype=torch.int64, device=x.device)))

        return View(classify, "fixed", 0)

    def draw(self, chosen: Indices, purpose: str) -> Draw:
        """The chosen samples' random numbers for one purpose; other ones than any evaluation's."""
        return sample_draw(self.claimed.settings.seed, self.claimed.ids[chosen]).fold(f"audit {purpose}")

    def victim(self, chosen: Indices, purpose: str, *, seen: View | None = None) -> Victim:
        """A view of the model, by default as it is scored, for the chosen samples."""
        noise = self.draw(chosen, purpose).fold("noise")
        return victim(seen or self.seen, noise, batch_size=self.claimed.batch_size)

    def attacked_victim(self, chosen: Indices, purpose: str, *, seen: View | None = None) -> Victim:
        """The same for an attack, which under noise goes on until a mistake is beyond it."""
        seen = seen or self.attacked
        return replace(
            self.victim(chosen, purpose, seen=seen), favoured=self.claimed.y[chosen] if self.claimed.noisy else None
        )

    def wrong(self, x_adv: Images, chosen: Indices) -> Broken:
        """Which images the model, as it is scored, gets wrong: with the noise that the claim was scored on."""
        if not len(chosen):
            return torch.zeros(0, dtype=torch.bool, device=chosen.device)
        scoring = score_draw(self.claimed.settings.seed, self.claimed.ids[chosen])
        logits = victim(self.seen, scoring, batch_size=self.claimed.batch_size).logits(x_adv)
        return logits.argmax(1) != self.claimed.y[chosen]

    def newly_broken(
        self, attacks: Mapping[str, Attack], chosen: Indices, radius: float, *, seen: View | None = None
    ) -> Broken:
        """Which of the chosen samples any of the attacks on a view, by default the model's own, breaks; a sample that
        one broke is not shown to the next. With noise, which of their images is scored is chosen on other noise."""
        if self.claimed.noisy:
            return self._broken_under_noise(attacks, chosen, radius)
        norm, broken = self.claimed.norm, torch.zeros(len(chosen), dtype=torch.bool, device=chosen.device)
        for name, attack in attacks.items():
            left = (~broken).nonzero().squeeze(1)
            if not len(left):
                break
            rows = chosen[left]
            shown = self.attacked_victim(rows, name, seen=seen)
            samples = Samples(shown, self.claimed.x[rows], self.claimed.y[rows], rows, self.draw(rows, name))
            if attack.minimal:
                x_adv = image_found(name, attack, samples, norm)
            else:
                x_adv = image_within(name, attack, samples, self.radii(rows, radius), norm)
            reached = norm.distance(x_adv, samples.x) <= radius + BALL_TOLERANCE
            broken[left[reached & self.wrong(x_adv, rows)]] = True
        return broken

    def _broken_under_noise(self, attacks: Mapping[str, Attack], chosen: Indices, radius: float) -> Broken:
        """By other random numbers than the claim's, all but those that score."""
        if not attacks or not len(chosen):
            return torch.zeros(len(chosen), dtype=torch.bool, device=chosen.device)
        named = {f"audit {name}": attack for name, attack in attacks.items()}
        at_radius = {"eps": (radius,), "protocol": "paper", "attacks": tuple(named)}
        settings, execution = self.claimed.settings.model_copy(update=at_radius), Execution(self.claimed.batch_size)
        samples = usable_samples(self.claimed.x[chosen], self.claimed.y[chosen], self.claimed.ids[chosen])
        again = readings_under_noise(make_question(self.claimed.model, samples, settings, execution, attacks=named))
        return torch.tensor(~again.robust_EN[0]).to(chosen.device)

    @cached_property
    def strict_breaks(self) -> tuple[Broken, Broken]:
        """At the claim's radius, the samples that strict attacks with gradients break and the claim's do not, and those
        that only Square breaks; with noise, those that each break, whatever the claim's do."""
        claimed, (*with_gradients, black_box) = self.claimed, STRICT_ATTACKS
        own = tuple(name for name in claimed.table.attacks if name != black_box)
        missing = {name: ATTACKS[name] for name in with_gradients if name not in own}
        chosen = claimed.survivors(claimed.radius, attacks=own) if own else claimed.correct
        fell = self.newly_broken(missing, chosen, claimed.radius)
        left = chosen if claimed.noisy else chosen[~fell]
        if black_box in claimed.table.attacks:
            # What all others of the claim's attacks left, and the claim did not.
            fell_to_square = ~torch.tensor(claimed.robust_N(claimed.radius)).to(left.device)[left]
        else:
            attack = ATTACKS[black_box]
            short = {**attack.settings, "queries": min(_QUERIES, attack.settings["queries"])}
            fell_to_square = self.newly_broken({black_box: replace(attack, settings=short)}, left, claimed.radius)
        by_gradients, by_square = torch.zeros(2, len(claimed.x), dtype=torch.bool, device=chosen.device)
        by_gradients[chosen[fell]] = True
        by_square[left[fell_to_square]] = True
        return by_gradients, by_square

    def ascent(
        self, chosen: Indices, radius: float, loss: Loss, *, seen: View | None = None, steps: int = 40
    ) -> tuple[Images, Float[Tensor, "steps some"]]:
        """PGD that goes on after a success, as a transferred attack should; images, and the loss at every step.

        The claim's PGD stops at the first mistake and climbs the cross-entropy; this is the same in all else.
        """
        shown, norm = self.attacked_victim(chosen, "ascent", seen=seen), self.claimed.norm
        x, y, eps = self.claimed.x[chosen], self.claimed.y[chosen], self.radii(chosen, radius)
        x_adv, losses = norm.start(x, eps, self.draw(chosen, "ascent")), []
        for index in range(steps):
            logits, gradient = shown.loss_gradient(x_adv, y, loss)
            losses.append(loss(logits, y))
            x_adv = norm.project(norm.step(x_adv, gradient, (1 - index / steps) * eps), x, eps)
        return x_adv, torch.stack(losses)

    def radii(self, chosen: Indices, radius: float) -> PerSample:
        """The same radius for each of the chosen samples."""
        return torch.full((len(chosen),), radius, device=self.claimed.x.device)
