"""Accuracy under corruptions as rows of the leaderboard, ranked apart from attacks, and as a table of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.leaderboard import RANKS, about_model, numbered_groups, ranks_of, samples_in_words
from ibrobust.robustness.settings import TOLD
from ibrobust.robustness.statistics import mean_error
from ibrobust.robustness.storage import load_corruptions
from ibrobust.tables import read_table

_OF_ATTACKS = ("weakest_attack", "strongest_attack", "verdict", "reason")
_NO_TEXT = (*(key for key in TOLD if key != "protocol"), *_OF_ATTACKS)


def with_corruptions(
    board: pd.DataFrame | None, results: Sequence[CorruptionResults], reference: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """The leaderboard with a row below for each result under corruptions, best first.

    They are ranked by `corruption_avg` among themselves, where they have the same samples and corruptions; columns that
    are about attacks are empty there.

    Args:
        board: of the attacked results; None where there are none.
        reference: errors by corruption of the model that mCE compares with; no column `mce` without it.
    """
    rows = pd.DataFrame([_row(result, reference) for result in results]).assign(group=_groups(results))
    right_QN = [_right_N(result) for result in results]
    wholes = [int(np.prod(result.right_CSN.shape[:2])) for result in results]
    rows = rows.assign(**ranks_of(rows["group"], rows["corruption_avg"], right_QN, wholes))
    rows = rows.sort_values(["group", "corruption_avg", "run"], ascending=[True, False, True], ignore_index=True)
    if board is None:
        return rows[[*RANKS, *(name for name in rows if name not in (*RANKS, "group", *_OF_ATTACKS)), "group"]]
    own = [name for name in rows if name not in board]
    whole = pd.concat([board, rows], ignore_index=True)
    for name in (*_NO_TEXT, "worst_corruption", "tied"):
        whole[name] = whole[name].fillna("")
    for name in RANKS[:3]:
        whole[name] = whole[name].astype("Int64")
    return whole[[*board.columns, *own]]


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
