"""What the page needs at once: the leaderboard's rows, their curves of all attacks, and how to say the columns."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ibrobust.entropies.intervals import told
from ibrobust.page.entries import Entry, keys_of
from ibrobust.robustness.comparable import groups
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.seeds import by_recipe_with_places
from ibrobust.robustness.settings import TOLD, Settings

_COLUMNS = {
    "rank": ("rank", "whole", True, "place by mean robustness among the trusted runs of the same question"),
    "rank_low": ("rank from", "whole", False, "best rank that the draw of the samples leaves open, 95 %"),
    "rank_high": ("rank to", "whole", False, "worst rank that the draw of the samples leaves open, 95 %"),
    "tied": ("tied for the lead", "text", False, "yes: nothing is surely better, though others may lead as well"),
    "run": ("run", "text", True, "name of the run; opens it"),
    "dataset": ("data set", "text", True, "whose test samples were attacked"),
    "model": ("model", "text", False, "encoder architecture"),
    "reg": ("regulariser", "text", True, "none is a baseline; empty is a model of your own"),
    "gamma": ("γ", "number", True, "coefficient of the regulariser"),
    "adversarial": ("adversarial ε", "number", False, "L∞ radius of adversarial training"),
    "noise": ("latent noise", "text", False, "in training"),
    "latent": ("K", "whole", False, "dimensions of the latent"),
    "seed": ("seed", "whole", False, "of training"),
    "n": ("n", "whole", False, "test samples attacked"),
    "clean": ("clean", "share", True, "accuracy without an attack"),
    "robust_avg": ("mean over ε", "share", False, "share that survives every attack, mean over the radii"),
    "robust_avg_error": ("±", "share", False, "half-width of the 95 % interval of the mean"),
    "weakest_attack": ("weakest attack", "text", False, "alone, it leaves the most samples standing"),
    "strongest_attack": ("strongest attack", "text", False, "alone, it leaves the fewest samples standing"),
    "zero_grad": ("zero gradients", "share", False, "share of samples whose cross-entropy gradient is exactly zero"),
    "encoding_entropy": ("H[Z]", "nats", False, "encoding entropy, nats"),
    "preserved_information": ("I[X;Z]", "nats", True, "preserved information, nats"),
    **{
        f"{name}_{end}": (f"{symbol} {end}", "nats", False, f"{'lower' if end == 'low' else 'upper'} bound, nats")
        for name, symbol in (("encoding_entropy", "H[Z]"), ("preserved_information", "I[X;Z]"))
        for end in ("low", "high")
    },
    "decoder_cross_entropy": ("Hθ[Y|Z]", "nats", False, "decoder cross-entropy of the training set, nats"),
    **{key: (key, "text", key == "protocol", Settings.model_fields[key].description or "") for key in TOLD},
    "eps_max": ("largest ε", "number", False, "largest radius"),
    "verdict": ("verdict", "text", True, "what the audit says of the number"),
    "reason": ("reason for no rank", "text", False, "why a run is not ranked"),
    "group": ("question", "text", False, "what the row can be compared with"),
}  # fmt: skip
"""By column of the leaderboard: title, kind, whether it is shown at first, what it means."""


_BOUNDED = ("encoding_entropy", "preserved_information")


def board_of(entries: Sequence[Entry], *, by_seed: bool = False) -> tuple[dict[str, Any], list[Entry]]:
    """The page's first data, as JSON can hold it, and the entries in the order of its rows: the leaderboard's.

    Args:
        by_seed: leave out the rows that are of several training seeds of a recipe.
    """
    board = _with_told(leaderboard([entry.results for entry in entries]))
    ordered = _in_order(entries, board)
    names = [str(name) for name in board.columns if "@" not in str(name)]
    radii = [tuple(entry.results.card.settings.radii) for entry in ordered]
    grids = list(dict.fromkeys(radii))
    place_of = {grid: place for place, grid in enumerate(grids)}
    data = {
        "columns": [_column(name, board) for name in names],
        "rows": [[plain(value) for value in row] for row in board[names].itertuples(index=False)],
        "keys": keys_of(ordered),
        "grids": [list(grid) for grid in grids],
        "grid": [place_of[grid] for grid in radii],
        "right": [entry.results.robust_EN.sum(1).tolist() for entry in ordered],
        "pair": pairs_of(ordered),
    }
    certain = [entry.certain for entry in ordered]
    if any(shares is not None for shares in certain):
        data["certain"] = [None if shares is None else shares.round(4).tolist() for shares in certain]
    if not by_seed:
        recipes, places = by_recipe_with_places([entry.results for entry in ordered], board["group"].tolist())
        if places:
            data["recipes"] = _recipes(_with_told(recipes), places)
    return data, ordered


def _recipes(board: pd.DataFrame, places: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The rows of the leaderboard by recipe, with the rows of their seeds; shares at each radius are the seeds' means,
    which the page takes itself."""
    names = [str(name) for name in board.columns if "@" not in str(name)]
    rows = [[plain(value) for value in row] for row in board[names].itertuples(index=False)]
    return {"names": names, "rows": rows, "members": [list(members) for members in places]}


def _with_told(board: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard without the numbers whose bounds lie too far apart for one, as the figures leave them out."""
    ends = ("", "_low", "_high")
    return board.assign(**{name: told(*(board[f"{name}{end}"] for end in ends)) for name in _BOUNDED})


def pairs_of(entries: Sequence[Entry]) -> list[int]:
    """For each entry a number: those that share it can be compared sample by sample."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(_comparable(entry), len(numbers)) for entry in entries]


def plain(value: Any) -> Any:
    """A cell as JSON can hold it; what is missing or not finite is null."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, str | bool):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else float(f"{number:.6g}")


def _in_order(entries: Sequence[Entry], board: pd.DataFrame) -> list[Entry]:
    """The entries in the order of the leaderboard's rows."""
    waiting: dict[tuple[Any, ...], list[Entry]] = {}
    for entry, group in zip(entries, groups([entry.results for entry in entries]), strict=True):
        results = entry.results
        told = results.card.settings.told.values()
        waiting.setdefault((entry.run, *told, group, results.robust_avg), []).append(entry)
    keys = board[["run", *TOLD, "group", "robust_avg"]].itertuples(index=False, name=None)
    return [waiting[key].pop(0) for key in keys]


def _comparable(entry: Entry) -> str:
    """What two results have to share for `statistics.compared` to take them, as a digest."""
    card, samples = entry.results.card, entry.results.sample_N.sort_values("sample")
    settings = card.settings
    key = [settings.label, settings.norm, settings.radii, settings.view, card.data.fingerprint if card.data else None]
    digest = hashlib.sha256(json.dumps(key).encode())
    digest.update(samples[["sample", "label"]].to_numpy("<i8").tobytes())
    return digest.hexdigest()


def _column(name: str, board: pd.DataFrame) -> dict[str, Any]:
    kind = "number" if pd.api.types.is_numeric_dtype(board[name]) else "text"
    title, kind, shown, about = _COLUMNS.get(name, (name.replace("_", " "), kind, False, ""))
    return {"name": name, "title": title, "kind": kind, "shown": shown, "about": about}
