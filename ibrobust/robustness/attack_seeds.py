"""Several seeds of a whole protocol: the answer is the worst case, and what each seed found stands beside it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.card import ResultCard

if TYPE_CHECKING:
    from torch import Tensor

OF_ATTACK_SEEDS = ("attack_seeds", "one_seed_avg", "one_seed_spread")
"""Columns of a leaderboard in which some result is the worst case of several attack seeds."""


@runtime_checkable
class SeveralSeeds(Protocol):
    """What is read here of `BreakingRadii`, a floor above."""

    @property
    def card(self) -> ResultCard:
        """What was evaluated and how."""

    @property
    def radii_E(self) -> NDArray[np.float32]:
        """The radii."""

    @property
    def robust_EN(self) -> NDArray[np.bool_]:
        """Which samples survive all attacks at each radius."""

    def of_seed(self, seed: int) -> "SeveralSeeds":
        """What one of the seeds found alone."""


def seed_column(attack: str, seed: int) -> str:
    """The name of the column that holds what an attack found with one of several seeds."""
    return f"{attack}@{seed}"


def seed_columns(attacks: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Those of all seeds and attacks, seed by seed; none where there is one seed.

    Raises:
        BadInput: an attack has the name of such a column.
    """
    if len(seeds) == 1:
        return []
    columns = [seed_column(attack, seed) for seed in seeds for attack in attacks]
    if taken := sorted({*columns} & {*attacks}):
        raise BadInput(f"attack {taken[0]!r}: with several attack_seeds a column of another attack has this name")
    return columns


def worst_and_each(found: Mapping[int, Mapping[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """A column per attack, the smallest of all seeds; and where there are several, one per seed and attack.

    Args:
        found: by seed and attack, the index of the radius that broke each sample.
    """
    by_seed = [*found.values()]
    worst = {name: by_seed[0][name].clone() for name in by_seed[0]}
    for name, smallest in worst.items():
        for one in by_seed[1:]:
            smallest.copy_(smallest.minimum(one[name]))
    each = seed_columns([*worst], [*found])
    return worst | dict(zip(each, (index for one in by_seed for index in one.values()), strict=False))


def robust_SE(results: SeveralSeeds) -> NDArray[np.float64]:
    """Robust accuracy at each radius that each seed alone gives; (seeds, radii)."""
    alone = [results.of_seed(seed).robust_EN.mean(1) for seed in results.card.settings.seeds]
    return np.stack(alone)


def seeds_in_words(results: SeveralSeeds) -> str:
    """What one seed is worth at the largest radius; nothing where there is one."""
    if results.card.settings.attack_seeds == 1:
        return ""
    robust_S, together = robust_SE(results)[:, -1], results.robust_EN[-1].mean()
    spread = robust_S.std(ddof=1)
    return (
        f"{len(robust_S)} attack seeds at {results.radii_E[-1]:g}: {together:.3f} survive all; one seed leaves "
        f"{robust_S.mean():.3f} on average (sd {spread:.4f}, {robust_S.min():.3f} to {robust_S.max():.3f})"
    )


def about_seeds(results: SeveralSeeds) -> dict[str, Any]:
    """The leaderboard's columns: how many seeds, and the robust average of one alone, its mean and standard deviation
    (n − 1)."""
    average_S = robust_SE(results).mean(1)
    spread = float(average_S.std(ddof=1))
    return {"attack_seeds": len(average_S), "one_seed_avg": float(average_S.mean()), "one_seed_spread": spread}


def with_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard's rows, in which results of one seed say so where others are of several."""
    return rows.fillna({"attack_seeds": 1}).astype({"attack_seeds": int}) if "attack_seeds" in rows else rows


def seeds_table(results: Sequence[Any]) -> pd.DataFrame | None:
    """What each of several attack seeds gives alone, in long form: run, protocol, norm, view, backend, columns,
    attack_seed, eps, robust; None where no result is of several."""
    several = [result for result in results if result.card.settings.attack_seeds > 1]
    rows = [
        {"run": one.card.run, **one.card.settings.told, "attack_seed": seed, "eps": eps, "robust": float(robust)}
        for one in several
        for seed, robust_E in zip(one.card.settings.seeds, robust_SE(one), strict=True)
        for eps, robust in zip(one.card.settings.radii, robust_E, strict=True)
    ]
    return pd.DataFrame(rows) if rows else None
