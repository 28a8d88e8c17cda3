"""What a check is: a case in, a finding out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jaxtyping import Bool
from torch import Tensor, nn

from ibrobust.checks.claimed import ClaimedSamples, Indices
from ibrobust.checks.counter_attacks import CounterAttacks
from ibrobust.registry import Registry, extension_point
from ibrobust.robustness.results import Claim
from ibrobust.types import Images, Labels


@dataclass(frozen=True)
class Finding:
    """One check's answer, which it passes where the value is not above the threshold.

    Attributes:
        value: what was measured.
        threshold: the largest value that is no sign of anything.
        means: what a failure says about the robustness claimed: `suspect`, a reason for doubt, or `masked`, a sign
            that gradients lead nowhere and attacks fail for that.
        sentence: the same in words, with numbers.
        name: the check's, which the registry gives.
    """

    value: float
    threshold: float
    means: Literal["suspect", "masked"]
    sentence: str
    name: str = ""

    @property
    def passed(self) -> bool:
        return self.value <= self.threshold


@dataclass(frozen=True)
class Case:
    """A model and what is claimed about it.

    Attributes:
        claim: about exactly these samples, in their order.
        twin: the same model trained without a regulariser, where there is one.
        batch_size: samples per pass.
    """

    model: nn.Module
    x: Images
    y: Labels
    claim: Claim
    twin: nn.Module | None = None
    batch_size: int = 64

    @cached_property
    def claimed(self) -> ClaimedSamples:
        """What the claim says about its samples."""
        return ClaimedSamples(self.model, self.x, self.y, self.claim, self.batch_size)

    @cached_property
    def attacks(self) -> CounterAttacks:
        """Attacks on those samples."""
        return CounterAttacks(self.claimed)

    @property
    def radius(self) -> float:
        """The radius at which a check has most to say."""
        return self.claimed.radius

    def share(self, flags: Bool[Tensor, " some"]) -> float:
        """The share of all audited samples that these are."""
        return float(flags.sum()) / len(self.x)

    def beyond(self, broke: Bool[Tensor, " some"], chosen: Indices, attacks: tuple[str, ...] | None = None) -> float:
        """The share of all samples that a check's attack broke at the case's radius beyond the claim, or some of its
        attacks.

        With noise, every sample is attacked and scored on the claim's own noise: the difference of two shares.
        """
        if self.claimed.noisy:
            known = float((~self.claimed.robust_N(self.radius, attacks)).mean())
        else:
            known = self.share(self.attacks.wrong(self.x[chosen], chosen))
        return max(0.0, self.share(broke) - known)

    def allowed(self, share: float, of: int | None = None) -> float:
        """A threshold for a share of so many samples, all audited ones by default: it, or three where they are few; and
        two standard errors of a difference of shares where a model's own noise differs from score to score."""
        count = len(self.x) if of is None else of
        chance = 2 * (0.5 / count) ** 0.5 if self.attacks.repeatable_view is None else 0.0
        return max(share, 3 / count) + chance


Check = Callable[[Case], Finding | None]
"""None where the question does not arise: nothing claimed, no noise, no twin."""

CHECKS: Registry[Check] = extension_point("check", Callable)
