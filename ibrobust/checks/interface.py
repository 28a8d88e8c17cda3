"""What a check is: a case in, a finding out. And what all of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, Attack, Norm, Victim, victim
from ibrobust.attacks.contract import BALL_TOLERANCE, Samples, image_found, image_within
from ibrobust.attacks.norms import wide
from ibrobust.attacks.victim import Loss
from ibrobust.bottleneck import View, attacked_view, view
from ibrobust.randomness import Draw, Noise, sample_draw
from ibrobust.registry import Registry
from ibrobust.robustness.results import BreakingRadii
from ibrobust.types import Images, Labels, PerSample

Indices = Int[Tensor, " some"]

GRADIENT_ATTACKS = ("fgsm", "bim", "pgd", "apgd-ce")
"""Those that climb the cross-entropy's gradient, weakest first."""
STRICT_ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""What a strict claim rests on beside the paper's attacks; the last one sees no gradient."""


_QUERIES = 1000
"""Of Square, a fifth of the protocol's: where gradients are hidden it breaks many samples, and those with the first."""


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

    Attributes:
        results: the claim: breaking radii of exactly these samples, in their order.
        twin: the same model trained without a regulariser, where there is one.
    """

    model: nn.Module
    x: Images
    y: Labels
    results: BreakingRadii
    twin: nn.Module | None = None
    batch_size: int = 64

    @cached_property
    def seen(self) -> View:
        """The model as it is scored."""
        return view(self.model, self.results.card["noise"])

    @cached_property
    def attacked(self) -> View:
        """The model as attacks see it: averaged over the noise."""
        return attacked_view(self.model, self.results.card["noise"])

    @cached_property
    def seen_without_chance(self) -> View:
        """The same with one draw of the noise that never changes."""
        if not self.seen.draws:
            return self.seen

        def classify(x: Tensor, _noise: Noise) -> Tensor:
            return self.seen(x, Draw(torch.zeros(len(x), dtype=torch.int64, device=x.device)))

        return View(classify, "fixed", 0)

    @cached_property
    def norm(self) -> Norm:
        return NORMS[self.results.card["norm"]]

    @cached_property
    def correct(self) -> Indices:
        """The samples that the clean model gets right."""
        return self._where(self.results.all_attacks_N > 0)

    @cached_property
    def radius(self) -> float:
        """The radius at which a check has most to say: where the robustness claimed is nearest to half of the clean
        accuracy; the largest of those."""
        radii = [radius for radius in self.results.card["radii"] if radius > 0]
        claims = [float((self.results.all_attacks_N > np.float32(radius)).mean()) for radius in radii]
        goal = self.results.clean / 2
        distances = [round(abs(claim - goal), 9) for claim in claims]
        return float(
            max(radius for radius, distance in zip(radii, distances, strict=True) if distance == min(distances))
        )

    def survivors(self, radius: float, *, attacks: tuple[str, ...] | None = None) -> Indices:
        """Samples robust at the radius by the claim; by some of its attacks alone if they are named."""
        table = self.results.all_attacks_N
        if attacks is not None:
            table = self.results.rows[[*attacks]].to_numpy(np.float32).min(1)
        return self._where(table > np.float32(radius))

    def claimed(self, *attacks: str) -> tuple[str, ...]:
        """Those of the named attacks that the claim rests on."""
        return tuple(name for name in attacks if name in self.results.attacks)

    def draw(self, chosen: Indices, purpose: str) -> Draw:
        """The chosen samples' random numbers for one purpose; other ones than any evaluation's."""
        ids = torch.tensor(self.results.rows["sample"].to_numpy()).to(self.x.device)[chosen]
        return sample_draw(self.results.card["seed"], ids).fold(f"audit {purpose}")

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
        one broke is not shown to the next."""
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

    @cached_property
    def strict_breaks(self) -> tuple[Bool[Tensor, " samples"], Bool[Tensor, " samples"]]:
        """At the case's radius, the samples that strict attacks with gradients break and the claim's do not, and those
        that only Square breaks."""
        *with_gradients, black_box = STRICT_ATTACKS
        own = tuple(name for name in self.results.attacks if name != black_box)
        missing = {name: ATTACKS[name] for name in with_gradients if name not in own}
        chosen = self.survivors(self.radius, attacks=own) if own else self.correct
        fell = self.newly_broken(missing, chosen, self.radius)
        left = chosen[~fell]
        if black_box in self.results.attacks:
            column = torch.tensor(self.results.rows[black_box].to_numpy(np.float32)).to(left.device)
            fell_to_square = column[left] <= torch.tensor(self.radius, dtype=torch.float32)
        else:
            attack = ATTACKS[black_box]
            short = {**attack.settings, "queries": min(_QUERIES, attack.settings["queries"])}
            fell_to_square = self.newly_broken({black_box: replace(attack, settings=short)}, left, self.radius)
        by_gradients, by_square = torch.zeros(2, len(self.x), dtype=torch.bool, device=chosen.device)
        by_gradients[chosen[fell]] = True
        by_square[left[fell_to_square]] = True
        return by_gradients, by_square

    def wrong(self, x_adv: Images, chosen: Indices) -> Bool[Tensor, " some"]:
        """Which images the model, as it is scored, gets wrong: with noise that no attack has seen."""
        if not len(chosen):
            return torch.zeros(0, dtype=torch.bool, device=chosen.device)
        return self.victim(chosen, "score").logits(x_adv).argmax(1) != self.y[chosen]

    def null(self, chosen: Indices) -> float:
        """The share that noise alone breaks: the unchanged images, scored as every other; 0 without noise."""
        return self.share(self.wrong(self.x[chosen], chosen))

    def ascent(
        self, chosen: Indices, radius: float, loss: Loss, *, seen: View | None = None, steps: int = 40
    ) -> tuple[Images, Float[Tensor, "steps some"]]:
        """PGD that goes on after a success, as a transferred attack should; images, and the loss at every step.

        The claim's PGD stops at the first mistake and climbs the cross-entropy; this is the same in all else.
        """
        asked, draw = self.attacked_victim(chosen, "ascent", seen=seen), self.draw(chosen, "ascent")
        x, y, eps = self.x[chosen], self.y[chosen], self._radii(chosen, radius)
        x_adv, losses = self.norm.start(x, eps, draw), []
        for _ in range(steps):
            logits, gradient = asked.loss_gradient(x_adv, y, loss)
            losses.append(loss(logits, y))
            x_adv = self.norm.project(x_adv + wide(eps / 10) * self.norm.ascent(gradient), x, eps)
        return x_adv, torch.stack(losses)

    def share(self, flags: Bool[Tensor, " some"]) -> float:
        """Of all audited samples."""
        return float(flags.sum()) / len(self.x)

    def allowed(self, share: float, of: int | None = None) -> float:
        """A threshold for a share of so many samples, all audited ones by default: it, or three where they are few."""
        return max(share, 3 / (len(self.x) if of is None else of))

    def _radii(self, chosen: Indices, radius: float) -> PerSample:
        return torch.full((len(chosen),), radius, device=self.x.device)

    def _where(self, kept: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Indices:
        return torch.tensor(kept).nonzero().squeeze(1).to(self.x.device)


Check = Callable[[Case], Finding | None]
"""None where the question does not arise: nothing claimed, no noise, no twin."""

CHECKS: Registry[Check] = Registry("check")


def registered(*names: str) -> dict[str, Attack]:
    """Those of the named attacks that there are."""
    return {name: ATTACKS[name] for name in names if name in ATTACKS}
