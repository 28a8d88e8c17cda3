"""Data sets as folders of images: one folder per class, perhaps below `train` and `test`, `val` or `validation`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ibrobust.datasets.class_names import numbered_classes
from ibrobust.datasets.forms import Form
from ibrobust.datasets.image_splits import image_splits
from ibrobust.datasets.interface import Parts
from ibrobust.datasets.samples import SPREAD, spread_over_classes
from ibrobust.datasets.shaping import AS_STORED, Shaping
from ibrobust.errors import BadInput

TRAINING = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation")
"""What a test part may be called; the first that has class folders is taken."""

_NO_SAMPLES = {"__MACOSX", "__pycache__"}
_COMPANIONS = {
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".rst", ".html", ".db", ".ini", ".log",
    ".mat", ".pkl", ".pickle", ".lnk", ".url", ".py",
}  # fmt: skip
_NOTES = {"readme", "license", "icon\r"}
"""Files that stand beside images and are none; any other file that is no image is an error."""


@dataclass(frozen=True)
class _Part:
    """One part's class folders by name, and what the part is called."""

    name: str
    folder: Path
    classes: dict[str, Path]


def folder_parts(folder: Path, shaping: Shaping = AS_STORED) -> Parts:
    """The training and the test part, each in an order that is spread over the classes; classes are numbered by the
    folders of all parts together, empty ones included.

    Args:
        shaping: what size the images are brought to.

    Raises:
        BadInput: this is not a folder of class folders, a file in it is not an image, or images differ in size; one
            line that names the folder or file.
    """
    train, test, others = _parts(folder)
    every = [part for part in (train, test, *others) if part]
    names = numbered_classes(
        [name for part in every for name in part.classes], folder, parts=[part.folder for part in every]
    )
    if train and test.classes and not set(train.classes) & set(test.classes):
        raise BadInput(f"folder {str(folder)!r}: {test.name!r} and {train.name!r} have no class in common")
    files = [_samples(part, names) if part else [] for part in (train, test)]
    if not files[1]:
        raise BadInput(f"folder {str(test.folder)!r} holds no class folders with images")
    labels = [torch.tensor([label for _, label in part], dtype=torch.int64) for part in files]
    splits = image_splits([[file for file, _ in part] for part in files], labels, shaping)
    return Parts(*splits, class_names=names, order=SPREAD, test_part=test.name, transform=shaping.words)


def _parts(folder: Path) -> tuple[_Part | None, _Part, list[_Part]]:
    """Training part, test part and the parts that are neither; a folder without parts is a test part."""
    folders = {path.name.lower(): path for path in folder_entries(folder) if path.is_dir()}
    training = [name for name in TRAINING if name in folders]
    held_out = [name for name in HELD_OUT if name in folders]
    if not (training and held_out) and set(folders) - {*training, *held_out}:
        return None, _part(folder, ""), []
    if not held_out:
        if not training:
            raise BadInput(f"folder {str(folder)!r} holds no class folders with images")
        raise BadInput(
            f"folder {str(folder)!r} holds {training[0]!r} alone; add one of {', '.join(HELD_OUT)} beside it"
        )
    found = [_part(folders[name], folders[name].name) for name in held_out]
    labelled = [part for part in found if part.classes] or found
    train = [_part(folders[name], folders[name].name) for name in training]
    return train[0] if train else None, labelled[0], [*train[1:], *labelled[1:]]


def _part(folder: Path, name: str) -> _Part:
    return _Part(name, folder, {path.name: path for path in folder_entries(folder) if path.is_dir()})


def _samples(part: _Part, names: Sequence[str]) -> list[tuple[Path, int]]:
    """(file, label) in an order that is spread over the classes."""
    sorted_by_class = [
        (file, label)
        for label, name in enumerate(names)
        if name in part.classes
        for file in image_files(part.classes[name])
    ]
    order = spread_over_classes(np.array([label for _, label in sorted_by_class], dtype=np.int64))
    return [sorted_by_class[index] for index in order]


def image_files(folder: Path) -> list[Path]:
    """The images in a class folder: everything but what is known to stand beside images."""
    files = []
    entries = folder_entries(folder)
    for path in entries:
        if path.is_dir():
            raise BadInput(f"class folder {str(folder)!r} holds a folder {path.name!r}; put images directly into it")
        if path.suffix.lower() in _COMPANIONS or path.name.lower() in _NOTES:
            continue
        if not path.is_file():
            raise BadInput(f"{str(path)!r} is not a file that can be read")
        files.append(path)
    if entries and not files:
        raise BadInput(f"class folder {str(folder)!r} holds files but no image; remove it, or leave it empty")
    return files


def folder_entries(folder: Path) -> list[Path]:
    """What is in a folder by name, without what is hidden.

    Raises:
        BadInput: the folder cannot be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(f"folder {str(folder)!r} cannot be read: {error.strerror}") from error
    return [path for path in found if not path.name.startswith(".") and path.name not in _NO_SAMPLES]


CLASS_FOLDERS = Form(
    "a folder with a folder of images per class",
    accepts=lambda data: Path(data).is_dir(),
    load=lambda data, options: folder_parts(Path(data), options.shaping),
    holds="one folder of images per class, perhaps below train and test (or val, validation)",
    takes=("resize", "crop"),
    example="photos --resize 256 --crop 224",
)
