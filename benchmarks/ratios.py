"""Timings to ratios: how many times as long as ours does each library take?"""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ibrobust.robustness.results import BreakingRadii


def least_gradients(results: BreakingRadii) -> float:
    """Gradients a sample that attacks with a fixed number of steps need whatever the search: the clean ones, those of
    minimal attacks, and one failure at full length of each other attack that fails at some radius. A search that is
    asked about each attack's own radius cannot do with fewer; what successes cost comes on top."""
    queries, first = results.card.queries, results.radii_E[results.radii_E > 0][0]
    count = queries["clean"].gradient
    for name in results.attacks:
        settings = results.card.attacks[name]
        if "random_start" not in settings:
            count += 0 if name == "fgsm" else queries[name].gradient
        else:  # A start at the image itself has the clean gradient already.
            failures = int((results.rows[name] > first).sum())
            count += failures * (int(settings["steps"]) - (0 if settings["random_start"] else 1))
    return count / len(results.rows)


def ratio_table(benchmarks: Iterable[Any]) -> pd.DataFrame:
    """A row per work and backend: `seconds` (the smallest of the rounds), `ratio` (over native's seconds),
    `gradients` per sample, `least` (what no search could do without, `least_gradients`; where it is known), `robust`
    (samples that survive at the largest radius).

    Args:
        benchmarks: pytest-benchmark's, with `work`, `backend`, `gradients`, `least` and `robust` in their `extra_info`.
    """
    rows = [
        {
            "work": benchmark.extra_info["work"],
            "backend": benchmark.extra_info["backend"],
            "seconds": benchmark.stats.min,
            "gradients": benchmark.extra_info["gradients"],
            "least": benchmark.extra_info.get("least"),
            "robust": benchmark.extra_info["robust"],
        }
        for benchmark in benchmarks
        if benchmark.stats is not None and "work" in benchmark.extra_info
    ]
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    ours = table[table["backend"] == "native"].set_index("work")["seconds"]
    table["ratio"] = (table["seconds"] / table["work"].map(ours)).round(1)
    table["seconds"] = table["seconds"].round(2)
    return table[["work", "backend", "seconds", "ratio", "gradients", "least", "robust"]]
