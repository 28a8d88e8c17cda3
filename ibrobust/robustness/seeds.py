"""One row for the training seeds of a recipe: mean and standard deviation over seeds of every number."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ibrobust.robustness.certified import Certain
from ibrobust.robustness.comparable import groups
from ibrobust.robustness.leaderboard import curves, in_order, leaderboard, rows_of, survived_N
from ibrobust.robustness.ranks import seed_spread
from ibrobust.robustness.statistics import mean_error
from ibrobust.robustness.storage import AnyStored, Results

_ABOUT_RECIPE = ("gamma", "adversarial", "latent", "seed")
_SAME = ("n", "eps_max", "strength", "radii", "attack_seeds")
_WORDS = ("weakest_attack", "strongest_attack", "worst_corruption")
_VERDICTS = ("", "trusted", "unaudited", "suspect", "masked")
"""The best first: a row has the worst of its seeds. Under corruptions there is none."""


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
    return _merged_board(results, certain, together)[0]


def by_recipe_with_places(
    results: Sequence[Results], group_Q: Sequence[str], certain: Certain = ()
) -> tuple[pd.DataFrame, list[list[int]]]:
    """`by_recipe` where some recipe has several seeds, and for each of its rows the places of the row's results, in the
    order of their seeds; a table without rows where there is one seed each.

    Args:
        group_Q: for each result, its question about its samples, as `groups` says it.
    """
    together = places_in_groups(results, group_Q)
    if all(len(members) == 1 for members in together):
        return pd.DataFrame(), []
    board, order = _merged_board(results, certain, together)
    return board, [sorted(together[row], key=lambda place: _seed(results[place]) or 0) for row in order]


def _merged_board(
    results: Sequence[Results], certain: Certain, together: Sequence[Sequence[int]]
) -> tuple[pd.DataFrame, list[int]]:
    """The table with a row for each of the groups, and which group each row is of."""
    rows = rows_of(results, certain)
    numbers = [
        str(name) for name in rows.select_dtypes("number") if name not in (*_SAME, "robust_avg_error", *_ABOUT_RECIPE)
    ]
    survived_QN = [np.mean([survived_N(results[place]) for place in members], axis=0) for members in together]
    merged = []
    for members, survived in zip(together, survived_QN, strict=True):
        row = (
            merged_rows(rows.iloc[list(members)].sort_values("seed"), numbers)
            if len(members) > 1
            else dict(rows.iloc[members[0]])
        )
        merged.append({"seeds": len(members), **row})
        if len(members) > 1:
            merged[-1]["robust_avg_error"] = mean_error(survived / row["radii"])
    spread_Q = [seed_spread(rows["robust_avg"].to_numpy()[list(members)]) for members in together]
    table = pd.DataFrame(merged).assign(together=range(len(together)))
    board = in_order(table, survived_QN, spread_Q, more=["seeds", *(f"{name}_sd" for name in numbers), "together"])
    return deviations_behind(board.drop(columns="together")), board["together"].tolist()


def deviations_behind(board: pd.DataFrame) -> pd.DataFrame:
    """The table with each column `*_sd` behind the one that it is about."""
    names = [str(name) for name in board if not str(name).endswith("_sd")]
    return board[[column for name in names for column in (name, f"{name}_sd") if column in board]]


def curves_by_recipe(results: Sequence[Results], certain: Certain = ()) -> pd.DataFrame:
    """The curves of the rows of `by_recipe`: of several seeds the mean, with `robust_sd` behind it, their standard
    deviation (n − 1), which is missing where there is one seed. Where there is one seed each, they are the curves."""
    together = places_by_recipe(results)
    if all(len(members) == 1 for members in together):
        return curves(results, certain)
    shares = list(certain) or [None] * len(results)
    return pd.concat(
        [_mean_curves([results[k] for k in members], [shares[k] for k in members]) for members in together],
        ignore_index=True,
    )


def places_by_recipe(results: Sequence[Results], radii: Sequence[float] = ()) -> list[list[int]]:
    """Places of the results whose recipes differ in their seed alone and that answer the same question about the same
    samples, in the order in which each is met first. Results of a seed that is there twice stay apart.

    Args:
        radii: as `groups` takes them.
    """
    return places_in_groups(results, groups(results, radii))


def places_in_groups(results: Sequence[AnyStored], group_Q: Sequence[str]) -> list[list[int]]:
    """The same, of any results whose questions are known.

    Args:
        group_Q: for each result, its question about its samples, in words.
    """
    places: dict[str, list[int]] = {}
    for place, (result, group) in enumerate(zip(results, group_Q, strict=True)):
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


def _seed(result: AnyStored) -> int | None:
    return result.card.model.recipe.seed if result.card.model and result.card.model.recipe else None


def _mean_curves(seeds: Sequence[Results], certain: Certain) -> pd.DataFrame:
    """Curves of one recipe's seeds, which have the same attacks and radii."""
    each = [curves([seed], [shares_E]) for seed, shares_E in zip(seeds, certain, strict=True)]
    points = pd.MultiIndex.from_frame(each[0][["attack", "eps"]])
    by_point = [table.set_index(["attack", "eps"]).reindex(points) for table in each]
    robust_SR = np.stack([table["robust"] for table in by_point])
    name = _name_of([seed.card.run for seed in sorted(seeds, key=lambda seed: _seed(seed) or 0)])
    mean = each[0].assign(run=name, robust=robust_SR.mean(0))
    if any(shares_E is not None for shares_E in certain):
        unknown = np.full(len(mean), np.nan)
        mean["certified"] = np.mean([table.get("certified", unknown) for table in by_point], axis=0)
    return mean.assign(robust_sd=robust_SR.std(0, ddof=1) if len(seeds) > 1 else np.nan)


def _name_of(runs: Sequence[str]) -> str:
    """One name for the runs of a recipe, which are in the order of their seeds."""
    others = len(runs) - 1
    return f"{runs[0]} and {others} more {'seed' if others == 1 else 'seeds'}" if others else runs[0]


def merged_rows(rows: pd.DataFrame, numbers: Sequence[str]) -> dict[str, Any]:
    """One row for the seeds' rows, which are in the order of their seeds, with means and deviations of the numbers."""
    means, deviations = rows[[*numbers]].mean(skipna=False), rows[[*numbers]].std(ddof=1, skipna=False)
    words = {name: " / ".join(dict.fromkeys(rows[name])) for name in _WORDS if name in rows}
    reasons = [f"seed {seed}: {reason}" for seed, reason in zip(rows["seed"], rows["reason"], strict=True) if reason]
    return {
        **dict(rows.iloc[0]),
        **dict(means),
        **{f"{name}_sd": value for name, value in deviations.items()},
        **words,
        "run": _name_of(rows["run"].tolist()),
        "seed": " ".join(map(str, rows["seed"])),
        "verdict": max(rows["verdict"], key=_VERDICTS.index),
        "reason": "; ".join(reasons) if len(set(rows["reason"])) > 1 else rows["reason"].iloc[0],
    }
