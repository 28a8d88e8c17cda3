"""Parquet files of images, folders of them, and what `datasets` saves to disk; that library is not needed."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ibrobust.datasets.class_names import numbered_classes
from ibrobust.datasets.forms import Form
from ibrobust.datasets.image_folders import HELD_OUT, TRAINING
from ibrobust.datasets.image_splits import splits_of
from ibrobust.datasets.interface import Parts
from ibrobust.datasets.options import DataOptions
from ibrobust.datasets.tables import columns_of, labels_in, reading, table_images
from ibrobust.errors import BadInput

_MOST_CLASSES = 1_000_000
_INFO, _DICT, _STATE = "dataset_info.json", "dataset_dict.json", "state.json"


@dataclass(frozen=True)
class _Part:
    """The files of one part, and what they themselves do not say about their columns."""

    files: tuple[Path, ...]
    features: dict[str, Any] | None = None


def _table_parts(where: str, found: dict[str, _Part], options: DataOptions) -> Parts:
    """Training and test part of the parts that were found; the test part is the first held-out one with labels.

    Raises:
        BadInput: there is none, its columns are not certain, or its images cannot be read.
    """
    chosen = {name.lower(): name for name in found}
    training = next((chosen[name] for name in TRAINING if name in chosen), None)
    held_out = [chosen[name] for name in HELD_OUT if name in chosen] or (list(found) if len(found) == 1 else [])
    for name in held_out:
        columns = columns_of(found[name].files[0], options.label_column, found[name].features)
        labels = labels_in(found[name].files, columns.label)
        if labels and set(labels) != {-1}:
            break
    else:
        listed = ", ".join(found) or "none"
        raise BadInput(f"data {where!r} has no test part with labels; its parts are {listed}")
    train = found[training].files if training and training != name else ()
    test = found[name].files
    train_labels = labels_in(train, columns.label) if train else []
    y, names = class_numbers((train_labels, labels), columns.names, where)
    sources = table_images(train, columns.image), table_images(test, columns.image)
    splits = splits_of(sources, y, options.shaping)
    return Parts(*splits, class_names=names, test_part=name if len(found) > 1 else "", transform=options.shaping.words)


def class_numbers(
    labels: tuple[Sequence[int | str], Sequence[int | str]], names: tuple[str, ...], where: str
) -> tuple[tuple[Tensor, Tensor], tuple[str, ...]]:
    """Labels of both parts as numbers, and the names of the classes where they have some."""
    every = {*labels[0], *labels[1]}
    if any(isinstance(label, str) for label in every):
        if not all(isinstance(label, str) for label in every):
            raise BadInput(f"data {where!r}: some labels are texts and some numbers")
        names = names or numbered_classes(map(str, every), Path(where))
        if unknown := sorted(every - set(names), key=str):
            raise BadInput(f"data {where!r}: label {unknown[0]!r} is none of its classes, {', '.join(names)[:200]}")
        numbers = {name: number for number, name in enumerate(names)}
        labels = ([numbers[str(label)] for label in labels[0]], [numbers[str(label)] for label in labels[1]])
    present = [int(label) for part in labels for label in part]
    if min(present) < 0 or max(present) >= (len(names) or _MOST_CLASSES):
        classes = f"it has {len(names)} classes" if names else "they are class numbers from 0"
        raise BadInput(f"data {where!r} holds labels from {min(present)} to {max(present)}; {classes}")
    train, test = (torch.tensor([int(label) for label in part], dtype=torch.int64) for part in labels)
    return (train, test), names


def _parquet(data: str, options: DataOptions) -> Parts:
    path = Path(data)
    if path.suffix.lower() == ".parquet":
        if not path.is_file():
            raise BadInput(f"data {data!r} {'is not a file' if path.exists() else 'is not there'}")
        return _table_parts(data, {"test": _Part((path,))}, options)
    found: dict[str, list[Path]] = {}
    for file in _parquet_files(path):
        part = re.match(r"(?i)(?:.*[-_.])?(train(?:ing)?|test(?:ing)?|valid(?:ation)?|val)(?=[-_.])", file.name)
        found.setdefault(part[1].lower() if part else "", []).append(file)
    if "" in found and len(found) > 1:
        raise BadInput(f"data {data!r}: {found[''][0].name!r} tells by its name no part, as the others do")
    return _table_parts(data, {name: _Part(tuple(files)) for name, files in found.items()}, options)


def _parquet_files(folder: Path) -> list[Path]:
    """Those in a folder, or in its folder `data`."""
    for place in (folder, folder / "data"):
        if files := sorted(place.glob("*.parquet")):
            return files
    return []


def _saved(data: str, options: DataOptions) -> Parts:
    folder = Path(data)
    if not (folder / _DICT).is_file():
        return _table_parts(data, {"test": _saved_part(folder)}, options)
    splits = _json(folder / _DICT).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) and (folder / name).is_dir() for name in splits):
        raise BadInput(f"data {str(folder / _DICT)!r} does not name the folders beside it as splits")
    return _table_parts(data, {name: _saved_part(folder / name) for name in splits}, options)


def _saved_part(folder: Path) -> _Part:
    state, info = _json(folder / _STATE), _json(folder / _INFO)
    if state.get("_indices_files"):
        raise BadInput(f"data {str(folder)!r} is a selection of rows; call flatten_indices() before save_to_disk()")
    with reading(folder / _STATE):
        files = tuple(folder / Path(entry["filename"]).name for entry in state["_data_files"])
        features: dict[str, Any] = info["features"]
    for file in files:
        if not file.is_file():
            raise BadInput(f"data {str(file)!r} is not there")
    if not files:
        raise BadInput(f"data {str(folder)!r} names no files of data")
    return _Part(files, features)


def _json(file: Path) -> dict[str, Any]:
    with reading(file):
        content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise BadInput(f"data {str(file)!r} is no JSON object")
    return content


PARQUET = Form(
    "FILE.parquet or a folder of them",
    accepts=lambda data: data.lower().endswith(".parquet") or bool(_parquet_files(Path(data))),
    load=_parquet,
    holds="encoded images in rows, parts by the files' names (train-…, test-…), as the Hugging Face hub has them",
    takes=("resize", "crop", "label_column"),
    example="cifar10/plain_text --label-column label",
)
SAVED = Form(
    "a folder of save_to_disk",
    accepts=lambda data: any((Path(data) / name).is_file() for name in (_DICT, _STATE)),
    load=_saved,
    holds="what datasets.Dataset.save_to_disk writes, or DatasetDict's; the library is not needed",
    takes=("resize", "crop", "label_column"),
    example="saved/beans --resize 256 --crop 224",
)
