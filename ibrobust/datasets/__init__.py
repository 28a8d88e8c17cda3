"""Data sets by name or path: tensors of images and labels, and a fingerprint of exactly those tensors."""

from pathlib import Path

import torch

from ibrobust.datasets import named  # noqa: F401 - registers its data sets
from ibrobust.datasets.image_folders import folder_parts
from ibrobust.datasets.interface import DATASETS, Dataset, Loader, Split
from ibrobust.datasets.npz import npz_parts
from ibrobust.errors import BadInput

__all__ = ["DATASETS", "Dataset", "Loader", "Split", "load_dataset"]


def load_dataset(name: str, *, data_dir: Path | None = None, download: bool = False) -> Dataset:
    """A registered data set, an `.npz` file with `x` and `y` (and `x_train`, `y_train` to train on), or a folder with
    one folder of images per class, perhaps below `train` and `test`.

    Raises:
        BadInput: no such name, file or folder, or its content is not a data set.
    """
    if name in DATASETS:
        train, test = DATASETS[name](data_dir, download)
    elif name.endswith(".npz"):
        train, test = npz_parts(Path(name))
    elif Path(name).is_dir():
        train, test = folder_parts(Path(name))
    else:
        raise BadInput(
            f"no data set {name!r}; choose from {', '.join(sorted(DATASETS))}, an .npz file or a folder of classes"
        )
    classes = int(torch.cat([train.y, test.y]).max()) + 1
    return Dataset(name, train, test, classes)
