"""What a check is: a case in, a finding out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from ibrobust.checks.claimed import ClaimedSamples, Indices
from ibrobust.checks.counter_attacks import CounterAttacks
from ibrobust.registry import Registry, extension_point
from ibrobust.robustness.results import Claim
from ibrobust.robustness.statistics import paired_error
from ibrobust.robustness.verdicts import Doubt, Kind
from ibrobust.types import Images, Labels

BREAKS = 0.05
"""Share of all samples that a counter-attack may break beyond the claim: less moves no conclusion that a few hundred
samples bear."""


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
        kind: `attack`, where the value is the share of the samples that broke beyond the claim (`Case.undercut`);
            `control`, where a failure says that nothing could have been found; or `note`, which changes no verdict.
        error: half the width of an attack's 95 % interval.
    """

    value: float
    threshold: float
    means: Doubt
    sentence: str
    name: str = ""
    kind: Kind = "control"
    error: float | None = None

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

    def undercut(self, broke: Bool[Tensor, " some"], chosen: Indices, means: Doubt, sentence: str) -> Finding:
        """The finding of a counter-attack at the case's radius: the share of all samples that it broke beyond the
        claim, with its interval.

        With noise, every sample is attacked and scored on the claim's own noise: the difference of two shares, paired
        by sample. Without, samples that the model gets wrong unchanged do not count.

        Args:
            chosen: the samples that were attacked.
            broke: which of those broke.
            sentence: in words, with `{}` in place of the share.
        """
        difference_N = np.zeros(len(self.x))
        if self.claimed.noisy:
            known = torch.from_numpy(~self.claimed.robust_N(self.radius)).to(chosen.device)[chosen]
        else:
            known = self.attacks.wrong(self.x[chosen], chosen)
        difference_N[chosen.cpu().numpy()] = (broke.int() - known.int()).cpu().numpy()
        value = max(0.0, float(difference_N.mean()))
        return Finding(
            value, self.allowed(BREAKS), means, sentence.format(f"{value:.1%}"), kind="attack",
            error=paired_error(difference_N),
        )  # fmt: skip

    def allowed(self, share: float, of: int | None = None) -> float:
        """A threshold for a share of so many samples, all audited ones by default: it, or three where they are few; and
        two standard errors of a difference of shares where a model's own noise differs from score to score."""
        count = len(self.x) if of is None else of
        chance = 2 * (0.5 / count) ** 0.5 if self.attacks.repeatable_view is None else 0.0
        return max(share, 3 / count) + chance


Check = Callable[[Case], Finding | None]
"""None where the question does not arise: nothing claimed, no noise, no twin."""

CHECKS: Registry[Check] = extension_point("check", Callable)
