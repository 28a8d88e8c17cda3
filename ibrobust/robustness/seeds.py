"""One row for the training seeds of a recipe: mean and standard deviation over seeds of every number."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ibrobust.robustness.certified import Certain
from ibrobust.robustness.leaderboard import groups, in_order, leaderboard, rows_of, survived_N
from ibrobust.robustness.ranks import seed_spread
from ibrobust.robustness.statistics import mean_error
from ibrobust.robustness.storage import Results

_ABOUT_RECIPE = ("gamma", "adversarial", "latent", "seed")
_SAME = ("n", "eps_max", "strength", "radii", "attack_seeds")
_VERDICTS = ("trusted", "unaudited", "suspect", "masked")
"""The best first: a row has the worst of its seeds."""


def by_recipe(results: Sequence[Results], certain: Certain = ()) -> pd.DataFrame:
    """The leaderboard with one row for all results whose recipes differ in their seed alone and that answer the same
    question about the same samples.

    Numbers are means over seeds, each with a column `*_sd` (the standard deviation, n − 1) behind it, and `seeds` is
    how many; a number that a seed lacks is missing. The row is ranked where all its seeds could be, and its ranks leave
    open what the draws of samples and seeds do. Where there is one seed each, it is the leaderboard.

    Args:
        certain: as `leaderboard` takes it.
    """
    together = places_by_recipe(results)
    if all(len(members) == 1 for members in together):
        return leaderboard(results, certain)
    rows = rows_of(results, certain)
    numbers = [
        str(name) for name in rows.select_dtypes("number") if name not in (*_SAME, "robust_avg_error", *_ABOUT_RECIPE)
    ]
    survived_QN = [np.mean([survived_N(results[place]) for place in members], axis=0) for members in together]
    merged = []
    for members, survived in zip(together, survived_QN, strict=True):
        row = (
            _merged(rows.iloc[members].sort_values("seed"), numbers)
            if len(members) > 1
            else dict(rows.iloc[members[0]])
        )
        merged.append({"seeds": len(members), **row})
        if len(members) > 1:
            merged[-1]["robust_avg_error"] = mean_error(survived / row["radii"])
    spread_Q = [seed_spread(rows["robust_avg"].to_numpy()[members]) for members in together]
    table = pd.DataFrame(merged)
    board = in_order(table, survived_QN, spread_Q, more=["seeds", *(f"{name}_sd" for name in numbers)])
    order = [
        column
        for name in map(str, board)
        if not name.endswith("_sd")
        for column in (name, f"{name}_sd")
        if column in board
    ]
    return board[order]


def places_by_recipe(results: Sequence[Results]) -> list[list[int]]:
    """Places of the results whose recipes differ in their seed alone and that answer the same question about the same
    samples, in the order in which each is met first. Results of a seed that is there twice stay apart."""
    places: dict[str, list[int]] = {}
    for place, (result, group) in enumerate(zip(results, groups(results), strict=True)):
        model = result.card.model
        recipe = model.recipe if model else None
        known = (
            [recipe.model_dump(mode="json", exclude={"seed"}), model.noise, model.plugins]
            if recipe and model
            else place
        )
        places.setdefault(json.dumps([known, group], sort_keys=True), []).append(place)
    found = []
    for members in places.values():
        seeds = Counter(_seed(results[place]) for place in members)
        found += [members] if max(seeds.values()) == 1 else [[place] for place in members]
    return found


def _seed(result: Results) -> int | None:
    return result.card.model.recipe.seed if result.card.model and result.card.model.recipe else None


def _merged(rows: pd.DataFrame, numbers: Sequence[str]) -> dict[str, Any]:
    """One row for the seeds' rows, which are in the order of their seeds."""
    means, deviations = rows[[*numbers]].mean(skipna=False), rows[[*numbers]].std(ddof=1, skipna=False)
    first, others = rows["run"].iloc[0], len(rows) - 1
    words = {name: " / ".join(dict.fromkeys(rows[name])) for name in ("weakest_attack", "strongest_attack")}
    reasons = [f"seed {seed}: {reason}" for seed, reason in zip(rows["seed"], rows["reason"], strict=True) if reason]
    return {
        **dict(rows.iloc[0]),
        **dict(means),
        **{f"{name}_sd": value for name, value in deviations.items()},
        **words,
        "run": f"{first} and {others} more {'seed' if others == 1 else 'seeds'}",
        "seed": " ".join(map(str, rows["seed"])),
        "verdict": max(rows["verdict"], key=_VERDICTS.index),
        "reason": "; ".join(reasons) if len(set(rows["reason"])) > 1 else rows["reason"].iloc[0],
    }
