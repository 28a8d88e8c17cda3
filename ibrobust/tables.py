"""Tables as CSV files: the same bytes for the same table, text that no spreadsheet takes for a formula, and one line
about a file that is no table."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ibrobust.errors import BadInput, one_line, shortened
from ibrobust.files import written_whole

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def save_table(table: pd.DataFrame, path: Path) -> None:
    """CSV in UTF-8 with six significant digits: the same work gives the same bytes.

    Text that a spreadsheet would calculate (it begins with `=`, `+`, `-` or `@` and is no number) gets an apostrophe
    in front, which `read_table` takes off again.
    """
    text = table.rename(columns=lambda name: _as_text(str(name)))
    for place, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            cells = [_as_text(cell) if isinstance(cell, str) else cell for cell in table.iloc[:, place]]
            text.isetitem(
                place, np.array([*cells, None], dtype=object)[:-1]
            )  # None: an array of one dimension, whatever cells hold
    with written_whole(path) as unfinished:
        text.to_csv(unfinished, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8")


def read_table(
    path: Path, *, columns: Sequence[str] = (), numbers: Sequence[str] | None = (), **kwargs: Any
) -> pd.DataFrame:
    """A table that `save_table` wrote.

    Args:
        columns: those that have to be there.
        numbers: those that have to be there and hold nothing but numbers, or nothing; None for all there are.
        kwargs: as `pandas.read_csv` takes them.

    Raises:
        BadInput: the file cannot be read, is no table (rows of other lengths than the first, two columns of one name)
            or lacks a column; one line that names the file and the row or column.
    """
    header, rows = _checked_rows(path)
    if missing := [name for name in (*columns, *(numbers or ())) if name not in header]:
        raise BadInput(f"table {str(path)!r}: no column {missing[0]!r}; it has {shortened(', '.join(header))}")
    for name in header if numbers is None else numbers:
        place = header.index(name)
        for row, cells in enumerate(rows):
            if cells[place] and not _NUMBER.fullmatch(cells[place]):
                raise BadInput(
                    f"table {str(path)!r}: {name} of row {row + 1} is {shortened(repr(cells[place]))}, not a number"
                )
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    buffer.seek(0)
    try:
        table: pd.DataFrame = pd.read_csv(buffer, **kwargs)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"table {str(path)!r} cannot be read: {shortened(str(error))}") from error
    return table


def _checked_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"table {str(path)!r} cannot be read: {one_line(str(reason))}") from error
    if not rows:
        raise BadInput(f"table {str(path)!r} is empty")
    header = [_plain(name) for name in rows[0]]
    if twice := [name for name in header if header.count(name) > 1]:
        raise BadInput(f"table {str(path)!r}: two columns are called {shortened(repr(twice[0]))}")
    for number, row in enumerate(rows[1:]):
        if len(row) != len(header):
            raise BadInput(f"table {str(path)!r}: row {number + 1} has {len(row)} cells, not {len(header)}")
    return header, [[_plain(cell) for cell in row] for row in rows[1:]]


def _as_text(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
