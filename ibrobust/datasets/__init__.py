"""Data sets by name or path: images and labels, and a fingerprint of exactly those tensors."""

from pathlib import Path

import torch

from ibrobust.datasets.image_folders import folder_parts
from ibrobust.datasets.interface import DATASETS, STORED, Dataset, Loader, Parts, require_whole
from ibrobust.datasets.layouts import AUTO, require_layout
from ibrobust.datasets.npz import npz_parts
from ibrobust.datasets.samples import sorted_samples
from ibrobust.datasets.shaping import shaping_of
from ibrobust.datasets.splits import AnySplit, Split, StoredSplit
from ibrobust.errors import BadInput, shortened

__all__ = [
    "DATASETS", "STORED", "AnySplit", "Dataset", "Loader", "Parts", "Split", "StoredSplit", "load_dataset",
    "sorted_samples",
]  # fmt: skip


def load_dataset(
    name: str,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    layout: str = AUTO,
    resize: str | int | None = None,
    crop: str | int | None = None,
) -> Dataset:
    """A registered data set, an `.npz` file with `x` and `y` (and `x_train`, `y_train` to train on), or a folder with
    one folder of images per class, perhaps below `train` and `test`.

    Args:
        layout: of an `.npz` file's images: `nchw`, `nhwc`, or `auto` where their shape tells.
        resize, crop: what size image files are brought to, as `shaping_of` takes them.

    Raises:
        BadInput: no such name, file or folder, or its content is not a data set.
    """
    require_layout(layout)
    shaping = shaping_of(resize, crop)
    is_npz = name not in DATASETS and name.lower().endswith(".npz")
    if layout != AUTO and not is_npz:
        raise BadInput(f"layout {layout!r} is for .npz files; data {name!r} is not one")
    try:
        if name in DATASETS:
            parts = require_whole(DATASETS[name](data_dir, download), name)
        elif is_npz:
            parts = npz_parts(Path(name), layout)
        elif Path(name).is_dir():
            parts = folder_parts(Path(name), shaping)
        else:
            raise BadInput(f"no data set {name!r}; choose from {DATASETS.choices}, an .npz file or a folder of classes")
    except OSError as error:
        raise BadInput(f"data {shortened(name)!r} cannot be read: {error.strerror or error}") from error
    classes = len(parts.class_names) or int(torch.cat([parts.train.y, parts.test.y]).max()) + 1
    return Dataset(name, parts.train, parts.test, classes, *parts[2:])
