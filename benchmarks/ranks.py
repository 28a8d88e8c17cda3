"""How often intervals of ranks hold, in simulations with a known order: `python -m benchmarks.ranks`.

A sample's difficulty is shared by all models, so that their errors are correlated as on a real test set; each model
adds a strength and a noise of its own, and survives the radii that the sum exceeds. A higher strength survives more, so
that the true order is that of the strengths. Models of equal strength share their ranks, and an interval holds when it
has all of these.
"""

import time

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.robustness.ranks import rank_intervals, seed_spread

RADII = np.linspace(0, 1, 11)
SPREADS = {"all tied": 0.0, "in order, nearly tied": 1e-6, "in order, close": 0.1, "in order, wide": 1.0}
"""Strengths of the best and the worst model are this far apart, where a sample's noise is 0.3."""
Numbers = NDArray[np.float64]


def survived(strength_M: Numbers, difficulty_N: Numbers, rng: np.random.Generator) -> NDArray[np.int64]:
    """Models × samples: how many radii each survives."""
    noise_MN = rng.standard_normal((len(strength_M), len(difficulty_N)))
    reach_MN = strength_M[:, None] + 0.4 - 0.7 * difficulty_N + 0.3 * noise_MN
    return np.searchsorted(RADII, reach_MN.ravel()).reshape(reach_MN.shape)


def held(strength_M: Numbers, n: int, simulations: int, *, seeds: int = 1) -> dict[str, float]:
    """Shares of simulations in which every interval, the leader's and one model's hold the true ranks, and the mean
    number of ranks in an interval. Where there are seeds, they move the strengths as well."""
    best_M = 1 + (strength_M > strength_M[:, None]).sum(1)
    worst_M = len(strength_M) - (strength_M < strength_M[:, None]).sum(1)
    rows = []
    for simulation in range(simulations):
        rng = np.random.default_rng(simulation)
        moved_MS = strength_M[:, None] + (0.05 * rng.standard_normal((len(strength_M), seeds)) if seeds > 1 else 0)
        values_MSN = survived(moved_MS.ravel(), rng.standard_normal(n), rng).reshape(*moved_MS.shape, n)
        spread_M = np.array([seed_spread(means_S) for means_S in values_MSN.mean(2)])
        low_M, high_M = rank_intervals(values_MSN.mean(1), whole=len(RADII), spread_M=spread_M, seed=simulation)
        inside_M = (low_M <= best_M) & (worst_M <= high_M)
        leader = int(values_MSN.sum((1, 2)).argmax())
        rows.append((inside_M.all(), inside_M[leader], inside_M.mean(), (high_M - low_M + 1).mean()))
    return dict(zip(("all", "leader", "one", "ranks"), np.mean(rows, axis=0).round(3).tolist(), strict=True))


def main() -> None:
    cases = [(2, 500, 1, order) for order in SPREADS] + [(10, 500, 1, order) for order in SPREADS]
    cases += [(30, 500, 1, "all tied"), (10, 100, 1, "all tied"), *((5, 300, seeds, "all tied") for seeds in (3, 5))]
    rows = [
        {"models": models, "n": n, "seeds": seeds, "order": order}
        | held(np.linspace(SPREADS[order], 0, models), n, 300, seeds=seeds)
        for models, n, seeds, order in cases
    ]
    print("300 simulations each; level 95 %\n" + pd.DataFrame(rows).to_string(index=False))
    for models, n in ((500, 1000), (5000, 500)):
        rng = np.random.default_rng(0)
        values_MN = survived(np.linspace(1, 0, models), rng.standard_normal(n), rng)
        start = time.process_time()
        rank_intervals(values_MN, whole=len(RADII))
        print(f"{models} models, {n} samples: {time.process_time() - start:.1f} s of work")


if __name__ == "__main__":
    main()
