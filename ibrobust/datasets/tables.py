"""Images that stand encoded in the rows of Parquet or Arrow files, as Hugging Face's `datasets` writes them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ibrobust.datasets.image_files import Encoded
from ibrobust.datasets.image_splits import Sources
from ibrobust.errors import BadInput, one_line, shortened

_LABELS = ("label", "labels", "class", "target")
"""What a column of labels is called where nothing says which it is."""


@dataclass(frozen=True)
class Columns:
    """Where images and labels stand.

    Attributes:
        names: of the classes by label, where the file tells them.
    """

    image: str
    label: str
    names: tuple[str, ...] = ()


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """What is raised inside is the file's fault, in one line.

    Raises:
        BadInput: with the file and what was raised.
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # what damaged bytes make of the reader is any kind of error
        reason = shortened(one_line(str(error))) or type(error).__name__
        raise BadInput(f"data {str(file)!r} cannot be read: {reason}") from error


def columns_of(file: Path, label_column: str | None, features: dict[str, Any] | None = None) -> Columns:
    """The columns of images and labels.

    Args:
        label_column: the one to take, where several could be it.
        features: what `datasets` says of the columns; what the file itself says by default.

    Raises:
        BadInput: there is none, or it is not certain which; names those that are there.
    """
    with reading(file):
        schema = _schema(file)
        told = _features(schema) if features is None else features
    kinds = {name: feature.get("_type") for name, feature in told.items() if isinstance(feature, dict)}
    images = [name for name in schema.names if kinds.get(name) == "Image"] or [
        field.name for field in schema if _may_hold_images(field.type)
    ]
    columns = f"its columns are {', '.join(schema.names)}"
    if len(images) != 1:
        which = f"several columns of encoded images, {', '.join(images)}" if images else "no column of encoded images"
        raise BadInput(f"data {str(file)!r} has {which}; {columns}")
    label = label_column or _only_label(schema.names, kinds)
    if label is None or label not in schema.names or label == images[0]:
        what = f"no column {label!r} of labels" if label_column else "no column that is certainly the labels'"
        raise BadInput(f"data {str(file)!r} has {what}; name one with label_column (--label-column): {columns}")
    feature = told.get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    return Columns(images[0], label, tuple(names) if isinstance(names, list) else ())


def _only_label(names: Sequence[str], kinds: dict[str, Any]) -> str | None:
    for found in (
        [name for name in names if kinds.get(name) == "ClassLabel"],
        [name for name in names if name.lower() in _LABELS],
    ):
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _may_hold_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _features(schema: pa.Schema) -> dict[str, Any]:
    text = (schema.metadata or {}).get(b"huggingface")
    content = json.loads(text) if text else {}
    found: dict[str, Any] = content.get("info", {}).get("features", {})
    return found


def labels_in(files: Sequence[Path], column: str) -> list[int | str]:
    """The labels of all rows.

    Raises:
        BadInput: one is neither a whole number nor a text.
    """
    found: list[int | str] = []
    for file in files:
        with reading(file):
            values = _column(file, column).to_pylist()
        for row, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise BadInput(f"data {str(file)!r}: {column} of row {row} is {value!r}, no class number or name")
        found += values
    return found


def table_images(files: Sequence[Path], column: str) -> Sources:
    """The encoded images of all rows, read a group of rows at a time."""
    pieces = []
    for file in files:
        with reading(file):
            pieces += [(file, piece, rows) for piece, rows in enumerate(_pieces(file))]
    ends = np.cumsum([rows for *_, rows in pieces]) if pieces else np.zeros(0, dtype=np.int64)
    at = partial(_images_at, tuple((file, piece) for file, piece, _ in pieces), tuple(ends.tolist()), column)
    return Sources(int(ends[-1]) if len(ends) else 0, at, tuple(files))


def _images_at(
    pieces: tuple[tuple[Path, int], ...], ends: tuple[int, ...], column: str, rows: NDArray[np.int64]
) -> list[Encoded]:
    found: dict[int, Encoded] = {}
    which = np.searchsorted(np.array(ends), rows, side="right")
    for index in np.unique(which):
        (file, piece), start = pieces[index], ends[index - 1] if index else 0
        with reading(file):
            values = _piece(file, file.stat().st_mtime_ns, piece, column)
        first_of_file = ends[index - piece - 1] if index - piece else 0
        for row in rows[which == index]:
            name = f"{file}: row {row - first_of_file}"
            found[int(row)] = Encoded(_bytes_in(values[int(row) - start].as_py(), name), name)
    return [found[int(row)] for row in rows]


def _bytes_in(cell: Any, name: str) -> bytes:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        path = cell.get("path") if isinstance(cell, dict) else None
        where = f", but the path {shortened(str(path))!r}" if path else ""
        raise BadInput(f"{name!r} holds no image{where}; images have to be embedded")
    return content


@lru_cache(maxsize=1)
def _piece(file: Path, _changed: int, piece: int, column: str) -> pa.ChunkedArray:
    if file.suffix == ".arrow":
        return _arrow(file).column(column)
    return pq.ParquetFile(file).read_row_group(piece, columns=[column]).column(column)


def _pieces(file: Path) -> list[int]:
    """The rows of each part that is read at a time: a Parquet file's row groups; an Arrow file is mapped as a whole."""
    if file.suffix == ".arrow":
        return [len(_arrow(file))]
    metadata = pq.read_metadata(file)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _column(file: Path, name: str) -> pa.ChunkedArray:
    if file.suffix == ".arrow":
        return _arrow(file).column(name)
    return pq.ParquetFile(file).read(columns=[name]).column(name)


def _schema(file: Path) -> pa.Schema:
    if file.suffix == ".arrow":
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_stream(source).schema
    return pq.read_schema(file)


def _arrow(file: Path) -> pa.Table:
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
