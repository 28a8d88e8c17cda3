"""Parquet files from elsewhere that would fill the memory are refused before their rows are read."""

from pathlib import Path

import pyarrow.parquet as pq

from ibrobust.errors import BadInput, shortened

MOST_ROWS = 5_000_000
MOST_VALUES = 400_000_000
"""Numbers in all columns together: 1300 images of 224 × 224 pixels with their originals."""
MOST_TEXT = 2**16
"""Bytes of all different texts of a column, which are names of attacks."""


def require_moderate(path: Path) -> None:
    """Raises:
    BadInput: the file is no Parquet, or says in few bytes that it holds more than a result does.
    """
    try:
        file = pq.ParquetFile(path)
        about = file.metadata
        groups = [about.row_group(place) for place in range(about.num_row_groups)]
        columns = [group.column(place) for group in groups for place in range(group.num_columns)]
        values = sum(column.num_values for column in columns)
        texts = sorted({column.path_in_schema for column in columns if column.physical_type == "BYTE_ARRAY"})
    except Exception as error:  # What damaged bytes make of the reader is any kind of error.
        reason = shortened(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise BadInput(f"{path} is not a whole Parquet file: {reason}") from error
    if about.num_rows > MOST_ROWS or values > MOST_VALUES:
        raise BadInput(f"{path}: it says that it holds {about.num_rows} rows and {values} values, more than a result")
    sizes = {name: sum(c.total_uncompressed_size for c in columns if c.path_in_schema == name) for name in texts}
    for name in texts:
        if sizes[name] > 8 * MOST_ROWS or _text_in(path, name) > MOST_TEXT:
            raise BadInput(f"{path}: the texts of its column {shortened(name)} are longer than names")


def _text_in(path: Path, name: str) -> int:
    """The bytes of all different texts in a column, whose rows stay numbers of them."""
    try:
        column = pq.read_table(path, columns=[name], read_dictionary=[name]).column(0)
        return sum(getattr(chunk, "dictionary", chunk).nbytes for chunk in column.chunks)
    except Exception as error:
        raise BadInput(f"{path} is not a whole Parquet file: {shortened(str(error))}") from error
