"""Accuracy under corruptions as rows of the leaderboard, ranked apart from attacks, and as a table of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.comparable import numbered_groups, samples_in_words
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.leaderboard import RANKS, about_model, ranks_of
from ibrobust.robustness.ranks import seed_spread
from ibrobust.robustness.seeds import deviations_behind, merged_rows, places_in_groups
from ibrobust.robustness.settings import TOLD
from ibrobust.robustness.statistics import mean_error
from ibrobust.robustness.storage import load_corruptions
from ibrobust.tables import read_table

_OF_ATTACKS = ("weakest_attack", "strongest_attack", "verdict", "reason")
_NO_TEXT = (*(key for key in TOLD if key != "protocol"), *_OF_ATTACKS)


def with_corruptions(
    board: pd.DataFrame | None,
    results: Sequence[CorruptionResults],
    reference: Mapping[str, float] | None = None,
    *,
    group_by: Literal["recipe", "run"] = "run",
) -> pd.DataFrame:
    """The leaderboard with a row below for each result under corruptions, best first.

    They are ranked by `corruption_avg` among themselves, where they have the same samples and corruptions; columns that
    are about attacks are empty there.

    Args:
        board: of the attacked results; None where there are none.
        reference: errors by corruption of the model that mCE compares with; no column `mce` without it.
        group_by: `recipe` makes one row of results whose recipes differ in their seed alone, as `by_recipe` does.
    """
    rows = _ranked_rows(results, reference, group_by)
    if board is None:
        named = (*RANKS, "group", "seeds", *_OF_ATTACKS)
        last = ["group", *(["seeds"] if "seeds" in rows else [])]
        return deviations_behind(rows[[*RANKS, *(name for name in rows if name not in named), *last]])
    own = [name for name in rows if name not in board]
    whole = pd.concat([board, rows], ignore_index=True)
    for name in (*_NO_TEXT, "worst_corruption", "tied"):
        whole[name] = whole[name].fillna("")
    for name in RANKS[:3]:
        whole[name] = whole[name].astype("Int64")
    if "seeds" in whole:
        whole["seeds"] = whole["seeds"].fillna(1).astype(int)
    return deviations_behind(whole[[*board.columns, *own]])


def _ranked_rows(
    results: Sequence[CorruptionResults], reference: Mapping[str, float] | None, group_by: str
) -> pd.DataFrame:
    """A row for each result or recipe, with its ranks."""
    group_Q = _groups(results)
    rows = pd.DataFrame([_row(result, reference) for result in results]).assign(group=group_Q)
    together = places_in_groups(results, group_Q) if group_by == "recipe" else [[place] for place in range(len(rows))]
    right_QN: list[NDArray[Any]] = [np.mean([_right_N(results[place]) for place in members], 0) for members in together]
    wholes = [int(np.prod(results[members[0]].right_CSN.shape[:2])) for members in together]
    spread_Q = [seed_spread(rows["corruption_avg"].to_numpy()[members]) for members in together]
    if len(together) < len(results):
        rows = _one_for_seeds(
            rows, together, [right_N / whole for right_N, whole in zip(right_QN, wholes, strict=True)]
        )
    rows = rows.assign(**ranks_of(rows["group"], rows["corruption_avg"], right_QN, wholes, spread_Q))
    return rows.sort_values(["group", "corruption_avg", "run"], ascending=[True, False, True], ignore_index=True)


def _one_for_seeds(
    rows: pd.DataFrame, together: Sequence[Sequence[int]], share_QN: Sequence[NDArray[Any]]
) -> pd.DataFrame:
    """A row for each recipe.

    Args:
        together: places of the rows of each recipe.
        share_QN: for each recipe, the share of each sample's images that are right, on average over seeds.
    """
    numbers = [name for name in ("clean", "corruption_avg", "mce") if name in rows]
    merged: list[dict[str, Any]] = []
    for members, share_N in zip(together, share_QN, strict=True):
        of_seeds = rows.iloc[list(members)].sort_values("seed")
        row = merged_rows(of_seeds, numbers) if len(members) > 1 else dict(of_seeds.iloc[0])
        merged.append({**row, "corruption_avg_error": mean_error(share_N), "seeds": len(members)})
    return pd.DataFrame(merged)


def corruption_table(results: Sequence[CorruptionResults]) -> pd.DataFrame:
    """Long form: run, dataset, corruption, severity, n, accuracy."""
    parts = [result.table().assign(run=result.card.run, dataset=result.card.dataset) for result in results]
    return pd.concat(parts, ignore_index=True)[["run", "dataset", "corruption", "severity", "n", "accuracy"]]


def corruption_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table with fixed digits, as the CSV holds it."""
    return table.assign(accuracy=table["accuracy"].map("{:.6f}".format))


def reference_errors(file: Path) -> dict[str, float]:
    """The errors by corruption that mCE divides by.

    Args:
        file: stored results under corruptions (`.parquet`), or a CSV with the columns `corruption` and `error`.

    Raises:
        BadInput: it is neither, or an error is not above 0.
    """
    if file.suffix == ".parquet":
        results = load_corruptions(file)
        return dict(zip(results.corruptions, (1 - results.accuracy_CS.mean(1)).tolist(), strict=True))
    table = read_table(file, columns=["corruption"], numbers=["error"])
    if table["corruption"].duplicated().any():
        raise BadInput(f"{file}: a corruption is named twice; one error each, the mean over severities")
    if not ((table["error"] > 0) & (table["error"] <= 1)).all():
        raise BadInput(f"{file}: an error is not above 0 and at most 1")
    return dict(zip(table["corruption"].astype(str), table["error"].astype(float), strict=True))


def _row(result: CorruptionResults, reference: Mapping[str, float] | None) -> dict[str, Any]:
    by_corruption = dict(zip(result.corruptions, result.accuracy_CS.mean(1).tolist(), strict=True))
    mce = {} if reference is None else {"mce": result.mce(dict(reference))}
    return {
        "run": result.card.run,
        **about_model(result.card),
        "n": len(result.rows),
        "clean": result.clean,
        "corruption_avg": result.corruption_avg,
        "corruption_avg_error": mean_error(result.right_CSN.mean((0, 1))),
        **mce,
        "worst_corruption": min(by_corruption, key=lambda name: by_corruption[name]),
        "protocol": result.card.settings.label,
        **dict.fromkeys(_NO_TEXT, ""),
    }


def _right_N(result: CorruptionResults) -> NDArray[np.int64]:
    """How many corrupted images of each sample are classified right, in the order of the samples' ids."""
    right: NDArray[np.int64] = result.right_CSN.sum((0, 1))[result.rows["sample"].to_numpy().argsort()]
    return right


def _groups(results: Sequence[CorruptionResults]) -> list[str]:
    words, digests = [], []
    for result in results:
        card, made = result.card, result.card.corruptions
        assert made is not None, "such results name their corruptions"
        seed = f", seed {card.settings.seed}" if card.settings.seed else ""
        count = f"{len(made.names)} corruptions"
        words.append(f"{card.dataset} {card.settings.label}, {samples_in_words(result)}, {count}{seed}")
        key = [made.names, made.made, card.settings.seed, card.data.fingerprint if card.data else None]
        digest = hashlib.sha256(json.dumps(key).encode())
        digest.update(result.rows["sample"].sort_values().to_numpy().astype("<i8").tobytes())
        digests.append(digest.hexdigest())
    return numbered_groups(words, digests)
