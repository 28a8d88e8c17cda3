"""Measured information as one flat table: run, split, view, quantity, estimator, k, n, nats, bias, low, high."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ibrobust.entropies.intervals import told
from ibrobust.entropies.measurement import Measurement
from ibrobust.errors import BadInput, shortened
from ibrobust.tables import read_table

_MOST = 2**31
"""Nats, samples, neighbours or epochs that nobody has ever measured."""

KEYS = ["run", "split", "view"]
_VALUES = ["quantity", "estimator", "k", "n", "nats", "bias", "low", "high"]
_NATS = ["nats", "bias", "low", "high"]
_NUMBERS = ["k", "n", *_NATS]


def information_rows(measurement: Measurement, **keys: str | int) -> pd.DataFrame:
    """The measurement's rows with the given keys (run, split, view, perhaps epoch) in front; k is empty without
    neighbours, nats where a quantity cannot be computed, low and high are ±inf where nothing is known."""
    rows = [
        {
            **keys, "quantity": quantity, "estimator": value.estimator, "k": value.k, "n": value.n, "nats": value.nats,
            "bias": value.bias, "low": value.low, "high": value.high,
        }
        for quantity, value in measurement.rows
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*keys, *_VALUES]).astype({"k": "Int64", **dict.fromkeys(_NATS, float)})


def information_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table as its CSV holds it: six decimals of a nat, so that the identities between rows survive."""
    text = table.copy()
    for column in _NATS:
        text[column] = [_digits(value) for value in table[column]]
    return text


def read_information(path: Path) -> pd.DataFrame:
    """Raises:
    BadInput: the file is not a table of information.
    """
    columns = [column for column in (*KEYS, *_VALUES) if column not in _NUMBERS]
    table = read_table(path, columns=columns, numbers=_NUMBERS)
    _require_measurements(table, path)
    keys = [column for column in table if column not in _VALUES]
    return table[[*keys, *_VALUES]].astype({"k": "Int64", **dict.fromkeys(_NATS, float)})


def _require_measurements(table: pd.DataFrame, path: Path) -> None:
    """Whether the numbers can have been measured: counts are whole, estimates finite, and an epoch is always known."""
    counts = ["k", "n", *(["epoch"] if "epoch" in table else [])]
    for column in (*counts, *_NATS):
        values = pd.to_numeric(table[column], errors="coerce").astype(float)
        odd = values.abs() > _MOST
        if column in ("low", "high"):
            odd &= np.isfinite(values)
        if column in counts:
            odd |= (values % 1 != 0) & values.notna()
        if column == "epoch":
            odd |= values.isna()
        if odd.any():
            row = int(odd.argmax())
            raise BadInput(f"table {str(path)!r}: {column} of row {row + 1} is {shortened(str(table[column][row]))}")


def best_estimates(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `best`: the estimate less its bias, moved into its bounds."""
    calibrated = table["nats"] - table["bias"].fillna(0)
    return table.assign(best=calibrated.clip(table["low"], table["high"]))


def wide(
    table: pd.DataFrame, quantities: Sequence[str], *, estimator: str, keys: Sequence[str], guessed: bool = False
) -> pd.DataFrame:
    """One row per combination of keys; for each quantity of the estimator (or, where it has none, of any) the columns
    `quantity`, `quantity_low` and `quantity_high`.

    Args:
        guessed: keep estimates whose bounds lie too far apart for a number to be told.
    """
    best = best_estimates(table)
    if not guessed:
        estimated = best["estimator"].str.startswith("knn")  # a decoder's loss is measured, whatever it bounds
        best = best.assign(best=best["best"].where(~estimated, told(best["best"], best["low"], best["high"])))
    parts = []
    for quantity in quantities:
        rows = best[best["quantity"] == quantity]
        own = rows[rows["estimator"].str.startswith(estimator)]
        kept = (own if len(own) else rows).drop_duplicates(list(keys)).set_index(list(keys))
        names = {"best": quantity, "low": f"{quantity}_low", "high": f"{quantity}_high"}
        parts.append(kept[list(names)].rename(columns=names))
    return pd.concat(parts, axis=1).reset_index()


def _digits(value: float) -> str:
    return "" if pd.isna(value) else f"{value + 0.0:.6f}".replace("-0.000000", "0.000000")
