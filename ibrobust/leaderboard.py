"""Results in, tables out: one row per evaluated run, and the curves behind it."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ibrobust.results import BreakingRadii, robust_share

_SHARES = ["clean", "robust_avg", "zero_grad"]
_INFORMATION = ("encoding_entropy", "preserved_information")
_NATS = [*(f"{name}{end}" for name in _INFORMATION for end in ("", "_low", "_high")), "decoder_cross_entropy"]
_KEYS = ["run", "protocol", "norm", "view"]


def leaderboard(results: Sequence[BreakingRadii]) -> pd.DataFrame:
    """One row per result, the most robust first; columns are documented in docs/leaderboard.md."""
    rows = pd.DataFrame([_row(result) for result in results])
    robust_at = sorted((str(column) for column in rows if str(column).startswith("robust@")), key=_eps_of)
    first = [
        "run",
        "dataset",
        "model",
        "reg",
        "gamma",
        "adversarial",
        "noise",
        "latent",
        "seed",
        "n",
        "clean",
        "robust_avg",
    ]
    last = ["weakest_attack", "strongest_attack", "zero_grad", *_NATS, "protocol", "norm", "view", "eps_max", "verdict"]
    ordered = rows.sort_values(["robust_avg", *_KEYS], ascending=[False, *[True] * len(_KEYS)])
    return ordered[[*first, *robust_at, *last]].reset_index(drop=True)


def curves(results: Sequence[BreakingRadii]) -> pd.DataFrame:
    """Long form: run, protocol, norm, view, attack, eps, robust."""
    parts = [result.curves().assign(**_keys(result)) for result in results]
    return pd.concat(parts, ignore_index=True)[[*_KEYS, "attack", "eps", "robust"]]


def printable(board: pd.DataFrame) -> pd.DataFrame:
    """The same table as text with fixed digits: what the CSV holds and the terminal shows."""
    text = board.copy()
    for column in board.columns:
        if column in _SHARES or column.startswith("robust@"):
            text[column] = board[column].map(lambda value: "" if math.isnan(value) else f"{value:.4f}")
        elif column in _NATS:
            text[column] = board[column].map(lambda value: "" if math.isnan(value) else f"{value:.3f}")
        elif column in ("gamma", "adversarial", "eps_max", "noise"):
            text[column] = board[column].map(lambda value: value if isinstance(value, str) else f"{value:g}")
    return text


def curve_text(table: pd.DataFrame) -> pd.DataFrame:
    """Curves with fixed digits, as the CSV holds them."""
    return table.assign(eps=table["eps"].map("{:g}".format), robust=table["robust"].map("{:.6f}".format))


def quarter_radii(radii: Sequence[float]) -> list[float]:
    """The grid's radii nearest to ¼, ½, ¾ and all of the largest; the smaller one where two are as near."""
    wanted = [radii[-1] * quarter / 4 for quarter in (1, 2, 3, 4)]
    positive = [radius for radius in radii if radius > 0]
    nearest = [min(positive, key=lambda radius: (round(abs(radius - goal), 9), radius)) for goal in wanted]
    return list(dict.fromkeys(nearest))


def _row(result: BreakingRadii) -> dict[str, Any]:
    card, all_attacks_N, radii = result.card, result.all_attacks_N, result.card["radii"]
    by_attack = result.curves().query("attack != 'all'").groupby("attack", sort=False)["robust"].mean()
    kept = quarter_radii(radii)
    shares = robust_share(all_attacks_N, pd.Series(kept).to_numpy("float32"))
    recipe, metrics = card["model"].get("recipe", {}), card["model"].get("metrics", {}).get("train", {})
    return {
        **_keys(result),
        "dataset": card["data"]["name"],
        "model": recipe.get("model", card["model"]["run"]),
        "reg": recipe.get("reg", ""),
        "gamma": recipe.get("gamma", ""),
        "adversarial": recipe.get("adversarial", ""),
        "noise": card["model"].get("noise", ""),
        "latent": recipe.get("latent", ""),
        "seed": recipe.get("seed", ""),
        "n": len(result.rows),
        "clean": result.clean,
        "robust_avg": result.robust_avg,
        **{f"robust@{eps:g}": share for eps, share in zip(kept, shares, strict=True)},
        "weakest_attack": by_attack.idxmax(),
        "strongest_attack": by_attack.idxmin(),
        "zero_grad": float(result.rows["zero_gradient"].mean()),
        **{name: metrics.get(name, math.nan) for name in _NATS},
        "eps_max": radii[-1],
        "verdict": card.get("verdict", "unaudited"),
    }


def _keys(result: BreakingRadii) -> dict[str, str]:
    card = result.card
    return {"run": card["model"]["run"], "protocol": card["protocol"], "norm": card["norm"], "view": card["noise"]}


def _eps_of(column: str) -> float:
    return float(column.removeprefix("robust@"))
