"""Results files for the fuzzing of `fuzzing.py`: what is damaged in them, and what reads them."""

import io
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ibrobust.commands.stored_results import stored_results
from ibrobust.files import released_zoo
from ibrobust.robustness.leaderboard import curve_text, curves, leaderboard, noise_table, printable
from ibrobust.robustness.readings import Readings
from ibrobust.robustness.storage import first_samples, load_results, save_results

ODD_CELLS: list[Any] = [np.nan, -np.inf, -1, 0, 0.05, 1e300, np.inf, "x", True, 2**40]


def _small(path: Path) -> bytes:
    """The first ten samples of a released file, without its audit: a table beside it would be of all of them."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "few.parquet"
        save_results(first_samples(load_results(path), 10), file)
        return file.read_bytes()


_ZOO = released_zoo() / "results"
RESULTS = {
    "radii": _small(_ZOO / "paper" / "digits-mlp-l2-g0.001-s0-22d0aead.parquet"),
    "readings": _small(_ZOO / "strict-rand" / "digits-mlp-l2-g0.1-s0-e99535be--fresh.parquet"),
}
"""Whose noise is off, and whose is on."""


def damaged_card(content: bytes, dice: random.Random, damaged_json: Callable[[bytes, random.Random], bytes]) -> bytes:
    """The same rows with another card: values changed, lost and added, or no card at all."""
    table = pq.read_table(io.BytesIO(content))
    card = table.schema.metadata[b"ibrobust"]
    odd = [b"", b"[]", b"3", b"null", b"\xff\xfe", b"{" * 5, b"[" * 100_000, b"{}", b'"text"', card[: len(card) // 2]]
    new = dice.choice(odd) if dice.random() < 0.1 else damaged_json(card, dice)
    kept = {key: value for key, value in table.schema.metadata.items() if key != b"ibrobust"}
    metadata = kept if dice.random() < 0.03 else {**kept, b"ibrobust": new}
    return _bytes(table.replace_schema_metadata(metadata))


def damaged_rows(content: bytes, dice: random.Random) -> bytes:
    """The same card with other rows: cells changed, columns of another kind, lost, or added; rows lost or doubled."""
    table = pq.read_table(io.BytesIO(content))
    rows = table.to_pandas()
    column = dice.choice(list(rows.columns))
    change = dice.choice(
        ["cell", "cell", "cell", "kind", "lost", "added", "renamed", "fewer", "doubled", "none", "order"]
    )
    if change == "cell":
        values = rows[column].astype(object)
        values.iloc[dice.randrange(len(rows))] = dice.choice(ODD_CELLS)
        rows[column] = (
            values.astype(str) if values.map(type).nunique() > 1 and dice.random() < 0.2 else values.to_list()
        )
    elif change == "kind":
        rows[column] = rows[column].astype(str)
    elif change == "lost":
        rows = rows.drop(columns=column)
    elif change == "added":
        rows["another"] = 0.5
    elif change == "renamed":
        rows = rows.rename(columns={column: dice.choice(["", "x", "../../x", "a\nb", "all"])})
    elif change == "order":
        rows = rows.sample(frac=1, random_state=dice.randrange(99))
    else:
        rows = {"fewer": rows[:-1], "doubled": rows.loc[rows.index.repeat(2)], "none": rows[:0]}[change]
    try:
        damaged = pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowException, OverflowError):  # No Parquet file can hold such a column.
        damaged = pa.Table.from_pandas(rows.astype(str), preserve_index=False)
    return _bytes(damaged.replace_schema_metadata(table.schema.metadata))


def read_results(file: Path) -> None:
    """As a report reads it, but for the drawing."""
    place = file.parent / "results" / "paper"
    place.mkdir(parents=True)
    file.rename(place / file.name)
    results = stored_results([place.parent])
    printable(leaderboard(results))
    curve_text(curves(results))
    if noisy := [result for result in results if isinstance(result, Readings)]:
        curve_text(noise_table(noisy))


def _bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
