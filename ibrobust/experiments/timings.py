"""How long each results file took, in a table apart from the results."""

from pathlib import Path

import pandas as pd

from ibrobust.files import alone_in
from ibrobust.tables import read_table, save_table

TIMINGS = "timings.csv"


def save_timing(path: Path, results: Path, seconds: float) -> None:
    """One row per results file: seconds of its blocks, summed over workers; apart from the results, which are the same
    bytes every time. Another process that adds a row meanwhile waits."""
    row = pd.DataFrame([{"protocol": results.parent.name, "results": results.stem, "seconds": round(seconds, 2)}])
    with alone_in(path.parent):
        rows = pd.concat([timings(path), row]) if path.is_file() else row
        kept = rows.drop_duplicates(["protocol", "results"], keep="last")
        save_table(kept.sort_values(["protocol", "results"]), path)


def timings(path: Path) -> pd.DataFrame:
    """Raises:
    BadInput: the file is not a table of timings.
    """
    return read_table(path, columns=["protocol", "results"], numbers=["seconds"])
