"""What a check is: a case in, a finding out. And what all of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, Attack, Norm, Victim, victim
from ibrobust.attacks.contract import Samples, image_found, image_within
from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.attacks.victim import Loss
from ibrobust.models.bottleneck import Bottleneck, View, attacked_view, view
from ibrobust.randomness import Draw, Noise, sample_draw
from ibrobust.registry import Registry, extension_point
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.noisy_readings import readings_under_noise, score_draw
from ibrobust.robustness.question import Execution, question
from ibrobust.robustness.readings import NULL_ATTACK, Readings
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.storage import Results
from ibrobust.types import Images, Labels, PerSample

Indices = Int[Tensor, " some"]

STRICT_ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""What a strict claim rests on beside the paper's attacks; the last one sees no gradient."""


_QUERIES = 1000
"""Queries that Square may ask, a fifth of the protocol's: hidden gradients show in the first of them."""


@dataclass(frozen=True)
class Finding:
    """One check's answer.

    Attributes:
        value: what was measured.
        threshold: where it fails.
        means: what a failure says about the robustness claimed: `suspect`, a reason for doubt, or `masked`, a sign
            that gradients lead nowhere and attacks fail for that.
        sentence: the same in words, with numbers.
    """

    name: str
    value: float
    threshold: float
    passed: bool
    means: Literal["suspect", "masked"]
    sentence: str


