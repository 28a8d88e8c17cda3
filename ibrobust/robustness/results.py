"""The table everything is read from: for each attack and each sample, the smallest radius that broke it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput, one_line
from ibrobust.robustness.attack_seeds import seed_column, seeds_in_words
from ibrobust.robustness.card import ResultCard

if TYPE_CHECKING:
    from torch import Tensor

    from ibrobust.robustness.evidence import Evidence

SAMPLE_COLUMNS = ["sample", "label", "prediction", "zero_gradient"]
NAN_GRADIENT = "nan_gradient"
"""A column that files of earlier versions lack: whether some gradient of the sample was NaN or infinite."""
ALL_ATTACKS = "all"


@dataclass(frozen=True)
class Shown:
    """A result as people see it: robust accuracy by radius and attack, one line about it, and the warnings."""

    table: pd.DataFrame
    about: str
    warnings: list[str]

    @property
    def text(self) -> str:
        """For a terminal."""
        table = self.table.to_string(float_format="{:.3f}".format)
        return "\n".join([table, self.about, *(f"warning: {one_line(text)}" for text in self.warnings)])

    @property
    def html(self) -> str:
        """For a notebook; names from elsewhere are text."""
        sentences = [self.about, *(f"warning: {text}" for text in self.warnings)]
        paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        return f"{self.table.to_html(float_format='{:.3f}'.format)}{paragraphs}"


@runtime_checkable
class Claim(Protocol):
    """What any table of results claims, whether the noise is off (`BreakingRadii`) or on (`Readings`)."""

    @property
    def card(self) -> ResultCard:
        """What was evaluated and how."""

    @property
    def attacks(self) -> list[str]:
        """The names of the attacks, cheapest first."""

    @property
    def radii_E(self) -> NDArray[np.float32]:
        """The radii."""

    @property
    def sample_N(self) -> pd.DataFrame:
        """A row per sample: `sample`, `label`, `prediction`, `zero_gradient` and `nan_gradient`."""

    @property
    def correct_N(self) -> NDArray[np.bool_]:
        """Which samples the model gets right without an attack."""

    @property
    def robust_EN(self) -> NDArray[np.bool_]:
        """Which samples survive all attacks at each radius."""

    def robust_to_EN(self, attacks: Sequence[str]) -> NDArray[np.bool_]:
        """Which samples survive these of the attacks at each radius."""

    @property
    def unattacked(self) -> list[str]:
        """What `robust_to_EN` takes for images that no attack has changed; empty where they are right at each radius or
        at none."""

    @property
    def clean(self) -> float:
        """Accuracy without an attack."""

    @property
    def first_breakers(self) -> list[tuple[str, int, int]] | None:
        """For each attack: its name, how many samples it broke at the smallest radius of all attacks (of several at
        that radius the first in the protocol's order), and how many it broke at all, unattacked mistakes left out;
        None where no radius is kept for each sample."""


@dataclass(frozen=True)
class BreakingRadii:
    """One model under one protocol.

    Attributes:
        rows: a row per sample: `sample` (its id in the data), `label`, `prediction` (clean), `zero_gradient` (whether
            the clean cross-entropy gradient is exactly zero), `nan_gradient` (whether some gradient was NaN or
            infinite: there an attack with gradients is taken to break what Square breaks) and a float32 column per
            attack: 0 where the clean prediction is already wrong, `inf` where nothing up to the largest radius broke
            it. After several attack seeds that is the smallest of all, and a column per seed and attack, as `pgd@3`,
            holds what one seed found.
        card: what was evaluated and how.
        filled: passes by attack that only filled batches up, beside the queries; only of an evaluation just made.
        evidence: the adversarial images, of an evaluation just made that was told to keep them.
    """

    rows: pd.DataFrame
    card: ResultCard
    filled: dict[str, int] = field(default_factory=dict, compare=False)
    evidence: "Evidence | None" = field(default=None, compare=False, repr=False)

    @property
    def images(self) -> "Tensor":
        """The adversarial images, (images, C, H, W) float32; `evidence.rows` says whose they are.

        Raises:
            BadInput: none were kept.
        """
        if self.evidence is None:
            raise BadInput("no images were kept; ask with keep_images=True")
        return self.evidence.images

    @property
    def attacks(self) -> list[str]:
        if self.card.settings.attack_seeds > 1:  # Columns of each seed stand behind those of the attacks.
            return [*self.card.attacks]
        return [column for column in self.rows.columns if column not in (*SAMPLE_COLUMNS, NAN_GRADIENT)]

    def of_seed(self, seed: int) -> "BreakingRadii":
        """What one of several attack seeds found alone: the rows that an evaluation with that seed would have, but that
        `nan_gradient` and the card's queries are those of all seeds.

        Raises:
            BadInput: the protocol was not run with this seed.
        """
        settings = self.card.settings
        if seed not in settings.seeds:
            seeds = settings.seeds
            raise BadInput(f"seed {seed}: these results are of seed {seeds[0]}" + f" to {seeds[-1]}" * (len(seeds) > 1))
        if settings.attack_seeds == 1:
            return self
        columns = {seed_column(name, seed): name for name in self.attacks}
        known = [name for name in (*SAMPLE_COLUMNS, NAN_GRADIENT) if name in self.rows]
        alone = settings.model_copy(update={"seed": seed, "attack_seeds": 1})
        rows = self.rows[[*known, *columns]].rename(columns=columns)
        return BreakingRadii(rows, self.card.model_copy(update={"settings": alone}))

    @property
    def radii_E(self) -> NDArray[np.float32]:
        return np.asarray(self.card.settings.radii, dtype=np.float32)

    @property
    def breaking_eps_AN(self) -> NDArray[np.float32]:
        """Attacks × samples."""
        return self.rows[self.attacks].to_numpy(dtype=np.float32).T

    @property
    def all_attacks_N(self) -> NDArray[np.float32]:
        """The smallest radius at which any attack broke each sample."""
        smallest: NDArray[np.float32] = self.breaking_eps_AN.min(axis=0)
        return smallest

    @property
    def robust_EN(self) -> NDArray[np.bool_]:
        """Which samples survive all attacks at each radius; one broken at exactly ε is not robust at ε."""
        survives: NDArray[np.bool_] = self.all_attacks_N[None, :] > self.radii_E[:, None]
        return survives

    @property
    def first_breakers(self) -> list[tuple[str, int, int]]:
        breaking_AN, smallest_N = self.breaking_eps_AN, self.all_attacks_N
        broken_N = np.isfinite(smallest_N) & (smallest_N > 0)
        first_N = (breaking_AN == smallest_N).argmax(0)
        return [
            (attack, int((broken_N & (first_N == place)).sum()), int((broken_N & np.isfinite(breaking_N)).sum()))
            for place, (attack, breaking_N) in enumerate(zip(self.attacks, breaking_AN, strict=True))
        ]

    def robust_to_EN(self, attacks: Sequence[str]) -> NDArray[np.bool_]:
        """Which samples survive these of the attacks at each radius."""
        smallest = self.rows[[*attacks]].to_numpy(np.float32).min(axis=1)
        survives: NDArray[np.bool_] = smallest[None, :] > self.radii_E[:, None]
        return survives

    @property
    def correct_N(self) -> NDArray[np.bool_]:
        """Which samples the model gets right without an attack."""
        right: NDArray[np.bool_] = self.all_attacks_N > 0
        return right

    @property
    def unattacked(self) -> list[str]:
        return []

    @property
    def clean(self) -> float:
        """Accuracy without an attack."""
        return float(self.correct_N.mean())

    @property
    def robust_avg(self) -> float:
        """Mean over the radii of the all-attack robust accuracy (Kirsch et al. figure G.14)."""
        return float(self.robust_EN.mean())

    @property
    def sample_N(self) -> pd.DataFrame:
        """A row per sample: `sample`, `label`, `prediction`, `zero_gradient` and `nan_gradient`."""
        return about_samples(self.rows)

    def curves(self) -> pd.DataFrame:
        """Long form: attack (`all` counts a sample only if it survives every one), eps, robust accuracy."""
        breaking = {ALL_ATTACKS: self.all_attacks_N, **dict(zip(self.attacks, self.breaking_eps_AN, strict=True))}
        return pd.DataFrame(
            [
                {"attack": attack, "eps": eps, "robust": share}
                for attack, breaking_eps_N in breaking.items()
                for eps, share in zip(self.card.settings.radii, robust_share(breaking_eps_N, self.radii_E), strict=True)
            ]
        )

    @property
    def shown(self) -> Shown:
        """What a terminal and a notebook show."""
        table = self.curves().pivot(index="eps", columns="attack", values="robust")
        about = ", ".join(filter(None, [f"clean {self.clean:.3f}, n {len(self.rows)}", seeds_in_words(self)]))
        return Shown(table[[*self.attacks, ALL_ATTACKS]], about, self.card.every_warning)

    def __str__(self) -> str:
        return self.shown.text

    def _repr_html_(self) -> str:
        return self.shown.html


def about_samples(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns about the samples; none of a file of earlier versions has lost a gradient that is known of."""
    about = rows[SAMPLE_COLUMNS]
    return about.assign(**{NAN_GRADIENT: rows.get(NAN_GRADIENT, False)})


def robust_share(breaking_eps_N: NDArray[np.float32], radii_E: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of samples that survive each radius; a sample broken at exactly ε is not robust at ε."""
    shares: NDArray[np.float64] = (breaking_eps_N[None, :] > radii_E[:, None]).mean(axis=1)
    return shares
