"""Results in, tables out: one row per evaluated run, and the curves behind it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.robustness.attack_seeds import OF_ATTACK_SEEDS, about_seeds, with_seeds
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.certified import Certain, SharesE, beside
from ibrobust.robustness.comparable import groups
from ibrobust.robustness.protocols import strength
from ibrobust.robustness.rank_reasons import asks_gradients, reason
from ibrobust.robustness.ranks import rank_intervals
from ibrobust.robustness.readings import NULL_ATTACK, Readings
from ibrobust.robustness.results import ALL_ATTACKS, BreakingRadii
from ibrobust.robustness.settings import TOLD
from ibrobust.robustness.statistics import mean_error, wilson_interval
from ibrobust.robustness.storage import Results

_SHARES = [
    "clean", "robust_avg", "robust_avg_error", "zero_grad", "corruption_avg", "corruption_avg_error", "mce",
    "one_seed_avg", "one_seed_spread",
]  # fmt: skip
_INFORMATION = ("encoding_entropy", "preserved_information")
_NATS = [*(f"{name}{end}" for name in _INFORMATION for end in ("", "_low", "_high")), "decoder_cross_entropy"]
_KEYS = ["run", *TOLD]
"""What tells two results apart."""
RANKS = ["rank", "rank_low", "rank_high", "tied"]
"""Place, the places that the samples leave open, and whether nothing is surely better though others lead as well; of a
table without a rank, the first alone."""
_FIRST = [
    "run", "dataset", "model", "reg", "gamma", "adversarial", "noise", "latent", "seed", "n", "clean", "robust_avg",
    "robust_avg_error",
]  # fmt: skip
_LAST = [
    "weakest_attack", "strongest_attack", "zero_grad", *_NATS, *_KEYS[1:], "eps_max", "verdict", "reason", "group",
]  # fmt: skip


def leaderboard(results: Sequence[Results], certain: Certain = ()) -> pd.DataFrame:
    """One row per result; columns are documented in docs/leaderboard.md.

    Results of a strict protocol that an audit trusts come first, ranked by robust_avg among those of the same samples,
    radii, attacks and settings, those of the strongest protocol that was run first, which the column `protocol` names;
    all others below, the most robust first, each with the reason for having no rank.

    Args:
        certain: for each result the share that is certain at each radius, or None; empty where nothing is certified.
    """
    return in_order(rows_of(results, certain), [survived_N(result) for result in results])


def rows_of(results: Sequence[Results], certain: Certain = ()) -> pd.DataFrame:
    """The leaderboard's rows as the results come, not yet ranked, with the `strength` of the protocol and the number of
    `radii`."""
    strengths = [strength(result.attacks, noise=result.card.settings.view != "mean") for result in results]
    counts = [len(result.radii_E) for result in results]
    rows = with_seeds(pd.DataFrame([_row(result, shares_E) for result, shares_E in beside(results, certain)]))
    return rows.assign(group=groups(results), strength=strengths, radii=counts)


def survived_N(result: Results) -> NDArray[np.int64]:
    """How many radii each sample survives, in the order of the samples' ids."""
    survived: NDArray[np.int64] = result.robust_EN.sum(0)[result.sample_N["sample"].to_numpy().argsort()]
    return survived


