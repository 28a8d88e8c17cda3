"""Data in the layout of CIFAR-10-C: a folder with one `.npy` file of images per corruption and `labels.npy`.

Each file holds the same samples at severity 1, then at severity 2, and so on up to 5 (Hendrycks & Dietterich 2019).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets.arrays import Named, stored_split
from ibrobust.datasets.forms import Form
from ibrobust.datasets.interface import AnySplit, Parts, StoredSplit, held
from ibrobust.datasets.layouts import AUTO
from ibrobust.datasets.npz_arrays import npy_array
from ibrobust.datasets.options import DataOptions
from ibrobust.datasets.splits import SEVERITIES, Corrupted, StoredImages
from ibrobust.errors import BadInput, shortened

LABELS = "labels.npy"


def is_corrupted_folder(folder: Path) -> bool:
    """Whether a folder has this layout, by the names of its files."""
    return (folder / LABELS).is_file() and any(file.name != LABELS for file in folder.glob("*.npy"))


def corrupted_data(folder: Path, *, layout: str = AUTO, only: Sequence[str] = ()) -> Corrupted:
    """The corruptions in a folder, or some of them.

    Raises:
        BadInput: a file cannot be read, the corruptions' shapes differ, or the labels are not those of five severities.
    """
    if not is_corrupted_folder(folder):
        raise BadInput(f"folder {str(folder)!r} holds no {LABELS} beside one .npy file of images per corruption")
    names = sorted(file.stem for file in folder.glob("*.npy") if file.name != LABELS)
    for name in only:
        if name not in names:
            raise BadInput(
                f"data {str(folder)!r} has no corruption {shortened(name)!r}; choose from {', '.join(names)}"
            )
    labels = npy_array(folder / LABELS).mapped()
    arrays = {name: npy_array(folder / f"{name}.npy") for name in only or names}
    for name, array in arrays.items():
        first = next(iter(arrays))
        if array.shape != arrays[first].shape:
            shapes = f"{first}.npy has {arrays[first].shape}, {name}.npy {array.shape}"
            raise BadInput(f"data {str(folder)!r}: the corruptions differ in shape: {shapes}")
    splits = {name: stored_split(array, labels, _names(folder, name), layout) for name, array in arrays.items()}
    return Corrupted(_labels_once(labels, folder), splits)


def _names(folder: Path, name: str) -> Named:
    return Named(f"data {str(folder / name)!r}.npy", f"data {str(folder / LABELS)!r}", f"{name}.npy")


def _labels_once(labels: NDArray[np.generic], folder: Path) -> Tensor:
    """Raises:
    BadInput: they are not the same five times.
    """
    name, times = f"data {str(folder / LABELS)!r}", len(SEVERITIES)
    if labels.size % times:
        raise BadInput(f"{name} holds {labels.size} labels; there is one for each sample at each of {times} severities")
    each = labels.reshape(times, -1)
    if (each != each[0]).any():
        severity, sample = np.argwhere(each != each[0])[0]
        raise BadInput(f"{name}: sample {sample} has another label at severity {severity + 1} than at severity 1")
    return torch.from_numpy(each[0].astype(np.int64))


def _load(data: str, options: DataOptions) -> Parts:
    """`FOLDER:CORRUPTION:SEVERITY`, the samples under one corruption as any other data."""
    folder, name, severity = named_part(data, is_corrupted_folder)
    if not name:
        found = corrupted_data(folder, layout=options.layout)
        test = part_of(found, found.corruptions[0], 1)
        return Parts(test[:0], test, corrupted=found)
    found = corrupted_data(folder, layout=options.layout, only=(name,))
    test = part_of(found, name, severity)
    return Parts(test[:0], test)


def part_of(found: Corrupted, corruption: str, severity: int) -> AnySplit:
    """The samples under one corruption at one severity."""
    count, x = len(found.y), found.splits[corruption].x
    start = (severity - 1) * count
    made = f"{x.made} from {start}"
    part = StoredImages((count, *x.shape[1:]), x.dtype, partial(rows_from, x, start), x.files, made, x.check)
    return held(StoredSplit(part, found.y))


def rows_from(images: StoredImages, start: int, rows: NDArray[np.int64]) -> Tensor:
    """Some of the images, counted from one on."""
    return images.read(rows + start)


def folder_named(data: str, is_folder: Callable[[Path], bool]) -> Path:
    """The folder that `FOLDER` or `FOLDER:CORRUPTION:SEVERITY` begins with."""
    return _parsed(data, is_folder)[0]


def named_part(data: str, is_folder: Callable[[Path], bool]) -> tuple[Path, str, int]:
    """Folder, corruption and severity; without a corruption, an empty text and 0.

    Args:
        is_folder: whether a folder has the layout in question.

    Raises:
        BadInput: there is no such severity.
    """
    folder, name, text = _parsed(data, is_folder)
    if not name:
        return folder, "", 0
    if not text.isdecimal() or int(text[:3]) not in SEVERITIES:
        raise BadInput(f"data {data!r}: severity {shortened(text)!r}; write FOLDER:CORRUPTION:SEVERITY, from 1 to 5")
    return folder, name, int(text)


def _parsed(data: str, is_folder: Callable[[Path], bool]) -> tuple[Path, str, str]:
    if is_folder(Path(data)):
        return Path(data), "", ""
    folder, *which = data.rsplit(":", 2)
    return (Path(folder), which[0], which[1]) if folder and len(which) == 2 else (Path(data), "", "")


CORRUPTED = Form(
    "FOLDER or FOLDER:CORRUPTION:SEVERITY",
    accepts=lambda data: is_corrupted_folder(folder_named(data, is_corrupted_folder)),
    load=_load,
    holds="CIFAR-10-C's layout: a .npy file per corruption, labels.npy, five severities by position; the folder is "
    "for --protocol corruptions, FOLDER:fog:3 is data as any other",
    takes=("layout",),
    example="CIFAR-10-C --protocol corruptions",
)
