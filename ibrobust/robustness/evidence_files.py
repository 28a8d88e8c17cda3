"""Files of evidence as they are read: rows and arrays, without torch, for whoever only looks at the images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ibrobust.errors import BadInput, shortened
from ibrobust.result_folders import IMAGES
from ibrobust.robustness.card import ResultCard, card_of

CLEAN = "clean"
"""Stands in place of an attack where the unchanged image is misclassified already."""

COLUMNS = ["sample", "label", "attack", "radius"]
ANSWERS = ["prediction", "probability", "label_probability", "original_probability"]
"""What the model answered: the class of an image with its probability, and the label's probability on the image and on
the original. Files of earlier versions lack these columns."""


@dataclass(frozen=True)
class StoredEvidence:
    """What one file holds: `rows` as `evidence.Evidence` documents them, the unchanged images and the adversarial ones
    as (rows, C, H, W) float32, and the card of the results that they are about."""

    rows: pd.DataFrame
    originals: NDArray[np.float32]
    images: NDArray[np.float32]
    card: ResultCard


def evidence_path(results: Path) -> Path:
    """Where the evidence for a results file lies: in a folder `images` beside it, under the same name."""
    return results.parent / IMAGES / results.name


def read_evidence(path: Path) -> StoredEvidence:
    """The evidence in a file.

    Raises:
        BadInput: the file is not a whole file of evidence; names the file and the field.
    """
    with _whole(path):
        table = pq.read_table(path)
        rows, card = _rows_and_card(table)
        shape = table.schema.metadata[b"shape"].decode().strip("()").split(",")
        sizes = tuple(int(size) for size in shape if size.strip())
        originals, images = (_as_images(table[name], sizes) for name in ("original", "image"))
    return StoredEvidence(rows, originals, images, card)


def read_evidence_rows(path: Path) -> tuple[pd.DataFrame, ResultCard]:
    """The rows in a file and the card of the results that they are about; the images are left where they are.

    Raises:
        BadInput: as `read_evidence`, but for the images.
    """
    with _whole(path):
        names = pq.read_schema(path).names
        return _rows_and_card(pq.read_table(path, columns=[name for name in (*COLUMNS, *ANSWERS) if name in names]))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Inside the block, whatever shows that a file is not whole is one line that names it."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path} is not a whole file of evidence: {error}") from error
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{path} is not a whole file of evidence: {shortened(str(error))}") from error


def _rows_and_card(table: pa.Table) -> tuple[pd.DataFrame, ResultCard]:
    card = card_of((table.schema.metadata or {})[b"ibrobust"])
    rows = table.select([*COLUMNS, *(name for name in ANSWERS if name in table.column_names)]).to_pandas()
    _require_answers(rows)
    return rows.assign(radius=rows["radius"].astype(np.float32)), card


def _require_answers(rows: pd.DataFrame) -> None:
    """Raises:
    BadInput: some of the columns of answers are there and others are not, or one holds what is no answer.
    """
    present = [name for name in ANSWERS if name in rows]
    if present and present != ANSWERS:
        raise BadInput(f"it has {present[0]} and lacks {next(name for name in ANSWERS if name not in present)}")
    for name in present:
        values, whole = rows[name].to_numpy(), name == "prediction"
        numbers = values.dtype.kind == ("i" if whole else "f")
        if not (numbers and ((values >= 0) & (whole | (values <= 1))).all()):
            raise BadInput(f"its {name} holds what is no {'class' if whole else 'probability'}")


def _as_images(column: pa.ChunkedArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    images: NDArray[np.float32] = values.copy().reshape(-1, *shape)
    return images
