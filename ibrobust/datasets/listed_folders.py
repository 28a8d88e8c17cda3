"""Folders of images whose labels stand in `metadata.csv` or `metadata.jsonl` beside them, as Hugging Face has them."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibrobust.datasets.forms import Form
from ibrobust.datasets.image_folders import HELD_OUT, TRAINING
from ibrobust.datasets.image_splits import image_splits
from ibrobust.datasets.interface import Parts
from ibrobust.datasets.options import DataOptions
from ibrobust.datasets.table_folders import class_numbers
from ibrobust.datasets.tables import reading
from ibrobust.errors import BadInput, shortened

_LISTS = ("metadata.csv", "metadata.jsonl")
_FILE = "file_name"
_LABELS = ("label", "labels", "class", "target")


@dataclass(frozen=True)
class _Listed:
    """The images of one part and their labels, as the list has them."""

    files: tuple[Path, ...] = ()
    labels: tuple[int | str, ...] = ()


def _list_in(folder: Path) -> Path | None:
    return next((folder / name for name in _LISTS if (folder / name).is_file()), None)


def _parts_in(folder: Path) -> dict[str, Path]:
    """The list of each part by the part's name, lower case; of a folder without parts, its own."""
    if own := _list_in(folder):
        return {"": own}
    found = {}
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        if place.name.lower() in (*TRAINING, *HELD_OUT) and (listed := _list_in(place)):
            found[place.name.lower()] = listed
    return found


def _load(data: str, options: DataOptions) -> Parts:
    found = _parts_in(Path(data))
    test = next((name for name in ("", *HELD_OUT) if name in found), None)
    if test is None:
        raise BadInput(f"data {data!r} has no list of images in a test part; add one of {', '.join(HELD_OUT)}")
    training = next((name for name in TRAINING if name in found), None)
    parts = (_listed(found[training], options) if training else _Listed(), _listed(found[test], options))
    y, names = class_numbers((parts[0].labels, parts[1].labels), (), data)
    splits = image_splits([part.files for part in parts], y, options.shaping)
    return Parts(*splits, class_names=names, test_part=test, transform=options.shaping.words)


def _listed(file: Path, options: DataOptions) -> _Listed:
    with reading(file):
        rows = _rows(file)
    if not rows:
        raise BadInput(f"data {str(file)!r} lists no images")
    names = [options.label_column] if options.label_column else [name for name in _LABELS if name in rows[0]]
    if len(names) != 1 or names[0] not in rows[0] or _FILE not in rows[0]:
        columns = shortened(", ".join(map(str, rows[0])))
        raise BadInput(
            f"data {str(file)!r} needs the columns {_FILE} and {names[0] if names else 'label'} "
            f"(label_column, --label-column, names another); its columns are {columns}"
        )
    files, labels = [], []
    for number, row in enumerate(rows, 1):
        name, label = row.get(_FILE), row.get(names[0])
        if not isinstance(name, str) or isinstance(label, bool) or not isinstance(label, int | str) or label == "":
            raise BadInput(f"data {str(file)!r}: entry {number} has {_FILE} {name!r} and {names[0]} {label!r}")
        place = file.parent / name
        if not place.resolve().is_relative_to(file.parent.resolve()) or not place.is_file():
            raise BadInput(f"data {str(file)!r}: entry {number} names {shortened(name)!r}, which is no file beside it")
        files.append(place)
        labels.append(label)
    return _Listed(tuple(files), _numbers(labels))


def _rows(file: Path) -> list[dict[str, Any]]:
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    return rows


def _numbers(labels: Sequence[int | str]) -> tuple[int | str, ...]:
    """Labels that are all numbers as numbers: a CSV has texts alone."""
    digits = all(isinstance(label, str) and label.isascii() and label.isdecimal() for label in labels)
    return tuple(int(label[:9]) for label in map(str, labels)) if digits else tuple(labels)


LISTED = Form(
    "a folder with metadata.csv or metadata.jsonl",
    accepts=lambda data: bool(_parts_in(Path(data))),
    load=_load,
    holds="images listed with their labels (columns file_name and label), perhaps below train and test",
    takes=("resize", "crop", "label_column"),
    example="beans --resize 224x224",
)