def in_order(
    rows: pd.DataFrame,
    survived_QN: Sequence[NDArray[Any]],
    spread_Q: Sequence[float] | None = None,
    *,
    more: Sequence[str] = (),
) -> pd.DataFrame:
    """The leaderboard of rows as `rows_of` makes them: ranked, and sorted.

    Args:
        survived_QN: for each row, how many radii each sample survives.
        spread_Q: standard error of each row's robust_avg over training seeds; none by default.
        more: columns of the rows that are shown as well, last.
    """
    ranked = rows["reason"] == ""
    wholes = rows["radii"].tolist()
    rows = rows.assign(**ranks_of(rows["group"].where(ranked), rows["robust_avg"], survived_QN, wholes, spread_Q))
    order = {"ranked": False, "strength": False, "among": True, "robust_avg": False, **dict.fromkeys(_KEYS, True)}
    sortable = rows.assign(
        ranked=ranked, strength=rows["strength"].where(ranked, 0), among=rows["group"].where(ranked, "")
    )
    ordered = sortable.sort_values([*order], ascending=[*order.values()])
    ranks = RANKS if ranked.any() else RANKS[:1]
    names = [str(column) for column in rows if "@" in str(column) and column not in more]
    shares_at = sorted(sorted(names, reverse=True), key=_eps_of)
    seeds = [name for name in OF_ATTACK_SEEDS if name in ordered]
    return ordered[[*ranks, *_FIRST, *shares_at, *_LAST, *seeds, *more]].reset_index(drop=True)


def ranks_of(
    group_Q: "pd.Series[str]",
    value_Q: "pd.Series[float]",
    values_QN: Sequence[NDArray[Any]],
    wholes: Sequence[int],
    spread_Q: Sequence[float] | None = None,
) -> dict[str, "pd.Series[Any]"]:
    """The columns `RANKS` of rows that are ranked within their group by a mean over the group's samples.

    Args:
        group_Q: missing where a row has no rank.
        value_Q: what ranks go by, the highest first.
        values_QN: its parts by sample, the same samples throughout a group.
        wholes: what a sample has at most.
        spread_Q: standard error of each value from what else was drawn.
    """
    rank_Q = value_Q[group_Q.notna()].groupby(group_Q).rank(method="min", ascending=False)
    columns = {name: pd.Series(pd.NA, group_Q.index, "Int64") for name in ("rank_low", "rank_high")}
    tied_Q = [""] * len(group_Q)
    for members in group_Q.groupby(group_Q).indices.values():
        spread_M = np.array([spread_Q[row] * wholes[row] for row in members]) if spread_Q is not None else None
        values_MN = np.stack([values_QN[row] for row in members])
        low_M, high_M = rank_intervals(values_MN, whole=wholes[members[0]], spread_M=spread_M)
        columns["rank_low"].iloc[members], columns["rank_high"].iloc[members] = low_M, high_M
        if (low_M == 1).sum() > 1:
            for row in members[low_M == 1]:
                tied_Q[row] = "yes"
    return {"rank": rank_Q.reindex(group_Q.index).astype("Int64"), **columns, "tied": pd.Series(tied_Q, group_Q.index)}


def curves(results: Sequence[Results], certain: Certain = ()) -> pd.DataFrame:
    """Long form: run, protocol, norm, view, backend, columns, attack, eps, robust; where some result is certified also
    `certified`, the share that is certain, in the rows of all attacks together: the truth lies between the two."""
    parts = []
    for result, certain_E in beside(results, certain):
        parts.append(result.curves().assign(**_keys(result)))
        if certain_E is not None:
            parts[-1].loc[parts[-1]["attack"] == ALL_ATTACKS, "certified"] = certain_E
    table = pd.concat(parts, ignore_index=True)
    return table[[*_KEYS, "attack", "eps", "robust", *(["certified"] if "certified" in table else [])]]


def noise_table(results: Sequence[Readings]) -> pd.DataFrame:
    """What noise does: run, protocol, norm, view, attack (`null-attack` changes nothing), eps, reading, n, robust and
    the ends of its 95 % Wilson interval."""
    parts = [result.counts().assign(**_keys(result)) for result in results]
    table = pd.concat(parts, ignore_index=True)
    robust, low, high = wilson_interval(table["right"].to_numpy(), table["n"].to_numpy())
    shown = [*_KEYS[:4], "attack", "eps", "reading", "n", "robust", "low", "high"]
    return table.assign(robust=robust, low=low, high=high)[shown]


