"""Timings to ratios: how many times as long as ours does each library take?"""

from collections.abc import Iterable
from typing import Any

import pandas as pd


def ratio_table(benchmarks: Iterable[Any]) -> pd.DataFrame:
    """A row per work and backend: `seconds` (the smallest of the rounds), `ratio` (over native's seconds),
    `gradients` per sample, `robust` (samples that survive at the largest radius).

    Args:
        benchmarks: pytest-benchmark's, with `work`, `backend`, `gradients` and `robust` in their `extra_info`.
    """
    rows = [
        {
            "work": benchmark.extra_info["work"],
            "backend": benchmark.extra_info["backend"],
            "seconds": benchmark.stats.min,
            "gradients": benchmark.extra_info["gradients"],
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
    return table[["work", "backend", "seconds", "ratio", "gradients", "robust"]]
