"""The table of a model with noise: for each attack, sample and radius, is the image right when scored on new noise?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.results import ALL_ATTACKS, Shown, about_samples

NULL_ATTACK = "null-attack"
"""The image itself, scored as every other: what noise does without an adversary."""
READINGS = ("mean", "fresh", "averaged")
"""Noise off; one new draw, whose accuracy is the expected one; the average prediction of several new draws."""


@dataclass(frozen=True)
class Readings:
    """One model with noise under one protocol.

    Attributes:
        rows: a row per sample, attack and radius, in that order: `sample`, `label`, `prediction` (clean, averaged),
            `zero_gradient`, `attack` (`null-attack`, each attack, `all`), `eps` and a bool column per reading: whether
            the image is classified as its label. The image of `all` is the attack's that looked best on noise which the
            score does not use, so taking many attacks does not count their noise many times.
        card: what was evaluated and how.
    """

    rows: pd.DataFrame
    card: ResultCard

    @property
    def attacks(self) -> list[str]:
        return list(self.card.attacks)

    @property
    def readings(self) -> list[str]:
        """Those that the model has: a foreign model's noise cannot be switched off."""
        return [reading for reading in READINGS if reading in self.rows]

    @property
    def reading(self) -> str:
        """The one of the view: `fresh` or `averaged`."""
        return self.card.settings.view.partition(":")[0]

    @property
    def radii_E(self) -> NDArray[np.float32]:
        return np.asarray(self.card.settings.radii, dtype=np.float32)

    def right_EN(self, attack: str, reading: str) -> NDArray[np.bool_]:
        """Radii × samples: is the attack's image still classified as its label?"""
        right = self.rows.loc[self.rows["attack"] == attack, reading].to_numpy(dtype=bool)
        return right.reshape(-1, len(self.radii_E)).T

    @property
    def robust_EN(self) -> NDArray[np.bool_]:
        """Which samples survive all attacks at each radius, in the reading of the view."""
        return self.right_EN(ALL_ATTACKS, self.reading)

    def robust_to_EN(self, attacks: Sequence[str]) -> NDArray[np.bool_]:
        """Which samples survive, at each radius, the one of these attacks that leaves fewest there, in the reading of
        the view."""
        right_AEN = np.stack([self.right_EN(attack, self.reading) for attack in attacks])
        strongest_E = right_AEN.sum(axis=2).argmin(axis=0)
        robust: NDArray[np.bool_] = right_AEN[strongest_E, np.arange(len(strongest_E))]
        return robust

    @property
    def correct_N(self) -> NDArray[np.bool_]:
        """Which samples the model gets right without an attack, in the reading of the view."""
        right: NDArray[np.bool_] = self.right_EN(NULL_ATTACK, self.reading)[0]
        return right

    @property
    def unattacked(self) -> list[str]:
        return [NULL_ATTACK]

    @property
    def first_breakers(self) -> None:
        return None

    @property
    def clean(self) -> float:
        """Accuracy without an attack, in the reading of the view."""
        return float(self.correct_N.mean())

    @property
    def robust_avg(self) -> float:
        """Mean over the radii of the all-attack robust accuracy (Kirsch et al. figure G.14)."""
        return float(self.robust_EN.mean())

    @property
    def sample_N(self) -> pd.DataFrame:
        """A row per sample: `sample`, `label`, `prediction`, `zero_gradient` and `nan_gradient`."""
        null = self.rows[self.rows["attack"] == NULL_ATTACK]
        return about_samples(null.iloc[:: len(self.radii_E)]).reset_index(drop=True)

    def counts(self) -> pd.DataFrame:
        """attack, eps, reading, right (a number of samples), n."""
        long = self.rows.melt(["attack", "eps"], self.readings, var_name="reading", value_name="right")
        counted = long.groupby(["attack", "eps", "reading"], sort=False)["right"].agg(right="sum", n="size")
        return counted.reset_index()

    def curves(self) -> pd.DataFrame:
        """Long form: attack, eps, robust accuracy in the reading of the view."""
        viewed = self.counts().query("reading == @self.reading")
        return viewed.assign(robust=viewed["right"] / viewed["n"])[["attack", "eps", "robust"]].reset_index(drop=True)

    @property
    def shown(self) -> Shown:
        """What a terminal and a notebook show."""
        table = self.curves().pivot(index="eps", columns="attack", values="robust")
        about = f"clean {self.clean:.3f}, reading {self.reading}, n {len(self.sample_N)}"
        return Shown(table[[NULL_ATTACK, *self.attacks, ALL_ATTACKS]], about, self.card.every_warning)

    def __str__(self) -> str:
        return self.shown.text

    def _repr_html_(self) -> str:
        return self.shown.html
