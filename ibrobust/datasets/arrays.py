"""Arrays of images and labels as a split: what may stand in `.npz` and `.npy` files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets.interface import AnySplit, Split, StoredSplit, held
from ibrobust.datasets.layouts import AUTO, channels_first, layout_of
from ibrobust.datasets.splits import StoredImages
from ibrobust.errors import BadInput, one_line

_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class StoredArray:
    """An array that lies in a file as it is, from some byte on.

    Attributes:
        by_columns: whether the first index runs fastest.
        check: raises where the file is damaged.
    """

    file: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    by_columns: bool = False
    check: Callable[[], None] | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def mapped(self) -> NDArray[np.generic]:
        """The array, of which only what is looked at is read; the mapping ends with the last view of it."""
        order = "F" if self.by_columns else "C"
        return np.memmap(self.file, self.dtype, "r", self.offset, self.shape, order)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Named:
    """What messages call images, labels and the images' key."""

    x: str
    y: str
    key: str


def array_split(
    x: NDArray[np.generic] | StoredArray, y: NDArray[np.generic], names: Named, layout: str = AUTO
) -> AnySplit:
    """Images in any of the layouts and their labels, as a split; what lies in a file and is large stays there.

    Raises:
        BadInput: the two are no data set; the message begins with what `names` calls the one at fault.
    """
    if isinstance(x, StoredArray):
        return held(stored_split(x, y, names, layout))
    _require_images(x, names)
    labels = _labels(y, len(x), names)
    return Split(_as_tensor(x, layout, names.x), labels)


def stored_split(x: StoredArray, y: NDArray[np.generic], names: Named, layout: str = AUTO) -> StoredSplit:
    """As `array_split`, but the images stay in their file however few they are."""
    _require_images(x, names)
    known = layout_of(x.shape, names.x) if layout == AUTO else layout
    shape = channels_first(np.broadcast_to(np.uint8(0), x.shape), known, names.x).shape
    kind = torch.uint8 if x.dtype == np.uint8 else torch.float32
    read = partial(_stored_rows, x, known, names.x)
    made = f"{names.key} {known} {x.offset} {x.dtype.str}"
    images = StoredImages((shape[0], shape[1], shape[2], shape[3]), kind, read, (x.file,), made, x.check)
    return StoredSplit(images, _labels(y, len(x), names))


def _stored_rows(array: StoredArray, layout: str, name: str, rows: NDArray[np.int64]) -> Tensor:
    try:
        found = np.asarray(array.mapped()[rows])  # Numbers, not a slice, take a copy out of the mapping.
    except (OSError, ValueError) as error:
        raise BadInput(f"{name} was changed while it was read: {one_line(str(error))}") from error
    return _as_tensor(found, layout, name)


def _as_tensor(x: NDArray[np.generic], layout: str, name: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(channels_first(_pixels(x, name), layout, name)))


def _require_images(x: NDArray[np.generic] | StoredArray, names: Named) -> None:
    if x.ndim != 4 or x.size == 0:
        raise BadInput(f"{names.x} has shape {x.shape}; write (N, C, H, W) or (N, H, W, C)")


def _labels(y: NDArray[np.generic], count: int, names: Named) -> Tensor:
    if y.shape not in ((count,), (count, 1)):
        raise BadInput(
            f"{names.y} has shape {y.shape}; write a class number for each of the {count} samples of {names.key}"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise BadInput(f"{names.y} holds {y.dtype}; write class numbers, integers from 0")
    if y.min() < 0 or y.max() >= _MOST_CLASSES:
        raise BadInput(f"{names.y} must hold class numbers from 0 to {_MOST_CLASSES - 1}, not {y.min()} to {y.max()}")
    return torch.from_numpy(y.astype(np.int64).reshape(-1))


def _pixels(x: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        pixels = x.astype(np.float32)
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise BadInput(f"{name} holds pixels outside [0, 1] or NaN; scale them or use uint8")
    return pixels