def printable(board: pd.DataFrame) -> pd.DataFrame:
    """The same table as text with fixed digits: what the CSV holds and the terminal shows."""
    text = board.copy()
    for column in board.columns:
        if column in RANKS[:3]:
            text[column] = board[column].astype("string").fillna("")
        elif column.removesuffix("_sd") in _SHARES or column.startswith(("robust@", "certified@")):
            text[column] = board[column].map(lambda value: "" if math.isnan(value) else f"{value:.4f}")
        elif column.removesuffix("_sd") in _NATS:
            text[column] = board[column].map(lambda value: "" if math.isnan(value) else f"{value:.3f}")
        elif column in ("gamma", "adversarial", "eps_max", "noise"):
            text[column] = board[column].map(_plain)
    return text


def _plain(value: str | float) -> str:
    """A text as it is, a number shortly, and nothing where there is none."""
    return value if isinstance(value, str) else "" if math.isnan(value) else f"{value:g}"


def curve_text(table: pd.DataFrame) -> pd.DataFrame:
    """Curves and shares with fixed digits, as the CSV holds them."""
    names = [name for name in ("robust", "low", "high", "certified") if name in table]
    shares = {name: table[name].map("{:.6f}".format, na_action="ignore") for name in names}
    return table.assign(eps=table["eps"].map("{:g}".format), **shares)


def quarter_radii(radii: Sequence[float]) -> list[float]:
    """The grid's radii nearest to ¼, ½, ¾ and all of the largest; the smaller one where two are as near."""
    wanted = [radii[-1] * quarter / 4 for quarter in (1, 2, 3, 4)]
    positive = [radius for radius in radii if radius > 0]
    nearest = [min(positive, key=lambda radius: (round(abs(radius - goal), 9), radius)) for goal in wanted]
    return list(dict.fromkeys(nearest))


def _row(result: Results, certain_E: SharesE | None) -> dict[str, Any]:
    card, radii = result.card, result.card.settings.radii
    curves_of = result.curves()
    alone = curves_of[~curves_of["attack"].isin([ALL_ATTACKS, NULL_ATTACK])]
    by_attack = alone.groupby("attack", sort=False, observed=True)["robust"].mean()
    robust_E = result.robust_EN.mean(1)
    metrics = (card.model.metrics or {}).get("train", {}) if card.model else {}
    return {
        **_keys(result),
        **about_model(card),
        "n": len(result.sample_N),
        "clean": result.clean,
        "robust_avg": result.robust_avg,
        "robust_avg_error": mean_error(result.robust_EN.mean(0)),
        **{f"robust@{eps:g}": float(robust_E[radii.index(eps)]) for eps in quarter_radii(radii)},
        **{
            f"certified@{eps:g}": float(certain_E[radii.index(eps)])
            for eps in quarter_radii(radii)
            if certain_E is not None
        },
        "weakest_attack": by_attack.idxmax(),
        "strongest_attack": by_attack.idxmin(),
        "zero_grad": float(result.sample_N["zero_gradient"].mean()) if asks_gradients(result) else math.nan,
        **{name: metrics.get(name, math.nan) for name in _NATS},
        "eps_max": radii[-1],
        "verdict": card.stated_verdict,
        "reason": reason(result),
        **(about_seeds(result) if isinstance(result, BreakingRadii) and card.settings.attack_seeds > 1 else {}),
    }


def about_model(card: ResultCard) -> dict[str, Any]:
    """The columns that say which model on which data a result is of."""
    recipe = card.model.recipe if card.model else None
    return {
        "dataset": card.dataset,
        "model": recipe.model if recipe else card.run,
        "reg": recipe.reg if recipe else "",
        "gamma": recipe.gamma if recipe else "",
        "adversarial": recipe.adversarial if recipe else "",
        "noise": (card.model and card.model.noise) or "",
        "latent": recipe.latent if recipe else "",
        "seed": recipe.seed if recipe else "",
    }


def _keys(result: Results) -> dict[str, str]:
    return {"run": result.card.run, **result.card.settings.told}


def _eps_of(column: str) -> float:
    return float(column.partition("@")[2])
