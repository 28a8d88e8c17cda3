"""Rows of a benchmark that takes too long for one sitting: kept in a CSV, so that it can be run in pieces."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ibrobust.files import written_whole


def kept(table: Path | None, row: dict[str, object], keys: Sequence[str]) -> pd.DataFrame:
    """The table with one row more, which takes the place of an earlier one with the same keys; also written to its
    file, where there is one."""
    rows = pd.DataFrame([row])
    if table is not None and table.exists():
        earlier = pd.read_csv(table)
        same = pd.Series(True, index=earlier.index)
        for key in keys:
            same &= earlier[key].astype(str) == str(row[key])
        rows = pd.concat([earlier[~same], rows], ignore_index=True)
    if table is not None:
        with written_whole(table) as unfinished:
            rows.to_csv(unfinished, index=False, encoding="utf-8")
    return rows
