"""Data sets in an `.npz` file: arrays `x` and `y`, and `x_train` and `y_train` to train on."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ibrobust.datasets.interface import Parts, Split
from ibrobust.datasets.layouts import channels_first
from ibrobust.datasets.npz_arrays import npz_arrays
from ibrobust.errors import BadInput

_TEST, _TRAIN = ("x", "y"), ("x_train", "y_train")
_MOST_CLASSES = 1_000_000


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


def _split(file: Path, content: dict[str, NDArray[np.generic]], keys: tuple[str, str], layout: str) -> Split:
    x_name, y_name = (f"data {str(file)!r}: {key}" for key in keys)
    x, y = (content[key] for key in keys)
    if x.ndim != 4 or x.size == 0:
        raise BadInput(f"{x_name} has shape {x.shape}; write (N, C, H, W) or (N, H, W, C)")
    if y.shape not in ((len(x),), (len(x), 1)):
        raise BadInput(
            f"{y_name} has shape {y.shape}; write a class number for each of the {len(x)} samples of {keys[0]}"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise BadInput(f"{y_name} holds {y.dtype}; write class numbers, integers from 0")
    if y.min() < 0 or y.max() >= _MOST_CLASSES:
        raise BadInput(f"{y_name} must hold class numbers from 0 to {_MOST_CLASSES - 1}, not {y.min()} to {y.max()}")
    x = channels_first(_pixels(x, x_name), layout, x_name)
    return Split(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y.astype(np.int64).reshape(-1)))


def _pixels(x: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        pixels = x.astype(np.float32)
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise BadInput(f"{name} holds pixels outside [0, 1] or NaN; scale them or use uint8")
    return pixels
