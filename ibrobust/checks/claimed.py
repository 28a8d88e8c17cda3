"""What a claim says about its samples, and about those of its attacks that a check asks for."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, Attack, Norm, ask_gradients
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.question import Execution, make_question
from ibrobust.robustness.results import Claim
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import Settings
from ibrobust.types import Images, Labels

Indices = Int[Tensor, " some"]


@dataclass(frozen=True)
class ClaimedSamples:
    """A claim, its samples and the model that it is about.

    Attributes:
        table: the results claimed, of exactly these samples in their order.
        batch_size: samples per pass, wherever the model is asked again.
    """

    model: nn.Module
    x: Images
    y: Labels
    table: Claim
    batch_size: int

    @property
    def settings(self) -> Settings:
        return self.table.card.settings

    @property
    def norm(self) -> Norm:
        return NORMS[self.settings.norm]

    @property
    def noisy(self) -> bool:
        """Whether the model is scored with its noise on."""
        return self.settings.view != "mean"

    @property
    def gradients(self) -> bool:
        """Whether any of the claim's attacks asks for gradients; one that is not registered here is taken to."""
        known = registered(*self.table.attacks)
        return len(known) < len(self.table.attacks) or ask_gradients(known.values())

    @cached_property
    def ids(self) -> Int[Tensor, " samples"]:
        """The samples' numbers in their data."""
        return torch.tensor(self.table.sample_N["sample"].to_numpy()).to(self.x.device)

    @cached_property
    def correct(self) -> Indices:
        """The samples that the clean model gets right."""
        return self._where(self.table.correct_N)

    @cached_property
    def radii(self) -> list[float]:
        """Those above 0."""
        return [radius for radius in self.settings.radii if radius > 0]

    @cached_property
    def radius(self) -> float:
        """The radius at which a check has most to say: where the robustness claimed is nearest to half of the clean
        accuracy; the largest of those."""
        half = self.table.clean / 2
        distances = {radius: round(abs(float(self.robust_N(radius).mean()) - half), 9) for radius in self.radii}
        return max(radius for radius, distance in distances.items() if distance == min(distances.values()))

    @cached_property
    def by_cross_entropy(self) -> tuple[str, ...]:
        """Those of the claim's attacks that climb the cross-entropy's gradient, cheapest first."""
        return tuple(name for name, attack in registered(*self.table.attacks).items() if attack.cross_entropy)

    def rests_on(self, *attacks: str) -> tuple[str, ...]:
        """Those of the named attacks that are the claim's."""
        return tuple(name for name in attacks if name in self.table.attacks)

    def robust_N(self, radius: float, attacks: tuple[str, ...] | None = None) -> NDArray[np.bool_]:
        """Which samples are robust at the radius by the claim, or by some of its attacks alone: with noise, by the one
        of them that leaves fewest."""
        at = self.settings.radii.index(radius)
        if attacks is None:
            robust_EN = self.table.robust_EN
        elif self._together(attacks):
            robust_EN = self.table.robust_to_EN(attacks)
        else:
            smallest = np.min([self._own_column_N(name) for name in attacks], axis=0)
            robust_EN = smallest > self.table.radii_E[:, None]
        robust_N: NDArray[np.bool_] = robust_EN[at]
        return robust_N

    def survivors(self, radius: float, *, attacks: tuple[str, ...] | None = None) -> Indices:
        """Samples that a check's attack is shown: those robust at the radius by the claim, or by some of its attacks.

        With noise they are all samples: one that the claim calls robust may have been lucky.
        """
        return self._where(self.robust_N(radius, attacks) | self.noisy)

    def _together(self, attacks: tuple[str, ...]) -> bool:
        """Whether the table says what these attacks did, whatever the others.

        A standing column holds the answer of all attacks up to its own: it says what the first so many attacks
        together broke. What others broke on their own is found by running them again.
        """
        first = self.table.attacks[: len(attacks)]
        return self.noisy or self.settings.columns == "own" or set(attacks) == set(first)

    def _own_column_N(self, name: str) -> NDArray[np.float32]:
        """One attack's own answer, as an evaluation with own columns gives it."""
        if name not in self._own_columns:
            alone = {"columns": "own", "protocol": "paper", "attacks": (name,)}
            ran = ATTACKS[name]
            again = {name: replace(ran, settings={**ran.settings, **self.table.card.attacks.get(name, {})})}
            samples = usable_samples(self.x, self.y, self.ids)
            settings = self.settings.model_copy(update=alone)
            alone_asked = make_question(self.model, samples, settings, Execution(self.batch_size), attacks=again)
            self._own_columns[name] = radii_that_break(alone_asked).rows[name].to_numpy(np.float32)
        return self._own_columns[name]

    @cached_property
    def _own_columns(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def _where(self, kept: Bool[np.ndarray, " samples"]) -> Indices:
        return torch.tensor(kept).nonzero().squeeze(1).to(self.x.device)


def registered(*names: str) -> dict[str, Attack]:
    """Those of the named attacks that there are."""
    return {name: ATTACKS[name] for name in names if name in ATTACKS}
