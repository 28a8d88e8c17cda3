"""Data sets by name or path: images and labels, and a fingerprint of exactly those tensors."""

from pathlib import Path

import torch

from ibrobust.datasets.forms import FORMS, Form, form_name, origin_of, require_taken, title_of
from ibrobust.datasets.interface import DATASETS, STORED, Dataset, Loader, Parts, require_whole
from ibrobust.datasets.layouts import AUTO
from ibrobust.datasets.options import PLAIN, DataOptions, options_of
from ibrobust.datasets.samples import sorted_samples
from ibrobust.datasets.splits import AnySplit, Corrupted, Split, StoredSplit
from ibrobust.errors import BadInput, shortened

__all__ = [
    "DATASETS", "FORMS", "PLAIN", "STORED", "AnySplit", "Corrupted", "DataOptions", "Dataset", "Form", "Loader",
    "Parts", "Split", "StoredSplit", "load_dataset", "options_of", "read_dataset", "origin_of", "sorted_samples",
    "title_of",
]  # fmt: skip


def load_dataset(
    name: str,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    layout: str = AUTO,
    resize: str | int | None = None,
    crop: str | int | None = None,
    label_column: str | None = None,
) -> Dataset:
    """A registered data set, or data in any of the forms that docs/datasets.md lists.

    Args:
        data_dir: where registered data sets lie.
        download: whether a registered data set that is not there is fetched.
        layout, resize, crop, label_column: as `DataOptions` has them.

    Raises:
        BadInput: no such name, file or folder, or its content is not a data set.
    """
    options = DataOptions(layout, resize, crop, label_column)
    return read_dataset(name, options, data_dir=data_dir, download=download)


def read_dataset(name: str, options: DataOptions, *, data_dir: Path | None = None, download: bool = False) -> Dataset:
    """As `load_dataset`, with the options as one record."""
    try:
        if name in DATASETS:
            require_taken(options, name, ())
            parts = require_whole(DATASETS[name](data_dir, download), name)
        else:
            form = FORMS[form_name(name)]
            require_taken(options, name, form.takes)
            parts = form.load(name, options)
    except OSError as error:
        raise BadInput(f"data {shortened(name)!r} cannot be read: {error.strerror or error}") from error
    classes = len(parts.class_names) or int(torch.cat([parts.train.y, parts.test.y]).max()) + 1
    return Dataset(name, parts.train, parts.test, classes, *parts[2:])
