"""Data sets in an `.npz` file: arrays `x` and `y`, and `x_train` and `y_train` to train on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ibrobust.datasets.arrays import Named, StoredArray, array_split
from ibrobust.datasets.forms import Form
from ibrobust.datasets.interface import AnySplit, Parts
from ibrobust.datasets.npz_arrays import npz_arrays
from ibrobust.errors import BadInput

_TEST, _TRAIN = ("x", "y"), ("x_train", "y_train")


def npz_parts(file: Path, layout: str) -> Parts:
    """The training and the test part, each in the order of the file.

    Args:
        layout: of `x` and `x_train`: `nchw`, `nhwc`, or `auto` where each shape tells.

    Raises:
        BadInput: the file cannot be read or is not such a data set; one line that names the file and the array.
    """
    content, names = npz_arrays(file, [*_TEST, *_TRAIN])
    wanted = [*_TEST, *(_TRAIN if set(_TRAIN) & set(content) else ())]
    for key in wanted:
        if key not in content:
            raise BadInput(f"data {str(file)!r} has no array {key!r}; it has {', '.join(names)[:200] or 'none'}")
    test = _split(file, content, _TEST, layout)
    if len(wanted) == len(_TEST):
        return Parts(test[:0], test)
    train = _split(file, content, _TRAIN, layout)
    if train.x.shape[1:] != test.x.shape[1:]:
        shapes = [tuple(split.x.shape[1:]) for split in (train, test)]
        raise BadInput(f"data {str(file)!r}: images (C, H, W) are {shapes[0]} in x_train and {shapes[1]} in x")
    return Parts(train, test)


def _split(
    file: Path, content: dict[str, NDArray[np.generic] | StoredArray], keys: tuple[str, str], layout: str
) -> AnySplit:
    x, y = (content[key] for key in keys)
    where = f"data {str(file)!r}:"
    names = Named(f"{where} {keys[0]}", f"{where} {keys[1]}", keys[0])
    return array_split(x, y.mapped() if isinstance(y, StoredArray) else y, names, layout)


NPZ = Form(
    "FILE.npz",
    accepts=lambda data: data.lower().endswith(".npz"),
    load=lambda data, options: npz_parts(Path(data), options.layout),
    holds="arrays x and y, and x_train and y_train to train on; large ones are mapped where numpy.savez wrote them",
    takes=("layout",),
    example="mine.npz",
)
