"""How often does the interval of a rank correlation hold the truth, on runs whose law is known?

python -m benchmarks.correlation_coverage [repeats]: 32 runs of eight regularisers each time, and 72 of which three are
seeds of one recipe, whose seeds are much alike.

A quantity, robustness and accuracy are normal with correlations ρ. Ranks of the whole population then have Spearman's
correlations 6/π · asin(ρ/2) (Pearson 1907), and what is left of them once accuracy is held fixed follows from those.
A regulariser shifts nothing here, so that the same number holds within and between regularisers.
"""

import math
import sys
from itertools import product

import numpy as np
import pandas as pd

from benchmarks.partial_correlations import CONTROL, OUTCOME, STATISTICS, with_interval

REGULARISERS = 8
DESIGNS = {"one seed": (4, 1), "three seeds": (3, 3)}
"""Recipes of each regulariser, and seeds of each recipe."""
ALIKE = 0.8
"""The share of the variance that the seeds of a recipe have in common."""
LAWS = {"none once accuracy is fixed": (0.81, 0.9, 0.9), "half of it": (0.5, 0.0, 0.6), "nearly all": (0.95, 0.3, 0.3)}
"""ρ of quantity and robustness, quantity and accuracy, robustness and accuracy."""


def runs_drawn(
    law: tuple[float, float, float], random: np.random.Generator, design: tuple[int, int] = (4, 1)
) -> pd.DataFrame:
    """As many runs as the digits zoo has, each with its quantity, robustness and accuracy, or those of another
    design."""
    each, seeds = design
    together, with_control, outcome_with_control = law
    covariance = [
        [1, together, with_control],
        [together, 1, outcome_with_control],
        [with_control, outcome_with_control, 1],
    ]
    recipes = random.multivariate_normal(np.zeros(3), covariance, size=REGULARISERS * each)
    drawn = np.repeat(recipes, seeds, axis=0)
    if seeds > 1:
        own = random.multivariate_normal(np.zeros(3), covariance, size=len(drawn))
        drawn = math.sqrt(ALIKE) * drawn + math.sqrt(1 - ALIKE) * own
    place = np.arange(len(drawn))
    return pd.DataFrame(drawn, columns=["lipschitz", OUTCOME, CONTROL]).assign(
        reg=[f"regulariser {one}" for one in place // (each * seeds)],
        gamma=place // seeds % each,
        seed=place % seeds,
    )


def truth(law: tuple[float, float, float], statistic: str) -> float:
    """What the statistic would be of infinitely many runs."""
    xy, xz, yz = (6 / math.pi * math.asin(rho / 2) for rho in law)
    return xy if statistic == "alone" else (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))


def coverage(repeats: int, resampled: int = 1000) -> pd.DataFrame:
    """Of each design, law and statistic: the truth, how often the interval held it, its median width."""
    rows = []
    for (design, sizes), (name, law) in product(DESIGNS.items(), LAWS.items()):
        random = np.random.default_rng(1)
        tables = [runs_drawn(law, random, sizes) for _ in range(repeats)]
        for statistic in STATISTICS:
            found = np.array([with_interval(table, "lipschitz", statistic, resampled) for table in tables])
            right = truth(law, statistic)
            held = (found[:, 1] <= right) & (right <= found[:, 2])
            width = float(np.median(found[:, 2] - found[:, 1]))
            rows.append(
                {
                    "runs": design,
                    "law": name,
                    "statistic": statistic,
                    "truth": right,
                    "held": held.mean(),
                    "width": width,
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(coverage(repeats, 300).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