@dataclass(frozen=True)
class Case:
    """A model and what is claimed about it.

    With noise a sample that the claim calls robust may have been lucky, so a check's attack is shown every sample, and
    its images are scored on the claim's own noise: what it breaks beyond the claim is the difference of two shares.

    Attributes:
        claim: about exactly these samples, in their order.
        twin: the same model trained without a regulariser, where there is one.
    """

    model: nn.Module
    x: Images
    y: Labels
    claim: Results
    twin: nn.Module | None = None
    batch_size: int = 64

    @cached_property
    def ids(self) -> Int[Tensor, " samples"]:
        return torch.tensor(self.claim.sample_N["sample"].to_numpy()).to(self.x.device)

    @cached_property
    def seen(self) -> View:
        """The model as it is scored."""
        return view(self.model, self.claim.card.settings.view)

    @cached_property
    def attacked(self) -> View:
        """The model as attacks see it: averaged over the noise."""
        return attacked_view(self.model, self.claim.card.settings.view)

    @cached_property
    def repeatable_view(self) -> View | None:
        """The same with one draw of the noise that never changes; None where the model keeps its noise to itself."""
        if not self.seen.draws:
            return self.seen
        if not isinstance(self.model, Bottleneck):
            return None

        def classify(x: Tensor, _noise: Noise) -> Tensor:
            return self.seen(x, Draw(torch.zeros(len(x), dtype=torch.int64, device=x.device)))

        return View(classify, "fixed", 0)

    @cached_property
    def norm(self) -> Norm:
        return NORMS[self.claim.card.settings.norm]

    @cached_property
    def correct(self) -> Indices:
        """The samples that the clean model gets right."""
        if isinstance(self.claim, Readings):
            return self._where(self.claim.right_EN(NULL_ATTACK, self.claim.reading)[0])
        return self._where(self.claim.all_attacks_N > 0)

    @cached_property
    def radius(self) -> float:
        """The radius at which a check has most to say: where the robustness claimed is nearest to half of the clean
        accuracy; the largest of those."""
        goal = self.claim.clean / 2
        distances = {radius: round(abs(float(self.robust_N(radius).mean()) - goal), 9) for radius in self.radii}
        return max(radius for radius, distance in distances.items() if distance == min(distances.values()))

    @cached_property
    def radii(self) -> list[float]:
        """Those above 0."""
        return [radius for radius in self.claim.card.settings.radii if radius > 0]

    def robust_N(self, radius: float, attacks: tuple[str, ...] | None = None) -> NDArray[np.bool_]:
        """Which samples are robust at the radius by the claim, or by some of its attacks alone: with noise, by the one
        of them that leaves fewest."""
        at = self.claim.card.settings.radii.index(radius)
        if attacks is None:
            robust_EN = self.claim.robust_EN
        elif isinstance(self.claim, Readings):
            each = [self.claim.right_EN(attack, self.claim.reading) for attack in attacks]
            robust_EN = min(each, key=lambda right_EN: right_EN[at].sum())
        else:
            robust_EN = self._broken_alone_N(attacks) > self.claim.radii_E[:, None]
        robust_N: NDArray[np.bool_] = robust_EN[at]
        return robust_N

    def _broken_alone_N(self, attacks: tuple[str, ...]) -> NDArray[np.float32]:
        """The smallest radius at which any of these attacks of the claim broke each sample, whatever the others did.

        A standing column holds the answer of all attacks up to its own. It says what the first so many attacks
        together broke; what others broke on their own is found by running them again.
        """
        smallest: NDArray[np.float32]
        names = self.claim.attacks
        if self.claim.card.settings.columns == "own" or set(attacks) == set(names[: len(attacks)]):
            smallest = self.claim.rows[[*attacks]].to_numpy(np.float32).min(1)
        else:
            smallest = np.min([self._own_column_N(name) for name in attacks], axis=0)
        return smallest

    def _own_column_N(self, name: str) -> NDArray[np.float32]:
        """One attack's own answer, as an evaluation with own columns gives it."""
        if name not in self._own_columns:
            settings = self.claim.card.settings.model_copy(
                update={"columns": "own", "protocol": "paper", "attacks": (name,)}
            )
            ran = ATTACKS[name]
            again = {name: replace(ran, settings={**ran.settings, **self.claim.card.attacks.get(name, {})})}
            samples = usable_samples(self.x, self.y, self.ids)
            asked = question(self.model, samples, settings, Execution(self.batch_size), attacks=again)
            self._own_columns[name] = radii_that_break(asked).rows[name].to_numpy(np.float32)
        return self._own_columns[name]

    @cached_property
    def _own_columns(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def survivors(self, radius: float, *, attacks: tuple[str, ...] | None = None) -> Indices:
        """Samples that a check's attack is shown: those robust at the radius by the claim, or by some of its attacks;
        with noise, all."""
        return self._where(self.robust_N(radius, attacks) | bool(self.seen.draws))

    def beyond(self, broke: Bool[Tensor, " some"], chosen: Indices, attacks: tuple[str, ...] | None = None) -> float:
        """The share of all samples that a check's attack broke at the case's radius beyond the claim, or some of its
        attacks, and beyond what noise breaks that the claim knows nothing of."""
        if self.seen.draws:
            known = float((~self.robust_N(self.radius, attacks)).mean())
        else:
            known = self.share(self.wrong(self.x[chosen], chosen))
        return max(0.0, self.share(broke) - known)

    @cached_property
    def by_cross_entropy(self) -> tuple[str, ...]:
        """Those of the claim's attacks that climb the cross-entropy's gradient, cheapest first."""
        return tuple(name for name, attack in registered(*self.claim.attacks).items() if attack.cross_entropy)

    def claimed(self, *attacks: str) -> tuple[str, ...]:
        """Those of the named attacks that the claim rests on."""
        return tuple(name for name in attacks if name in self.claim.attacks)

    def draw(self, chosen: Indices, purpose: str) -> Draw:
        """The chosen samples' random numbers for one purpose; other ones than any evaluation's."""
        return sample_draw(self.claim.card.settings.seed, self.ids[chosen]).fold(f"audit {purpose}")

    def victim(self, chosen: Indices, purpose: str, *, seen: View | None = None) -> Victim:
        return victim(seen or self.seen, self.draw(chosen, purpose).fold("noise"), batch_size=self.batch_size)

    def attacked_victim(self, chosen: Indices, purpose: str, *, seen: View | None = None) -> Victim:
        """For an attack, which under noise goes on until a mistake is beyond it."""
        seen = seen or self.attacked
        return replace(self.victim(chosen, purpose, seen=seen), favoured=self.y[chosen] if seen.draws else None)

    def newly_broken(
        self, attacks: Mapping[str, Attack], chosen: Indices, radius: float, *, seen: View | None = None
    ) -> Bool[Tensor, " some"]:
        """Which of the chosen samples any of the attacks on a view, by default the model's own, breaks; a sample that
        one broke is not shown to the next. With noise, which of their images is scored is chosen on other noise."""
        if self.seen.draws:
            return self._broken_under_noise(attacks, chosen, radius)
        broken = torch.zeros(len(chosen), dtype=torch.bool, device=chosen.device)
        for name, attack in attacks.items():
            left = (~broken).nonzero().squeeze(1)
            if not len(left):
                break
            rows = chosen[left]
            asked, draw = self.attacked_victim(rows, name, seen=seen), self.draw(rows, name)
            samples = Samples(asked, self.x[rows], self.y[rows], rows, draw)
            if attack.minimal:
                x_adv = image_found(name, attack, samples, self.norm)
            else:
                x_adv = image_within(name, attack, samples, self._radii(rows, radius), self.norm)
            reached = self.norm.distance(x_adv, samples.x) <= radius + BALL_TOLERANCE
            broken[left[reached & self.wrong(x_adv, rows)]] = True
        return broken

    def _broken_under_noise(
        self, attacks: Mapping[str, Attack], chosen: Indices, radius: float
    ) -> Bool[Tensor, " some"]:
        """By other random numbers than the claim's, all but those that score."""
        if not attacks or not len(chosen):
            return torch.zeros(len(chosen), dtype=torch.bool, device=chosen.device)
        named = {f"audit {name}": attack for name, attack in attacks.items()}
        settings = self.claim.card.settings.model_copy(
            update={"eps": (radius,), "protocol": "paper", "attacks": tuple(named)}
        )
        samples = usable_samples(self.x[chosen], self.y[chosen], self.ids[chosen])
        asked = question(self.model, samples, settings, Execution(self.batch_size), attacks=named)
        again = readings_under_noise(asked)
        return torch.tensor(~again.robust_EN[0]).to(chosen.device)

    @cached_property
    def strict_breaks(self) -> tuple[Bool[Tensor, " samples"], Bool[Tensor, " samples"]]:
        """At the case's radius, the samples that strict attacks with gradients break and the claim's do not, and those
        that only Square breaks; with noise, those that each break, whatever the claim's do."""
        *with_gradients, black_box = STRICT_ATTACKS
        own = tuple(name for name in self.claim.attacks if name != black_box)
        missing = {name: ATTACKS[name] for name in with_gradients if name not in own}
        chosen = self.survivors(self.radius, attacks=own) if own else self.correct
        fell = self.newly_broken(missing, chosen, self.radius)
        left = chosen if self.seen.draws else chosen[~fell]
        if black_box in self.claim.attacks:
            fell_to_square = ~torch.tensor(self.robust_N(self.radius, (black_box,))).to(left.device)[left]
        else:
            attack = ATTACKS[black_box]
            short = {**attack.settings, "queries": min(_QUERIES, attack.settings["queries"])}
            fell_to_square = self.newly_broken({black_box: replace(attack, settings=short)}, left, self.radius)
        by_gradients, by_square = torch.zeros(2, len(self.x), dtype=torch.bool, device=chosen.device)
        by_gradients[chosen[fell]] = True
        by_square[left[fell_to_square]] = True
        return by_gradients, by_square

    def wrong(self, x_adv: Images, chosen: Indices) -> Bool[Tensor, " some"]:
        """Which images the model, as it is scored, gets wrong: with the noise that the claim was scored on."""
        if not len(chosen):
            return torch.zeros(0, dtype=torch.bool, device=chosen.device)
        scoring = score_draw(self.claim.card.settings.seed, self.ids[chosen])
        return victim(self.seen, scoring, batch_size=self.batch_size).logits(x_adv).argmax(1) != self.y[chosen]

    def ascent(
        self, chosen: Indices, radius: float, loss: Loss, *, seen: View | None = None, steps: int = 40
    ) -> tuple[Images, Float[Tensor, "steps some"]]:
        """PGD that goes on after a success, as a transferred attack should; images, and the loss at every step.

        The claim's PGD stops at the first mistake and climbs the cross-entropy; this is the same in all else.
        """
        asked, draw = self.attacked_victim(chosen, "ascent", seen=seen), self.draw(chosen, "ascent")
        x, y, eps = self.x[chosen], self.y[chosen], self._radii(chosen, radius)
        x_adv, losses = self.norm.start(x, eps, draw), []
        for index in range(steps):
            logits, gradient = asked.loss_gradient(x_adv, y, loss)
            losses.append(loss(logits, y))
            x_adv = self.norm.project(self.norm.step(x_adv, gradient, (1 - index / steps) * eps), x, eps)
        return x_adv, torch.stack(losses)

    def share(self, flags: Bool[Tensor, " some"]) -> float:
        """The share of all audited samples that these are."""
        return float(flags.sum()) / len(self.x)

    def allowed(self, share: float, of: int | None = None) -> float:
        """A threshold for a share of so many samples, all audited ones by default: it, or three where they are few; and
        two standard errors of a difference of shares where a model's own noise differs from score to score."""
        count = len(self.x) if of is None else of
        chance = 2 * (0.5 / count) ** 0.5 if self.repeatable_view is None else 0.0
        return max(share, 3 / count) + chance

    def _radii(self, chosen: Indices, radius: float) -> PerSample:
        return torch.full((len(chosen),), radius, device=self.x.device)

    def _where(self, kept: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Indices:
        return torch.tensor(kept).nonzero().squeeze(1).to(self.x.device)


Check = Callable[[Case], Finding | None]
"""None where the question does not arise: nothing claimed, no noise, no twin."""

CHECKS: Registry[Check] = extension_point("check", Callable)


def registered(*names: str) -> dict[str, Attack]:
    """Those of the named attacks that there are."""
    return {name: ATTACKS[name] for name in names if name in ATTACKS}
